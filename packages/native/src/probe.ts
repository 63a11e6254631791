/**
 * Finds out whether io_uring with O_DIRECT works in a directory, by doing it, and words what to do when it does not.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { errnoName } from './disk-error.ts';
import { loadNative } from './native-binding.ts';

export interface ProbeResult {
  readonly ok: boolean;
  /** One sentence; null when ok. */
  readonly reason: string | null;
}

const FULL = ['ENOSPC', 'EDQUOT'];
const NO = (reason: string): ProbeResult => ({ ok: false, reason });

/** statfs types whose O_DIRECT is only a name, and whose contents do not outlive a power cut. */
const MEMORY_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/** Tries a durable write, a read and a barrier through a ring, on a file of its own in `directory`. Never throws. Blocking. */
export function probe(directory: string): ProbeResult {
  const { binding, reason } = loadNative();
  if (binding === null) return NO(reason);
  const memory = memoryFileSystem(directory);
  if (memory !== null) return NO(`${directory} is on ${memory}, which has no device to write through to`);
  const path = join(directory, `.probe-${process.pid}-${process.hrtime.bigint()}`);
  let fd = -1;
  try {
    fd = fs.openSync(
      path,
      fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_DIRECT,
      0o600,
    );
  } catch (cause) {
    // The kernel may have made the name before it refused O_DIRECT.
    fs.rmSync(path, { force: true });
    const name = (cause as { readonly code?: string }).code ?? String(cause);
    return NO(
      name === 'EINVAL'
        ? `the file system of ${directory} has no O_DIRECT (EINVAL)`
        : `a probe file cannot be opened in ${directory}: ${name}`,
    );
  }
  try {
    binding.probeWrite(fd);
    return { ok: true, reason: null };
  } catch (cause) {
    const step = cause instanceof Error ? cause.message : String(cause);
    // The ring carried the write to the file system, which is full: that says nothing against the ring.
    const { errno } = cause as { readonly errno?: number };
    if (step !== 'io_uring_setup' && FULL.includes(errnoName(errno ?? 0))) return { ok: true, reason: null };
    return NO(explain(step, (cause as { readonly errno?: number }).errno ?? 0));
  } finally {
    fs.closeSync(fd);
    fs.rmSync(path, { force: true });
  }
}

/** In words why a step of the probe failed. */
export function explain(step: string, errno: number): string {
  const name = errnoName(errno);
  const setup = step === 'io_uring_setup';
  if (setup && name === 'ENOSYS')
    return 'io_uring_setup: ENOSYS, the kernel has no io_uring (it needs 5.6 or later) or a sandbox hides it';
  if (setup && name === 'ENOMEM') return 'io_uring_setup: ENOMEM, raise RLIMIT_MEMLOCK (ulimit -l)';
  const disabled = readTrimmed('/proc/sys/kernel/io_uring_disabled');
  const refused = name === 'EPERM' || name === 'EACCES';
  if (setup && refused && (disabled === '1' || disabled === '2'))
    return `io_uring_setup: ${name}, sysctl kernel.io_uring_disabled is ${disabled}`;
  // The file was opened for reading and writing: what is not permitted is the call.
  const call = setup ? step : 'io_uring_enter';
  if ((refused || name === 'ENOSYS') && underSeccomp())
    return `${call}: ${name}, a seccomp profile denies it (Docker's default one does; allow io_uring_setup, _enter and _register)`;
  if (setup) return refused ? `io_uring_setup: ${name}, not permitted here` : `io_uring_setup: ${name}`;
  return `${step} with O_DIRECT through io_uring: ${name}`;
}

/** 'tmpfs' or 'ramfs' when a directory lives in memory, null otherwise or when unknown. */
export function memoryFileSystem(directory: string): string | null {
  try {
    return MEMORY_FILE_SYSTEMS.get(fs.statfsSync(directory).type) ?? null;
  } catch {
    return null;
  }
}

function underSeccomp(): boolean {
  return /^Seccomp:\s*2/m.test(readTrimmed('/proc/self/status'));
}

function readTrimmed(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
