/**
 * Verifying raw frames that somebody handed over: for a browser, which believes nobody (bundles without anything of Node).
 */
import { HASH_BYTES } from './constants.ts';
import type { FrameCodec, FrameFault } from './frame-codec.ts';
import { frame } from './frame.ts';
import { toHex, ZERO_HASH } from './hash.ts';

export interface RangeCovered {
  /** Null when not a single frame is intact. */
  readonly from: number | null;
  readonly to: number | null;
  readonly bytes: number;
  /** Chain hash of `to` as computed here, hex; empty when nothing is covered. */
  readonly hash: string;
  /** Whether the first frame was checked against a known hash: by `prevHash`, or because it is index 0. */
  readonly anchored: boolean;
}

export interface RangeFault {
  readonly kind: FrameFault;
  readonly index: number;
  readonly offset: number;
}

export interface RangeVerdict {
  readonly covered: RangeCovered;
  /** Null: every byte was an intact frame. No byte at all is no fault, but covers nothing. */
  readonly fault: RangeFault | null;
}

/** Verifies frames back to back in `bytes`; the first must be `index`, and continue `prevHash` when that is known. */
export function verifyRange(
  codec: FrameCodec,
  bytes: Uint8Array,
  index: number,
  prevHash: Uint8Array | null,
): RangeVerdict {
  const known = prevHash ?? (index === 0 ? ZERO_HASH : null);
  const stated = bytes.length >= 80 ? frame.prevHash(bytes, 0) : new Uint8Array(HASH_BYTES);
  const chain = (known ?? stated).slice();
  const result = codec.verify(bytes, 0, bytes.length, index, chain);
  const { count, end } = result;
  return {
    covered: {
      from: count === 0 ? null : index,
      to: count === 0 ? null : index + count - 1,
      bytes: end,
      hash: count === 0 ? '' : toHex(chain),
      anchored: known !== null,
    },
    fault: result.fault === null ? null : { kind: result.fault, index: index + count, offset: end },
  };
}
