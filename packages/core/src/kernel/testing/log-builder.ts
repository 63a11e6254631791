/**
 * LogBuilder: sealed frames for tests and benchmarks of the kernel, without a protocol: each call appends one entry, `take` gives the batch.
 *
 * Invariant: what it makes is what a primary would make: chained, indexed without gaps, block time strictly growing.
 */
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES, HASH_BYTES } from '../../engine/constants.ts';
import {
  type EntryKind,
  FLAG,
  frameBytes,
  keyBytes,
  KIND,
  writeEnvelope,
  writeHeader,
  writeKey,
} from '../../engine/frame.ts';
import { FrameBatch } from '../../engine/frame-batch.ts';
import type { FrameCodec } from '../../engine/frame-codec.ts';

/** What an entry says beside its kind. */
export interface EntryFields {
  readonly command?: number;
  readonly client?: number;
  readonly request?: number;
  readonly ackBelow?: number;
  readonly body?: Uint8Array;
  readonly view?: number;
  readonly key?: Uint8Array;
}

const NO_BODY = new Uint8Array(0);

export class LogBuilder {
  private readonly codec: FrameCodec;
  private readonly chain: Uint8Array;
  private frames: Uint8Array[] = [];
  private timeMs: number;
  /** Index of the next entry. */
  index: number;

  /** Starts at index 0, or behind `chain` at `index`. */
  constructor(
    codec: FrameCodec,
    index = 0,
    chain: Uint8Array = new Uint8Array(HASH_BYTES),
    timeMs = 1_700_000_000_000,
  ) {
    this.codec = codec;
    this.index = index;
    this.chain = chain.slice();
    this.timeMs = timeMs;
  }

  /** Chain hash of the last entry. */
  get hash(): Uint8Array {
    return this.chain.slice();
  }

  /** Lets block time pass. */
  wait(ms: number): void {
    this.timeMs += ms;
  }

  /** Appends an entry; returns its index. */
  add(kind: EntryKind, fields: EntryFields = {}): number {
    const { command = 0, client = 0, request = 0, ackBelow = 0, body = NO_BODY, view = 1, key = null } = fields;
    const payload = ENVELOPE_BYTES + keyBytes(key) + body.length;
    const bytes = new Uint8Array(frameBytes(payload));
    this.timeMs += 1;
    const ns = BigInt(this.timeMs) * 1_000_000n;
    const flags = kind === KIND.checkpoint ? FLAG.checkpoint : 0;
    writeHeader(bytes, 0, payload, this.index, view, Number(ns & 0xffff_ffffn), Number(ns >> 32n), flags);
    writeEnvelope(bytes, FRAME_HEADER_BYTES, kind, command, client, request, ackBelow);
    bytes.set(body, writeKey(bytes, FRAME_HEADER_BYTES, key));
    this.codec.seal(bytes, 0, bytes.length, this.chain);
    this.frames.push(bytes);
    return this.index++;
  }

  /** The entries since the last call, as one batch. */
  take(): FrameBatch {
    const bytes = new Uint8Array(this.frames.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.frames) {
      bytes.set(part, at);
      at += part.length;
    }
    const batch = new FrameBatch(bytes, this.frames.length, this.hash);
    this.frames = [];
    return batch;
  }
}
