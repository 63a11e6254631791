/**
 * Reads a replica's log back by its API and believes none of it: every frame is checked (checksums, index, chain) before it is handed on.
 */
import { fromJson } from '@chronon/core/engine/commit-index';
import { frame } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { toHex, ZERO_HASH } from '@chronon/core/engine/hash';
import { logRange } from '../api/schema.ts';
import { apiQuery, type ApiTarget } from '../client/api-call.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Called for every verified frame; `at` is its offset in `bytes`. */
export type OnFrame = (bytes: Uint8Array, at: number, index: number) => void;

/**
 * One replica's committed log, read from its beginning on, which may be any index up to `needed` where the replica has compacted it. Goes on where it
 * stopped, so that a log that is compacted meanwhile can be followed.
 */
export class LogSource {
  /** First frame: above 0 where the log below is in a snapshot. */
  first = 0;
  /** Next frame to read. */
  index = 0;
  private readonly api: ApiTarget;
  private readonly codec: FrameCodec;
  private readonly needed: number;
  private readonly onFrame: OnFrame;
  private readonly chain = Uint8Array.from(ZERO_HASH);

  constructor(api: ApiTarget, codec: FrameCodec, needed: number, onFrame: OnFrame) {
    this.api = api;
    this.codec = codec;
    this.needed = needed;
    this.onFrame = onFrame;
  }

  /** Frames read and verified. */
  get count(): number {
    return this.index - this.first;
  }

  /** Chain hash of the last of them, hex. */
  get head(): string {
    return toHex(this.chain);
  }

  /** Reads on through an index. Returns why that could not be, or null; throws when nobody answers. */
  async readThrough(through: number): Promise<string | null> {
    while (this.index <= through) {
      const problem = await this.readChunk(through);
      if (problem !== null) return problem;
    }
    return null;
  }

  private async readChunk(through: number): Promise<string | null> {
    const request = { from: String(this.index), maxBytes: CHUNK_BYTES };
    const range = await apiQuery(this.api, 'log.range', request, logRange, { timeoutMs: 20_000 });
    if (range.fault?.kind === 'compacted') {
      const first = Number(range.fault.index);
      if (this.count > 0 || first > this.needed)
        return `its log begins at ${first}: entries from ${Math.max(this.needed, this.index)} on are in a snapshot and cannot be read back`;
      this.first = this.index = first;
      return null;
    }
    if (range.fault !== null) return `index ${range.fault.index}: ${range.fault.kind}`;
    const committed = Math.min(through, fromJson(range.commit));
    const bytes = Buffer.from(range.frames, 'base64');
    // What the first frame of a compacted log continues is in the snapshot.
    if (this.count === 0 && this.first > 0 && bytes.length > 0) this.chain.set(frame.prevHash(bytes, 0));
    const before = this.index;
    for (let at = 0; at < bytes.length && this.index <= committed; ) {
      const end = Math.min(bytes.length, at + frame.size(bytes, at));
      const verified = this.codec.verify(bytes, at, end, this.index, this.chain);
      if (verified.count !== 1 || verified.fault !== null)
        return `index ${this.index}: ${verified.fault ?? 'incomplete'}`;
      this.onFrame(bytes, at, this.index);
      at = end;
      this.index++;
    }
    return this.index > before ? null : `the committed log ends at ${this.index - 1}, ${through} was expected`;
  }
}
