/**
 * HeaderRing: header and chain hash of the last P + 1 indexes up to the head of this replica's log of record, in one fixed buffer.
 *
 * Invariants: records stand for first..last without a gap in index; a record may be hash only or unknown (all zero) after damage.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE, at } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix, writeHeaderRecord } from '../engine/header-suffix.ts';
import { FRAME_HEADER_BYTES, HASH_BYTES } from '../engine/constants.ts';
import { isHashAt, isNoHash } from '../engine/hash.ts';

export class HeaderRing {
  private readonly capacity: number;
  private readonly bytes: Uint8Array;
  private firstIndex = 0;
  private lastIndex: CommitIndex = NONE;

  /** Holds `pipelineMax` + 1 records. */
  constructor(pipelineMax: number) {
    this.capacity = pipelineMax + 1;
    this.bytes = new Uint8Array(this.capacity * HEADER_RECORD_BYTES);
  }

  /** First index there is a place for; means nothing while `last` is NONE. */
  get first(): number {
    return this.firstIndex;
  }

  get last(): CommitIndex {
    return this.lastIndex;
  }

  has(index: number): boolean {
    return index >= this.firstIndex && index <= this.lastIndex;
  }

  /** Chain hash of `index` (a view: copy it to keep it), or null when it is outside or unknown. */
  hash(index: number): Uint8Array | null {
    if (!this.has(index)) return null;
    const at = this.hashOffset(index);
    return isNoHash(this.bytes, at) ? null : this.bytes.subarray(at, at + HASH_BYTES);
  }

  /** False when another chain hash is known for `index`: with one that is outside or unknown everything agrees. */
  agrees(index: number, hash: Uint8Array): boolean {
    if (!this.has(index)) return true;
    const at = this.hashOffset(index);
    return isHashAt(this.bytes, at, hash) || isNoHash(this.bytes, at);
  }

  private hashOffset(index: number): number {
    return (index % this.capacity) * HEADER_RECORD_BYTES + FRAME_HEADER_BYTES;
  }

  /** Notes every frame of a batch that continues the run (or lies inside it). */
  append(batch: FrameBatch): void {
    assert(batch.first <= this.lastIndex + 1 || this.lastIndex === NONE, 'headers are noted without a gap');
    const from = Math.max(batch.first, batch.last - this.capacity + 1);
    if (this.lastIndex === NONE) this.firstIndex = from;
    for (let index = from; index <= batch.last; index++) {
      writeHeaderRecord(batch, index, this.bytes, (index % this.capacity) * HEADER_RECORD_BYTES);
    }
    if (batch.last > this.lastIndex) this.lastIndex = at(batch.last);
    this.firstIndex = Math.max(this.firstIndex, this.lastIndex - this.capacity + 1);
  }

  /** Notes the frames of a batch that lie inside the run: damaged ones that are known again. */
  fill(batch: FrameBatch): void {
    for (let index = Math.max(batch.first, this.firstIndex); index <= Math.min(batch.last, this.lastIndex); index++) {
      writeHeaderRecord(batch, index, this.bytes, (index % this.capacity) * HEADER_RECORD_BYTES);
    }
  }

  /** Notes what is known otherwise of an index inside the run whose header is missing here. */
  know(index: number, header: Uint8Array, hash: Uint8Array): void {
    if (!this.has(index) || this.header(index) !== null) return;
    const offset = (index % this.capacity) * HEADER_RECORD_BYTES;
    this.bytes.set(header, offset);
    this.bytes.set(hash, offset + FRAME_HEADER_BYTES);
  }

  /** Replaces everything by these records. */
  load(suffix: HeaderSuffix): void {
    const kept = suffix.slice(suffix.last - this.capacity + 1, suffix.last);
    this.bytes.fill(0);
    this.firstIndex = kept.first;
    this.lastIndex = kept.count === 0 ? NONE : at(kept.last);
    for (let i = 0; i < kept.count; i++) {
      const slot = ((kept.first + i) % this.capacity) * HEADER_RECORD_BYTES;
      this.bytes.set(kept.bytes.subarray(i * HEADER_RECORD_BYTES, (i + 1) * HEADER_RECORD_BYTES), slot);
    }
  }

  /** The 80 header bytes of `index` (a view), or null when outside or unknown. */
  header(index: number): Uint8Array | null {
    if (!this.has(index)) return null;
    const offset = (index % this.capacity) * HEADER_RECORD_BYTES;
    for (let i = offset; i < offset + FRAME_HEADER_BYTES; i++)
      if (this.bytes[i] !== 0) return this.bytes.subarray(offset, offset + FRAME_HEADER_BYTES);
    return null;
  }

  /** Forgets what is above `index`. */
  truncate(index: CommitIndex): void {
    if (index >= this.lastIndex) return;
    this.lastIndex = index < this.firstIndex ? NONE : index;
  }

  /** Records from..to (clamped), copied out. */
  suffix(from: number, to: number): HeaderSuffix {
    const low = Math.max(from, this.firstIndex);
    const high = Math.min(to, this.lastIndex);
    if (high < low) return HeaderSuffix.EMPTY;
    const out = new Uint8Array((high - low + 1) * HEADER_RECORD_BYTES);
    for (let index = low; index <= high; index++) {
      const slot = (index % this.capacity) * HEADER_RECORD_BYTES;
      out.set(this.bytes.subarray(slot, slot + HEADER_RECORD_BYTES), (index - low) * HEADER_RECORD_BYTES);
    }
    return new HeaderSuffix(low, out);
  }

  /** Everything there is. */
  all(): HeaderSuffix {
    return this.lastIndex === NONE ? HeaderSuffix.EMPTY : this.suffix(this.firstIndex, this.lastIndex);
  }
}
