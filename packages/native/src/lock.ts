/**
 * One process a data directory, enforced for the life of the process.
 *
 * Three witnesses, because none alone covers every case; all are taken, in this order:
 *  1. an abstract unix socket named after the directory's device and inode: dies with the process, but is seen only inside one
 *     network namespace;
 *  2. flock on `lock` (needs the addon): dies with the process, seen by every container that shares the file system;
 *  3. without the addon, `lock.pid`, created with O_EXCL: seen by every process with the same /proc.
 * Each side also reads the other's record, so a process with the addon and one without exclude each other.
 *
 * The record is one JSON object {pid, startTime, bootId}: a pid alone may have been given to another process since.
 * After a kill the kernel may hold descriptors of an io_uring for some milliseconds, so a held lock is tried again.
 */
import fs from 'node:fs';
import net from 'node:net';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoName } from './disk-error.ts';
import { loadNative } from './native-binding.ts';

/** How often, and how long apart, a held lock is tried again. */
export const LOCK_ATTEMPTS = 5;
export const LOCK_RETRY_MS = 50;

export type LockMechanism = 'flock' | 'pid-file';

export interface DirectoryLock {
  readonly directory: string;
  readonly mechanism: LockMechanism;
  /** Gives the directory up. Not needed before exit. */
  release(): void;
}

/** The directory belongs to another process, or cannot be locked at all. */
export class LockFailure extends Error {
  override readonly name = 'LockFailure';
  /** E_LOCKED: another process has it. E_LOCK: the lock itself cannot be made. */
  readonly code: 'E_LOCKED' | 'E_LOCK';
  /** Pid of the holder, null when unknown (another container, or no record). */
  readonly holder: number | null;
  constructor(code: 'E_LOCKED' | 'E_LOCK', message: string, holder: number | null = null) {
    super(message);
    this.code = code;
    this.holder = holder;
  }
}

interface LockRecord {
  readonly pid: number;
  /** Clock ticks between boot and the start of the process (/proc/PID/stat field 22), '' when unknown. */
  readonly startTime: string;
  readonly bootId: string;
}

const FLOCK_FILE = 'lock';
const PID_FILE = 'lock.pid';
const WOULD_BLOCK = -osConstants.errno.EWOULDBLOCK;

/**
 * Takes the exclusive lock of an existing directory.
 *
 * @throws LockFailure with the holder's pid when another process has it after five tries 50 ms apart
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  let failure: LockFailure | null = null;
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
    if (attempt > 0) await sleep(LOCK_RETRY_MS);
    try {
      return tryLock(directory);
    } catch (cause) {
      if (!(cause instanceof LockFailure)) {
        const message = cause instanceof Error ? cause.message : String(cause);
        throw new LockFailure('E_LOCK', `${directory} cannot be locked: ${message}`);
      }
      if (cause.code === 'E_LOCK') throw cause;
      failure = cause;
    }
  }
  throw failure!;
}

function tryLock(directory: string): DirectoryLock {
  const undo: (() => void)[] = [];
  try {
    undo.push(lockSocket(directory));
    const { binding } = loadNative();
    const refused = binding === null ? null : lockFile(directory, (fd) => binding.flock(fd), undo);
    const mechanism: LockMechanism = binding === null || refused === 'unsupported' ? 'pid-file' : 'flock';
    if (mechanism === 'pid-file') lockPidFile(directory, undo);
    else refuseLiveRecord(directory, PID_FILE);
    return { directory, mechanism, release: () => runAll(undo) };
  } catch (cause) {
    runAll(undo);
    throw cause;
  }
}

/** Undoes in reverse order, once. */
function runAll(undo: (() => void)[]): void {
  for (const step of undo.splice(0).toReversed()) step();
}

function held(directory: string): LockFailure {
  const record = readRecord(join(directory, FLOCK_FILE)) ?? readRecord(join(directory, PID_FILE));
  const holder = record !== null && isAlive(record) ? record.pid : null;
  const who = holder === null ? 'another process' : `process ${holder}`;
  return new LockFailure('E_LOCKED', `${directory} is in use by ${who}`, holder);
}

function lockSocket(directory: string): () => void {
  if (process.platform !== 'linux') return () => {};
  const { dev, ino } = fs.statSync(directory, { bigint: true });
  const server = net.createServer((socket) => socket.destroy());
  let error: NodeJS.ErrnoException | null = null;
  server.on('error', (cause) => (error = cause));
  // Binding happens inside listen(); only its events come later.
  server.listen({ path: `\0chronon-lock-${dev}-${ino}`, exclusive: true });
  server.unref();
  if (!server.listening) {
    if (error === null || (error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw held(directory);
    return () => {};
  }
  return () => server.close();
}

function lockFile(directory: string, flock: (fd: number) => number, undo: (() => void)[]): 'taken' | 'unsupported' {
  const fd = fs.openSync(join(directory, FLOCK_FILE), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  const result = flock(fd);
  if (result === WOULD_BLOCK) {
    fs.closeSync(fd);
    throw held(directory);
  }
  if (result < 0) {
    fs.closeSync(fd);
    // Some network file systems have no flock.
    if (['ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOLCK', 'EINVAL'].includes(errnoName(result))) return 'unsupported';
    throw new LockFailure('E_LOCK', `flock of ${directory}/${FLOCK_FILE}: ${errnoName(result)}`);
  }
  // The file stays for ever: unlinking it would let a second process lock another inode of the same name.
  undo.push(() => fs.closeSync(fd));
  fs.ftruncateSync(fd, 0);
  try {
    fs.writeSync(fd, JSON.stringify(ownRecord()), 0);
  } catch (cause) {
    // The lock is held; the record only names the holder. A full disk must not keep a replica from starting read-only.
    if (!['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause;
  }
  undo.push(() => fs.ftruncateSync(fd, 0));
  return 'taken';
}

function lockPidFile(directory: string, undo: (() => void)[]): void {
  refuseLiveRecord(directory, FLOCK_FILE);
  const path = join(directory, PID_FILE);
  const temporary = `${path}.${process.pid}`;
  // Linked into place with its content, so that nobody ever reads half a record.
  fs.writeFileSync(temporary, JSON.stringify(ownRecord()), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        fs.linkSync(temporary, path);
        undo.push(() => fs.rmSync(path, { force: true }));
        return;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
        refuseLiveRecord(directory, PID_FILE);
        fs.rmSync(path, { force: true });
      }
    }
    throw held(directory);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

function refuseLiveRecord(directory: string, name: string): void {
  const record = readRecord(join(directory, name));
  if (record !== null && isAlive(record)) {
    throw new LockFailure('E_LOCKED', `${directory} is in use by process ${record.pid}`, record.pid);
  }
}

function readRecord(path: string): LockRecord | null {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(path, 'utf8'));
    if (typeof value !== 'object' || value === null) return null;
    const { pid, startTime, bootId } = value as Record<string, unknown>;
    if (!Number.isSafeInteger(pid) || typeof startTime !== 'string' || typeof bootId !== 'string') return null;
    return { pid: pid as number, startTime, bootId };
  } catch {
    return null;
  }
}

function ownRecord(): LockRecord {
  return { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', bootId: bootId() };
}

/** The process of a record still runs: same boot, same pid, same start time. */
function isAlive(record: LockRecord): boolean {
  if (record.bootId !== bootId()) return false;
  if (record.startTime === '') return signalable(record.pid);
  return startTimeOf(record.pid) === record.startTime;
}

function signalable(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Field 22 of /proc/PID/stat; the command name before it may hold blanks and parentheses. Null when there is no such process. */
function startTimeOf(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing any more.
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function bootId(): string {
  try {
    return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
