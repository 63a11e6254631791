/**
 * SimInode: one file of a simulated machine: what its processes read (page cache) and what is on the medium.
 *
 * Invariants: the medium differs from the cache only where an unsynced write lies or where a failed write or barrier has dropped pages; a durable
 * write supersedes every older unsynced write to the same bytes; after a power cut the cache is the medium.
 */
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import type { Prng } from '../prng.ts';
import { Extent, type ReadBlocks, SimMedium } from './sim-medium.ts';

/** A write that a process believes done but that no barrier has covered. */
interface Unsynced {
  readonly sequence: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly read: ReadBlocks;
}

export type MediumWatcher = (inode: SimInode, firstChanged: number) => void;

export class SimInode {
  readonly id: number;
  private readonly cache = new Extent();
  private readonly mediumBytes: SimMedium;
  private unsynced: Unsynced[] = [];
  private sequence = 0;
  /** Blocks that a process has read as a whole, and not written since: what it writes back unchanged it may have from there. */
  private readonly read = new Set<number>();

  /** `watcher` hears of every change of what was meant to be durable; damage changes nothing of that. */
  constructor(id: number, watcher: MediumWatcher) {
    this.id = id;
    this.mediumBytes = new SimMedium((firstChanged) => watcher(this, firstChanged));
  }

  /** Size as a process sees it, bytes. */
  get size(): number {
    return this.cache.size;
  }

  /** What would be there after a power cut that loses every unsynced sector. */
  get medium(): Uint8Array {
    return this.mediumBytes.content;
  }

  /** The same, had no injected damage struck. */
  get intended(): Uint8Array {
    return this.mediumBytes.intended;
  }

  /** Sectors that hold something else than was written. */
  get damagedSectors(): number {
    return this.mediumBytes.damagedSectors;
  }

  /** What a process reads. */
  get visible(): Uint8Array {
    return this.cache.content;
  }

  get dirty(): boolean {
    return this.unsynced.length > 0;
  }

  /** Sequence of the newest completed write: what a barrier called now covers. */
  get completed(): number {
    return this.sequence;
  }

  /** No damaged sector of the medium touches [from, to). */
  isIntact(from: number, to: number): boolean {
    return this.mediumBytes.isIntact(from, to);
  }

  /** A process has read [offset, offset + length). */
  wasRead(offset: number, length: number): void {
    const end = Math.floor((offset + length) / BLOCK_BYTES);
    for (let block = Math.ceil(offset / BLOCK_BYTES); block < end; block++) this.read.add(block);
  }

  /** A completed write. `bytes` is copied unless the write is durable. */
  write(offset: number, bytes: Uint8Array, durable: boolean): void {
    const read = this.takeRead(offset, bytes.length);
    this.cache.write(offset, bytes);
    this.sequence++;
    if (!durable) {
      this.unsynced.push({ sequence: this.sequence, offset, bytes: bytes.slice(), read });
      return;
    }
    this.forgetUnsynced(offset, bytes.length);
    this.mediumBytes.land(offset, bytes, read);
  }

  /** Makes the writes up to `sequence` durable, in order. */
  barrier(sequence: number): void {
    let done = 0;
    for (const write of this.unsynced) {
      if (write.sequence > sequence) break;
      this.mediumBytes.land(write.offset, write.bytes, write.read);
      done++;
    }
    if (done > 0) this.unsynced.splice(0, done);
  }

  /**
   * A barrier that fails: each unsynced sector is on the medium or not, and no later barrier will write it. Readers go on seeing the pages until
   * they are dropped from memory.
   */
  failBarrier(prng: Prng, survival: number): void {
    for (const write of this.unsynced) this.landSome(write.offset, write.bytes, write.read, prng, survival);
    this.unsynced = [];
    if (prng.chance(0.5)) this.dropPages();
  }

  /** A durable write that fails: each of its sectors is on the medium or not; what is not there is lost. */
  failWrite(offset: number, bytes: Uint8Array, prng: Prng, survival: number): void {
    this.forgetUnsynced(offset, bytes.length);
    this.cache.write(offset, bytes);
    this.sequence++;
    this.landSome(offset, bytes, this.takeRead(offset, bytes.length), prng, survival);
    this.mediumBytes.extend(this.cache.size);
    if (prng.chance(0.5)) this.dropPages();
  }

  /** Clean pages leave the memory: readers see the medium, and on top of it what is unsynced. */
  dropPages(): void {
    const size = this.cache.size;
    this.cache.share(this.mediumBytes.extent);
    for (const write of this.unsynced) this.cache.write(write.offset, write.bytes);
    if (size > this.cache.size) {
      this.cache.reserve(size);
      this.cache.size = size;
    }
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
    const size = grows ? this.cache.size : this.mediumBytes.size;
    for (const write of this.unsynced) {
      eachSector(write.offset, write.bytes, (at, part) => {
        if (prng.chance(survival) && at + part.length <= size) this.mediumBytes.land(at, part, write.read);
        else lost++;
      });
    }
    this.mediumBytes.extend(size);
    this.unsynced = [];
    this.cache.share(this.mediumBytes.extent);
    return lost;
  }

  /** A file with what is on the medium of this one, to be looked at before this one changes: no bytes are copied. */
  worstImage(id: number, watcher: MediumWatcher): SimInode {
    const image = new SimInode(id, watcher);
    image.mediumBytes.extent.borrow(this.mediumBytes.extent);
    image.cache.borrow(this.mediumBytes.extent);
    return image;
  }

  /** Sectors of the medium go bad, latently; false (and nothing happens) while newer bytes wait to be written. */
  corrupt(offset: number, bytes: Uint8Array): boolean {
    if (this.dirty || offset + bytes.length > this.mediumBytes.size) return false;
    this.mediumBytes.corrupt(offset, bytes);
    this.cache.write(offset, bytes);
    return true;
  }

  /** A durable write that overwrites what is at `victim` instead of `offset`. */
  misdirect(offset: number, bytes: Uint8Array, victim: number): void {
    this.sequence++;
    this.forgetUnsynced(offset, bytes.length);
    this.mediumBytes.landElsewhere(offset, bytes, victim, this.takeRead(offset, bytes.length));
    this.dropPages();
  }

  private forgetUnsynced(offset: number, length: number): void {
    if (this.unsynced.length > 0) this.unsynced = this.unsynced.flatMap((old) => without(old, offset, length));
  }

  private landSome(offset: number, bytes: Uint8Array, read: ReadBlocks, prng: Prng, survival: number): void {
    eachSector(offset, bytes, (at, part) => {
      if (prng.chance(survival)) this.mediumBytes.land(at, part, read);
    });
  }

  /** The blocks of a write that were read before; those that it writes as a whole are so no more. */
  private takeRead(offset: number, length: number): ReadBlocks {
    if (this.read.size === 0) return null;
    const taken = new Set<number>();
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++) {
      if (!this.read.has(block)) continue;
      taken.add(block);
      if (block * BLOCK_BYTES >= offset && (block + 1) * BLOCK_BYTES <= offset + length) this.read.delete(block);
    }
    return taken.size > 0 ? taken : null;
  }
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
