/**
 * FrameBatch: a run of sealed frames, contiguous in index and in memory: what the primary encodes once, what travels, what is
 * written, repaired and verified. Immutable after construction; never empty.
 */
import { assert } from '../assert.ts';
import { HASH_BYTES } from './constants.ts';
import { frame } from './frame.ts';

export class FrameBatch {
  /** Frames back to back, padding included. */
  readonly bytes: Uint8Array;
  readonly first: number;
  readonly count: number;
  /** Offset of each frame in `bytes`, and the end as element `count`. */
  readonly offsets: Uint32Array;
  /** Chain hash of index `first - 1`. */
  readonly prevHash: Uint8Array;
  /** Chain hash of the last frame. */
  readonly lastHash: Uint8Array;

  constructor(bytes: Uint8Array, count: number, lastHash: Uint8Array) {
    assert(count > 0 && lastHash.length === HASH_BYTES, 'a batch has a frame and a chain hash');
    this.bytes = bytes;
    this.count = count;
    this.first = frame.index(bytes, 0);
    this.prevHash = frame.prevHash(bytes, 0);
    this.lastHash = lastHash;
    this.offsets = new Uint32Array(count + 1);
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.offsets[i] = at;
      at += frame.size(bytes, at);
    }
    this.offsets[count] = at;
    assert(at === bytes.length, 'frames fill the batch exactly');
  }

  get last(): number {
    return this.first + this.count - 1;
  }

  contains(index: number): boolean {
    return index >= this.first && index <= this.last;
  }

  /** Offset of the frame of `index` in `bytes`. */
  offsetOf(index: number): number {
    if (!this.contains(index)) assert(false, `index ${index} is not in batch ${this.first}..${this.last}`);
    return this.offsets[index - this.first]!;
  }

  /** Chain hash of `index`: the next frame's prev_hash, or the batch's last hash. A view, not a copy. */
  hashOf(index: number): Uint8Array {
    return index === this.last ? this.lastHash : frame.prevHash(this.bytes, this.offsetOf(index + 1));
  }

  viewOf(index: number): number {
    return frame.view(this.bytes, this.offsetOf(index));
  }

  /** The run `from..to` as a batch of its own over the same memory. */
  slice(from: number, to: number): FrameBatch {
    if (from === this.first && to === this.last) return this;
    const start = this.offsetOf(from);
    const end = this.offsets[to - this.first + 1]!;
    return new FrameBatch(this.bytes.subarray(start, end), to - from + 1, this.hashOf(to));
  }
}
