/**
 * DurableLog: what frames were made durable on one machine, read from outside, by the format alone: neither the replica nor the engine is asked.
 * It reads what was meant to be on the medium: a frame that injected damage has struck since was durable all the same; `intact` tells. Only whole segments under durable names count, and in each only the run of intact, chained frames from its start.
 *
 * Invariants: the index of frames is a cache of the medium: any byte that changes drops what lies behind it; an index has one place, the last segment that begins at or below it: what stands behind the beginning
 * of the next segment in the one before was given up when that one was begun (docs/log-format.md, "Segment"), so it is no copy of anything.
 */
import { FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../engine/constants.ts';
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

export type FrameWatcher = (index: number, view: number, hash: Uint8Array) => void;

interface Segment {
  readonly path: string;
  readonly inode: SimInode;
  base: number;
  /** End offsets of the frames known, in order; frame i has index base + i. */
  ends: number[];
  hashes: Uint8Array[];
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

  /** Chain hash of the durable frame with this index, or null. */
  hashAt(index: number): Uint8Array | null {
    const segment = this.holding(index);
    return segment === null ? null : segment.hashes[index - segment.base]!;
  }

  /** First index of the log on the medium: what is below was compacted, or covered by an installed snapshot. 0 for an empty log. */
  get first(): number {
    this.refresh();
    let first = Number.POSITIVE_INFINITY;
    for (const segment of this.segments) {
      if (!segment.scanned) this.scan(segment);
      if (segment.ends.length > 0) first = Math.min(first, segment.base);
    }
    return Number.isFinite(first) ? first : 0;
  }

  /** True when the frame is there and no damage has struck it. */
  intact(index: number, hash: Uint8Array): boolean {
    const segment = this.holding(index);
    if (segment === null) return false;
    const position = index - segment.base;
    if (!sameHash(segment.hashes[position]!, hash)) return false;
    return segment.inode.isIntact(startOf(segment, position), segment.ends[position]!);
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
  placeOf(index: number): { readonly path: string; readonly from: number; readonly to: number } | null {
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
      return;
    }
    let keep = segment.ends.length;
    while (keep > 0 && segment.ends[keep - 1]! > firstChanged) keep--;
    segment.ends.length = keep;
    segment.hashes.length = keep;
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
          : { path, inode, base: 0, ends: [], hashes: [], scanned: false };
      this.segments.push(segment);
      this.byInode.set(inode, segment);
    }
  }

  /** The segment with the durable frame of this index, or null. */
  private holding(index: number): Segment | null {
    this.refresh();
    let place: Segment | null = null;
    for (const segment of this.segments) {
      if (!segment.scanned) this.scan(segment);
      if (segment.base <= index && (place === null || segment.base > place.base)) place = segment;
    }
    return place !== null && index - place.base < place.hashes.length ? place : null;
  }

  /** Verifies what stands behind the frames already known. */
  private scan(segment: Segment): void {
    segment.scanned = true;
    const bytes = segment.inode.intended;
    if (bytes.length < SEGMENT_HEADER_BYTES || readU32(bytes, 0) !== MAGIC) return;
    const known = segment.ends.length;
    if (known === 0) segment.base = readU64(bytes, 8);
    const start = known === 0 ? SEGMENT_HEADER_BYTES : segment.ends[known - 1]!;
    if (start + FRAME_HEADER_BYTES > bytes.length) return;
    const chain = known === 0 ? copyHash(bytes, 16) : copyHash(segment.hashes[known - 1]!);
    const result = this.codec.verify(bytes, start, bytes.length, segment.base + known, chain);
    let at = start;
    for (let i = 0; i < result.count; i++) {
      const end = at + frame.size(bytes, at);
      const last = i === result.count - 1;
      segment.ends.push(end);
      segment.hashes.push(last ? chain : copyHash(bytes, end + OFFSET.prevHash));
      this.onFrame(segment.base + known + i, frame.view(bytes, at), segment.hashes[known + i]!);
      at = end;
    }
  }

  private frameIn(segment: Segment, position: number): DurableFrame {
    const bytes = segment.inode.intended;
    const start = startOf(segment, position);
    return {
      index: segment.base + position,
      view: frame.view(bytes, start),
      hash: segment.hashes[position]!,
      bytes: bytes.slice(start, segment.ends[position]!),
    };
  }
}

/** Offset of the frame at `position` of a segment. */
function startOf(segment: Segment, position: number): number {
  return position === 0 ? SEGMENT_HEADER_BYTES : segment.ends[position - 1]!;
}
