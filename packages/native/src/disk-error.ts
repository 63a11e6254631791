/**
 * Maps what the system says (errno) to the closed set of DiskErrorCode. The message keeps the attempt, the file and the
 * system's own word, because an operator reads it.
 */
import { constants as osConstants } from 'node:os';
import { DiskFailure, type DiskError, type DiskErrorCode } from '@chronon/core/engine/virtual-disk';

const CODES: Readonly<Record<string, DiskErrorCode>> = {
  EIO: 'EIO',
  ENOSPC: 'ENOSPC',
  // A quota and a file size limit (`ulimit -f`) are, to a log, a full disk: nothing is damaged, nothing more fits.
  EDQUOT: 'ENOSPC',
  EFBIG: 'ENOSPC',
  ENOENT: 'ENOENT',
  EACCES: 'EACCES',
  EPERM: 'EACCES',
  EROFS: 'EACCES',
  ECLOSED: 'ECLOSED',
};

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(osConstants.errno).map(([name, value]) => [value, name]),
);

/** 'EPERM' of 1; 'errno 4095' when the number has no name. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/** The error of an attempt (`write of 4096 bytes at 0 of log/tail`) that ended with a system error name. */
export function diskError(attempt: string, systemName: string, detail = ''): DiskError {
  const code = CODES[systemName] ?? 'EOTHER';
  return { code, message: `${attempt}: ${systemName}${detail === '' ? '' : ` (${detail})`}` };
}

/** The error of an attempt that ended with a negative (or positive) errno. */
export function diskErrorOfErrno(attempt: string, errno: number): DiskError {
  return diskError(attempt, errnoName(errno));
}

/** The error of an attempt that ended with an exception of `node:fs`. */
export function diskErrorOf(attempt: string, cause: unknown): DiskError {
  if (cause instanceof DiskFailure) return { code: cause.code, message: cause.message };
  const systemName = (cause as { readonly code?: unknown } | null)?.code;
  if (typeof systemName === 'string') return diskError(attempt, systemName);
  return { code: 'EOTHER', message: `${attempt}: ${String(cause)}` };
}

/** Runs a blocking call; whatever it throws leaves as a DiskFailure that names the attempt. */
export function blocking<T>(attempt: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw new DiskFailure(diskErrorOf(attempt, cause));
  }
}

/** True for errors after which nothing this file said before can be trusted to reach the medium. */
export function poisons(error: DiskError): boolean {
  return error.code === 'EIO' || error.code === 'EOTHER';
}
