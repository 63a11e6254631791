/**
 * Durable idempotency keys (docs/protocol.md, "Clients and sessions"): for callers that outlive a process and so cannot repeat a number of their
 * session. A key is bound to one command (number and body) and to what that command came to. It changes only at apply and is in the snapshot.
 *
 * Invariants: a key executes at most one command until it expires; it expires by block time only, oldest first, equally on every replica; the table never
 * forgets a key early: when it is full, a new key is refused and its command does not run; entries stand in order of block time.
 */
import { assert } from '../assert.ts';
import { ENVELOPE_BYTES, HASH_BYTES } from '../engine/constants.ts';
import { envelope, IDEMPOTENCY_KEY_BYTES_MAX, writeU32 } from '../engine/frame.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { sameHash } from '../engine/hash.ts';
import { isReplyStatus, type ReplyStatus } from '../reply.ts';
import { ByteReader, type ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';
import { latin1Decode } from './utf8.ts';
import { collect, PIECE_BYTES, type SnapshotStream, streamOfMap } from './snapshot-stream.ts';
import { VersionedMap } from './versioned-map.ts';

/** How long a key is kept, block time in ms. */
export const KEY_RETENTION_MS = 24 * 60 * 60 * 1000;
/** Keys kept at once. */
export const KEYS_MAX = 100_000;
/** Bytes of keys and results kept at once; one result may go over it. */
export const KEYS_BYTES_MAX = 64 * 1024 * 1024;
/** What an entry takes beside its key and result, about. */
const ENTRY_BYTES = 64;

/** The code of a rejection that the kernel makes while the table is full. */
export const IDEMPOTENCY_FULL = 'IdempotencyFull';

/** What the command of a key came to. */
export interface KeyedOutcome {
  readonly status: ReplyStatus;
  /** Log index at which it was applied. */
  readonly index: number;
  readonly body: Uint8Array;
  /** Block time at which it was applied, ms. */
  readonly timeMs: number;
  /** Hash of command number and body. */
  readonly command: Uint8Array;
}

export interface KeyTableOptions {
  readonly codec: FrameCodec;
  readonly retentionMs?: number;
  readonly keysMax?: number;
}

export class KeyTable {
  private readonly codec: FrameCodec;
  private readonly retentionMs: number;
  private readonly keysMax: number;
  /** By the key as latin1 text, oldest first. */
  private entries = new VersionedMap<string, KeyedOutcome>();
  private bytes = 0;
  private scratch = new Uint8Array(256);

  constructor(options: KeyTableOptions) {
    this.codec = options.codec;
    this.retentionMs = options.retentionMs ?? KEY_RETENTION_MS;
    this.keysMax = options.keysMax ?? KEYS_MAX;
    assert(this.keysMax > 0 && this.retentionMs > 0, 'there is room for a key');
  }

  get size(): number {
    return this.entries.size;
  }

  get full(): boolean {
    return this.entries.size >= this.keysMax || this.bytes >= KEYS_BYTES_MAX;
  }

  /** Forgets what is past its retention at block time `nowMs`. */
  expire(nowMs: number): void {
    for (let oldest = this.entries.first(); oldest !== undefined; oldest = this.entries.first()) {
      const [key, kept] = oldest;
      if (kept.timeMs + this.retentionMs > nowMs) return;
      this.entries.delete(key);
      this.bytes -= sizeOf(key, kept);
    }
  }

  find(key: Uint8Array): KeyedOutcome | undefined {
    return this.entries.get(nameOf(key));
  }

  /** Keeps the outcome of a key that is not there. */
  keep(key: Uint8Array, outcome: KeyedOutcome): void {
    const name = nameOf(key);
    assert(!this.entries.has(name), 'a key is bound once');
    this.entries.set(name, outcome);
    this.bytes += sizeOf(name, outcome);
  }

  /** What a command payload bytes[at, at + size) is, whoever sends it under whichever number: the hash of its command number and body. */
  identify(bytes: Uint8Array, at: number, size: number): Uint8Array {
    const from = envelope.bodyOffset(bytes, at);
    const length = 4 + size - from;
    if (this.scratch.length < length) this.scratch = new Uint8Array(length);
    writeU32(this.scratch, 0, envelope.command(bytes, at));
    this.scratch.set(bytes.subarray(at + from, at + size), 4);
    const hash = new Uint8Array(HASH_BYTES);
    this.codec.hash(this.scratch, 0, length, hash, 0);
    return hash;
  }

  /** Canonical bytes: oldest first. */
  encode(): Uint8Array {
    return collect(this.stream());
  }

  /** The same piece by piece, as of now. One stream at a time. */
  stream(pieceBytes = PIECE_BYTES): SnapshotStream {
    return streamOfMap(this.entries, pieceBytes, encodeKept);
  }

  /** Replaces the table; throws CodecError, and changes nothing, for bytes that no table encodes to. */
  restore(source: Uint8Array): void {
    const r = new ByteReader(source);
    const entries = new VersionedMap<string, KeyedOutcome>();
    let bytes = 0;
    let previous = 0;
    for (let left = r.count(4); left > 0; left--) {
      const key = r.blob();
      const timeMs = r.varint();
      const command = r.bytes(HASH_BYTES).slice();
      const status = r.u8();
      const outcome = { timeMs, command, status: status as ReplyStatus, index: r.varint(), body: r.blob().slice() };
      const name = nameOf(key);
      if (!isReplyStatus(status)) throw new CodecError(`${status} is no reply status`);
      if (key.length < 1 || key.length > IDEMPOTENCY_KEY_BYTES_MAX || timeMs < previous || entries.has(name)) {
        throw new CodecError('an idempotency key is out of its bounds or out of order');
      }
      previous = timeMs;
      entries.set(name, outcome);
      bytes += sizeOf(name, outcome);
    }
    r.end();
    this.entries = entries;
    this.bytes = bytes;
  }
}

function encodeKept(w: ByteWriter, key: string, kept: KeyedOutcome): void {
  w.latin1(key);
  w.varint(kept.timeMs);
  w.bytes(kept.command);
  w.u8(kept.status);
  w.varint(kept.index);
  w.blob(kept.body);
}

/** True when the outcome is of this very command. */
export function isOf(outcome: KeyedOutcome, command: Uint8Array): boolean {
  return sameHash(outcome.command, command);
}

function sizeOf(name: string, outcome: KeyedOutcome): number {
  return ENTRY_BYTES + name.length + outcome.body.length;
}

function nameOf(key: Uint8Array): string {
  return latin1Decode(key, 0, key.length);
}

assert(ENVELOPE_BYTES + 1 + IDEMPOTENCY_KEY_BYTES_MAX < 256, 'the length of a key is one byte');
