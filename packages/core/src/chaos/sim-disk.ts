/**
 * SimDisk: a VirtualDisk for one process run on a SimStorage. Asynchronous calls complete in virtual time, in any order; blocking calls
 * (only while a replica opens) at once. Which faults may strike where is the atlas's to say (fault-atlas.ts); here they happen.
 *
 * Invariants: nothing is durable but through a durable write, a barrier or a directory sync that completed; a callback runs only from the event
 * loop and never after the process died; writes in flight at a crash are torn at sector boundaries; the bytes of a write may not change
 * before its callback (checked on a sample); a failed write or barrier loses pages for good: the next barrier succeeds without them.
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
  /** Chance that a write reaches the medium in two parts, as after a short write that is continued. */
  shortWrites: number;
  /** How many of the next calls of each kind go wrong. */
  readonly due: Record<DeviceFault, number>;
}

/** What a call can meet. The misdirected ones succeed, as far as the caller is told. */
export type DeviceFault = 'write' | 'barrier' | 'read' | 'misdirected-write' | 'misdirected-read';

/** A device that does what it is told, as fast as its latencies say. */
export function soundDevice(latencyLowUs = 0, latencyHighUs = 0): SimDevice {
  const due = { write: 0, barrier: 0, read: 0, 'misdirected-write': 0, 'misdirected-read': 0 };
  return { latencyLowUs, latencyHighUs, slowChance: 0, slowUs: 0, stallUntilUs: 0, shortWrites: 0, due };
}

/** Forgets the failures that are due on the device and have not struck. */
export function expectNothing({ due }: SimDevice): void {
  for (const fault of Object.keys(due) as DeviceFault[]) due[fault] = 0;
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
  /** A fault of the device strikes a call. */
  onFault(fault: DeviceFault | 'short-write'): void;
  /** May these bytes be unreadable, or something else, once? */
  mayHarm(path: string, offset: number, length: number): boolean;
}

/** An asynchronous call. */
interface Call {
  readonly path: string;
  readonly fault: 'write' | 'barrier' | 'read';
  /** What a crash before the completion leaves; null for reads and barriers: no trace. */
  readonly tear: (() => void) | null;
  /** The completion. */
  readonly effect: () => void;
  /** What a failure leaves. */
  readonly fail: () => void;
  /** The first part of a write that arrives in two; null: never does. */
  readonly part: (() => void) | null;
  /** May the device fail this call? */
  readonly exposed: () => boolean;
}

/** How often a stalled call looks whether the stall is over, microseconds. */
const STALL_LOOK_US = 50_000;

const ALWAYS = (): boolean => true;

export class SimDisk implements VirtualDisk {
  readonly kind = 'simulated';
  readonly fallbackReason = null;
  readonly stats: DiskStats = { writes: 0, bytesWritten: 0, barriers: 0, reads: 0, bytesRead: 0 };
  readonly options: SimDiskOptions;
  private readonly inFlight = new Set<Call>();
  private dead = false;
  private closed = false;
  /** Asynchronous writes of matching files until the armed crash; 0: not armed. */
  private armedWrites = 0;
  private armedPath = '';
  /** Blocking writes until SimCrash is thrown; 0: never. */
  private armedOpenWrites = 0;
  /** Where the last read of another place was meant to be; empty: it has been read since. */
  private lastMisread = '';

  constructor(options: SimDiskOptions) {
    this.options = options;
  }

  /** The process shall die while the `count`-th asynchronous write from now to a file whose path begins with `path` is in flight. */
  armCrash(count: number, path = ''): void {
    this.armedWrites = count;
    this.armedPath = path;
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
    const call = {
      path: directory,
      fault: 'barrier',
      tear: null,
      effect,
      fail: () => {},
      part: null,
      exposed: ALWAYS,
    } as const;
    this.submit(call, callback, refusal);
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

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
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

  /** True when a fault of this kind is due; it is used up. */
  /** May the next read of `offset` be of another place? Never twice running: against that there is no defence but to read again. */
  misreads(path: string, offset: number): boolean {
    const place = `${path} ${offset}`;
    const again = this.lastMisread === place;
    this.lastMisread = '';
    if (again || !this.strikes('misdirected-read')) return false;
    this.lastMisread = place;
    return true;
  }

  strikes(fault: DeviceFault): boolean {
    const { due } = this.options.device;
    if (due[fault] === 0) return false;
    due[fault]--;
    this.options.onFault(fault);
    return true;
  }

  /** Begins an asynchronous call. With a refusal it only ends, with that error. */
  submit(call: Call, callback: DiskCallback, refusal: DiskError | null = null): void {
    const { options } = this;
    const { queue } = options;
    const delay = this.delayUs();
    if (this.dead || this.closed || refusal !== null) {
      const error = refusal ?? failureOf('a call of a closed disk', 'ECLOSED');
      queue.after(delay, () => options.enter(() => callback(error)));
      return;
    }
    this.inFlight.add(call);
    queue.after(delay, () => this.complete(call, callback, call.part !== null));
    if (call.tear === null || this.armedWrites === 0 || !call.path.startsWith(this.armedPath)) return;
    if (--this.armedWrites === 0) {
      queue.after(Math.floor(delay / 2), () => {
        if (!this.dead) this.options.onArmedWrite();
      });
    }
  }

  private complete(call: Call, callback: DiskCallback, whole: boolean): void {
    const { options } = this;
    const { queue, device, prng } = options;
    if (this.dead) return;
    if (queue.now < device.stallUntilUs) {
      // Looked at again meanwhile: a stall may be healed before its time.
      const untilUs = Math.min(device.stallUntilUs, queue.now + STALL_LOOK_US);
      queue.at(untilUs + this.delayUs(), () => this.complete(call, callback, whole));
      return;
    }
    if (whole && device.shortWrites > 0 && prng.chance(device.shortWrites)) {
      options.onFault('short-write');
      call.part?.();
      queue.after(this.delayUs(), () => this.complete(call, callback, false));
      return;
    }
    this.inFlight.delete(call);
    if (device.due[call.fault] > 0 && call.exposed() && this.strikes(call.fault)) {
      call.fail();
      options.enter(() => callback({ code: 'EIO', message: 'simulated input/output error' }));
      return;
    }
    call.effect();
    options.enter(() => callback(null));
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
    const call = { path: paths[0]!, fault: 'write', tear, effect, fail: tear, part: null, exposed: ALWAYS } as const;
    this.submit(call, done, refusalOf(attempt, this.closed, ...paths));
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

  prefetch(): void {}

  readSync(offset: number, into: Uint8Array): number {
    if (this.disk.strikes('read'))
      throw new DiskFailure({ code: 'EIO', message: `read ${this.path}: simulated input/output error` });
    const { visible } = this.inode;
    this.inode.wasRead(offset, into.length);
    const part = visible.subarray(offset, Math.min(visible.length, offset + into.length));
    into.set(part);
    this.misread(offset, into.subarray(0, part.length));
    return part.length;
  }

  /** A blocking read is many commands to the device; one of them may read another place. `bytes` were read at `offset`. */
  private misread(offset: number, bytes: Uint8Array): void {
    const { options } = this.disk;
    if (options.device.due['misdirected-read'] === 0 || bytes.length === 0 || options.prng.chance(2 / 3)) return;
    const block = Math.floor((offset + options.prng.below(bytes.length)) / BLOCK_BYTES) * BLOCK_BYTES;
    const from = Math.max(0, block - offset);
    const to = Math.min(bytes.length, block + BLOCK_BYTES - offset);
    const exposed = options.mayHarm(this.path, offset + from, to - from);
    if (!exposed || !this.disk.misreads(this.path, offset + from)) return;
    const elsewhere = this.elsewhere(offset + from);
    bytes.fill(0, from, to);
    bytes.set(this.inode.visible.subarray(elsewhere, elsewhere + to - from), from);
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
    if (this.disk.strikes('barrier')) {
      const { prng } = this.disk.options;
      this.inode.failBarrier(prng, prng.float());
      throw new DiskFailure({ code: 'EIO', message: `barrier ${this.path}: simulated input/output error` });
    }
    this.inode.barrier(this.inode.completed);
    this.disk.stats.barriers++;
  }

  /** `then` runs when the bytes are written, before the process hears of it. */
  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback, then?: () => void): void {
    const { prng } = this.disk.options;
    const { inode } = this;
    const end = offset + bytes.length;
    mustHold(
      offset % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0 && bytes.length > 0,
      'disk',
      'writes-are-whole-blocks',
      () => `a write of ${bytes.length} bytes at ${offset} of ${this.path} is not made of whole blocks`,
    );
    mustHold(!durable || end <= inode.size, 'disk', 'durable-writes-do-not-grow-a-file', () => {
      return `a durable write through ${end} of ${this.path}, which has ${inode.size} bytes`;
    });
    const before = prng.chance(1 / 16) ? checksum(bytes) : null;
    const tear = (): void => {
      inode.tear(offset, bytes, prng, prng.pick([0, 0.5, 0.5, 0.9, 1]));
    };
    const fail = (): void => {
      if (durable) inode.failWrite(offset, bytes, prng, prng.pick([0, 0.5, 1]));
      else tear();
    };
    const effect = (): void => {
      mustHold(before === null || before === checksum(bytes), 'disk', 'bytes-in-flight-do-not-change', () => {
        return `the bytes of a write at ${offset} of ${this.path} changed before its callback`;
      });
      if (durable && this.misdirected()) inode.misdirect(offset, bytes, this.elsewhere(offset));
      else inode.write(offset, bytes, durable);
      this.disk.stats.writes++;
      this.disk.stats.bytesWritten += bytes.length;
      if (durable) this.disk.stats.barriers++;
      then?.();
    };
    const part = (): void => inode.write(offset, bytes.subarray(0, SECTOR_BYTES * prng.range(1, 7)), durable);
    this.disk.submit(
      { path: this.path, fault: 'write', tear, effect, fail, part, exposed: ALWAYS },
      callback,
      this.refusal('write', end),
    );
  }

  barrier(callback: DiskCallback): void {
    const { prng } = this.disk.options;
    const covers = this.inode.completed;
    const effect = (): void => {
      this.inode.barrier(covers);
      this.disk.stats.barriers++;
    };
    const fail = (): void => this.inode.failBarrier(prng, prng.float());
    const { path } = this;
    const call = { path, fault: 'barrier', tear: null, effect, fail, part: null, exposed: ALWAYS } as const;
    this.disk.submit(call, callback, this.refusal('barrier', 0));
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    const { options } = this.disk;
    const { device } = options;
    const exposed = (): boolean => options.mayHarm(this.path, offset, length);
    let bytes: Uint8Array | null = null;
    const done: DiskCallback = (error) => callback(error, error === null ? bytes : null);
    const effect = (): void => {
      const misdirected = device.due['misdirected-read'] > 0 && exposed() && this.disk.misreads(this.path, offset);
      const from = misdirected ? this.elsewhere(offset) : offset;
      bytes = this.inode.visible.slice(from, from + length);
      this.inode.wasRead(offset, length);
      this.disk.stats.reads++;
      this.disk.stats.bytesRead += bytes.length;
    };
    const { path } = this;
    const call = { path, fault: 'read', tear: null, effect, fail: () => {}, part: null, exposed } as const;
    this.disk.submit(call, done, this.refusal('read', 0));
  }

  close(): void {
    this.closed = true;
  }

  /** Why nothing can be done with this file now, through `end`; null: it can. */
  private refusal(what: string, end: number): DiskError | null {
    if (this.closed) return failureOf(`${what} of ${this.path}`, 'ECLOSED');
    return this.fits(end) ? null : failureOf(`${what} of ${this.path}`, 'ENOSPC');
  }

  /** Only frames go astray: a lost tail record or manifest would be a second fault, against which there is no defence. */
  private misdirected(): boolean {
    return this.path.endsWith('.seg') && this.disk.strikes('misdirected-write');
  }

  /** Another sector of the file. */
  private elsewhere(offset: number): number {
    const sectors = Math.max(1, Math.floor(this.inode.size / SECTOR_BYTES));
    const drawn = this.disk.options.prng.below(sectors) * SECTOR_BYTES;
    return drawn === offset ? (drawn + SECTOR_BYTES) % (sectors * SECTOR_BYTES) : drawn;
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
