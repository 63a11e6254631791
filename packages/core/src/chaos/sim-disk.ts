/**
 * SimDisk: a VirtualDisk for one process run on a SimStorage. Asynchronous calls complete in virtual time, in any order; blocking calls
 * (only while a replica opens) at once.
 *
 * Invariants: nothing is durable but through a durable write, a barrier or a directory sync that completed; a callback runs only from the event
 * loop and never after the process died; writes in flight at a crash are torn at sector boundaries; the bytes of a write may not change
 * before its callback (checked on a sample).
 */
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import { directoryOf, failureOf, normalDirectory, refusalOf } from '../engine/disk-names.ts';
import {
  type ChainLink,
  DiskFailure,
  type DiskCallback,
  type DiskError,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
  endUnbegun,
  type VirtualDisk,
} from '../engine/virtual-disk.ts';
import type { Prng } from '../prng.ts';
import type { EventQueue } from './event-queue.ts';
import type { SimInode } from './sim-inode.ts';
import type { SimStorage } from './sim-storage.ts';
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
    this.mustBeUsable(`open of ${path}`, path);
    let inode = storage.get(path);
    if (inode === undefined) {
      if (options?.create !== true || !storage.directories.has(directoryOf(path)))
        throw new DiskFailure(failureOf(`open of ${path}`, 'ENOENT'));
      this.blockingWrite(null);
      inode = storage.create(path);
    }
    return new SimFile(this, path, inode);
  }

  list(directory: string): string[] {
    return this.options.storage.list(directory);
  }

  /** Directories are made durable at once; names in them are not. */
  mkdirSync(directory: string): void {
    this.options.storage.directories.make(directory);
  }

  renameSync(from: string, to: string): void {
    this.mustBeUsable(`rename of ${from}`, from, to);
    this.blockingWrite(null);
    if (!this.options.storage.rename(from, to)) throw new DiskFailure(failureOf(`rename of ${from}`, 'ENOENT'));
  }

  unlinkSync(path: string): void {
    this.mustBeUsable(`unlink of ${path}`, path);
    this.blockingWrite(null);
    if (!this.options.storage.unlink(path)) throw new DiskFailure(failureOf(`unlink of ${path}`, 'ENOENT'));
  }

  syncDirectorySync(directory: string): void {
    this.options.storage.syncDirectory(normalDirectory(directory), this.options.storage.completed);
    this.stats.barriers++;
  }

  rename(from: string, to: string, callback: DiskCallback): void {
    this.change(() => this.options.storage.rename(from, to), `rename of ${from}`, [from, to], callback);
  }

  unlink(path: string, callback: DiskCallback): void {
    this.change(() => this.options.storage.unlink(path), `unlink of ${path}`, [path], callback);
  }

  syncDirectory(directory: string, callback: DiskCallback): void {
    const { storage } = this.options;
    const covers = storage.completed;
    const attempt = `barrier of directory ${directory}`;
    const known = storage.directories.has(directory);
    const refusal = refusalOf(attempt, this.closed, directory) ?? (known ? null : failureOf(attempt, 'ENOENT'));
    const effect = (): void => {
      storage.syncDirectory(normalDirectory(directory), covers);
      this.stats.barriers++;
    };
    this.submit(null, callback, effect, refusal);
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

  private mustBeUsable(attempt: string, ...paths: readonly string[]): void {
    const refusal = refusalOf(attempt, this.closed, ...paths);
    if (refusal !== null) throw new DiskFailure(refusal);
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
    refusal: DiskError | null = null,
  ): void {
    const { options } = this;
    const { queue, device } = options;
    const delay = this.delayUs();
    if (this.dead || this.closed || refusal !== null) {
      const error = refusal ?? failureOf('a call of a closed disk', 'ECLOSED');
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

  private change(apply: () => boolean, attempt: string, paths: readonly string[], callback: DiskCallback): void {
    let found = true;
    const tear = (): void => {
      if (this.options.prng.chance(0.5)) apply();
    };
    const done: DiskCallback = (error) => callback(error ?? (found ? null : failureOf(attempt, 'ENOENT')));
    const effect = (): void => {
      found = apply();
    };
    this.submit(tear, done, effect, refusalOf(attempt, this.closed, ...paths));
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
  private closed = false;

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
    const refusal = this.refusal('write', offset + bytes.length);
    if (refusal !== null) throw new DiskFailure(refusal);
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
    this.disk.submit(tear, callback, effect, this.refusal('write', end));
  }

  barrier(callback: DiskCallback): void {
    const covers = this.inode.completed;
    const effect = (): void => {
      this.inode.barrier(covers);
      this.disk.stats.barriers++;
    };
    this.disk.submit(null, callback, effect, this.refusal('barrier', 0));
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    let bytes: Uint8Array | null = null;
    const done: DiskCallback = (error) => callback(error, error === null ? bytes : null);
    const effect = (): void => {
      bytes = this.inode.visible.slice(offset, offset + length);
      this.disk.stats.reads++;
      this.disk.stats.bytesRead += bytes.length;
    };
    this.disk.submit(null, done, effect, this.refusal('read', 0));
  }

  close(): void {
    this.closed = true;
  }

  /** Why nothing can be done with this file now, through `end`; null: it can. */
  private refusal(what: string, end: number): DiskError | null {
    if (this.closed) return failureOf(`${what} of ${this.path}`, 'ECLOSED');
    return this.fits(end) ? null : failureOf(`${what} of ${this.path}`, 'ENOSPC');
  }

  private fits(end: number): boolean {
    const { storage } = this.disk.options;
    if (storage.capacityBytes === Number.POSITIVE_INFINITY || end <= this.inode.size) return true;
    return storage.usedBytes() + end - this.inode.size <= storage.capacityBytes;
  }
}

/** Cheap sum over a sample of the bytes. */
function checksum(bytes: Uint8Array): number {
  let sum = bytes.length;
  for (let i = 0; i < bytes.length; i += 13) sum = (Math.imul(sum, 31) + bytes[i]!) | 0;
  return sum + SECTOR_BYTES;
}
