/**
 * The binary client protocol (over `ws` in the daemon, over the simulated network in the simulator). One transport message is a run of
 * records, each `length u32 (of what follows) ++ body`; all integers little-endian. Decoding never throws and never allocates more than it got.
 *
 * Client to replica:
 *   1 request: `1 u8, 0 u8, 0 u16, 0 u32, payload` where payload = envelope (32) ++ body exactly as it will stand in the frame; kinds command, register, cancel.
 *              register: client 0, request = random nonce.
 *   2 query:   `2 u8, consistency u8 (0 linearizable, 1 stale), 0 u16, query u32, nonce u64, max lag in ms u32 (all ones: none), 0 u32, body`
 * Replica to client:
 *   `type u8, status u8, 0 u16, 0 u32, session u64, request u64, index u64 (index + 1; 0 = none), body`
 *   1 reply (status REPLY), 2 refusal (status REFUSAL; concerns one transmission), 3 answer (request = nonce; status 0 ok, else the application's failure),
 *   4 query refusal (status REFUSAL), 5 hello (session = view, request = this replica's id, index = primary id + 1 or 0, body = cluster id).
 */
import { ENVELOPE_BYTES, PAYLOAD_BYTES_MAX } from '../engine/constants.ts';
import { fromWire, toWire, type CommitIndex, NONE } from '../engine/commit-index.ts';
import { envelope, ENVELOPE_VERSION, keyProblem, KIND, readU32, readU64, writeU32, writeU64 } from '../engine/frame.ts';

export const REFUSAL = {
  /** Queue or pipeline full, or the primary is not ready yet: send again later; body = when, ms u32. */
  busy: 1,
  /** Not the primary: body = view u64, primary id u64. */
  notPrimary: 2,
  /** Read-only: no space for the log. Definite. */
  noSpace: 3,
  /** The primary lost its view with this request in flight: the outcome is unknown; ask the new one with the same number. */
  deposed: 4,
  /** Malformed or oversized payload. Definite. */
  invalid: 5,
  /** A replica that must not serve reads. */
  unavailable: 6,
  /** A stale read whose `maxLagMs` this replica cannot meet now. */
  lag: 7,
} as const;
export type RefusalStatus = (typeof REFUSAL)[keyof typeof REFUSAL];

export const TO_REPLICA = { request: 1, query: 2 } as const;
export const TO_CLIENT = { reply: 1, refusal: 2, answer: 3, queryRefusal: 4, hello: 5 } as const;
export const CONSISTENCY = { linearizable: 0, stale: 1 } as const;

export const REQUEST_HEAD_BYTES = 8;
export const QUERY_HEAD_BYTES = 24;
/** `max lag` of a query that states none. */
const NO_MAX_LAG = 0xffff_ffff;
export const REPLY_HEAD_BYTES = 32;

/** A decoded record from a client; `payload` and `body` are views. */
export type ClientRecord =
  | { readonly type: 'request'; readonly payload: Uint8Array }
  | {
      readonly type: 'query';
      readonly consistency: number;
      readonly query: number;
      readonly nonce: number;
      /** How much a stale answer may lack; Infinity: any amount. */
      readonly maxLagMs: number;
      readonly body: Uint8Array;
    };

/** A record to a client. */
export interface ClientMessage {
  readonly type: (typeof TO_CLIENT)[keyof typeof TO_CLIENT];
  readonly status: number;
  readonly session: number;
  readonly request: number;
  readonly index: CommitIndex;
  readonly body: Uint8Array;
}

/** Walks the records of one transport message. Returns null when all were well-formed, else what was wrong (the connection is then closed). */
export function decodeClientRecords(bytes: Uint8Array, onRecord: (record: ClientRecord) => void): string | null {
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 4) return 'record length cut off';
    const length = readU32(bytes, at);
    at += 4;
    if (length > bytes.length - at) return `record of ${length} bytes in a message with ${bytes.length - at} left`;
    const end = at + length;
    const type = bytes[at];
    if (!reservedIsZero(bytes, at, length)) return 'a reserved field is not zero';
    if (type === TO_REPLICA.request && length >= REQUEST_HEAD_BYTES + ENVELOPE_BYTES) {
      onRecord({ type: 'request', payload: bytes.subarray(at + REQUEST_HEAD_BYTES, end) });
    } else if (type === TO_REPLICA.query && length >= QUERY_HEAD_BYTES) {
      const nonce = readU64(bytes, at + 8);
      const maxLag = readU32(bytes, at + 16);
      if (Number.isNaN(nonce)) return 'query nonce above 2^53';
      onRecord({
        type: 'query',
        consistency: bytes[at + 1]!,
        query: readU32(bytes, at + 4),
        nonce,
        maxLagMs: maxLag === NO_MAX_LAG ? Number.POSITIVE_INFINITY : maxLag,
        body: bytes.subarray(at + QUERY_HEAD_BYTES, end),
      });
    } else {
      return `record type ${String(type)} of ${length} bytes is unknown or too short`;
    }
    at = end;
  }
  return null;
}

/** Reserved bytes may once mean something: who sets them wants what this program does not know. */
function reservedIsZero(bytes: Uint8Array, at: number, length: number): boolean {
  if (length < REQUEST_HEAD_BYTES) return true;
  if (bytes[at + 2] !== 0 || bytes[at + 3] !== 0) return false;
  if (bytes[at] === TO_REPLICA.request) return bytes[at + 1] === 0 && readU32(bytes, at + 4) === 0;
  return length < QUERY_HEAD_BYTES || (bytes[at + 1]! <= CONSISTENCY.stale && readU32(bytes, at + 20) === 0);
}

/** Why a request payload must not enter the log, or null. */
export function payloadProblem(payload: Uint8Array, payloadBytesMax: number = PAYLOAD_BYTES_MAX): string | null {
  if (payload.length > payloadBytesMax) return `payload of ${payload.length} bytes, the limit is ${payloadBytesMax}`;
  if (payload.length < ENVELOPE_BYTES) return 'payload shorter than its envelope';
  const kind = envelope.kind(payload, 0);
  if (kind !== KIND.command && kind !== KIND.register && kind !== KIND.cancel) return `kind ${kind} is not a client's`;
  if (envelope.version(payload, 0) !== ENVELOPE_VERSION)
    return `envelope version ${envelope.version(payload, 0)} is unknown`;
  const problem = keyProblem(payload, 0, payload.length);
  if (problem !== null) return problem;
  const numbers = [envelope.client(payload, 0), envelope.request(payload, 0), envelope.ackBelow(payload, 0)];
  return numbers.some(Number.isNaN) ? 'a number above 2^53' : null;
}

/** Bytes of a request record with this payload length, its length field included. */
export function requestRecordBytes(payloadLength: number): number {
  return 4 + REQUEST_HEAD_BYTES + payloadLength;
}

/** Writes the head of a request record at `at`; the payload goes right behind. Returns its offset. */
export function writeRequestHead(out: Uint8Array, at: number, payloadLength: number): number {
  writeU32(out, at, REQUEST_HEAD_BYTES + payloadLength);
  out.fill(0, at + 4, at + 4 + REQUEST_HEAD_BYTES);
  out[at + 4] = TO_REPLICA.request;
  return at + 4 + REQUEST_HEAD_BYTES;
}

export function encodeQuery(
  query: number,
  nonce: number,
  consistency: number,
  body: Uint8Array,
  maxLagMs: number = Number.POSITIVE_INFINITY,
): Uint8Array {
  const out = new Uint8Array(4 + QUERY_HEAD_BYTES + body.length);
  writeU32(out, 0, QUERY_HEAD_BYTES + body.length);
  out[4] = TO_REPLICA.query;
  out[5] = consistency;
  writeU32(out, 8, query);
  writeU64(out, 12, nonce);
  writeU32(out, 20, Math.min(NO_MAX_LAG, Math.max(0, Math.floor(maxLagMs))));
  out.set(body, 4 + QUERY_HEAD_BYTES);
  return out;
}

/** Bytes of a message to a client, its length field included. */
export function clientMessageBytes(message: ClientMessage): number {
  return 4 + REPLY_HEAD_BYTES + message.body.length;
}

/** Writes a message to a client at `at`; returns the offset behind it. */
export function writeClientMessage(out: Uint8Array, at: number, message: ClientMessage): number {
  writeU32(out, at, REPLY_HEAD_BYTES + message.body.length);
  out[at + 4] = message.type;
  out[at + 5] = message.status;
  out[at + 6] = 0;
  out[at + 7] = 0;
  writeU32(out, at + 8, 0);
  writeU64(out, at + 12, message.session);
  writeU64(out, at + 20, message.request);
  writeU64(out, at + 28, toWire(message.index));
  out.set(message.body, at + 4 + REPLY_HEAD_BYTES);
  return at + 4 + REPLY_HEAD_BYTES + message.body.length;
}

/** Walks the records of a message from a replica; returns what was wrong, or null. */
export function decodeClientMessages(bytes: Uint8Array, onMessage: (message: ClientMessage) => void): string | null {
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 4 + REPLY_HEAD_BYTES) return 'record cut off';
    const length = readU32(bytes, at);
    if (length < REPLY_HEAD_BYTES || length > bytes.length - at - 4) return `record of ${length} bytes is cut off`;
    const type = bytes[at + 4]!;
    if (type < TO_CLIENT.reply || type > TO_CLIENT.hello) return `record type ${type} is unknown`;
    const session = readU64(bytes, at + 12);
    const request = readU64(bytes, at + 20);
    const index = readU64(bytes, at + 28);
    if (Number.isNaN(session) || Number.isNaN(request) || Number.isNaN(index)) return 'a number above 2^53';
    onMessage({
      type: type as ClientMessage['type'],
      status: bytes[at + 5]!,
      session,
      request,
      index: fromWire(index),
      body: bytes.subarray(at + 4 + REPLY_HEAD_BYTES, at + 4 + length),
    });
    at += 4 + length;
  }
  return null;
}

/** Body of a notPrimary refusal. */
export function encodeRedirect(view: number, primary: number): Uint8Array {
  const body = new Uint8Array(16);
  writeU64(body, 0, view);
  writeU64(body, 8, primary);
  return body;
}

export function decodeRedirect(body: Uint8Array): { readonly view: number; readonly primary: number } | null {
  if (body.length !== 16) return null;
  const view = readU64(body, 0);
  const primary = readU64(body, 8);
  return Number.isNaN(view) || Number.isNaN(primary) ? null : { view, primary };
}

/** Body of a busy refusal. */
export function encodeRetryAfter(ms: number): Uint8Array {
  const body = new Uint8Array(4);
  writeU32(body, 0, ms);
  return body;
}

/** What a busy refusal says; 0 when it says nothing. */
export function decodeRetryAfter(body: Uint8Array): number {
  return body.length === 4 ? readU32(body, 0) : 0;
}

export function refusal(
  type: typeof TO_CLIENT.refusal | typeof TO_CLIENT.queryRefusal,
  status: RefusalStatus,
  session: number,
  request: number,
  body: Uint8Array,
): ClientMessage {
  return { type, status, session, request, index: NONE, body };
}
