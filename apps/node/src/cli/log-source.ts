/**
 * Reads a replica's log back by its API and believes none of it: every frame is checked (checksums, index, chain) before it is handed on.
 */
import { frame } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { toHex, ZERO_HASH } from '@chronon/core/engine/hash';
import { logRange } from '../api/schema.ts';
import { apiQuery, type ApiTarget } from '../client/api-call.ts';

const CHUNK_BYTES = 1024 * 1024;

export interface LogRead {
  /** First frame that was read: above 0 where the log below is in a snapshot. */
  readonly first: number;
  /** Frames that were read and verified. */
  readonly count: number;
  /** Chain hash of the last, hex. */
  readonly head: string;
  /** Why it ended before `through`, or null. */
  readonly problem: string | null;
}

/** Called for every verified frame; `at` is its offset in `bytes`. */
export type OnFrame = (bytes: Uint8Array, at: number, index: number, chain: Uint8Array) => void;

/**
 * Reads the log through an index: from its beginning, which may be any index up to `needed` where a replica has compacted it. `chain` given to `onFrame` is
 * the chain hash of that frame (overwritten by the next).
 */
export async function readLog(
  api: ApiTarget,
  codec: FrameCodec,
  needed: number,
  through: number,
  onFrame: OnFrame,
): Promise<LogRead> {
  const chain = Uint8Array.from(ZERO_HASH);
  let first = 0;
  let index = 0;
  const ended = (problem: string | null): LogRead => ({ first, count: index - first, head: toHex(chain), problem });
  while (index <= through) {
    const range = await apiQuery(api, 'log.range', { from: String(index), maxBytes: CHUNK_BYTES }, logRange, {
      timeoutMs: 20_000,
    });
    if (range.fault?.kind === 'compacted') {
      first = index = Number(range.fault.index);
      if (first <= needed) continue;
      return ended(`its log begins at ${first}: entries from ${needed} on are in a snapshot and cannot be read back`);
    }
    if (range.fault !== null) return ended(`index ${range.fault.index}: ${range.fault.kind}`);
    const bytes = Buffer.from(range.frames, 'base64');
    // What the first frame of a compacted log continues is in the snapshot.
    if (index === first && first > 0 && bytes.length > 0) chain.set(frame.prevHash(bytes, 0));
    if (bytes.length === 0) return ended(`the log ends at ${index - 1}, ${through} was expected`);
    for (let at = 0; at < bytes.length && index <= through; ) {
      // One frame at a time, so that its chain hash is at hand.
      const end = Math.min(bytes.length, at + frame.size(bytes, at));
      const verified = codec.verify(bytes, at, end, index, chain);
      if (verified.count !== 1 || verified.fault !== null)
        return ended(`index ${index}: ${verified.fault ?? 'incomplete'}`);
      onFrame(bytes, at, index, chain);
      at = end;
      index++;
    }
  }
  return ended(null);
}
