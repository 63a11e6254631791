/**
 * Segments: the files of the log (docs/log-format.md, "Segment"), their headers, names, and where frames lie in them.
 *
 * Invariants: frames do not cross segments; a segment's frames end below the base of the next one; everything in the header is derivable (base from
 * the name, cluster id from the manifest, base_prev_hash from the chain), so a damaged header is repaired.
 */
import { assert } from '../assert.ts';
import { crc32c } from './codec/crc32c.ts';
import { BLOCK_BYTES, FRAME_HEADER_BYTES, HASH_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame, OFFSET, readU32, readU64, writeU32, writeU64 } from './frame.ts';
import { sameHash } from './hash.ts';
import { readAgreed } from './salvage.ts';
import type { DiskError, DiskFile } from './virtual-disk.ts';

export const LOG_DIRECTORY = 'log';
export const SEGMENT_VERSION = 2;
/** "PLOG", little-endian. */
export const SEGMENT_MAGIC = 0x474f4c50;

const AT = { magic: 0, version: 4, base: 8, prevHash: 16, checksum: 32, clusterId: 36, view: 52, flags: 60 } as const;
/** The file held other frames before: what stands behind the last frame says nothing. */
const FLAG_RECYCLED = 1;
const NAME = /^(\d{20})\.seg$/;
/** A mark every so many frames or bytes: how far a reader walks to a frame. */
const MARK_FRAMES = 32;
const MARK_BYTES = 64 * 1024;

export interface SegmentHeader {
  readonly version: number;
  readonly base: number;
  /** Chain hash of base - 1. */
  readonly prevHash: Uint8Array;
  readonly clusterId: Uint8Array;
  /** View of this replica when it made the file. */
  readonly view: number;
  /** Frames of an older segment may stand behind the last frame. */
  readonly recycled: boolean;
}

export function segmentPath(base: number): string {
  return `${LOG_DIRECTORY}/${String(base).padStart(20, '0')}.seg`;
}

/** Base index of a file name, or null when it is not a segment's. */
export function segmentBase(name: string): number | null {
  const match = NAME.exec(name);
  const base = match === null ? Number.NaN : Number(match[1]);
  return Number.isSafeInteger(base) ? base : null;
}

/** Writes a version 2 header at the start of `bytes`. */
export function encodeSegmentHeader(
  bytes: Uint8Array,
  base: number,
  prevHash: Uint8Array,
  clusterId: Uint8Array,
  view: number,
  recycled: boolean,
): void {
  bytes.fill(0, 0, SEGMENT_HEADER_BYTES);
  writeU32(bytes, AT.magic, SEGMENT_MAGIC);
  writeU32(bytes, AT.version, SEGMENT_VERSION);
  writeU64(bytes, AT.base, base);
  bytes.set(prevHash, AT.prevHash);
  bytes.set(clusterId, AT.clusterId);
  writeU64(bytes, AT.view, view);
  writeU32(bytes, AT.flags, recycled ? FLAG_RECYCLED : 0);
  writeU32(bytes, AT.checksum, headerChecksum(bytes));
}

/** The header, or null when it is damaged. Any version is returned. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | null {
  if (bytes.length < SEGMENT_HEADER_BYTES || readU32(bytes, AT.magic) !== SEGMENT_MAGIC) return null;
  if (readU32(bytes, AT.checksum) !== headerChecksum(bytes)) return null;
  const base = readU64(bytes, AT.base);
  const view = readU64(bytes, AT.view);
  if (Number.isNaN(base + view)) return null;
  return {
    version: readU32(bytes, AT.version),
    base,
    prevHash: bytes.slice(AT.prevHash, AT.prevHash + HASH_BYTES),
    clusterId: bytes.slice(AT.clusterId, AT.clusterId + HASH_BYTES),
    view,
    recycled: (readU32(bytes, AT.flags) & FLAG_RECYCLED) !== 0,
  };
}

/** CRC32C of bytes 0..32 then 36..64. */
function headerChecksum(bytes: Uint8Array): number {
  return crc32c(bytes, AT.clusterId, SEGMENT_HEADER_BYTES, crc32c(bytes, 0, AT.checksum));
}

/** Offsets of some frames of a segment, ascending: a frame is found by walking from the mark at or below it. */
export class OffsetMarks {
  private indexes = new Float64Array(64);
  private offsets = new Float64Array(64);
  private count = 0;
  private sinceFrames = MARK_FRAMES;
  private sinceBytes = 0;

  /** Notes that the frame of `index` stands at `offset`; frames come in ascending order. */
  note(index: number, offset: number, bytes: number): void {
    if (this.sinceFrames >= MARK_FRAMES || this.sinceBytes >= MARK_BYTES) this.mark(index, offset);
    this.sinceFrames++;
    this.sinceBytes += bytes;
  }

  /** As `note`, for frames of which the first may have a mark already. */
  noteAgain(index: number, offset: number, bytes: number): void {
    if (this.count > 0 && this.indexes[this.count - 1] === index) {
      this.sinceFrames = 1;
      this.sinceBytes = bytes;
    } else this.note(index, offset, bytes);
  }

  /** A mark at this frame in any case (the first frame behind a damaged range). */
  mark(index: number, offset: number): void {
    if (this.count === this.indexes.length) this.grow();
    assert(this.count === 0 || this.indexes[this.count - 1]! < index, 'marks ascend');
    this.indexes[this.count] = index;
    this.offsets[this.count] = offset;
    this.count++;
    this.sinceFrames = 0;
    this.sinceBytes = 0;
  }

  /** Notes frames from..to (positions in the batch) that stand one behind the other from `offset` on. */
  noteRun(batch: FrameBatch, from: number, to: number, offset: number): void {
    const start = batch.offsets[from]!;
    for (let i = from; i < to; i++) {
      const at = batch.offsets[i]!;
      this.note(batch.first + i, offset + at - start, batch.offsets[i + 1]! - at);
    }
  }

  /** Adds a mark inside what was noted already (a repaired range); one that is there is moved. */
  insert(index: number, offset: number): void {
    const at = this.below(index);
    if (at >= 0 && this.indexes[at] === index) {
      this.offsets[at] = offset;
      return;
    }
    if (this.count === this.indexes.length) this.grow();
    this.indexes.copyWithin(at + 2, at + 1, this.count);
    this.offsets.copyWithin(at + 2, at + 1, this.count);
    this.indexes[at + 1] = index;
    this.offsets[at + 1] = offset;
    this.count++;
  }

  /** Forgets the marks of from..to: these frames do not stand where they were found. */
  drop(from: number, to: number): void {
    const start = this.below(from - 1) + 1;
    const behind = this.below(to) + 1;
    this.indexes.copyWithin(start, behind, this.count);
    this.offsets.copyWithin(start, behind, this.count);
    this.count -= behind - start;
  }

  /** Position of the last mark at or below `index`, or -1. */
  private below(index: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.indexes[middle]! <= index) low = middle + 1;
      else high = middle - 1;
    }
    return high;
  }

  /** The last mark at or below `index`, or null. */
  find(index: number): { readonly index: number; readonly offset: number } | null {
    const at = this.below(index);
    return at < 0 ? null : { index: this.indexes[at]!, offset: this.offsets[at]! };
  }

  /** The last mark whose frame begins at or before `offset`, or null. */
  atOffset(offset: number): { readonly index: number; readonly offset: number } | null {
    let at = this.count - 1;
    while (at >= 0 && this.offsets[at]! > offset) at--;
    return at < 0 ? null : { index: this.indexes[at]!, offset: this.offsets[at]! };
  }

  /** The first mark whose frame begins at or behind `offset`, or null. */
  fromOffset(offset: number): { readonly index: number; readonly offset: number } | null {
    let at = 0;
    while (at < this.count && this.offsets[at]! < offset) at++;
    return at === this.count ? null : { index: this.indexes[at]!, offset: this.offsets[at]! };
  }

  /** The first mark above `index`, or null. */
  above(index: number): { readonly index: number; readonly offset: number } | null {
    const at = this.below(index) + 1;
    return at === this.count ? null : { index: this.indexes[at]!, offset: this.offsets[at]! };
  }

  /** Forgets the frames above `last`. */
  truncate(last: number): void {
    this.count = this.below(last) + 1;
    this.sinceFrames = MARK_FRAMES;
  }

  private grow(): void {
    const indexes = new Float64Array(this.count * 2);
    const offsets = new Float64Array(this.count * 2);
    indexes.set(this.indexes);
    offsets.set(this.offsets);
    this.indexes = indexes;
    this.offsets = offsets;
  }
}

/** One open segment and what is known of it. */
export interface Segment {
  readonly base: number;
  /** Chain hash of base - 1; null: damage has taken whatever states it. */
  prevHash: Uint8Array | null;
  readonly file: DiskFile;
  /** File size in bytes. */
  readonly bytes: number;
  readonly marks: OffsetMarks;
  /** Index of the last frame written or being written; base - 1 when there is none. */
  last: number;
  /** Offset just behind it. */
  end: number;
}

/** What names a segment: its base, and the chain hash below it. */
interface Named {
  readonly base: number;
  readonly prevHash: Uint8Array;
}

/** What segment headers state about their owner. */
export interface HeaderOwner {
  readonly clusterId: Uint8Array;
  readonly view: number;
}

/** Puts the header of the segment at the start of `bytes`, from what is known, unless it is there. */
export function restoreHeader(bytes: Uint8Array, segment: Named, { clusterId, view }: HeaderOwner): void {
  if (beginsWithHeader(bytes, segment, clusterId)) return;
  // Recycled or not: that claims nothing about what stands behind.
  encodeSegmentHeader(bytes.subarray(0, SEGMENT_HEADER_BYTES), segment.base, segment.prevHash, clusterId, view, true);
}

/** True when `bytes` begin with the header of this segment. */
export function beginsWithHeader(bytes: Uint8Array, segment: Named, clusterId: Uint8Array): boolean {
  const header = decodeSegmentHeader(bytes);
  return (
    header !== null &&
    header.version === SEGMENT_VERSION &&
    header.base === segment.base &&
    sameHash(header.clusterId, clusterId) &&
    sameHash(header.prevHash, segment.prevHash)
  );
}

/** What a segment must hold for its header to be written again. */
export interface HeaderRewrite {
  readonly codec: FrameCodec;
  readonly segment: Segment;
  /** Chain hash below it. */
  readonly prevHash: Uint8Array;
  /** Chain hash of its last frame; null: nothing states it. */
  readonly lastHash: Uint8Array | null;
  readonly owner: HeaderOwner;
}

/**
 * Writes the header of a segment again, from what is known of it (recycled or not: it claims nothing about what stands behind); nothing else may be written to its first
 * block meanwhile. Not written when the device does not give what shares that block, gives something else, or gives the right header after all.
 */
export function rewriteSegmentHeader(
  what: HeaderRewrite,
  done: (error: DiskError | null, written: boolean) => void,
): void {
  const { segment, prevHash, owner } = what;
  const { file, base, marks } = segment;
  const behind = marks.fromOffset(BLOCK_BYTES);
  const end = behind?.offset ?? segment.end;
  const length = Math.max(BLOCK_BYTES, end + (behind === null ? 0 : FRAME_HEADER_BYTES));
  readAgreed(file, 0, length, (error, bytes) => {
    if (error !== null || bytes === null) {
      done(error?.code === 'EIO' ? null : error, false);
      return;
    }
    // A block from elsewhere, even one read twice (seed 1011), or one from before its last write, would take the place of the frames that share this one: all of them must be there.
    const foreign = segment.last >= base && !holdsFrames(what, bytes, end, (behind?.index ?? segment.last + 1) - 1);
    if (foreign || beginsWithHeader(bytes, { base, prevHash }, owner.clusterId)) {
      done(null, false);
      return;
    }
    const block = bytes.subarray(0, BLOCK_BYTES);
    encodeSegmentHeader(block, base, prevHash, owner.clusterId, owner.view, true);
    file.write(0, block, true, (failure) => done(failure, failure === null));
  });
}

/** The frames of the segment through `last`, which ends at `end`, stand in `bytes`, and are those whose hash the frame behind, or the caller, states. */
function holdsFrames(
  { codec, segment, prevHash, lastHash }: HeaderRewrite,
  bytes: Uint8Array,
  end: number,
  last: number,
): boolean {
  const chain = prevHash.slice();
  const run = codec.verify(bytes, SEGMENT_HEADER_BYTES, end, segment.base, chain);
  if (run.end !== end || segment.base + run.count - 1 !== last) return false;
  const stated = last === segment.last ? lastHash : prevHashAt(codec, bytes, end, last + 1);
  return stated !== null && sameHash(stated, chain);
}

/** What the header of the frame of `index`, that stands at `at`, says of the frame before it; null when it is not there. */
export function prevHashAt(codec: FrameCodec, bytes: Uint8Array, at: number, index: number): Uint8Array | null {
  const sound = readU32(bytes, at) === codec.crc32c(bytes, at + OFFSET.payloadSize, at + FRAME_HEADER_BYTES);
  return sound && frame.index(bytes, at) === index ? frame.prevHash(bytes, at).slice() : null;
}
