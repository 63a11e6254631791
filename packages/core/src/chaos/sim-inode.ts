/**
 * SimInode: one file of a simulated machine: what its processes read (page cache) and what is on the medium.
 *
 * Invariants: the medium differs from the cache only where an unsynced write lies; a durable write supersedes every older unsynced write
 * to the same bytes; only `land` changes the medium, and it tells the watcher the first byte that differs.
 */
import { assert } from '../assert.ts';
import { SECTOR_BYTES } from '../engine/constants.ts';
import type { Prng } from '../prng.ts';

/** A write that a process believes done but that no barrier has covered. */
interface Unsynced {
  readonly sequence: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const CAPACITY_MIN = 4096;
const NO_BYTES = new Uint8Array(0);

/** Bytes of a file that grow by doubling, and that two extents may share until one of them writes. */
class Extent {
  bytes: Uint8Array = NO_BYTES;
  size = 0;
  private shared = false;

  /** Takes over what `other` holds, without a copy. */
  share(other: Extent): void {
    this.borrow(other);
    other.shared = true;
  }

  /** The same for as long as `other` does not change. */
  borrow(other: Extent): void {
    this.bytes = other.bytes;
    this.size = other.size;
    this.shared = true;
  }

  /** Makes room through `size`, in memory of its own. */
  reserve(size: number): void {
    if (size <= this.bytes.length && !this.shared) return;
    let capacity = Math.max(this.bytes.length, CAPACITY_MIN);
    while (capacity < size) capacity *= 2;
    const grown = new Uint8Array(capacity);
    grown.set(this.bytes.subarray(0, this.size));
    this.bytes = grown;
    this.shared = false;
  }

  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    this.reserve(end);
    this.bytes.set(bytes, offset);
    if (end > this.size) this.size = end;
  }
}

export type MediumWatcher = (inode: SimInode, firstChanged: number) => void;

export class SimInode {
  readonly id: number;
  private readonly cache = new Extent();
  private readonly mediumExtent = new Extent();
  private unsynced: Unsynced[] = [];
  private sequence = 0;
  private readonly watcher: MediumWatcher;

  constructor(id: number, watcher: MediumWatcher) {
    this.id = id;
    this.watcher = watcher;
  }

  /** Size as a process sees it, bytes. */
  get size(): number {
    return this.cache.size;
  }

  /** What would be there after a power cut that loses every unsynced sector. */
  get medium(): Uint8Array {
    return this.mediumExtent.bytes.subarray(0, this.mediumExtent.size);
  }

  /** What a process reads. */
  get visible(): Uint8Array {
    return this.cache.bytes.subarray(0, this.cache.size);
  }

  get dirty(): boolean {
    return this.unsynced.length > 0;
  }

  /** Sequence of the newest completed write: what a barrier called now covers. */
  get completed(): number {
    return this.sequence;
  }

  /** A completed write. `bytes` is copied unless the write is durable. */
  write(offset: number, bytes: Uint8Array, durable: boolean): void {
    this.cache.write(offset, bytes);
    this.sequence++;
    if (!durable) {
      this.unsynced.push({ sequence: this.sequence, offset, bytes: bytes.slice() });
      return;
    }
    if (this.unsynced.length > 0) this.unsynced = this.unsynced.flatMap((old) => without(old, offset, bytes.length));
    this.land(offset, bytes);
  }

  /** Makes the writes up to `sequence` durable, in order. */
  barrier(sequence: number): void {
    let done = 0;
    for (const write of this.unsynced) {
      if (write.sequence > sequence) break;
      this.land(write.offset, write.bytes);
      done++;
    }
    if (done > 0) this.unsynced.splice(0, done);
  }

  /** A write cut off in the middle by a crash of the process: each sector is old or new. Returns sectors that are new. */
  tear(offset: number, bytes: Uint8Array, prng: Prng, survival: number): number {
    let kept = 0;
    eachSector(offset, bytes, (at, part) => {
      if (!prng.chance(survival)) return;
      kept++;
      this.write(at, part, false);
    });
    return kept;
  }

  /** The machine loses power: each unsynced sector survives with probability `survival`. Returns sectors lost. */
  powerCut(prng: Prng, survival: number): number {
    let lost = 0;
    const grows = this.unsynced.length > 0 && prng.chance(0.5);
    const size = grows ? this.cache.size : this.mediumExtent.size;
    for (const write of this.unsynced) {
      eachSector(write.offset, write.bytes, (at, part) => {
        if (prng.chance(survival) && at + part.length <= size) this.land(at, part);
        else lost++;
      });
    }
    if (size > this.mediumExtent.size) this.land(size - 1, new Uint8Array(1));
    this.unsynced = [];
    this.cache.share(this.mediumExtent);
    return lost;
  }

  /** A file with what is on the medium of this one, to be looked at before this one changes: no bytes are copied. */
  worstImage(id: number, watcher: MediumWatcher): SimInode {
    const image = new SimInode(id, watcher);
    image.mediumExtent.borrow(this.mediumExtent);
    image.cache.borrow(this.mediumExtent);
    return image;
  }

  /** A bit of the medium goes bad, wherever no newer write hides it. */
  rot(offset: number, bit: number): void {
    assert(offset < this.mediumExtent.size && !this.dirty, 'rot strikes bytes at rest');
    const byte = new Uint8Array([this.mediumExtent.bytes[offset]! ^ (1 << bit)]);
    this.land(offset, byte);
    this.cache.write(offset, byte);
  }

  private land(offset: number, bytes: Uint8Array): void {
    const extent = this.mediumExtent;
    const end = offset + bytes.length;
    extent.reserve(end);
    const target = extent.bytes;
    const i = firstDifference(target, offset, bytes);
    const grew = end > extent.size;
    if (i === bytes.length && !grew) return;
    target.set(i === 0 ? bytes : bytes.subarray(i), offset + i);
    const changed = grew ? Math.min(offset + i, extent.size) : offset + i;
    if (grew) extent.size = end;
    this.watcher(this, changed);
  }
}

/** How many bytes from `offset` on are equal already; whole words at a time where both sides are aligned. */
function firstDifference(target: Uint8Array, offset: number, bytes: Uint8Array): number {
  let i = 0;
  if (offset % 4 === 0 && bytes.byteOffset % 4 === 0) {
    const words = bytes.length >> 2;
    const a = new Int32Array(target.buffer, target.byteOffset + offset, words);
    const b = new Int32Array(bytes.buffer, bytes.byteOffset, words);
    let word = 0;
    while (word < words && a[word] === b[word]) word++;
    i = word * 4;
  }
  while (i < bytes.length && target[offset + i] === bytes[i]) i++;
  return i;
}

/** What is left of an unsynced write when [offset, offset + length) was written durably after it. */
function without(write: Unsynced, offset: number, length: number): Unsynced[] {
  const start = write.offset;
  const end = start + write.bytes.length;
  const cutEnd = offset + length;
  if (end <= offset || start >= cutEnd) return [write];
  const rest: Unsynced[] = [];
  if (start < offset) rest.push({ ...write, bytes: write.bytes.subarray(0, offset - start) });
  if (end > cutEnd) rest.push({ ...write, offset: cutEnd, bytes: write.bytes.subarray(cutEnd - start) });
  return rest;
}

/** Splits [offset, offset + bytes.length) at sector boundaries. */
function eachSector(offset: number, bytes: Uint8Array, visit: (at: number, part: Uint8Array) => void): void {
  let at = 0;
  while (at < bytes.length) {
    const left = SECTOR_BYTES - ((offset + at) % SECTOR_BYTES);
    const length = Math.min(left, bytes.length - at);
    visit(offset + at, bytes.subarray(at, at + length));
    at += length;
  }
}
