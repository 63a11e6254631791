/**
 * TailBlock: the bytes of a segment's last block up to its end, which every append writes again. What is written back must be right: one bad read (of
 * another place, of rotten sectors) would otherwise overwrite acknowledged frames with it.
 *
 * Invariants: what is handed out is verified, frame by frame from the mark at or below the block, through the chain hash of the last; the segment header says
 * what the verified frames state of it. What cannot be verified in two reads is damage, and nothing is written over it.
 */
import { BLOCK_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import type { FoundDamage } from './frame-fetch.ts';
import { frame } from './frame.ts';
import { sameHash } from './hash.ts';
import { type HeaderOwner, restoreHeader, type Segment } from './segment.ts';

/** The first frame that does not verify. */
interface Slot {
  readonly index: number;
  readonly offset: number;
}

export class TailBlock {
  private readonly codec: FrameCodec;
  private readonly segment: Segment;
  private readonly owner: HeaderOwner;
  /** Chain hash of the segment's last frame; of the one below it when it has none. */
  private readonly hash: Uint8Array;
  private readonly block: number;
  private readonly from: Slot;
  /** Where the read begins. */
  private readonly start: number;
  /** Known after a read that did not verify; null when nothing was read. */
  damaged: FoundDamage | null = null;

  constructor(codec: FrameCodec, segment: Segment, owner: HeaderOwner, hash: Uint8Array) {
    this.codec = codec;
    this.segment = segment;
    this.owner = owner;
    this.hash = hash;
    this.block = segment.end - (segment.end % BLOCK_BYTES);
    this.from = segment.marks.atOffset(this.block) ?? { index: segment.base, offset: SEGMENT_HEADER_BYTES };
    this.start = this.block === 0 ? 0 : this.from.offset;
  }

  /** Null when two reads do not verify. */
  read(callback: (prefix: Uint8Array | null) => void): void {
    if (this.segment.end === this.block) {
      callback(new Uint8Array(0));
      return;
    }
    this.readOnce((first) => {
      if (first === null) this.readOnce(callback);
      else callback(first);
    });
  }

  /** The same, blocking. Throws DiskFailure. */
  readSync(): Uint8Array | null {
    const { file, end } = this.segment;
    if (end === this.block) return new Uint8Array(0);
    for (let left = 2; left > 0; left--) {
      const bytes = new Uint8Array(end - this.start);
      const prefix = file.readSync(this.start, bytes) < bytes.length ? null : this.verified(bytes);
      if (prefix !== null) return prefix;
    }
    return null;
  }

  private readOnce(callback: (prefix: Uint8Array | null) => void): void {
    const length = this.segment.end - this.start;
    this.segment.file.read(this.start, length, (error, bytes) => {
      callback(error !== null || bytes === null || bytes.length < length ? null : this.verified(bytes));
    });
  }

  private verified(bytes: Uint8Array): Uint8Array | null {
    const { segment, from, start } = this;
    const at = from.offset - start;
    if (segment.last >= from.index) {
      if (at + FRAME_HEADER_BYTES > bytes.length) return this.damagedAt(from.index, from.offset);
      const chain = frame.prevHash(bytes, at).slice();
      const { count, end } = this.codec.verify(bytes, at, bytes.length, from.index, chain);
      const missing = from.index + count <= segment.last || end !== bytes.length;
      if (missing) return this.damagedAt(from.index + count, start + end);
      // Older frames, whole in themselves.
      if (!sameHash(chain, this.hash)) return this.damagedAt(from.index, from.offset);
    } else if (at !== bytes.length) return this.damagedAt(from.index, from.offset);
    if (start === 0) this.restoreHeader(bytes);
    return bytes.slice(this.block - start);
  }

  /** The header is written again from what the verified frames say is below them. */
  private restoreHeader(bytes: Uint8Array): void {
    const { base, last } = this.segment;
    const prevHash = last < base ? this.hash : frame.prevHash(bytes, SEGMENT_HEADER_BYTES).slice();
    restoreHeader(bytes, { base, prevHash }, this.owner);
  }

  private damagedAt(index: number, offset: number): null {
    this.damaged = { index: Math.min(index, this.segment.last), offset, fault: 'chain' };
    return null;
  }
}
