/**
 * The replicated session table (docs/protocol.md, "Clients and sessions"): which numbers of which session were applied, to what payload they
 * are bound, and what they came to. It changes only at apply and is in the snapshot, so a retry is answered, never executed again.
 *
 * Invariants, for each session: ackBelow <= next <= ackBelow + W; a reply is kept for each number in [ackBelow, next); a number that was applied or
 * voided is never applied again; `sessions.size <= limit`; the eviction order is the order of last committed entries, equal on every replica.
 *
 * Binding of a number to its payload. The acknowledged-below field changes between transmissions of one request, so the frame's payload hash alone
 * would refuse honest retries. Kept are the payload hash of the frame that was applied (already verified, no hashing here) and the acknowledged-below
 * it carried. A later copy is the same request exactly if it hashes to the kept hash once that field is put back; only duplicates pay for a hash.
 */
import { assert } from '../assert.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { ENVELOPE, envelope, KIND, readU32, writeU64 } from '../engine/frame.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { Policy } from '../policy.ts';
import { EMPTY_BODY, isReplyStatus, REPLY, type Reply, type ReplyStatus, SESSION_WINDOW } from '../reply.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';
import { collect, PIECE_BYTES, type SnapshotStream, streamOf } from './snapshot-stream.ts';
import type { SessionAnswer } from './types.ts';

/** Sessions kept by default; the least recently committed one goes first. */
export const SESSIONS_MAX = 10_000;
/** The first number of every session. */
export const FIRST_REQUEST = 1;

const NEXT: SessionAnswer = { kind: 'next' };

/** A kept reply with what its number is bound to. */
export class KeptReply implements Reply {
  readonly status: ReplyStatus;
  readonly session: number;
  readonly request: number;
  readonly index: number;
  readonly body: Uint8Array;
  /** Acknowledged-below of the applied copy; -1 when the number is bound to no payload (cancelled). */
  readonly ackBelow: number;
  readonly h0: number;
  readonly h1: number;
  readonly h2: number;
  readonly h3: number;

  /** `hash[at..at+16]`: payload hash of the applied copy. */
  constructor(
    status: ReplyStatus,
    session: number,
    request: number,
    index: number,
    body: Uint8Array,
    ackBelow: number,
    hash: Uint8Array,
    at: number,
  ) {
    this.status = status;
    this.session = session;
    this.request = request;
    this.index = index;
    this.body = body;
    this.ackBelow = ackBelow;
    this.h0 = readU32(hash, at) | 0;
    this.h1 = readU32(hash, at + 4) | 0;
    this.h2 = readU32(hash, at + 8) | 0;
    this.h3 = readU32(hash, at + 12) | 0;
  }
}

const NO_HASH = new Uint8Array(HASH_BYTES);

/** One session. Linked in the order of last committed entries. */
export class Session {
  readonly id: number;
  next = FIRST_REQUEST;
  ackBelow = FIRST_REQUEST;
  /** Index of the last entry that changed it. */
  lastIndex: number;
  older: Session | null = null;
  newer: Session | null = null;
  /** Snapshot (SessionTable.stream) that has this session already, or must not have it. */
  mark: number;
  /** What it was at the snapshot being read, when it has changed since. */
  saved: Session | null = null;
  /** Replies of [ackBelow, next), at number modulo the length (a power of two). */
  private kept: (KeptReply | null)[] = [null, null];

  constructor(id: number, mark: number) {
    this.id = id;
    this.mark = mark;
    this.lastIndex = id;
  }

  /** As it is now: replies are shared, they never change. */
  copy(): Session {
    const copy = new Session(this.id, this.mark);
    copy.next = this.next;
    copy.ackBelow = this.ackBelow;
    copy.lastIndex = this.lastIndex;
    copy.kept = this.kept.slice();
    return copy;
  }

  /** The kept reply of a number in [ackBelow, next). */
  reply(request: number): KeptReply {
    const reply = this.kept[request & (this.kept.length - 1)];
    assert(
      reply !== null && reply !== undefined && reply.request === request,
      'a reply is kept for each number of the window',
    );
    return reply;
  }

  /** Keeps the reply of number `next` and moves on. */
  push(reply: KeptReply): void {
    if (this.next - this.ackBelow >= this.kept.length) this.grow();
    this.kept[reply.request & (this.kept.length - 1)] = reply;
    this.next = reply.request + 1;
  }

  /** Forgets the replies below `ackBelow`, which is in [this.ackBelow, next]. */
  acknowledge(ackBelow: number): void {
    for (let n = this.ackBelow; n < ackBelow; n++) this.kept[n & (this.kept.length - 1)] = null;
    this.ackBelow = ackBelow;
  }

  private grow(): void {
    const wider = Array.from<KeptReply | null>({ length: 2 * this.kept.length }).fill(null);
    for (let n = this.ackBelow; n < this.next; n++)
      wider[n & (wider.length - 1)] = this.kept[n & (this.kept.length - 1)]!;
    this.kept = wider;
  }
}

export interface SessionTableOptions {
  readonly codec: FrameCodec;
  readonly policy: Policy;
  readonly sessionsMax: number;
}

export class SessionTable {
  private readonly codec: FrameCodec;
  private readonly policy: Policy;
  private readonly sessionsMax: number;
  private sessions = new Map<number, Session>();
  private oldest: Session | null = null;
  private newest: Session | null = null;
  /** Number of the newest snapshot. */
  private mark = 0;
  /** True while a snapshot is being read: what changes is saved first. */
  private streaming = false;
  private scratch = new Uint8Array(4096);
  private readonly hash = new Uint8Array(HASH_BYTES);

  constructor(options: SessionTableOptions) {
    assert(options.sessionsMax > 0, 'there is room for a session');
    this.codec = options.codec;
    this.policy = options.policy;
    this.sessionsMax = options.sessionsMax;
  }

  get size(): number {
    return this.sessions.size;
  }

  get(session: number): Session | undefined {
    return this.sessions.get(session);
  }

  /** Ids in order of last committed entry, oldest first. */
  *ids(): IterableIterator<number> {
    for (let s = this.oldest; s !== null; s = s.newer) yield s.id;
  }

  nextRequest(session: number): number | null {
    return this.sessions.get(session)?.next ?? null;
  }

  /** Makes the session of the register entry at `index`; the least recently committed one makes room. */
  register(index: number): void {
    if (this.sessions.size >= this.sessionsMax) {
      const evicted = this.oldest;
      assert(evicted !== null, 'a full table has an oldest session');
      this.unlink(evicted);
      this.sessions.delete(evicted.id);
    }
    const session = new Session(index, this.mark);
    this.sessions.set(index, session);
    this.append(session);
  }

  /**
   * What the table says of a copy of a request. The same check before the log (lookup at the primary) and at apply: `payload` is
   * bytes[at, at + size), an envelope of kind command or cancel with its body.
   */
  check(session: number, request: number, bytes: Uint8Array, at: number, size: number): SessionAnswer {
    const entry = this.sessions.get(session);
    if (entry === undefined) return refused(REPLY.evicted, session, request);
    if (request < entry.ackBelow) return refused(REPLY.sequence, session, request);
    if (request < entry.next) {
      if (this.policy.noSessionDedupe) return NEXT;
      const reply = entry.reply(request);
      const bound = reply.ackBelow >= 0 && envelope.kind(bytes, at) !== KIND.cancel;
      if (bound && !this.sameRequest(reply, bytes, at, size)) return refused(REPLY.mismatch, session, request);
      return { kind: 'reply', reply };
    }
    if (request >= ackBelowWith(entry, envelope.ackBelow(bytes, at)) + SESSION_WINDOW) {
      return refused(REPLY.sequence, session, request);
    }
    return request === entry.next ? NEXT : { kind: 'ahead', next: entry.next };
  }

  /**
   * Records the outcome of the session's next number, settled by the entry at `index`, and makes it the most recently committed session. `replyIndex`:
   * where the command was applied, an earlier entry for one that an idempotency key answers. Returns the reply that is kept.
   */
  record(
    entry: Session,
    request: number,
    index: number,
    status: ReplyStatus,
    body: Uint8Array,
    ackBelow: number,
    hash: Uint8Array | null,
    hashAt: number,
    replyIndex: number = index,
  ): Reply {
    const reply = new KeptReply(
      status,
      entry.id,
      request,
      replyIndex,
      body,
      hash === null ? -1 : ackBelow,
      hash ?? NO_HASH,
      hashAt,
    );
    if (request !== entry.next) {
      assert(this.policy.noSessionDedupe, 'only the next number of a session is recorded');
      return reply;
    }
    if (this.streaming && entry.mark !== this.mark) {
      entry.mark = this.mark;
      entry.saved = entry.copy();
    }
    const acknowledged = ackBelowWith(entry, ackBelow);
    if (acknowledged > entry.ackBelow) entry.acknowledge(acknowledged);
    entry.push(reply);
    assert(entry.next - entry.ackBelow <= SESSION_WINDOW, 'a session keeps at most its window');
    entry.lastIndex = index;
    if (entry !== this.newest) {
      this.unlink(entry);
      this.append(entry);
    }
    return reply;
  }

  /** Hashes a copy with the acknowledged-below of the applied one put back. */
  private sameRequest(reply: KeptReply, bytes: Uint8Array, at: number, size: number): boolean {
    if (this.scratch.length < size) this.scratch = new Uint8Array(size);
    const copy = this.scratch;
    copy.set(bytes.subarray(at, at + size));
    writeU64(copy, ENVELOPE.ackBelow, reply.ackBelow);
    this.codec.hash(copy, 0, size, this.hash, 0);
    return (
      (readU32(this.hash, 0) | 0) === reply.h0 &&
      (readU32(this.hash, 4) | 0) === reply.h1 &&
      (readU32(this.hash, 8) | 0) === reply.h2 &&
      (readU32(this.hash, 12) | 0) === reply.h3
    );
  }

  private append(session: Session): void {
    session.older = this.newest;
    session.newer = null;
    if (this.newest === null) this.oldest = session;
    else this.newest.newer = session;
    this.newest = session;
  }

  private unlink(session: Session): void {
    if (session.older === null) this.oldest = session.newer;
    else session.older.newer = session.newer;
    if (session.newer === null) this.newest = session.older;
    else session.newer.older = session.older;
  }

  /** Canonical bytes: sessions in eviction order. */
  encode(): Uint8Array {
    return collect(this.stream());
  }

  /** The same piece by piece, as of now. One stream at a time. */
  stream(pieceBytes = PIECE_BYTES): SnapshotStream {
    assert(!this.streaming, 'one snapshot is read at a time');
    this.streaming = true;
    this.mark++;
    const sessions: Session[] = [];
    if (!this.policy.sessionNotInSnapshot) for (let s = this.oldest; s !== null; s = s.newer) sessions.push(s);
    return streamOf(this.pieces(sessions, pieceBytes), () => {
      this.streaming = false;
      for (const session of sessions) session.saved = null;
    });
  }

  private *pieces(sessions: readonly Session[], pieceBytes: number): Generator<Uint8Array> {
    const w = new ByteWriter(2 * pieceBytes);
    w.varint(sessions.length);
    for (const session of sessions) {
      const state = session.saved ?? session.copy();
      session.saved = null;
      session.mark = this.mark;
      encodeHead(w, state);
      for (let n = state.ackBelow; n < state.next; n++) {
        encodeReply(w, state.reply(n));
        if (w.length < pieceBytes) continue;
        yield w.view();
        w.reset();
      }
    }
    yield w.view();
  }

  /** Replaces the table; throws CodecError, and changes nothing, for bytes that no table encodes to. */
  restore(bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    const sessions = new Map<number, Session>();
    let previous = -1;
    for (let left = r.count(4); left > 0; left--) {
      const session = decodeSession(r);
      if (session.lastIndex <= previous || sessions.has(session.id))
        throw new CodecError('sessions are not in eviction order');
      previous = session.lastIndex;
      sessions.set(session.id, session);
    }
    r.end();
    this.sessions = sessions;
    this.oldest = null;
    this.newest = null;
    for (const session of sessions.values()) this.append(session);
  }
}

/** The session's acknowledged-below once a request that states `ackBelow` is applied: it grows, and never passes the next number. */
function ackBelowWith(session: Session, ackBelow: number): number {
  return Math.max(session.ackBelow, Math.min(ackBelow, session.next));
}

/** An answer that concerns this copy only and changes nothing. */
function refused(status: ReplyStatus, session: number, request: number): SessionAnswer {
  return { kind: 'refused', reply: { status, session, request, index: 0, body: EMPTY_BODY } };
}

function encodeHead(w: ByteWriter, session: Session): void {
  w.varint(session.id);
  w.varint(session.lastIndex);
  w.varint(session.ackBelow);
  w.varint(session.next - session.ackBelow);
}

function encodeReply(w: ByteWriter, reply: KeptReply): void {
  w.u8(reply.status);
  w.varint(reply.index);
  w.blob(reply.body);
  w.varint(reply.ackBelow + 1);
  w.u32(reply.h0);
  w.u32(reply.h1);
  w.u32(reply.h2);
  w.u32(reply.h3);
}

function decodeSession(r: ByteReader): Session {
  const session = new Session(r.varint(), 0);
  session.lastIndex = r.varint();
  session.ackBelow = r.varint();
  session.next = session.ackBelow;
  const count = r.varint();
  if (count > SESSION_WINDOW || session.lastIndex < session.id || session.ackBelow < FIRST_REQUEST) {
    throw new CodecError('a session is out of its bounds');
  }
  for (let i = 0; i < count; i++) {
    const status = r.u8();
    if (!isReplyStatus(status)) throw new CodecError(`${status} is no reply status`);
    const index = r.varint();
    const body = r.blob();
    const ackBelow = r.varint() - 1;
    const hash = r.bytes(HASH_BYTES);
    session.push(new KeptReply(status, session.id, session.next, index, body, ackBelow, hash, 0));
  }
  return session;
}
