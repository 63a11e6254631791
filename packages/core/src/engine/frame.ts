/**
 * Frame layout (docs/log-format.md, "Frame"): accessors over bytes, no objects. All integers little-endian. Indexes and views
 * are safe integers here; a file that states more (Rust v1 vectors do) is read through the bigint accessors of `log-reader`.
 */
import { assert } from '../assert.ts';
import { ENVELOPE_BYTES, FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES } from './constants.ts';
import { isHashAt } from './hash.ts';

/** Byte offsets of the header fields. */
export const OFFSET = {
  checksum: 0,
  payloadSize: 4,
  index: 8,
  view: 16,
  stream: 24,
  prevHash: 32,
  payloadHash: 48,
  timestamp: 64,
  flags: 72,
  schema: 74,
  reserved: 76,
} as const;

export const FLAG = { config: 1, tombstone: 2, checkpoint: 4, endOfLog: 0x8000 } as const;
export const SCHEMA = { raw: 1, envelope: 2 } as const;

const TWO_32 = 0x1_0000_0000;

/** Bytes a frame with this payload takes, padding included. */
export function frameBytes(payloadSize: number): number {
  return (FRAME_HEADER_BYTES + payloadSize + FRAME_ALIGN_BYTES - 1) & ~(FRAME_ALIGN_BYTES - 1);
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>> 0;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** Reads a u64 that must be a safe integer; returns NaN when it is not (the caller refuses it). */
export function readU64(bytes: Uint8Array, offset: number): number {
  const high = readU32(bytes, offset + 4);
  return high >= 0x20_0000 ? Number.NaN : high * TWO_32 + readU32(bytes, offset);
}

export function writeU64(bytes: Uint8Array, offset: number, value: number): void {
  // The message is made only when it is needed: this is on the way of every frame.
  if (!(Number.isSafeInteger(value) && value >= 0)) assert(false, `${value} does not fit the u64 field`);
  writeU32(bytes, offset, value % TWO_32);
  writeU32(bytes, offset + 4, Math.floor(value / TWO_32));
}

export function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

export const frame = {
  payloadSize: (b: Uint8Array, at: number): number => readU32(b, at + OFFSET.payloadSize),
  index: (b: Uint8Array, at: number): number => readU64(b, at + OFFSET.index),
  view: (b: Uint8Array, at: number): number => readU64(b, at + OFFSET.view),
  /** Block time, nanoseconds, low and high half (a u64 of nanoseconds is no safe integer). */
  timeLow: (b: Uint8Array, at: number): number => readU32(b, at + OFFSET.timestamp),
  timeHigh: (b: Uint8Array, at: number): number => readU32(b, at + OFFSET.timestamp + 4),
  flags: (b: Uint8Array, at: number): number => readU16(b, at + OFFSET.flags),
  schema: (b: Uint8Array, at: number): number => readU16(b, at + OFFSET.schema),
  prevHash: (b: Uint8Array, at: number): Uint8Array => b.subarray(at + OFFSET.prevHash, at + OFFSET.prevHash + 16),
  /** The chain hash of the entry before it is `hash`; without a view. */
  chainsTo: (b: Uint8Array, at: number, hash: Uint8Array): boolean => isHashAt(b, at + OFFSET.prevHash, hash),
  payloadHash: (b: Uint8Array, at: number): Uint8Array =>
    b.subarray(at + OFFSET.payloadHash, at + OFFSET.payloadHash + 16),
  payload: (b: Uint8Array, at: number): Uint8Array =>
    b.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + frame.payloadSize(b, at)),
  /** Bytes of the whole frame. */
  size: (b: Uint8Array, at: number): number => frameBytes(frame.payloadSize(b, at)),
} as const;

/** What an entry is (envelope byte 0). Closed set; unknown kinds are refused. */
export const KIND = {
  noop: 0,
  command: 1,
  register: 2,
  cancel: 3,
  effectClaim: 4,
  effectAck: 5,
  effectDead: 6,
  effectIndeterminate: 7,
  timerFired: 8,
  fetchResult: 9,
  configuration: 10,
  replaceReplica: 11,
  checkpoint: 12,
  activateVersion: 13,
  effectFailed: 14,
} as const;
export type EntryKind = (typeof KIND)[keyof typeof KIND];

/** Envelope fields; `at` is the offset of the payload, not of the frame. */
export const ENVELOPE = { kind: 0, version: 1, flags: 2, command: 4, client: 8, request: 16, ackBelow: 24 } as const;
export const ENVELOPE_VERSION = 1;
/** Envelope flags. `keyed`: an idempotency key stands before the body, `length u8 ++ bytes`. */
export const ENVELOPE_FLAG = { keyed: 1 } as const;
/** Longest idempotency key, in bytes. */
export const IDEMPOTENCY_KEY_BYTES_MAX = 64;

export const envelope = {
  kind: (b: Uint8Array, at: number): number => b[at + ENVELOPE.kind]!,
  version: (b: Uint8Array, at: number): number => b[at + ENVELOPE.version]!,
  flags: (b: Uint8Array, at: number): number => readU16(b, at + ENVELOPE.flags),
  command: (b: Uint8Array, at: number): number => readU32(b, at + ENVELOPE.command),
  client: (b: Uint8Array, at: number): number => readU64(b, at + ENVELOPE.client),
  request: (b: Uint8Array, at: number): number => readU64(b, at + ENVELOPE.request),
  ackBelow: (b: Uint8Array, at: number): number => readU64(b, at + ENVELOPE.ackBelow),
  body: (b: Uint8Array, at: number, payloadSize: number): Uint8Array =>
    b.subarray(at + envelope.bodyOffset(b, at), at + payloadSize),
  /** The idempotency key of a command (a view), or null. */
  key: (b: Uint8Array, at: number): Uint8Array | null =>
    (envelope.flags(b, at) & ENVELOPE_FLAG.keyed) === 0
      ? null
      : b.subarray(at + ENVELOPE_BYTES + 1, at + envelope.bodyOffset(b, at)),
  /** Where the body starts, from the payload's start: behind the idempotency key when there is one. */
  bodyOffset: (b: Uint8Array, at: number): number =>
    (envelope.flags(b, at) & ENVELOPE_FLAG.keyed) === 0 ? ENVELOPE_BYTES : ENVELOPE_BYTES + 1 + b[at + ENVELOPE_BYTES]!,
} as const;

/** Bytes between envelope and body of a command with this key (null: none). */
export function keyBytes(key: Uint8Array | null): number {
  return key === null ? 0 : 1 + key.length;
}

/** Writes the key behind an envelope at `at` and marks the envelope; returns the offset of the body. */
export function writeKey(b: Uint8Array, at: number, key: Uint8Array | null): number {
  if (key === null) return at + ENVELOPE_BYTES;
  writeU16(b, at + ENVELOPE.flags, ENVELOPE_FLAG.keyed);
  b[at + ENVELOPE_BYTES] = key.length;
  b.set(key, at + ENVELOPE_BYTES + 1);
  return at + ENVELOPE_BYTES + 1 + key.length;
}

/** Why flags and key of a command payload b[at, at + size) are no good, or null. */
export function keyProblem(b: Uint8Array, at: number, size: number): string | null {
  const flags = envelope.flags(b, at);
  if (flags === 0) return null;
  if (flags !== ENVELOPE_FLAG.keyed || envelope.kind(b, at) !== KIND.command)
    return `envelope flags ${flags} are unknown`;
  const length = size > ENVELOPE_BYTES ? b[at + ENVELOPE_BYTES]! : 0;
  if (length < 1 || length > IDEMPOTENCY_KEY_BYTES_MAX)
    return `an idempotency key has 1 to ${IDEMPOTENCY_KEY_BYTES_MAX} bytes, not ${length}`;
  return ENVELOPE_BYTES + 1 + length > size ? 'the idempotency key is cut off' : null;
}

/** Block time of the frame at `at`, in whole milliseconds. */
export function blockTimeMs(b: Uint8Array, at: number): number {
  // Exact without bigint: 2^32 ns = 4294 ms + 967,296 ns, and the high half times that remainder is below 2^53.
  const high = frame.timeHigh(b, at);
  return high * 4294 + Math.floor((high * 967_296 + frame.timeLow(b, at)) / 1_000_000);
}

/** Writes an envelope at `at`. */
export function writeEnvelope(
  b: Uint8Array,
  at: number,
  kind: EntryKind,
  command: number,
  client: number,
  request: number,
  ackBelow: number,
): void {
  b[at] = kind;
  b[at + ENVELOPE.version] = ENVELOPE_VERSION;
  writeU16(b, at + ENVELOPE.flags, 0);
  writeU32(b, at + ENVELOPE.command, command);
  writeU64(b, at + ENVELOPE.client, client);
  writeU64(b, at + ENVELOPE.request, request);
  writeU64(b, at + ENVELOPE.ackBelow, ackBelow);
}

/** Sets every header field that a codec's `seal` does not. */
export function writeHeader(
  b: Uint8Array,
  at: number,
  payloadSize: number,
  index: number,
  view: number,
  timeLow: number,
  timeHigh: number,
  flags: number,
): void {
  b.fill(0, at, at + FRAME_HEADER_BYTES);
  writeU32(b, at + OFFSET.payloadSize, payloadSize);
  writeU64(b, at + OFFSET.index, index);
  writeU64(b, at + OFFSET.view, view);
  writeU32(b, at + OFFSET.timestamp, timeLow);
  writeU32(b, at + OFFSET.timestamp + 4, timeHigh);
  writeU16(b, at + OFFSET.flags, flags);
  writeU16(b, at + OFFSET.schema, SCHEMA.envelope);
}
