/**
 * LogReader: frames of a log file of either version, in order, for tools (docs/log-format.md, "Version 1 files", "Tools"). Nothing is believed: every
 * frame is checked before it is handed on. Numbers of 64 bits are bigint here, because a file may state any.
 *
 * Invariants: reads only; memory is bounded by the largest frame; every outcome is a value.
 */
import { FORMAT_PAYLOAD_BYTES_MAX, FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { OFFSET, readU16, readU32 } from './frame.ts';
import { sameHash, toHex } from './hash.ts';

/** Where bytes come from: a DiskFile, or a file of any other kind. */
export interface LogBytes {
  size(): number;
  /** Reads up to `into.length` bytes at `offset`; returns how many there were. */
  readSync(offset: number, into: Uint8Array): number;
}

export function bytesOf(content: Uint8Array): LogBytes {
  return {
    size: () => content.length,
    readSync: (offset, into) => {
      const part = content.subarray(offset, offset + into.length);
      into.set(part);
      return part.length;
    },
  };
}

/** Every field of an entry, as the vectors and `log show` name them. */
export interface EntryFields {
  readonly offset: number;
  readonly index: string;
  readonly view: string;
  readonly stream: string;
  readonly flags: number;
  readonly schema: number;
  readonly timestamp_ns: string;
  readonly payload_size: number;
  readonly header_checksum: number;
  readonly prev_hash: string;
  readonly payload_hash: string;
  readonly chain_hash: string;
}

export type LogFaultKind =
  | 'header-checksum'
  | 'payload-hash'
  | 'chain'
  | 'index-gap'
  | 'torn-tail'
  | 'sentinel'
  | 'tail-record';

export interface LogFault {
  readonly kind: LogFaultKind;
  readonly index: string;
  readonly offset: number;
}

/** One intact frame: `bytes[at..]` is the frame, `chain` its chain hash. All of it changes with the next frame. */
export interface ReadFrame {
  bytes: Uint8Array;
  at: number;
  /** Offset in the file. */
  offset: number;
  index: bigint;
  chain: Uint8Array;
}

/** What stopped the reader where the next frame should be. */
export type ReadStop =
  /** Zeros, or the end of the file, exactly between two frames. */
  | { readonly kind: 'end'; readonly offset: number }
  | { readonly kind: 'fault'; readonly fault: LogFaultKind; readonly offset: number };

export function readU64Big(bytes: Uint8Array, at: number): bigint {
  return (BigInt(readU32(bytes, at + 4)) << 32n) | BigInt(readU32(bytes, at));
}

export function entryFields({ bytes, at, offset, chain }: ReadFrame): EntryFields {
  return {
    offset,
    index: String(readU64Big(bytes, at + OFFSET.index)),
    view: String(readU64Big(bytes, at + OFFSET.view)),
    stream: String(readU64Big(bytes, at + OFFSET.stream)),
    flags: readU16(bytes, at + OFFSET.flags),
    schema: readU16(bytes, at + OFFSET.schema),
    timestamp_ns: String(readU64Big(bytes, at + OFFSET.timestamp)),
    payload_size: readU32(bytes, at + OFFSET.payloadSize),
    header_checksum: readU32(bytes, at),
    prev_hash: toHex(bytes.subarray(at + OFFSET.prevHash, at + OFFSET.prevHash + HASH_BYTES)),
    payload_hash: toHex(bytes.subarray(at + OFFSET.payloadHash, at + OFFSET.payloadHash + HASH_BYTES)),
    chain_hash: toHex(chain),
  };
}

const CHUNK_BYTES = 1024 * 1024;
/** The codec counts in safe integers. */
const MOST_INDEX = BigInt(Number.MAX_SAFE_INTEGER) / 2n;

export class LogReader {
  private readonly source: LogBytes;
  private readonly codec: FrameCodec;
  private readonly limit: number;
  private buffer = new Uint8Array(CHUNK_BYTES);
  /** File offset and length of what is in the buffer. */
  private bufferAt = 0;
  private buffered = 0;
  private readonly scratch = new Uint8Array(HASH_BYTES);
  private readonly frame: ReadFrame;
  private position: number;
  private nextIndex: bigint;

  /** Frames from `offset` up to `limit`; the first must have this index and continue `chain`. */
  constructor(source: LogBytes, codec: FrameCodec, offset: number, limit: number, index: bigint, chain: Uint8Array) {
    this.source = source;
    this.codec = codec;
    this.limit = Math.min(limit, source.size());
    this.position = offset;
    this.nextIndex = index;
    this.frame = { bytes: this.buffer, at: 0, offset, index, chain: chain.slice() };
  }

  /** Offset of the frame that `next` looks at. */
  get offset(): number {
    return this.position;
  }

  get index(): bigint {
    return this.nextIndex;
  }

  /** Chain hash of the last intact frame (at first: of the frame before). */
  get chain(): Uint8Array {
    return this.frame.chain;
  }

  /** The next intact frame (the same object each time), or why there is none. */
  next(): ReadFrame | ReadStop {
    const offset = this.position;
    const head = this.view(offset, FRAME_HEADER_BYTES);
    if (head < FRAME_HEADER_BYTES) {
      return this.isZero(offset, head) ? { kind: 'end', offset } : { kind: 'fault', fault: 'torn-tail', offset };
    }
    let at = offset - this.bufferAt;
    if (readU32(this.buffer, at) !== this.codec.crc32c(this.buffer, at + OFFSET.payloadSize, at + FRAME_HEADER_BYTES)) {
      return this.isZero(offset, FRAME_HEADER_BYTES)
        ? { kind: 'end', offset }
        : { kind: 'fault', fault: 'header-checksum', offset };
    }
    const size = readU32(this.buffer, at + OFFSET.payloadSize);
    if (size > FORMAT_PAYLOAD_BYTES_MAX) return { kind: 'fault', fault: 'header-checksum', offset };
    const body = FRAME_HEADER_BYTES + size;
    const whole = Math.ceil(body / FRAME_ALIGN_BYTES) * FRAME_ALIGN_BYTES;
    if (this.view(offset, whole) < whole) return { kind: 'fault', fault: 'torn-tail', offset };
    at = offset - this.bufferAt;
    const fault = this.check(at, size, whole);
    if (fault !== null) return { kind: 'fault', fault, offset };
    const { frame } = this;
    this.codec.hash(this.buffer, at + OFFSET.payloadSize, at + body, frame.chain, 0);
    frame.bytes = this.buffer;
    frame.at = at;
    frame.offset = offset;
    frame.index = this.nextIndex;
    this.nextIndex++;
    this.position += whole;
    return frame;
  }

  /**
   * Checks the next frames in one call, as many as one read holds, and goes behind them; `frame` objects are not made. Returns how many; 0 when the next
   * frame is one for `next`: it is not intact, larger than a read, or too near to `through`.
   */
  run(through: bigint): number {
    const have = this.view(this.position, CHUNK_BYTES);
    if (this.nextIndex > MOST_INDEX) return 0;
    const at = this.position - this.bufferAt;
    const chain = this.frame.chain.slice();
    const { count, end } = this.codec.verify(this.buffer, at, at + have, Number(this.nextIndex), chain);
    if (count === 0 || this.nextIndex + BigInt(count) - 1n > through) return 0;
    this.frame.chain.set(chain);
    this.nextIndex += BigInt(count);
    this.position += end - at;
    return count;
  }

  /** Copies what stands at `offset`; shorter at the limit. */
  peek(offset: number, length: number): Uint8Array {
    const got = this.view(offset, length);
    return this.buffer.slice(offset - this.bufferAt, offset - this.bufferAt + got);
  }

  private check(at: number, size: number, whole: number): LogFaultKind | null {
    const { buffer, scratch } = this;
    const payload = at + FRAME_HEADER_BYTES;
    this.codec.hash(buffer, payload, payload + size, scratch, 0);
    if (!sameHash(scratch, buffer.subarray(at + OFFSET.payloadHash, at + OFFSET.payloadHash + HASH_BYTES)))
      return 'payload-hash';
    for (let i = payload + size; i < at + whole; i++) if (buffer[i] !== 0) return 'payload-hash';
    if (readU64Big(buffer, at + OFFSET.index) !== this.nextIndex) return 'index-gap';
    return sameHash(this.frame.chain, buffer.subarray(at + OFFSET.prevHash, at + OFFSET.prevHash + HASH_BYTES))
      ? null
      : 'chain';
  }

  /** Makes bytes [offset, offset + length) present; returns how many of them there are. */
  private view(offset: number, length: number): number {
    const wanted = Math.max(0, Math.min(length, this.limit - offset));
    if (offset >= this.bufferAt && offset + wanted <= this.bufferAt + this.buffered) return wanted;
    if (wanted > this.buffer.length) this.buffer = new Uint8Array(wanted + CHUNK_BYTES);
    const most = Math.min(this.buffer.length, this.limit - offset);
    this.bufferAt = offset;
    this.buffered = most <= 0 ? 0 : this.source.readSync(offset, this.buffer.subarray(0, most));
    return Math.min(wanted, this.buffered);
  }

  private isZero(offset: number, length: number): boolean {
    const at = offset - this.bufferAt;
    for (let i = at; i < at + length; i++) if (this.buffer[i] !== 0) return false;
    return true;
  }
}
