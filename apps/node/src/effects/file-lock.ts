/**
 * A short exclusive lock on a file, between processes: flock by the native addon where there is one, else a lock file made with O_EXCL that
 * names its holder, so that one left by a dead process is noticed.
 *
 * Invariants: the lock is held only while `task` runs; a holder that was killed blocks nobody; waiting is bounded.
 */
import fs from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadNative } from '@chronon/native/native-binding';

const RETRY_MS = 3;

/** Nobody gave the lock up in time. */
export class FileLockTimeout extends Error {
  override readonly name = 'FileLockTimeout';
  readonly code = 'E_LEDGER_LOCKED';
}

/** Runs `task` under the lock of `path`; the file stays. */
export async function withFileLock<T>(path: string, waitMs: number, task: () => Promise<T>): Promise<T> {
  const { binding } = loadNative();
  const release =
    binding === null
      ? await lockByFile(`${path}.pid`, waitMs)
      : await lockByFlock(path, waitMs, (fd) => binding.flock(fd));
  try {
    return await task();
  } finally {
    release();
  }
}

async function lockByFlock(path: string, waitMs: number, flock: (fd: number) => number): Promise<() => void> {
  const fd = fs.openSync(path, 'a', 0o600);
  const end = performance.now() + waitMs;
  try {
    for (;;) {
      const result = flock(fd);
      if (result === 0) return () => fs.closeSync(fd);
      if (result !== -constants.errno.EWOULDBLOCK && result !== -constants.errno.EINTR)
        throw new Error(`flock of ${path}: errno ${-result}`);
      if (performance.now() > end)
        throw new FileLockTimeout(`${path} is locked by another process for more than ${waitMs} ms`);
      await sleep(RETRY_MS);
    }
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Exported for its test: the way without the addon. */
export async function lockByFile(path: string, waitMs: number): Promise<() => void> {
  const record = JSON.stringify({ pid: process.pid, start: startOf(process.pid) });
  const end = performance.now() + waitMs;
  for (;;) {
    try {
      fs.writeFileSync(path, record, { flag: 'wx', mode: 0o600 });
      return () => fs.rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (removeStale(path)) continue;
    if (performance.now() > end)
      throw new FileLockTimeout(`${path} is held by another process for more than ${waitMs} ms`);
    await sleep(RETRY_MS);
  }
}

/** Takes away the lock file of a dead process. */
function removeStale(path: string): boolean {
  const seen = read(path);
  if (seen === null || alive(seen)) return false;
  const aside = `${path}.stale-${process.pid}`;
  try {
    fs.renameSync(path, aside);
  } catch {
    return true;
  }
  // Somebody else may have been faster, and this may be a live lock: give it back.
  if (read(aside) !== seen) {
    try {
      fs.linkSync(aside, path);
    } catch {
      // A third one has it now; the one that lost its file still only loses time at its next lock.
    }
  }
  fs.rmSync(aside, { force: true });
  return true;
}

function read(path: string): string | null {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** An empty or unreadable record is of somebody who is writing it right now. */
function alive(record: string): boolean {
  let pid = 0;
  let start: unknown = null;
  try {
    ({ pid, start } = JSON.parse(record) as { pid: number; start: unknown });
  } catch {
    return true;
  }
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return start === startOf(pid);
}

/** Start time of a process, to tell a reused pid. */
function startOf(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
