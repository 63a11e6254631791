/**
 * MemoryDisk: a deterministic VirtualDisk for tests. Asynchronous calls wait in a queue until `pump`; what no barrier has covered is kept apart, so
 * that `crash` can make any of the states a power cut may leave: each sector of each un-barriered write old or new, any prefix of the unsynced names.
 *
 * Invariants: a write is seen by reads when it completes; it is on the medium when it was durable or a later barrier of its file completed; a crash
 * changes nothing here, it returns another disk.
 */
import { assert } from '../../assert.ts';
import { BLOCK_BYTES, SECTOR_BYTES } from '../constants.ts';
import { directoryOf, Directories, failureOf, namesIn, refusalOf } from '../disk-names.ts';
import {
  type ChainLink,
  DiskFailure,
  type DiskCallback,
  type DiskErrorCode,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
  type VirtualDisk,
  writeInTurn,
} from '../virtual-disk.ts';

/** A write that no barrier has covered yet; `live[i]` is 0 where a later durable write took the sector over. */
export interface UnsyncedWrite {
  readonly path: string;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly live: Uint8Array;
  /** Issued but not completed. */
  readonly inFlight: boolean;
}

interface PendingWrite {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly live: Uint8Array;
  inFlight: boolean;
}

interface Inode {
  /** What a power cut cannot take. */
  medium: Uint8Array;
  /** What reads see. */
  cache: Uint8Array;
  unsynced: PendingWrite[];
  /** 1 for each byte that was read since `trackReads`; null: nobody asks. */
  wasRead: Uint8Array | null;
}

const inodeOf = (content: Uint8Array): Inode => ({
  medium: content,
  cache: content.slice(),
  unsynced: [],
  wasRead: null,
});

type NameChange =
  | { readonly kind: 'link'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string };

/** What a crash leaves: whether a sector of an unsynced write made it, and how many unsynced name changes did. */
export interface CrashChoice {
  sector(write: number, sector: number): boolean;
  readonly names: number;
}

interface Call {
  /** Runs the effect, then the callback. */
  run(): void;
  readonly isWrite: boolean;
}

export class MemoryDisk implements VirtualDisk {
  readonly kind = 'simulated';
  readonly fallbackReason = null;
  readonly stats: DiskStats = { writes: 0, bytesWritten: 0, barriers: 0, reads: 0, bytesRead: 0 };
  /** Names as running programs see them, and as a power cut leaves them. */
  private names = new Map<string, Inode>();
  private durableNames = new Map<string, Inode>();
  private nameChanges: NameChange[] = [];
  private directories = new Directories();
  private calls: Call[] = [];
  private closed = false;
  /** Bytes all files together may have. */
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Errors for the next asynchronous writes, barriers and directory calls, in order; null: succeeds. */
  readonly failures: (DiskErrorCode | null)[] = [];
  /** The same for the next blocking reads. */
  readonly readFailures: (DiskErrorCode | null)[] = [];
  /** Blocks that asynchronous reads do not get (EIO) until they are written anew: `path:number of the block`. */
  readonly unreadable = new Set<string>();
  /** Hears of every blocking or asynchronous change before it is made (crash-state enumeration). */
  onStep: (() => void) | null = null;

  /** Calls that wait for `pump`. */
  get pending(): number {
    return this.calls.length;
  }

  /** Completes waiting calls, oldest first, and those that their callbacks make, at most `limit`. Returns how many. */
  pump(limit = Number.POSITIVE_INFINITY): number {
    let done = 0;
    for (; done < limit && this.calls.length > 0; done++) this.complete(0);
    return done;
  }

  /** Completes the waiting call at this position. */
  complete(position: number): void {
    const call = this.calls.splice(position, 1)[0];
    assert(call !== undefined, `there is no waiting call ${position}`);
    call.run();
  }

  /** Un-barriered writes of every file, in the order they were issued per file. */
  unsynced(): UnsyncedWrite[] {
    const all: UnsyncedWrite[] = [];
    for (const [path, inode] of this.names) for (const write of inode.unsynced) all.push({ ...write, path });
    return all;
  }

  get unsyncedNames(): number {
    return this.nameChanges.length;
  }

  /** The disk as it is after a power cut. `write` numbers are positions in `unsynced()`. */
  crash(choice: CrashChoice): MemoryDisk {
    const after = new MemoryDisk();
    after.directories = new Directories(this.directories);
    const copies = new Map<Inode, Inode>();
    let number = 0;
    for (const inode of this.names.values()) {
      let medium: Uint8Array = inode.medium.slice();
      for (const write of inode.unsynced) {
        medium = applySectors(medium, write, (sector) => choice.sector(number, sector));
        number++;
      }
      copies.set(inode, inodeOf(medium));
    }
    const copyOf = (inode: Inode): Inode => {
      const known = copies.get(inode) ?? inodeOf(inode.medium.slice());
      copies.set(inode, known);
      return known;
    };
    for (const [path, inode] of this.durableNames) after.durableNames.set(path, copyOf(inode));
    for (const change of this.nameChanges.slice(0, choice.names)) {
      applyName(after.durableNames, change.kind === 'link' ? { ...change, inode: copyOf(change.inode) } : change);
    }
    after.names = new Map(after.durableNames);
    return after;
  }

  /**
   * The disk as a killed process leaves it: completed writes stay readable (in the cache), un-barriered ones stay unsynced; of a write in flight the
   * sectors of which `landed` says so were made, in no order.
   */
  restart(landed: (sector: number) => boolean = () => false): MemoryDisk {
    this.calls = [];
    for (const inode of new Set([...this.names.values(), ...this.durableNames.values()])) {
      for (const write of inode.unsynced) {
        if (!write.inFlight) continue;
        write.inFlight = false;
        for (let i = 0; i < write.live.length; i++) if (!landed(i)) write.live[i] = 0;
        inode.cache = applySectors(inode.cache, write, () => true);
      }
    }
    const after = new MemoryDisk();
    after.directories = this.directories;
    after.names = this.names;
    after.durableNames = this.durableNames;
    after.nameChanges = this.nameChanges;
    return after;
  }

  /** An independent copy: everything durable. */
  clone(): MemoryDisk {
    const after = new MemoryDisk();
    after.directories = new Directories(this.directories);
    for (const [path, inode] of this.names) {
      after.names.set(path, inodeOf(inode.cache.slice()));
    }
    after.durableNames = new Map(after.names);
    return after;
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    return [...this.names.keys()].sort();
  }

  /** Content of a file, live: changing it is damage on the medium and in the cache. */
  content(path: string): Uint8Array {
    return this.inode(path, 'content').cache;
  }

  /**
   * From now on remembers which bytes of each file are read, also under another name and by a restarted process. Live: path to a 1 for each such byte.
   * Behaviour is a function of what is read: changing a byte that stays 0 changes no run that is otherwise the same.
   */
  trackReads(): ReadonlyMap<string, Uint8Array> {
    const all = new Map<string, Uint8Array>();
    for (const [path, inode] of this.names) {
      inode.wasRead = new Uint8Array(inode.cache.length);
      all.set(path, inode.wasRead);
    }
    return all;
  }

  /** Changes a byte of a file, as rot does. */
  flip(path: string, offset: number, mask = 0xff): void {
    const inode = this.inode(path, 'flip');
    inode.cache[offset]! ^= mask;
    if (offset < inode.medium.length) inode.medium[offset]! ^= mask;
  }

  remove(path: string): void {
    this.names.delete(path);
    this.durableNames.delete(path);
  }

  open(path: string, options?: { readonly create?: boolean }): DiskFile {
    this.mustBeUsable(`open of ${path}`, path);
    let inode = this.names.get(path);
    if (inode === undefined) {
      if (options?.create !== true || !this.directories.has(directoryOf(path)))
        throw new DiskFailure(failureOf(`open of ${path}`, 'ENOENT'));
      inode = inodeOf(new Uint8Array(0));
      this.changeName({ kind: 'link', path, inode });
    }
    return new MemoryFile(this, path, inode);
  }

  list(directory: string): string[] {
    return namesIn(this.names.keys(), directory);
  }

  mkdirSync(directory: string): void {
    this.directories.make(directory);
  }

  renameSync(from: string, to: string): void {
    this.mustBeUsable(`rename of ${from}`, from, to);
    this.inode(from, 'rename');
    this.changeName({ kind: 'rename', from, to });
  }

  unlinkSync(path: string): void {
    this.mustBeUsable(`unlink of ${path}`, path);
    this.inode(path, 'unlink');
    this.changeName({ kind: 'unlink', path });
  }

  syncDirectorySync(_directory: string): void {
    this.onStep?.();
    this.syncNames(this.nameChanges.length);
  }

  rename(from: string, to: string, callback: DiskCallback): void {
    this.submit(callback, true, () => this.renameSync(from, to));
  }

  unlink(path: string, callback: DiskCallback): void {
    this.submit(callback, true, () => this.unlinkSync(path));
  }

  syncDirectory(directory: string, callback: DiskCallback): void {
    const covers = this.nameChanges.length;
    this.submit(callback, true, () => {
      if (!this.directories.has(directory)) throw new DiskFailure(failureOf(`barrier of ${directory}`, 'ENOENT'));
      this.syncNames(covers);
    });
  }

  writeChain(links: readonly ChainLink[]): void {
    writeInTurn(links);
  }

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  freeBytes(): number | null {
    return this.capacityBytes === Number.POSITIVE_INFINITY ? null : this.capacityBytes - this.usedBytes();
  }

  close(): void {
    this.closed = true;
  }

  usedBytes(): number {
    let used = 0;
    for (const inode of this.names.values()) used += inode.cache.length;
    return used;
  }

  /** Queues a call. `effect` may throw a DiskFailure. */
  submit(callback: DiskCallback, isWrite: boolean, effect: () => void, onFailure?: () => void): void {
    const run = (): void => {
      const failure = this.closed ? 'ECLOSED' : isWrite ? (this.failures.shift() ?? null) : null;
      if (failure !== null) {
        onFailure?.();
        callback({ code: failure, message: `${failure} (injected)` });
        return;
      }
      try {
        effect();
      } catch (error) {
        if (!(error instanceof DiskFailure)) throw error;
        onFailure?.();
        callback({ code: error.code, message: error.message });
        return;
      }
      callback(null);
    };
    this.calls.push({ run, isWrite });
  }

  private inode(path: string, attempt: string): Inode {
    const inode = this.names.get(path);
    if (inode === undefined) throw new DiskFailure(failureOf(`${attempt} of ${path}`, 'ENOENT'));
    return inode;
  }

  private mustBeUsable(attempt: string, ...paths: readonly string[]): void {
    const refusal = refusalOf(attempt, this.closed, ...paths);
    if (refusal !== null) throw new DiskFailure(refusal);
  }

  private changeName(change: NameChange): void {
    this.onStep?.();
    applyName(this.names, change);
    this.nameChanges.push(change);
  }

  private syncNames(count: number): void {
    for (const change of this.nameChanges.splice(0, count)) applyName(this.durableNames, change);
    this.stats.barriers++;
  }
}

class MemoryFile implements DiskFile {
  readonly path: string;
  private readonly disk: MemoryDisk;
  private readonly inode: Inode;
  private closed = false;

  constructor(disk: MemoryDisk, path: string, inode: Inode) {
    this.disk = disk;
    this.path = path;
    this.inode = inode;
  }

  size(): number {
    return this.inode.cache.length;
  }

  prefetch(): void {}

  readSync(offset: number, into: Uint8Array): number {
    const code = this.disk.readFailures.shift() ?? null;
    if (code !== null) throw new DiskFailure({ code, message: `read of ${this.path}: ${code} (injected)` });
    const part = this.inode.cache.subarray(offset, Math.min(this.inode.cache.length, offset + into.length));
    into.set(part);
    this.inode.wasRead?.fill(1, offset, offset + part.length);
    return part.length;
  }

  writeSync(offset: number, bytes: Uint8Array): void {
    this.mustBeOpen('write');
    this.disk.onStep?.();
    this.settle(this.issue(offset, bytes), false);
  }

  barrierSync(): void {
    this.disk.onStep?.();
    this.sync(this.inode.unsynced.length);
  }

  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback): void {
    assert(
      offset % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0 && bytes.length > 0,
      'a write is whole blocks',
    );
    assert(!durable || offset + bytes.length <= this.inode.cache.length, 'a durable write does not grow the file');
    if (this.closed) {
      this.disk.submit(callback, false, () => this.mustBeOpen('write'));
      return;
    }
    const write = this.issue(offset, bytes);
    const effect = (): void => {
      assert(same(write.bytes, bytes), 'bytes in flight do not change');
      for (let at = offset; at < offset + bytes.length; at += BLOCK_BYTES)
        this.disk.unreadable.delete(`${this.path}:${at / BLOCK_BYTES}`);
      this.settle(write, durable);
    };
    this.disk.submit(callback, true, effect);
  }

  barrier(callback: DiskCallback): void {
    const covered = this.inode.unsynced.filter((write) => !write.inFlight);
    const { closed } = this;
    this.disk.submit(callback, true, () => {
      if (closed) this.mustBeOpen('barrier');
      for (const write of covered) if (this.inode.unsynced.includes(write)) this.promote(write);
      this.disk.stats.barriers++;
    });
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    let bytes: Uint8Array | null = null;
    const done: DiskCallback = (error) => callback(error, bytes);
    const { closed } = this;
    this.disk.submit(done, false, () => {
      if (closed) this.mustBeOpen('read');
      for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++)
        if (this.disk.unreadable.has(`${this.path}:${block}`))
          throw new DiskFailure(failureOf(`read of ${this.path}`, 'EIO'));
      bytes = this.inode.cache.slice(offset, offset + length);
      this.inode.wasRead?.fill(1, offset, offset + length);
      this.disk.stats.reads++;
      this.disk.stats.bytesRead += bytes.length;
    });
  }

  close(): void {
    this.closed = true;
  }

  private mustBeOpen(what: string): void {
    if (this.closed) throw new DiskFailure(failureOf(`${what} of ${this.path}`, 'ECLOSED'));
  }

  private issue(offset: number, bytes: Uint8Array): PendingWrite {
    const sectors = Math.ceil((offset + bytes.length) / SECTOR_BYTES) - Math.floor(offset / SECTOR_BYTES);
    const live = new Uint8Array(sectors).fill(1);
    const write = { offset, bytes: bytes.slice(), live, inFlight: true };
    this.inode.unsynced.push(write);
    return write;
  }

  private settle(write: PendingWrite, durable: boolean): void {
    const grows = Math.max(0, write.offset + write.bytes.length - this.inode.cache.length);
    if (this.disk.usedBytes() + grows > this.disk.capacityBytes) {
      this.inode.unsynced = this.inode.unsynced.filter((other) => other !== write);
      throw new DiskFailure(failureOf(`write of ${this.path}`, 'ENOSPC'));
    }
    write.inFlight = false;
    this.inode.cache = applySectors(this.inode.cache, { ...write, live: write.live.slice().fill(1) }, () => true);
    if (durable) this.promote(write);
    this.disk.stats.writes++;
    this.disk.stats.bytesWritten += write.bytes.length;
    if (durable) this.disk.stats.barriers++;
  }

  private sync(count: number): void {
    for (const write of this.inode.unsynced.slice(0, count)) if (!write.inFlight) this.promote(write);
    this.disk.stats.barriers++;
  }

  /** The write is on the medium; older unsynced writes to the same sectors count no more. */
  private promote(write: PendingWrite): void {
    this.inode.medium = applySectors(this.inode.medium, write, () => true);
    const position = this.inode.unsynced.indexOf(write);
    for (const older of this.inode.unsynced.slice(0, position)) {
      for (let i = 0; i < older.live.length; i++) {
        const { from, to } = sectorOf(older, i);
        if (from >= write.offset && to <= write.offset + write.bytes.length) older.live[i] = 0;
      }
    }
    this.inode.unsynced.splice(position, 1);
  }
}

function applySectors(content: Uint8Array, write: PendingWrite, keep: (sector: number) => boolean): Uint8Array {
  let result = content;
  for (let i = 0; i < write.live.length; i++) {
    if (write.live[i] === 0 || !keep(i)) continue;
    const { from, to } = sectorOf(write, i);
    if (to > result.length) {
      const grown = new Uint8Array(write.offset + write.bytes.length);
      grown.set(result);
      result = grown;
    }
    result.set(write.bytes.subarray(from - write.offset, to - write.offset), from);
  }
  return result;
}

/** The bytes of a file that sector `i` of a write changes. */
function sectorOf(write: PendingWrite, i: number): { from: number; to: number } {
  const start = (Math.floor(write.offset / SECTOR_BYTES) + i) * SECTOR_BYTES;
  return {
    from: Math.max(start, write.offset),
    to: Math.min(start + SECTOR_BYTES, write.offset + write.bytes.length),
  };
}

function applyName(names: Map<string, Inode>, change: NameChange): void {
  if (change.kind === 'link') names.set(change.path, change.inode);
  else if (change.kind === 'unlink') names.delete(change.path);
  else {
    const inode = names.get(change.from);
    if (inode === undefined) return;
    names.delete(change.from);
    names.set(change.to, inode);
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}
