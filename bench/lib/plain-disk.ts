/**
 * A disk in memory that does as little as a disk can: for measuring what stands above it. Of each file it keeps the first KEPT_BYTES (manifests, tail
 * records, headers) and of the rest the length: enough to open and to write, nothing to recover from.
 */
import type {
  ChainLink,
  DiskCallback,
  DiskFile,
  DiskReadCallback,
  DiskStats,
  VirtualDisk,
} from '@chronon/core/engine/virtual-disk';
import { DiskFailure, writeInTurn } from '@chronon/core/engine/virtual-disk';

const KEPT_BYTES = 64 * 1024;

class PlainFile implements DiskFile {
  readonly path: string;
  private readonly bytes = new Uint8Array(KEPT_BYTES);
  private length = 0;
  private readonly disk: PlainDisk;

  constructor(path: string, disk: PlainDisk) {
    this.path = path;
    this.disk = disk;
  }

  size(): number {
    return this.length;
  }

  prefetch(): void {}

  readSync(offset: number, into: Uint8Array): number {
    const count = Math.max(0, Math.min(into.length, this.length - offset));
    into.fill(0, 0, count);
    if (offset < KEPT_BYTES) into.set(this.bytes.subarray(offset, Math.min(KEPT_BYTES, offset + count)));
    return count;
  }

  writeSync(offset: number, bytes: Uint8Array): void {
    this.length = Math.max(this.length, offset + bytes.length);
    if (offset < KEPT_BYTES) this.bytes.set(bytes.subarray(0, KEPT_BYTES - offset), offset);
    this.disk.stats.writes++;
    this.disk.stats.bytesWritten += bytes.length;
  }

  barrierSync(): void {
    this.disk.stats.barriers++;
  }

  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback): void {
    this.writeSync(offset, bytes);
    if (durable) this.disk.stats.barriers++;
    this.disk.later(callback);
  }

  barrier(callback: DiskCallback): void {
    this.disk.stats.barriers++;
    this.disk.later(callback);
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.length - offset)));
    this.readSync(offset, bytes);
    this.disk.later(() => {
      callback(null, bytes);
    });
  }

  close(): void {}
}

export class PlainDisk implements VirtualDisk {
  readonly kind = 'simulated';
  readonly fallbackReason = null;
  readonly stats: DiskStats = { writes: 0, bytesWritten: 0, barriers: 0, reads: 0, bytesRead: 0 };
  private readonly files = new Map<string, PlainFile>();
  private calls: DiskCallback[] = [];

  /** Completes what waits; returns how many calls there were. */
  pump(): number {
    const { calls } = this;
    this.calls = [];
    for (const call of calls) call(null);
    return calls.length;
  }

  later(callback: DiskCallback): void {
    this.calls.push(callback);
  }

  open(path: string, options?: { readonly create?: boolean }): DiskFile {
    let file = this.files.get(path);
    if (file === undefined) {
      if (options?.create !== true) throw new DiskFailure({ code: 'ENOENT', message: `${path} does not exist` });
      file = new PlainFile(path, this);
      this.files.set(path, file);
    }
    return file;
  }

  list(directory: string): string[] {
    const prefix = directory === '.' ? '' : `${directory}/`;
    const names = [...this.files.keys()].filter((path) => path.startsWith(prefix));
    return [...new Set(names.map((path) => path.slice(prefix.length).split('/')[0]!))].sort();
  }

  mkdirSync(): void {}

  renameSync(from: string, to: string): void {
    const file = this.files.get(from);
    if (file === undefined) throw new DiskFailure({ code: 'ENOENT', message: `${from} does not exist` });
    this.files.delete(from);
    this.files.set(to, file);
  }

  unlinkSync(path: string): void {
    this.files.delete(path);
  }

  syncDirectorySync(): void {}

  rename(from: string, to: string, callback: DiskCallback): void {
    this.renameSync(from, to);
    this.later(callback);
  }

  unlink(path: string, callback: DiskCallback): void {
    this.unlinkSync(path);
    this.later(callback);
  }

  syncDirectory(_directory: string, callback: DiskCallback): void {
    this.later(callback);
  }

  writeChain(links: readonly ChainLink[]): void {
    writeInTurn(links);
  }

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  freeBytes(): number | null {
    return null;
  }

  close(): void {}
}
