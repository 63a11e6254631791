/** The data directory of a replica: made, locked, its file system named. */
import { accessSync, constants, mkdirSync, statfsSync, statSync } from 'node:fs';
import { LockFailure, lockDirectory, type DirectoryLock } from '@chronon/native/lock';

/** What keeps a process from having the directory. */
export interface DirectoryProblem {
  readonly code: 'E_DIRECTORY' | 'E_LOCKED' | 'E_NOT_FORMATTED';
  readonly message: string;
}

/** Takes the directory for this process's life; makes it when it may be formatted. */
export async function takeDirectory(path: string, mayCreate: boolean): Promise<DirectoryLock | DirectoryProblem> {
  try {
    if (mayCreate) mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) return { code: 'E_DIRECTORY', message: `${path} is no directory` };
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { code: 'E_NOT_FORMATTED', message: `${path} does not exist` };
    return { code: 'E_DIRECTORY', message: `${path} cannot be used: ${message}` };
  }
  try {
    return await lockDirectory(path);
  } catch (error) {
    if (!(error instanceof LockFailure)) throw error;
    if (error.code === 'E_LOCKED') return { code: 'E_LOCKED', message: error.message };
    return { code: 'E_DIRECTORY', message: error.message };
  }
}

export function isProblem(value: DirectoryLock | DirectoryProblem): value is DirectoryProblem {
  return 'code' in value;
}

const FILE_SYSTEMS = new Map<number, string>([
  [0xef53, 'ext'],
  [0x5846_5342, 'xfs'],
  [0x9123_683e, 'btrfs'],
  [0x0102_1994, 'tmpfs'],
  [0x8584_58f6, 'ramfs'],
  [0x794c_7630, 'overlay'],
  [0x6969, 'nfs'],
  [0x2fc1_2fc1, 'zfs'],
  [0xf2f5_2010, 'f2fs'],
  [0x6573_5546, 'fuse'],
]);

/** Name of the file system a path is on, null when unknown. */
export function fileSystemOf(path: string): string | null {
  try {
    const { type } = statfsSync(path);
    return FILE_SYSTEMS.get(type) ?? `0x${type.toString(16)}`;
  } catch {
    return null;
  }
}
