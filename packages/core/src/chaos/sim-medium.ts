/**
 * SimMedium: the durable bytes of one file: what the medium truly holds, and what it would hold had no injected damage (bit rot, a misdirected
 * write) struck it. The invariants about promises look at the second, replicas and the fault atlas at the first.
 *
 * Invariants: both are equal outside the damaged sectors; a write to a damaged sector heals it; only `land` and `landElsewhere` change the
 * intended bytes, and they tell the watcher the first one that differs; so they do of the bytes that a write truly changes.
 */
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';

const CAPACITY_MIN = 4096;
const NO_BYTES = new Uint8Array(0);

/** Blocks that the writer had read, and not written since; null: none. */
export type ReadBlocks = ReadonlySet<number> | null;

/** Bytes of a file that grow by doubling, and that two extents may share until one of them writes. */
export class Extent {
  bytes: Uint8Array = NO_BYTES;
  size = 0;
  private shared = false;

  get content(): Uint8Array {
    return this.bytes.subarray(0, this.size);
  }

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

export class SimMedium {
  /** What the medium truly holds. */
  readonly extent = new Extent();
  /** Null while nothing is damaged: then it is the same as `extent`. */
  private ideal: Extent | null = null;
  private readonly damaged = new Set<number>();
  private readonly changed: (firstChanged: number) => void;

  /** `changed` hears the first byte that a write makes differ, intended or real, after each change. */
  constructor(changed: (firstChanged: number) => void) {
    this.changed = changed;
  }

  get size(): number {
    return this.extent.size;
  }

  /** What the medium holds. */
  get content(): Uint8Array {
    return this.extent.content;
  }

  /** What it would hold without injected damage. */
  get intended(): Uint8Array {
    return this.ideal === null ? this.extent.content : this.ideal.content;
  }

  /** Sectors whose content is not what was written. */
  get damagedSectors(): number {
    return this.damaged.size;
  }

  /** No damaged sector touches [from, to). */
  isIntact(from: number, to: number): boolean {
    if (this.damaged.size === 0) return true;
    const last = Math.floor((to - 1) / SECTOR_BYTES);
    for (let sector = Math.floor(from / SECTOR_BYTES); sector <= last; sector++)
      if (this.damaged.has(sector)) return false;
    return true;
  }

  /**
   * Bytes reach the medium where they belong. What a read-modify-write takes along unchanged, at the start and the end of a block of `read`, heals nothing:
   * damage stays damage, however often it is copied back.
   */
  land(offset: number, bytes: Uint8Array, read: ReadBlocks): void {
    const { ideal } = this;
    if (ideal === null) return this.write(this.extent, offset, bytes);
    for (const { from, to } of this.meant(offset, bytes, read)) {
      this.write(ideal, offset + from, bytes.subarray(from, to));
    }
    this.write(this.extent, offset, bytes);
    this.note(offset, offset + bytes.length);
    if (this.damaged.size === 0) this.ideal = null;
  }

  /** The part of `bytes` that is not taken along: what lies between two changed bytes is written, also where it begins a block and happens to be there already. The same bytes from memory are meant: what was cut stands there still, and may well be written there again. */
  private meant(offset: number, bytes: Uint8Array, read: ReadBlocks): { readonly from: number; readonly to: number }[] {
    if (read === null || this.isIntact(offset, offset + bytes.length)) return [{ from: 0, to: bytes.length }];
    let [first, last] = [bytes.length, 0];
    for (let at = 0; at < bytes.length; ) {
      const block = Math.floor((offset + at) / BLOCK_BYTES);
      const end = Math.min((block + 1) * BLOCK_BYTES - offset, bytes.length);
      const [from, to] = read.has(block) ? this.changedPart(offset, at, bytes.subarray(at, end)) : [at, end];
      if (from < to) {
        first = Math.min(first, from);
        last = to;
      }
      at = end;
    }
    return first < last ? [{ from: first, to: last }] : [];
  }

  /** From where to where `bytes`, to be written at `offset` + `at`, differ from what the medium holds there; from `offset`. */
  private changedPart(offset: number, at: number, bytes: Uint8Array): [number, number] {
    const real = this.extent.content.subarray(offset + at, offset + at + bytes.length);
    const from = commonStart(real, bytes);
    return [at + from, at + bytes.length - (from === bytes.length ? 0 : commonEnd(real, bytes))];
  }

  /** Writes to what was intended or to what is there, and tells where it differs. */
  private write(extent: Extent, offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    const grew = end > extent.size;
    extent.reserve(end);
    const i = firstDifference(extent.bytes, offset, bytes);
    if (i === bytes.length && !grew) return;
    const first = grew ? Math.min(offset + i, extent.size) : offset + i;
    extent.write(offset, bytes);
    this.changed(first);
  }

  /** A misdirected write: `bytes` belong at `offset` but overwrite what is at `victim` (within the file). */
  landElsewhere(offset: number, bytes: Uint8Array, victim: number, read: ReadBlocks): void {
    // As in `land`: damage that a read-modify-write takes along is not what was meant, wherever it lands.
    const parts = this.meant(offset, bytes, read);
    const ideal = this.damage();
    for (const { from, to } of parts) this.write(ideal, offset + from, bytes.subarray(from, to));
    const room = Math.max(0, Math.min(bytes.length, this.extent.size - victim));
    this.extent.write(victim, bytes.subarray(0, room));
    if (this.extent.size < ideal.size) this.extent.write(ideal.size - 1, new Uint8Array(1));
    this.note(victim, victim + room);
    this.note(offset, offset + bytes.length);
  }

  /** The medium holds other bytes than were written: latent, nobody is told. */
  corrupt(offset: number, bytes: Uint8Array): void {
    this.damage();
    this.extent.write(offset, bytes);
    this.note(offset, offset + bytes.length);
  }

  /** Grows to `size` with zeros. */
  extend(size: number): void {
    if (size > this.size) this.land(size - 1, new Uint8Array(1), null);
  }

  private damage(): Extent {
    if (this.ideal === null) {
      this.ideal = new Extent();
      this.ideal.share(this.extent);
    }
    return this.ideal;
  }

  /** Sectors of [from, to) are damaged where they differ from what was intended, else (again) intact. */
  private note(from: number, to: number): void {
    const { ideal } = this;
    if (to <= from || ideal === null) return;
    const last = Math.floor((to - 1) / SECTOR_BYTES);
    for (let sector = Math.floor(from / SECTOR_BYTES); sector <= last; sector++) {
      if (this.sectorDiffers(sector, ideal)) this.damaged.add(sector);
      else this.damaged.delete(sector);
    }
  }

  private sectorDiffers(sector: number, ideal: Extent): boolean {
    const end = Math.min((sector + 1) * SECTOR_BYTES, this.extent.size);
    for (let i = sector * SECTOR_BYTES; i < end; i++) if (this.extent.bytes[i] !== ideal.bytes[i]) return true;
    return false;
  }
}

/** Looked at byte by byte before words are compared. */
const NEAR_BYTES = 64;

/** How many bytes from `offset` on are equal already; whole words at a time where both sides are aligned. */
function firstDifference(target: Uint8Array, offset: number, bytes: Uint8Array): number {
  let i = 0;
  // Most differ near their start; two views cost more than such a stretch.
  const near = Math.min(bytes.length, NEAR_BYTES);
  while (i < near && target[offset + i] === bytes[i]) i++;
  if (i < near) return i;
  if (offset % 4 === 0 && bytes.byteOffset % 4 === 0) i = 4 * equalWords(target, offset, bytes);
  while (i < bytes.length && target[offset + i] === bytes[i]) i++;
  return i;
}

/** A function of its own: the loop is compiled while it runs, and what stands behind it in the same function would throw that code away each time. */
function equalWords(target: Uint8Array, offset: number, bytes: Uint8Array): number {
  const words = bytes.length >> 2;
  const a = new Int32Array(target.buffer, target.byteOffset + offset, words);
  const b = new Int32Array(bytes.buffer, bytes.byteOffset, words);
  let word = 0;
  while (word < words && a[word] === b[word]) word++;
  return word;
}

/** Frames begin at such boundaries: what is equal by chance is not taken for unchanged. */
const GRAIN = 8;

/** Bytes that two stretches begin with alike, in whole grains unless they are equal. */
function commonStart(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  let i = 0;
  while (i < most && a[i] === b[i]) i++;
  return i === b.length ? i : i - (i % GRAIN);
}

/** The same for how they end; none when they are not of one length. */
function commonEnd(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return 0;
  let i = 0;
  while (i < b.length && a[a.length - 1 - i] === b[b.length - 1 - i]) i++;
  return i - (i % GRAIN);
}
