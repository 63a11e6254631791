/**
 * Frames on a peer link: `length u32 (of body) ++ crc32c u32 (of body) ++ body`, body = `kind u8, 0, 0, 0 ++ content`, little-endian.
 *
 * Invariants: the length is checked before anything is allocated; a frame whose checksum is wrong ends the link (the stream has lost its
 * place); a reader never throws on any bytes and holds at most `limit` bytes of an unfinished frame.
 */
import { readU32, writeU32 } from '@chronon/core/engine/frame';
import { crcOfChunks, type Crc32c } from './crc-combine.ts';

/** Length and checksum. */
export const FRAME_HEAD_BYTES = 8;
/** Kind word at the start of each body. */
export const KIND_BYTES = 4;
/** Longest body before the handshake is done, in bytes. */
export const BODY_BYTES_MAX_UNPROVEN = 4096;
/** Longest body afterwards, in bytes. */
export const BODY_BYTES_MAX = 16 * 1024 * 1024;
/** Up to this size a frame is copied into one buffer rather than sent as chunks. */
const COPY_BYTES_MAX = 4096;

/** What a frame on a link is. */
export const LINK = { hello: 1, proof: 2, reject: 3, ping: 4, pong: 5, message: 6 } as const;
export type LinkKind = (typeof LINK)[keyof typeof LINK];

/** A frame ready to be written, chunk after chunk. */
export interface WireFrame {
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

/** Frames `content` without copying its large chunks. */
export function encodeFrame(kind: LinkKind, content: readonly Uint8Array[], crc32c: Crc32c): WireFrame {
  let length = KIND_BYTES;
  for (const chunk of content) length += chunk.length;
  const total = FRAME_HEAD_BYTES + length;
  if (total <= COPY_BYTES_MAX) {
    const out = Buffer.allocUnsafe(total);
    writeU32(out, FRAME_HEAD_BYTES, kind);
    let at = FRAME_HEAD_BYTES + KIND_BYTES;
    for (const chunk of content) {
      out.set(chunk, at);
      at += chunk.length;
    }
    writeU32(out, 0, length);
    writeU32(out, 4, crc32c(out, FRAME_HEAD_BYTES, total));
    return { chunks: [out], bytes: total };
  }
  const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES + KIND_BYTES);
  writeU32(head, 0, length);
  writeU32(head, FRAME_HEAD_BYTES, kind);
  writeU32(head, 4, crcOfChunks(crc32c, [head.subarray(FRAME_HEAD_BYTES), ...content]));
  return { chunks: [head, ...content], bytes: total };
}

/** The bytes as a plain Uint8Array: `slice` of a Buffer does not copy, and whoever gets these may rely on that it does. */
export function plain(bytes: Uint8Array): Uint8Array {
  return Buffer.isBuffer(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : bytes;
}

/** Cuts a byte stream into frames. */
export class FrameReader {
  /** Longest body taken now; raised once the peer has proved itself. */
  limit = BODY_BYTES_MAX_UNPROVEN;
  /** Frames delivered. */
  frames = 0;

  private readonly crc32c: Crc32c;
  private readonly onFrame: (kind: number, content: Uint8Array) => void;
  private readonly head = new Uint8Array(FRAME_HEAD_BYTES);
  private headFilled = 0;
  private body: Uint8Array | null = null;
  private bodyFilled = 0;
  private stopped = false;

  /** `onFrame` gets content that may be kept: it is never written to again. */
  constructor(crc32c: Crc32c, onFrame: (kind: number, content: Uint8Array) => void) {
    this.crc32c = crc32c;
    this.onFrame = onFrame;
  }

  /** True while a frame has begun and not ended. */
  get partial(): boolean {
    return this.headFilled > 0 || this.body !== null;
  }

  /** Nothing is delivered afterwards, also not from the chunk at hand. */
  stop(): void {
    this.stopped = true;
    this.body = null;
  }

  /** Takes the next bytes of the stream; returns what is wrong with them, or null. After a problem the stream is of no use. */
  push(received: Uint8Array): string | null {
    const chunk = plain(received);
    let at = 0;
    while (!this.stopped && at < chunk.length) {
      if (this.body === null) {
        const taken = Math.min(FRAME_HEAD_BYTES - this.headFilled, chunk.length - at);
        this.head.set(chunk.subarray(at, at + taken), this.headFilled);
        this.headFilled += taken;
        at += taken;
        if (this.headFilled < FRAME_HEAD_BYTES) return null;
        const length = readU32(this.head, 0);
        if (length < KIND_BYTES) return `frame of ${length} bytes has no kind`;
        if (length > this.limit) return `frame of ${length} bytes, the limit is ${this.limit}`;
        if (chunk.length - at >= length) {
          const view = chunk.subarray(at, at + length);
          at += length;
          // A small view would keep the whole chunk alive for as long as the message is cached.
          const problem = this.deliver(2 * length < chunk.length ? view.slice() : view);
          if (problem !== null) return problem;
          continue;
        }
        this.body = new Uint8Array(length);
        this.bodyFilled = 0;
      }
      const taken = Math.min(this.body.length - this.bodyFilled, chunk.length - at);
      this.body.set(chunk.subarray(at, at + taken), this.bodyFilled);
      this.bodyFilled += taken;
      at += taken;
      if (this.bodyFilled === this.body.length) {
        const problem = this.deliver(this.body);
        if (problem !== null) return problem;
      }
    }
    return null;
  }

  private deliver(body: Uint8Array): string | null {
    this.headFilled = 0;
    this.body = null;
    if (this.crc32c(body, 0, body.length) !== readU32(this.head, 4)) return 'frame checksum is wrong';
    this.frames++;
    this.onFrame(readU32(body, 0), body.subarray(KIND_BYTES));
    return null;
  }
}
