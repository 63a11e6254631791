/**
 * What both real disks share: the root directory, and everything that is not hot (names, directories, free space), which goes
 * through node:fs.
 *
 * Invariants: no path leaves the root (checked lexically; a symbolic link below the root is the operator's own doing); a
 * callback is called exactly once and never from inside the call that got it; close() closes every file.
 */
import fs from 'node:fs';
import { join, resolve } from 'node:path';
import { pathRefusal } from '@chronon/core/engine/disk-names';
import {
  type ChainLink,
  DiskFailure,
  type DiskCallback,
  type DiskFile,
  type DiskKind,
  type DiskStats,
  type VirtualDisk,
  writeInTurn,
} from '@chronon/core/engine/virtual-disk';
import { blocking, diskError, diskErrorOf } from './disk-error.ts';
import type { DiskFileBase } from './disk-file-base.ts';

/** A file is readable and writable by its owner alone. */
export const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** Another descriptor of the file that `fd` has open, even if it was renamed or unlinked since. */
export function reopen(fd: number, absolute: string, flags: number): number {
  const byDescriptor = `/proc/self/fd/${fd}`;
  return fs.openSync(fs.existsSync(byDescriptor) ? byDescriptor : absolute, flags);
}

export abstract class DiskBase implements VirtualDisk {
  abstract readonly kind: DiskKind;
  readonly fallbackReason: string | null;
  readonly stats: DiskStats = { writes: 0, bytesWritten: 0, barriers: 0, reads: 0, bytesRead: 0 };
  /** Absolute path of the root directory. */
  readonly root: string;
  protected readonly files: Set<DiskFileBase> = new Set();
  #closed = false;

  /** The root must exist. Throws DiskFailure when it does not or is no directory. */
  constructor(root: string, fallbackReason: string | null) {
    this.root = resolve(root);
    this.fallbackReason = fallbackReason;
    const isDirectory = blocking(`open of ${this.root}`, () => fs.statSync(this.root).isDirectory());
    if (!isDirectory) throw new DiskFailure(diskError(`open of ${this.root}`, 'ENOTDIR'));
  }

  protected abstract openFile(path: string, absolute: string): DiskFileBase;
  /** Called once, after the last file released its descriptors. */
  protected closed(): void {}

  open(path: string, options?: { readonly create?: boolean }): DiskFile {
    const attempt = `open of ${path}`;
    if (this.#closed) throw new DiskFailure(diskError(attempt, 'ECLOSED', 'the disk is closed'));
    const absolute = this.#absolute(path, attempt);
    const file = blocking(attempt, () => {
      if (options?.create === true)
        fs.closeSync(fs.openSync(absolute, fs.constants.O_RDWR | fs.constants.O_CREAT, FILE_MODE));
      return this.openFile(path, absolute);
    });
    this.files.add(file);
    return file;
  }

  list(directory: string): string[] {
    const attempt = `list of ${directory}`;
    const absolute = this.#absolute(directory, attempt);
    try {
      return fs.readdirSync(absolute).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    } catch (cause) {
      const error = diskErrorOf(attempt, cause);
      if (error.code === 'ENOENT') return [];
      throw new DiskFailure(error);
    }
  }

  mkdirSync(directory: string): void {
    const attempt = `mkdir of ${directory}`;
    const absolute = this.#absolute(directory, attempt);
    blocking(attempt, () => fs.mkdirSync(absolute, { recursive: true, mode: DIRECTORY_MODE }));
  }

  renameSync(from: string, to: string): void {
    const attempt = `rename of ${from} to ${to}`;
    const [source, target] = [this.#absolute(from, attempt), this.#absolute(to, attempt)];
    blocking(attempt, () => fs.renameSync(source, target));
  }

  unlinkSync(path: string): void {
    const attempt = `unlink of ${path}`;
    const absolute = this.#absolute(path, attempt);
    blocking(attempt, () => fs.unlinkSync(absolute));
  }

  syncDirectorySync(directory: string): void {
    const attempt = `fsync of directory ${directory}`;
    const absolute = this.#absolute(directory, attempt);
    blocking(attempt, () => {
      const fd = fs.openSync(absolute, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    });
    this.stats.barriers++;
  }

  rename(from: string, to: string, callback: DiskCallback): void {
    const attempt = `rename of ${from} to ${to}`;
    const source = this.#absoluteOr(from, attempt, callback);
    const target = source === null ? null : this.#absoluteOr(to, attempt, callback);
    if (source === null || target === null) return;
    fs.rename(source, target, (cause) => callback(cause === null ? null : diskErrorOf(attempt, cause)));
  }

  unlink(path: string, callback: DiskCallback): void {
    const attempt = `unlink of ${path}`;
    const absolute = this.#absoluteOr(path, attempt, callback);
    if (absolute === null) return;
    fs.unlink(absolute, (cause) => callback(cause === null ? null : diskErrorOf(attempt, cause)));
  }

  syncDirectory(directory: string, callback: DiskCallback): void {
    const attempt = `fsync of directory ${directory}`;
    const absolute = this.#absoluteOr(directory, attempt, callback);
    if (absolute === null) return;
    fs.open(absolute, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (openCause, fd) => {
      if (openCause !== null) return callback(diskErrorOf(attempt, openCause));
      fs.fsync(fd, (cause) => {
        fs.close(fd, () => {
          if (cause === null) this.stats.barriers++;
          callback(cause === null ? null : diskErrorOf(attempt, cause));
        });
      });
    });
  }

  writeChain(links: readonly ChainLink[]): void {
    writeInTurn(links);
  }

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  freeBytes(): number | null {
    try {
      const { bavail, bsize } = fs.statfsSync(this.root);
      return bavail * bsize;
    } catch {
      return null;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const open = [...this.files];
    for (const file of open) file.close();
    if (open.length === 0) this.closed();
  }

  /** A file released its descriptors. */
  protected readonly onReleased = (file: DiskFileBase): void => {
    this.files.delete(file);
    if (this.#closed && this.files.size === 0) this.closed();
  };

  #absolute(path: string, attempt: string): string {
    const refusal = pathRefusal(path);
    if (refusal !== null) throw new DiskFailure(diskError(attempt, 'EINVAL', refusal));
    return join(this.root, path);
  }

  #absoluteOr(path: string, attempt: string, callback: DiskCallback): string | null {
    const refusal = this.#closed ? 'the disk is closed' : pathRefusal(path);
    if (refusal === null) return join(this.root, path);
    queueMicrotask(() => callback(diskError(attempt, this.#closed ? 'ECLOSED' : 'EINVAL', refusal)));
    return null;
  }
}
