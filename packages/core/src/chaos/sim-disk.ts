/**
 * SimDisk: a VirtualDisk for one process run on a SimStorage. Asynchronous calls complete in virtual time, in any order; blocking calls
 * (only while a replica opens) at once.
 *
 * Invariants: nothing is durable but through a durable write, a barrier or a directory sync that completed; a callback runs only from the event
 * loop and never after the process died; writes in flight at a crash are torn at sector boundaries; the bytes of a write may not change
 * before its callback (checked on a sample).
 */
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import {
  type ChainLink,
  DiskFailure,
  type DiskCallback,
  type DiskErrorCode,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
  endUnbegun,
  type VirtualDisk,
} from '../engine/virtual-disk.ts';
import type { Prng } from '../prng.ts';
import type { EventQueue } from './event-queue.ts';
import type { SimInode } from './sim-inode.ts';
import { directoryOf, type SimStorage } from './sim-storage.ts';
import { mustHold } from './violation.ts';

/** Thrown out of a blocking call: the process dies at this very write. */
export class SimCrash extends Error {
  override readonly name = 'SimCrash';
}

/** The device under a storage: how fast it is and how it misbehaves. Shared by the process runs of one machine. */
export interface SimDevice {
  /** Usual latency of a call, microseconds, low and high. */
  latencyLowUs: number;
  latencyHighUs: number;
  /** Chance that a call takes `slowUs` more. */
  slowChance: number;
  slowUs: number;
  /** No call completes before this virtual time. */
  stallUntilUs: number;
  /** The next so many asynchronous writes or barriers fail with EIO. */
  failures: number;
}

export interface SimDiskOptions {
  readonly queue: EventQueue;
  readonly storage: SimStorage;
  readonly device: SimDevice;
  readonly prng: Prng;
  /** Runs a callback in the process: not if it died, later if it is paused. */
  enter(task: () => void): void;
  /** The armed write was issued; the process is to crash while it is in flight. */
  onArmedWrite(): void;
  onDiskError(): void;
}

interface InFlight {
  /** Null for reads and barriers: a crash leaves no trace of them. */
  readonly tear: (() => void) | null;
}

export class SimDisk implements VirtualDisk {
  readonly kind = 'simulated';
  readonly fallbackReason = null;
  readonly stats: DiskStats = { writes: 0, bytesWritten: 0, barriers: 0, reads: 0, bytesRead: 0 };
  readonly options: SimDiskOptions;
  private readonly inFlight = new Set<InFlight>();
  private dead = false;
  private closed = false;
  /** Asynchronous writes until the armed crash; 0: not armed. */
  private armedWrites = 0;
  /** Blocking writes until SimCrash is thrown; 0: never. */
  private armedOpenWrites = 0;

  constructor(options: SimDiskOptions) {
    this.options = options;
  }

  /** The process shall die while the `count`-th asynchronous write from now is in flight. */
  armCrash(count: number): void {
    this.armedWrites = count;
  }

  /** The process shall die in the `count`-th blocking write from now. */
  armOpenCrash(count: number): void {
    this.armedOpenWrites = count;
  }

  get writesInFlight(): number {
    let count = 0;
    for (const call of this.inFlight) if (call.tear !== null) count++;
    return count;
  }

  /** The process is gone: what was in flight is torn, no callback comes any more. Returns how many writes were torn. */
  crash(): number {
    const torn = this.writesInFlight;
    this.dead = true;
    for (const call of this.inFlight) call.tear?.();
    this.inFlight.clear();
    return torn;
  }

  open(path: string, options?: { readonly create?: boolean }): DiskFile {
    const { storage } = this.options;
    let inode = storage.get(path);
    if (inode === undefined) {
      if (options?.create !== true) throw new DiskFailure({ code: 'ENOENT', message: `open ${path}: no such file` });
      this.blockingWrite(null);
      inode = storage.create(path);
    }
    return new SimFile(this, path, inode);
  }

  list(directory: string): string[] {
    return this.options.storage.list(directory);
  }

  /** Directories are made durable at once; names in them are not. */
  mkdirSync(_directory: string): void {}

  renameSync(from: string, to: string): void {
    this.blockingWrite(null);
    if (!this.options.storage.rename(from, to)) throw new DiskFailure(noEntry('rename', from));
  }

  unlinkSync(path: string): void {
    this.blockingWrite(null);
    if (!this.options.storage.unlink(path)) throw new DiskFailure(noEntry('unlink', path));
  }

  syncDirectorySync(directory: string): void {
    this.options.storage.syncDirectory(normal(directory), this.options.storage.completed);
    this.stats.barriers++;
  }

  rename(from: string, to: string, callback: DiskCallback): void {
    this.change(() => this.options.storage.rename(from, to), 'rename', from, callback);
  }

  unlink(path: string, callback: DiskCallback): void {
    this.change(() => this.options.storage.unlink(path), 'unlink', path, callback);
  }

  syncDirectory(directory: string, callback: DiskCallback): void {
    const covers = this.options.storage.completed;
    this.submit(null, callback, () => {
      this.options.storage.syncDirectory(normal(directory), covers);
      this.stats.barriers++;
    });
  }

  writeChain(links: readonly ChainLink[]): void {
    this.beginLink(links, 0);
  }

  /** The disk itself goes on to the next link, whatever its process does meanwhile (it may be paused). */
  private beginLink(links: readonly ChainLink[], position: number): void {
    const link = links[position];
    if (link === undefined) return;
    const done: DiskCallback = (error) => {
      link.callback(error);
      if (error !== null) endUnbegun(links, position + 1, error);
    };
    (link.file as SimFile).write(link.offset, link.bytes, true, done, () => this.beginLink(links, position + 1));
  }

  freeBytes(): number | null {
    const { capacityBytes } = this.options.storage;
    if (capacityBytes === Number.POSITIVE_INFINITY) return null;
    return Math.max(0, capacityBytes - this.options.storage.usedBytes());
  }

  close(): void {
    this.closed = true;
  }

  /** Counts a blocking write; throws when it is the armed one, after leaving part of it. */
  blockingWrite(tear: (() => void) | null): void {
    if (this.dead) throw new SimCrash('the process is dead');
    if (this.armedOpenWrites === 0) return;
    this.armedOpenWrites--;
    if (this.armedOpenWrites > 0) return;
    tear?.();
    throw new SimCrash('the process died in a blocking write');
  }

  /**
   * One asynchronous call: `effect` happens when it completes (its result true, or false for ENOENT), unless a failure is due; `tear` is what a
   * crash before that leaves.
   */
  submit(
    tear: (() => void) | null,
    callback: DiskCallback,
    effect: () => void,
    refusal?: { readonly code: DiskErrorCode; readonly message: string },
  ): void {
    const { options } = this;
    const { queue, device } = options;
    const delay = this.delayUs();
    if (this.dead || this.closed || refusal !== undefined) {
      const error = refusal ?? { code: 'ECLOSED' as const, message: 'the disk is closed' };
      queue.after(delay, () => options.enter(() => callback(error)));
      return;
    }
    const call: InFlight = { tear };
    this.inFlight.add(call);
    const complete = (): void => {
      if (this.dead) return;
      if (queue.now < device.stallUntilUs) {
        queue.at(device.stallUntilUs + delay, complete);
        return;
      }
      this.inFlight.delete(call);
      if (tear !== null && device.failures > 0) {
        device.failures--;
        this.options.onDiskError();
        tear();
        options.enter(() => callback({ code: 'EIO', message: 'simulated input/output error' }));
        return;
      }
      effect();
      options.enter(() => callback(null));
    };
    queue.after(delay, complete);
    if (tear !== null && this.armedWrites > 0 && --this.armedWrites === 0) {
      queue.after(Math.floor(delay / 2), () => {
        if (!this.dead) this.options.onArmedWrite();
      });
    }
  }

  private change(apply: () => boolean, what: string, path: string, callback: DiskCallback): void {
    let found = true;
    const tear = (): void => {
      if (this.options.prng.chance(0.5)) apply();
    };
    const done: DiskCallback = (error) => callback(error ?? (found ? null : noEntry(what, path)));
    this.submit(tear, done, () => {
      found = apply();
    });
  }

  private delayUs(): number {
    const { prng, device } = this.options;
    const delay = prng.range(device.latencyLowUs, device.latencyHighUs);
    return prng.chance(device.slowChance) ? delay + prng.below(device.slowUs) : delay;
  }
}

class SimFile implements DiskFile {
  readonly path: string;
  private readonly disk: SimDisk;
  private readonly inode: SimInode;

  constructor(disk: SimDisk, path: string, inode: SimInode) {
    this.disk = disk;
    this.path = path;
    this.inode = inode;
  }

  size(): number {
    return this.inode.size;
  }

  readSync(offset: number, into: Uint8Array): number {
    const visible = this.inode.visible;
    const part = visible.subarray(offset, Math.min(visible.length, offset + into.length));
    into.set(part);
    return part.length;
  }

  writeSync(offset: number, bytes: Uint8Array): void {
    if (!this.fits(offset + bytes.length)) throw new DiskFailure(noSpace(this.path));
    const { prng } = this.disk.options;
    this.disk.blockingWrite(() => this.inode.tear(offset, bytes, prng, prng.float()));
    this.disk.stats.writes++;
    this.disk.stats.bytesWritten += bytes.length;
    this.inode.write(offset, bytes, false);
  }

  barrierSync(): void {
    this.disk.blockingWrite(null);
    this.inode.barrier(this.inode.completed);
    this.disk.stats.barriers++;
  }

  /** `then` runs when the bytes are written, before the process hears of it. */
  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback, then?: () => void): void {
    const { prng } = this.disk.options;
    const end = offset + bytes.length;
    mustHold(
      offset % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0 && bytes.length > 0,
      'disk',
      'writes-are-whole-blocks',
      () => `a write of ${bytes.length} bytes at ${offset} of ${this.path} is not made of whole blocks`,
    );
    mustHold(!durable || end <= this.inode.size, 'disk', 'durable-writes-do-not-grow-a-file', () => {
      return `a durable write through ${end} of ${this.path}, which has ${this.inode.size} bytes`;
    });
    const before = prng.chance(1 / 16) ? checksum(bytes) : null;
    const tear = (): void => {
      this.inode.tear(offset, bytes, prng, prng.pick([0, 0.5, 0.5, 0.9, 1]));
    };
    const effect = (): void => {
      mustHold(before === null || before === checksum(bytes), 'disk', 'bytes-in-flight-do-not-change', () => {
        return `the bytes of a write at ${offset} of ${this.path} changed before its callback`;
      });
      this.inode.write(offset, bytes, durable);
      this.disk.stats.writes++;
      this.disk.stats.bytesWritten += bytes.length;
      if (durable) this.disk.stats.barriers++;
      then?.();
    };
    this.disk.submit(tear, callback, effect, this.fits(end) ? undefined : noSpace(this.path));
  }

  barrier(callback: DiskCallback): void {
    const covers = this.inode.completed;
    this.disk.submit(null, callback, () => {
      this.inode.barrier(covers);
      this.disk.stats.barriers++;
    });
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    let bytes: Uint8Array | null = null;
    const done: DiskCallback = (error) => callback(error, error === null ? bytes : null);
    this.disk.submit(null, done, () => {
      bytes = this.inode.visible.slice(offset, offset + length);
      this.disk.stats.reads++;
      this.disk.stats.bytesRead += bytes.length;
    });
  }

  close(): void {}

  private fits(end: number): boolean {
    const { storage } = this.disk.options;
    if (storage.capacityBytes === Number.POSITIVE_INFINITY || end <= this.inode.size) return true;
    return storage.usedBytes() + end - this.inode.size <= storage.capacityBytes;
  }
}

function normal(directory: string): string {
  return directory === '.' ? '' : directoryOf(`${directory.replace(/\/+$/, '')}/x`);
}

function noEntry(what: string, path: string): { code: DiskErrorCode; message: string } {
  return { code: 'ENOENT', message: `${what} ${path}: no such file` };
}

function noSpace(path: string): { code: DiskErrorCode; message: string } {
  return { code: 'ENOSPC', message: `write ${path}: no space left on device` };
}

/** Cheap sum over a sample of the bytes. */
function checksum(bytes: Uint8Array): number {
  let sum = bytes.length;
  for (let i = 0; i < bytes.length; i += 13) sum = (Math.imul(sum, 31) + bytes[i]!) | 0;
  return sum + SECTOR_BYTES;
}
