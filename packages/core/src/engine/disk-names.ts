/**
 * Names on a disk, for every implementation of VirtualDisk: which paths may be used, and, for those that keep their names in memory, directories and
 * the errors that name what was attempted.
 */
import type { DiskError, DiskErrorCode } from './virtual-disk.ts';

/** Why a path may not be used, or null. The empty path and '.' name the root itself. */
export function pathRefusal(path: string): string | null {
  if (path.includes('\0')) return 'a path holds no NUL';
  if (path.startsWith('/')) return "a path is relative to the disk's root";
  if (path.split('/').includes('..')) return 'a path does not leave the root';
  return null;
}

/** What the system would say of an attempt (`write of log/tail`). */
export function failureOf(attempt: string, code: DiskErrorCode): DiskError {
  return { code, message: `${attempt}: ${code}` };
}

/** Why an attempt on these paths must fail before it begins, or null. */
export function refusalOf(attempt: string, closed: boolean, ...paths: readonly string[]): DiskError | null {
  if (closed) return failureOf(attempt, 'ECLOSED');
  const why = paths.map(pathRefusal).find((reason) => reason !== null);
  return why === undefined || why === null ? null : { code: 'EOTHER', message: `${attempt}: ${why}` };
}

/** '' for the root, whatever way it is written; no slash at the end. */
export function normalDirectory(directory: string): string {
  const bare = directory.replace(/\/+$/, '');
  return bare === '.' ? '' : bare;
}

/** The directory of a path; '' for one in the root. */
export function directoryOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

/** Names in a directory, sorted; subdirectories are those that have files. */
export function namesIn(paths: Iterable<string>, directory: string): string[] {
  const normal = normalDirectory(directory);
  const prefix = normal === '' ? '' : `${normal}/`;
  const names = new Set<string>();
  for (const path of paths) {
    if (!path.startsWith(prefix)) continue;
    const rest = path.slice(prefix.length);
    const slash = rest.indexOf('/');
    names.add(slash < 0 ? rest : rest.slice(0, slash));
  }
  return [...names].sort();
}

/** The directories of a disk in memory: durable as soon as they are made. */
export class Directories {
  private readonly all: Set<string>;

  constructor(copied: Directories | null = null) {
    this.all = new Set(copied === null ? [''] : copied.all);
  }

  has(directory: string): boolean {
    return this.all.has(normalDirectory(directory));
  }

  /** Makes a directory and its parents. */
  make(directory: string): void {
    for (let path = normalDirectory(directory); path !== ''; path = directoryOf(path)) this.all.add(path);
  }
}
