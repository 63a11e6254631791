/**
 * HeaderSuffix: the canonical headers of a contiguous run of indexes, each with its chain hash: what the manifest stores, what
 * DoViewChange and StartView carry (docs/protocol.md). A record is `header (80) ++ chain hash (16)`; a record whose header is all zero
 * states a hash only; one that is all zero states nothing (unknown).
 *
 * Invariants: record i is for index first + i; where record i + 1 has a header, its prev_hash equals the hash of record i when both are known.
 */
import { assert } from '../assert.ts';
import { below, type CommitIndex } from './commit-index.ts';
import { FRAME_HEADER_BYTES, HASH_BYTES } from './constants.ts';
import { frame, readU64, OFFSET } from './frame.ts';
import { isNoHash } from './hash.ts';
import type { FrameBatch } from './frame-batch.ts';

export const HEADER_RECORD_BYTES = FRAME_HEADER_BYTES + HASH_BYTES;

export class HeaderSuffix {
  /** Index of the first record (0 when there is none). */
  readonly first: number;
  readonly bytes: Uint8Array;

  constructor(first: number, bytes: Uint8Array) {
    assert(bytes.length % HEADER_RECORD_BYTES === 0, 'a header suffix is whole records');
    this.first = first;
    this.bytes = bytes;
  }

  static readonly EMPTY = new HeaderSuffix(0, new Uint8Array(0));

  get count(): number {
    return this.bytes.length / HEADER_RECORD_BYTES;
  }

  /** Index of the last record; the one below `first` when there is none. */
  get last(): CommitIndex {
    return below(this.first + this.count);
  }

  contains(index: number): boolean {
    return index >= this.first && index <= this.last;
  }

  private at(index: number): number {
    assert(this.contains(index), `index ${index} is outside headers ${this.first}..${this.last}`);
    return (index - this.first) * HEADER_RECORD_BYTES;
  }

  /** The 80 header bytes, or null when unknown or hash only. */
  header(index: number): Uint8Array | null {
    const at = this.at(index);
    const header = this.bytes.subarray(at, at + FRAME_HEADER_BYTES);
    return allZero(header) ? null : header;
  }

  /** Chain hash of `index`, or null when unknown. */
  hash(index: number): Uint8Array | null {
    const at = this.at(index) + FRAME_HEADER_BYTES;
    return isNoHash(this.bytes, at) ? null : this.bytes.subarray(at, at + HASH_BYTES);
  }

  /** As `hash`, of any index: null outside of the suffix, too. */
  hashIfAny(index: number): Uint8Array | null {
    return this.contains(index) ? this.hash(index) : null;
  }

  /** View in which the entry was first proposed, or null when unknown. */
  view(index: number): number | null {
    const header = this.header(index);
    return header === null ? null : readU64(header, OFFSET.view);
  }

  /** Records `from..to` only (clamped to what there is). */
  slice(from: number, to: number): HeaderSuffix {
    const low = Math.max(from, this.first);
    const high = Math.min(to, this.last);
    if (high < low) return new HeaderSuffix(from, new Uint8Array(0));
    return new HeaderSuffix(
      low,
      this.bytes.slice((low - this.first) * HEADER_RECORD_BYTES, (high - this.first + 1) * HEADER_RECORD_BYTES),
    );
  }
}

/** Copies the record of `index` out of a batch into `out` at `offset`. */
export function writeHeaderRecord(batch: FrameBatch, index: number, out: Uint8Array, offset: number): void {
  const at = batch.offsetOf(index);
  assert(frame.index(batch.bytes, at) === index, 'the batch is indexed right');
  const isLast = index === batch.last;
  const hash = isLast ? batch.lastHash : batch.bytes;
  writeRecord(batch.bytes, at, hash, isLast ? 0 : batch.offsetOf(index + 1) + OFFSET.prevHash, out, offset);
}

/** A record at out[offset]: the header that stands at bytes[at], and the chain hash at hash[hashAt]. Byte by byte: shorter than making views. */
export function writeRecord(
  bytes: Uint8Array,
  at: number,
  hash: Uint8Array,
  hashAt: number,
  out: Uint8Array,
  offset: number,
): void {
  for (let i = 0; i < FRAME_HEADER_BYTES; i++) out[offset + i] = bytes[at + i]!;
  for (let i = 0; i < HASH_BYTES; i++) out[offset + FRAME_HEADER_BYTES + i] = hash[hashAt + i]!;
}

function allZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
