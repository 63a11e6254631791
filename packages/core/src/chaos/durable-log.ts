/**
 * DurableLog: what frames were made durable on one machine, read from outside, by the format alone: neither the replica nor the engine is asked.
 * It reads what was meant to be on the medium: a frame that injected damage has struck since was durable all the same; `provable` tells. Only whole segments under durable names count, and in each only the run of intact, chained frames from its start.
 * Which bytes of a write were meant is a guess where it goes over damage (sim-medium.ts). So a frame that truly stands on the medium where the chain wants it is durable whatever that guess was.
 *
 * Invariants: the index of frames is a cache of the medium: any byte that changes drops what lies behind it; an index has one place, the last segment that begins at or below it: what stands behind the beginning
 * of the next segment in the one before was given up when that one was begun (docs/log-format.md, "Segment"), so it is no copy of anything.
 */
import { FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../engine/constants.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { frame, OFFSET, readU32, readU64 } from '../engine/frame.ts';
import { copyHash, sameHash } from '../engine/hash.ts';
import type { SimInode } from './sim-inode.ts';
import type { SimStorage } from './sim-storage.ts';

const MAGIC = 0x474f4c50; // "PLOG", little-endian

/** One frame found on the medium. */
export interface DurableFrame {
  readonly index: number;
  readonly view: number;
  /** Chain hash. */
  readonly hash: Uint8Array;
  /** The frame: header, payload, padding. A copy. */
  readonly bytes: Uint8Array;
}

/** Bytes of a file. */
export interface Place {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

const NOWHERE: Place = { path: '', from: 0, to: 0 };

export type FrameWatcher = (index: number, view: number, hash: Uint8Array) => void;

interface Segment {
  readonly path: string;
  readonly inode: SimInode;
  base: number;
  /** End offsets of the frames known, in order; frame i has index base + i. */
  ends: number[];
  hashes: Uint8Array[];
  /** Copies of the frames that stand on the medium only, not among what was meant; by position. */
  strays: Map<number, Uint8Array>;
  /** False when bytes may have been added or changed since the last scan. */
  scanned: boolean;
}

export class DurableLog {
  readonly storage: SimStorage;
  private readonly codec: FrameCodec;
  private readonly onFrame: FrameWatcher;
  private segments: Segment[] = [];
  private byInode = new Map<SimInode, Segment>();
  private namesVersion = -1;

  /** `onFrame` hears of every frame that became durable, once or more. */
  constructor(storage: SimStorage, codec: FrameCodec, onFrame: FrameWatcher) {
    this.storage = storage;
    this.codec = codec;
    this.onFrame = onFrame;
    storage.watchers.push((inode, firstChanged) => this.changed(inode, firstChanged));
  }

  /** True when a durable frame of this index with this chain hash is on the medium. */
  has(index: number, hash: Uint8Array): boolean {
    const found = this.hashAt(index);
    return found !== null && sameHash(found, hash);
  }

  /**
   * True when frames first..last stand on the medium behind a gap, intact and chained, the last with this chain hash. A write that was torn leaves such a gap; who has lost
   * the tail record as well keeps what is above it, for it cannot tell that from damage, and a tail record above proves it from then on (docs/log-format.md, "Resynchronising";
   * seed 10010458). A frame below the gap is in none.
   */
  standsBehindGap(first: number, last: number, hash: Uint8Array): boolean {
    const segment = this.placeFor(last);
    if (segment === null || first < segment.base + segment.ends.length) return false;
    const bytes = segment.inode.intended;
    let at = startOf(segment, segment.ends.length);
    for (; at + FRAME_HEADER_BYTES <= bytes.length; at += FRAME_ALIGN_BYTES) {
      if (readU64(bytes, at + OFFSET.index) !== first) continue;
      const end = this.chainThrough(bytes, at, first, last);
      if (end !== null && sameHash(end, hash)) return true;
    }
    return false;
  }

  /** Chain hash of frame `last` of the intact, chained frames first..last that stand at `at`, or null. */
  private chainThrough(bytes: Uint8Array, at: number, first: number, last: number): Uint8Array | null {
    const chain = copyHash(bytes, at + OFFSET.prevHash);
    let start = at;
    for (let index = first; index <= last; index++) {
      if (start + FRAME_HEADER_BYTES > bytes.length) return null;
      const end = start + frame.size(bytes, start);
      if (end > bytes.length || this.codec.verify(bytes, start, end, index, chain).count !== 1) return null;
      start = end;
    }
    return chain;
  }

  /** Chain hash of the durable frame with this index, or null. */
  hashAt(index: number): Uint8Array | null {
    const segment = this.holding(index);
    return segment === null ? null : segment.hashes[index - segment.base]!;
  }

  /** First index of the log on the medium: what is below was compacted, or covered by an installed snapshot. Null for a log without a frame. */
  get first(): number | null {
    this.refresh();
    let first = Number.POSITIVE_INFINITY;
    for (const segment of this.segments) {
      if (!segment.scanned) this.scan(segment);
      if (segment.ends.length > 0) first = Math.min(first, segment.base);
    }
    return Number.isFinite(first) ? first : null;
  }

  /** True when the frame is there and no damage has struck it, nor what proves it to a replica that starts anew (`losses`). */
  provable(index: number, hash: Uint8Array): boolean {
    const segment = this.holding(index);
    if (segment === null) return false;
    const position = index - segment.base;
    if (!sameHash(segment.hashes[position]!, hash)) return false;
    if (!isWhole(segment, position)) return false;
    const lost = this.lostIn(segment, NOWHERE);
    return lost === null || position < lost.from || position > lost.to;
  }

  /**
   * Index and chain hash of each frame that nothing would prove any more if [from, to) of a file were damaged as well; null: the file is no segment. What stands between
   * two damaged places is intact and counts for nothing: no chain leads from there to a hash that is known (docs/log-format.md, "Resynchronising"; seeds 2000375, 1110253).
   */
  losses(path: string, from: number, to: number): { readonly index: number; readonly hash: Uint8Array }[] | null {
    this.refresh();
    const at = this.segments.findIndex((candidate) => candidate.path === path);
    if (at < 0) return null;
    const frames: { readonly index: number; readonly hash: Uint8Array }[] = [];
    const place = { path, from, to };
    // The segment before as well: its last frames are proved by what this one states of them.
    for (const segment of this.segments.slice(Math.max(0, at - 1), at + 1)) {
      const lost = this.lostIn(segment, place);
      for (let i = lost?.from ?? 0; lost !== null && i <= lost.to; i++)
        frames.push({ index: segment.base + i, hash: segment.hashes[i]! });
    }
    return frames;
  }

  /** Positions of the first and the last frame that are lost with `place`; null: none is. */
  private lostIn(segment: Segment, place: Place): { readonly from: number; readonly to: number } | null {
    if (!segment.scanned) this.scan(segment);
    const own = place.path === segment.path;
    if (!own && segment.inode.damagedSectors === 0) return null;
    let [first, last] = [-1, -1];
    for (let i = 0; i < segment.ends.length; i++) {
      const struck = own && segment.ends[i]! > place.from && startOf(segment, i) < place.to;
      if (!struck && isWhole(segment, i)) continue;
      if (first < 0) first = i;
      last = i;
    }
    if (first < 0) return null;
    const above = this.segments[this.segments.indexOf(segment) + 1];
    return { from: first, to: above !== undefined && isHeadless(above, place) ? segment.ends.length - 1 : last };
  }

  /** Index and chain hash of each durable frame with a byte in [from, to) of a file; null: the file is no segment. */
  framesIn(path: string, from: number, to: number): { readonly index: number; readonly hash: Uint8Array }[] | null {
    this.refresh();
    const segment = this.segments.find((candidate) => candidate.path === path);
    if (segment === undefined) return null;
    if (!segment.scanned) this.scan(segment);
    const frames: { readonly index: number; readonly hash: Uint8Array }[] = [];
    for (let i = 0; i < segment.ends.length; i++) {
      if (segment.ends[i]! <= from) continue;
      if (startOf(segment, i) >= to) break;
      frames.push({ index: segment.base + i, hash: segment.hashes[i]! });
    }
    return frames;
  }

  /** Where the frame of `index` stands, or null: path, first byte, byte behind it. */
  placeOf(index: number): Place | null {
    const segment = this.holding(index);
    if (segment === null) return null;
    const position = index - segment.base;
    return { path: segment.path, from: startOf(segment, position), to: segment.ends[position]! };
  }

  /** The frame with this index and hash, or null. */
  frameOf(index: number, hash: Uint8Array): DurableFrame | null {
    const segment = this.holding(index);
    if (segment === null || !sameHash(segment.hashes[index - segment.base]!, hash)) return null;
    return this.frameIn(segment, index - segment.base);
  }

  private changed(inode: SimInode, firstChanged: number): void {
    const segment = this.byInode.get(inode);
    if (segment === undefined) return;
    segment.scanned = false;
    if (firstChanged < SEGMENT_HEADER_BYTES) {
      segment.ends = [];
      segment.hashes = [];
      segment.strays.clear();
      return;
    }
    let keep = segment.ends.length;
    while (keep > 0 && segment.ends[keep - 1]! > firstChanged) keep--;
    segment.ends.length = keep;
    segment.hashes.length = keep;
    for (const position of segment.strays.keys()) if (position >= keep) segment.strays.delete(position);
  }

  private refresh(): void {
    if (this.namesVersion === this.storage.namesVersion) return;
    this.namesVersion = this.storage.namesVersion;
    const old = this.byInode;
    this.segments = [];
    this.byInode = new Map();
    for (const [path, inode] of this.storage.durableFiles('log/')) {
      if (!path.endsWith('.seg')) continue;
      const known = old.get(inode);
      const segment =
        known !== undefined && known.path === path
          ? known
          : { path, inode, base: 0, ends: [], hashes: [], strays: new Map(), scanned: false };
      this.segments.push(segment);
      this.byInode.set(inode, segment);
    }
  }

  /** The segment with the durable frame of this index, or null. */
  private holding(index: number): Segment | null {
    const place = this.placeFor(index);
    return place !== null && index - place.base < place.hashes.length ? place : null;
  }

  /** The only segment in which a frame of this index may stand, or null. */
  private placeFor(index: number): Segment | null {
    this.refresh();
    let place: Segment | null = null;
    for (const segment of this.segments) {
      if (!segment.scanned) this.scan(segment);
      if (segment.base <= index && (place === null || segment.base > place.base)) place = segment;
    }
    return place;
  }

  /** Verifies what stands behind the frames already known. */
  private scan(segment: Segment): void {
    segment.scanned = true;
    const { inode } = segment;
    const meant = inode.intended;
    if (meant.length < SEGMENT_HEADER_BYTES || readU32(meant, 0) !== MAGIC) return;
    if (segment.ends.length === 0) segment.base = readU64(meant, 8);
    this.run(segment, meant, meant.length);
    while (inode.damagedSectors > 0 && this.stray(segment)) this.run(segment, meant, meant.length);
  }

  /** Adds the frame that stands on the medium behind the known ones, though it was not among what was meant; false: none. */
  private stray(segment: Segment): boolean {
    const real = segment.inode.medium;
    const position = segment.ends.length;
    const start = startOf(segment, position);
    if (start + FRAME_HEADER_BYTES > real.length) return false;
    const end = start + frame.size(real, start);
    if (end > real.length || this.run(segment, real, end) === 0) return false;
    segment.strays.set(position, real.slice(start, end));
    return true;
  }

  /** Adds the intact, chained frames of `bytes` through `limit` that stand behind the known ones; returns how many. */
  private run(segment: Segment, bytes: Uint8Array, limit: number): number {
    const known = segment.ends.length;
    const start = startOf(segment, known);
    if (start + FRAME_HEADER_BYTES > limit) return 0;
    const chain = known === 0 ? copyHash(segment.inode.intended, 16) : copyHash(segment.hashes[known - 1]!);
    const result = this.codec.verify(bytes, start, limit, segment.base + known, chain);
    let at = start;
    for (let i = 0; i < result.count; i++) {
      const end = at + frame.size(bytes, at);
      const last = i === result.count - 1;
      segment.ends.push(end);
      segment.hashes.push(last ? chain : copyHash(bytes, end + OFFSET.prevHash));
      this.onFrame(segment.base + known + i, frame.view(bytes, at), segment.hashes[known + i]!);
      at = end;
    }
    return result.count;
  }

  private frameIn(segment: Segment, position: number): DurableFrame {
    const start = startOf(segment, position);
    const bytes = segment.strays.get(position) ?? segment.inode.intended.slice(start, segment.ends[position]!);
    return { index: segment.base + position, view: frame.view(bytes, 0), hash: segment.hashes[position]!, bytes };
  }
}

/** No damage has struck this frame. */
function isWhole(segment: Segment, position: number): boolean {
  return segment.inode.isIntact(startOf(segment, position), segment.ends[position]!);
}

/** Neither its header nor that of its first frame says for certain what the segment before ends with, or would not with `place`. */
function isHeadless({ path, inode }: Segment, place: Place): boolean {
  const end = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES;
  return (path === place.path && place.from < end) || !inode.isIntact(0, end);
}

/** Offset of the frame at `position` of a segment. */
function startOf(segment: Segment, position: number): number {
  return position === 0 ? SEGMENT_HEADER_BYTES : segment.ends[position - 1]!;
}
