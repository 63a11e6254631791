/**
 * Verification of one replica's log from its raw bytes. No network, no clock: `take` gets what an answer held.
 *
 * Invariant: `verified` and `hash` come only from bytes that were hashed here, in one unbroken chain from index 0.
 */
import { FRAME_HEADER_BYTES, HASH_BYTES } from '@chronon/core/engine/constants';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { frame } from '@chronon/core/engine/frame';
import type { FrameFault } from '@chronon/core/engine/frame-codec';
import { hex } from '../lib/raw-frame.ts';

const WHAT: Record<FrameFault, string> = {
  'header-checksum': 'the header does not have its checksum (header-checksum)',
  'payload-hash': 'the payload does not have the hash that its header states (payload-hash)',
  chain: 'prev_hash is not the hash of the entry before it (chain)',
  'index-gap': 'the frame states another index (index-gap)',
  'too-large': 'the frame states a size above the limit (too-large)',
  padding: 'the padding is not zero (padding)',
  incomplete: 'the bytes end inside the frame (incomplete)',
  empty: 'there are zeros where a frame should be (empty)',
};

export type Taken =
  | { readonly kind: 'ok'; readonly count: number }
  | { readonly kind: 'fault'; readonly index: number; readonly what: string }
  /** The answer ended too early to be judged: not verified, and not a fault of the log. */
  | { readonly kind: 'truncated'; readonly count: number };

export class LaneVerifier {
  /** Last verified index. */
  verified: number;
  bytes = 0;
  readonly #chain = new Uint8Array(HASH_BYTES);
  #seeded: boolean;

  /** Begins at `first`: above 0 the entry before it is in a snapshot, and what the first frame says of it is taken as it is (the lanes are compared). */
  constructor(first = 0) {
    this.verified = first - 1;
    this.#seeded = first === 0;
  }

  get hash(): string {
    return this.bytes === 0 ? '' : hex(this.#chain);
  }

  /**
   * Verifies at most `max` frames, which must follow the last verified one. `hashes` gets the chain hash of every entry, that of entry `base` first.
   */
  take(bytes: Uint8Array, max: number, hashes: Uint8Array, base: number): Taken {
    const first = this.verified + 1;
    if (!this.#seeded && bytes.length >= FRAME_HEADER_BYTES) {
      this.#seeded = true;
      this.#chain.set(frame.prevHash(bytes, 0));
    }
    // Fewer bytes than a header hold no frame: left to the codec, which calls them incomplete.
    const stop = bytes.length < FRAME_HEADER_BYTES ? bytes.length : endOf(bytes, max);
    const { count, end, fault } = nobleCodec.verify(bytes, 0, stop, first, this.#chain);
    this.#collect(bytes, count, first, hashes, base);
    this.verified += count;
    this.bytes += end;
    if (fault === null) return { kind: 'ok', count };
    if (fault === 'incomplete') return { kind: 'truncated', count };
    return { kind: 'fault', index: this.verified + 1, what: WHAT[fault] };
  }

  /** A verified frame's prev_hash is the hash of the one before it; the last hash is the chain's. */
  #collect(bytes: Uint8Array, count: number, first: number, hashes: Uint8Array, base: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const slot = first + i - 1 - base;
      if (slot >= 0) hashes.set(frame.prevHash(bytes, at), slot * HASH_BYTES);
      at += frame.size(bytes, at);
    }
    if (count > 0) hashes.set(this.#chain, (first + count - 1 - base) * HASH_BYTES);
  }
}

/**
 * Offset behind the first `max` frames by their stated sizes: what an answer holds beyond what was asked for is not looked at. A damaged size only makes
 * the codec see more or fewer bytes behind the damaged header, at which it stops anyway.
 */
function endOf(bytes: Uint8Array, max: number): number {
  let at = 0;
  for (let n = 0; n < max && at + FRAME_HEADER_BYTES <= bytes.length; n++) {
    const size = frame.size(bytes, at);
    if (size < FRAME_HEADER_BYTES) return bytes.length;
    at += size;
  }
  return Math.min(at, bytes.length);
}

/** First entry at which two lanes' hashes differ, as an offset into the window, or -1. */
export function firstDifference(a: Uint8Array, b: Uint8Array, entries: number): number {
  for (let i = 0; i < entries * HASH_BYTES; i++) if (a[i] !== b[i]) return Math.floor(i / HASH_BYTES);
  return -1;
}
