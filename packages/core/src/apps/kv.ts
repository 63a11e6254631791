/**
 * kv: a map from binary keys to binary values, for speed: bodies are read by hand, no value codec, no schema behind the edge.
 *
 * Invariants: insertion order of keys is kept through rollback, snapshot and restore; a stored value never aliases the log; one command changes at
 * most one key, so that one slot is all the undo there is.
 *
 * | command | body | result |
 * |---|---|---|
 * | 1 put | keyLength u16, key, value | empty |
 * | 2 delete | key | 1 if it was there, else 0 |
 * | 3 cas | keyLength u16, key, expects u8 (0: absent), expectedLength u32, expected, value | 1 if it was so and is now `value`, else 0 |
 * | 4 get | key | 0, or 1 and the value (a read through the log) |
 *
 * Queries: 1 get: key -> as command 4; 2 size -> u32.
 */
import { readU16, readU32, writeU16, writeU32 } from '../engine/frame.ts';
import { ByteReader, type ByteWriter } from '../kernel/bytes.ts';
import { CodecError, InvalidCommand } from '../kernel/errors.ts';
import { collect, PIECE_BYTES, type SnapshotStream, streamOfMap } from '../kernel/snapshot-stream.ts';
import type { Applied, ApplicationModule, Event, Transactional } from '../kernel/types.ts';
import { latin1Decode } from '../kernel/utf8.ts';
import { VersionedMap } from '../kernel/versioned-map.ts';
import { KEY_BYTES_MAX, kvCommands, kvQueries, VALUE_BYTES_MAX } from './kv-calls.ts';

export const KV_COMMAND = { put: 1, delete: 2, cas: 3, get: 4 } as const;
export const KV_QUERY = { get: 1, size: 2 } as const;

/** Values up to POOLED_BYTES are packed into chunks: an ArrayBuffer of its own costs several times the copy. A chunk lives as long as one of them. */
const CHUNK_BYTES = 8192;
const POOLED_BYTES = 1024;

const ABSENT = new Uint8Array([0]);
const YES = new Uint8Array([1]);
const EMPTY = new Uint8Array(0);

/** The map, with what the command at hand changed. */
export class KvState implements Transactional {
  /** Key bytes as a string of code units 0..255. */
  private rows = new VersionedMap<string, Uint8Array>();
  private changed: string | null = null;
  private before: Uint8Array | undefined;
  private after: Uint8Array | undefined;
  private removed = false;
  private writes = new Uint8Array(4096);
  private writesView = EMPTY;
  private chunk = new Uint8Array(CHUNK_BYTES);
  private chunkUsed = 0;

  get size(): number {
    return this.rows.size;
  }

  get(key: string): Uint8Array | undefined {
    return this.removed && key === this.changed ? undefined : this.rows.get(key);
  }

  /** Sets a row to a copy of body[from..]. */
  put(key: string, body: Uint8Array, from: number): void {
    this.changed = key;
    this.before = this.rows.get(key);
    const value = this.store(body, from);
    this.after = value;
    this.rows.set(key, value);
  }

  private store(body: Uint8Array, from: number): Uint8Array {
    const size = body.length;
    if (size > POOLED_BYTES) return body.slice(from);
    if (this.chunkUsed + size > CHUNK_BYTES) {
      this.chunk = new Uint8Array(CHUNK_BYTES);
      this.chunkUsed = 0;
    }
    // The key goes along: a few bytes are cheaper than a view without it.
    this.chunk.set(body, this.chunkUsed);
    const value = new Uint8Array(this.chunk.buffer, this.chunkUsed + from, size - from);
    this.chunkUsed += size;
    return value;
  }

  /** The row goes at commit, so that a rollback leaves it in its place. */
  delete(key: string): boolean {
    this.changed = key;
    this.before = this.rows.get(key);
    this.after = undefined;
    this.removed = this.before !== undefined;
    return this.removed;
  }

  begin(): void {
    this.changed = null;
    this.removed = false;
  }

  commit(): void {
    if (this.removed) this.rows.delete(this.changed!);
    this.begin();
  }

  rollback(): void {
    if (this.changed !== null && !this.removed) {
      if (this.before === undefined) this.rows.delete(this.changed);
      else this.rows.set(this.changed, this.before);
    }
    this.begin();
  }

  /** keyLength u16, key, present u8, value. Valid until the next call. */
  writeSet(): Uint8Array {
    const key = this.changed;
    if (key === null) return EMPTY;
    const value = this.after;
    const size = 3 + key.length + (value?.length ?? 0);
    if (this.writes.length < size) this.writes = new Uint8Array(2 * size);
    const out = this.writes;
    writeU16(out, 0, key.length);
    for (let i = 0; i < key.length; i++) out[2 + i] = key.charCodeAt(i);
    out[2 + key.length] = value === undefined ? 0 : 1;
    if (value !== undefined) out.set(value, 3 + key.length);
    // Most rows are of one size: a new view for each command would be a third of all garbage.
    if (this.writesView.length !== size || this.writesView.buffer !== out.buffer)
      this.writesView = out.subarray(0, size);
    return this.writesView;
  }

  encode(): Uint8Array {
    return collect(this.stream());
  }

  /** Canonical bytes of the rows of now, piece by piece. Between two commands; one stream at a time. */
  stream(pieceBytes = PIECE_BYTES): SnapshotStream {
    return streamOfMap(this.rows, pieceBytes, encodeRow);
  }

  /** Throws CodecError. */
  restore(bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    const rows = new VersionedMap<string, Uint8Array>();
    for (let left = r.count(2); left > 0; left--) {
      const key = r.blob();
      if (key.length > KEY_BYTES_MAX) throw new CodecError('a key is too long');
      const name = latin1Decode(key, 0, key.length);
      if (rows.has(name)) throw new CodecError('a key stands twice');
      rows.set(name, this.store(r.bytes(r.count()), 0));
    }
    r.end();
    this.rows = rows;
  }
}

function encodeRow(w: ByteWriter, key: string, value: Uint8Array): void {
  w.latin1(key);
  w.blob(value);
}

function apply(state: KvState, event: Event): Applied<KvState> {
  const { body } = event;
  switch (event.command) {
    case KV_COMMAND.put: {
      const keyEnd = prefixedKeyEnd(body);
      state.put(latin1Decode(body, 2, keyEnd), body, valueFrom(body, keyEnd));
      return { state };
    }
    case KV_COMMAND.delete:
      return { state, result: state.delete(wholeKey(body)) ? YES : ABSENT };
    case KV_COMMAND.cas:
      return { state, result: cas(state, body) ? YES : ABSENT };
    case KV_COMMAND.get:
      return { state, result: found(state.get(wholeKey(body))) };
    default:
      throw new InvalidCommand(`kv has no command ${event.command}`);
  }
}

function cas(state: KvState, body: Uint8Array): boolean {
  const keyEnd = prefixedKeyEnd(body);
  if (body.length < keyEnd + 5) throw new InvalidCommand('a cas is too short');
  const key = latin1Decode(body, 2, keyEnd);
  const expects = body[keyEnd]!;
  const expectedEnd = keyEnd + 5 + readU32(body, keyEnd + 1);
  if (expects > 1 || expectedEnd > body.length) throw new InvalidCommand('a cas states more than it has');
  const now = state.get(key);
  if (expects === 0 ? now !== undefined : !sameBytes(now, body, keyEnd + 5, expectedEnd)) return false;
  state.put(key, body, valueFrom(body, expectedEnd));
  return true;
}

function sameBytes(now: Uint8Array | undefined, body: Uint8Array, from: number, to: number): boolean {
  if (now === undefined || now.length !== to - from) return false;
  for (let i = 0; i < now.length; i++) if (now[i] !== body[from + i]) return false;
  return true;
}

function prefixedKeyEnd(body: Uint8Array): number {
  if (body.length < 2) throw new InvalidCommand('a key is missing');
  const length = readU16(body, 0);
  if (length > KEY_BYTES_MAX || 2 + length > body.length) throw new InvalidCommand('a key is too long or cut off');
  return 2 + length;
}

function wholeKey(body: Uint8Array): string {
  if (body.length > KEY_BYTES_MAX) throw new InvalidCommand('a key is too long');
  return latin1Decode(body, 0, body.length);
}

/** Where the value begins, once it is known to be small enough. */
function valueFrom(body: Uint8Array, from: number): number {
  if (body.length - from > VALUE_BYTES_MAX) throw new InvalidCommand(`a value has at most ${VALUE_BYTES_MAX} bytes`);
  return from;
}

function found(value: Uint8Array | undefined): Uint8Array {
  if (value === undefined) return ABSENT;
  const out = new Uint8Array(1 + value.length);
  out[0] = 1;
  out.set(value, 1);
  return out;
}

function query(state: KvState, number: number, body: Uint8Array): Uint8Array {
  if (number === KV_QUERY.get) return found(state.get(wholeKey(body)));
  if (number !== KV_QUERY.size) throw new InvalidCommand(`kv has no query ${number}`);
  const out = new Uint8Array(4);
  writeU32(out, 0, state.size);
  return out;
}

export const kv: ApplicationModule<KvState> = {
  name: 'kv',
  version: 1,
  application: {
    genesis: () => new KvState(),
    apply,
    query,
    snapshot: (state) => state.stream(),
    restore: (bytes) => {
      const state = new KvState();
      state.restore(bytes);
      return state;
    },
  },
  commands: kvCommands,
  queries: kvQueries,
};
