/**
 * The outbox: effects of committed entries, waiting to be run outside and acknowledged through the log. Replicated state: it changes only at
 * apply and is in the snapshot.
 *
 * Invariants: `pending` is in (index, sub) order, `dead` in the order of burial; an effect leaves pending only by a committed entry; an acknowledged
 * effect never becomes pending again; pending <= pendingMax, dead <= deadMax (the oldest dead letter is dropped and counted), kept acknowledgements <= ACKNOWLEDGED_KEPT.
 */
import { assert } from '../assert.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { writeU32 } from '../engine/frame.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { toHex } from '../engine/hash.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import type { EffectDeath, EffectFailure, EffectRef } from './effect-entries.ts';
import { CodecError } from './errors.ts';
import { collect, joined, PIECE_BYTES, type SnapshotStream, streamOfBytes, streamOfMap } from './snapshot-stream.ts';
import type { OutboxCounts, OutboxEntry } from './types.ts';
import { VersionedMap } from './versioned-map.ts';

/** Most effects of one entry. */
export const EFFECTS_PER_ENTRY_MAX = 64;
/** Effects waiting at once by default; a command that would exceed it is rejected with OUTBOX_FULL. */
export const OUTBOX_PENDING_MAX = 100_000;
/** Dead letters kept. */
export const OUTBOX_DEAD_MAX = 10_000;
/** Acknowledged effects kept for display. */
export const ACKNOWLEDGED_KEPT = 256;
/** Larger payloads are not kept with an acknowledged effect, in bytes. */
export const ACKNOWLEDGED_PAYLOAD_BYTES_MAX = 1024;

const NO_PAYLOAD = new Uint8Array(0);

/** Where an effect stands, as a number: ordered as (index, sub). */
export function effectPlace(index: number, sub: number): number {
  return index * EFFECTS_PER_ENTRY_MAX + sub;
}

/** The index of the entry that emitted the effect at a place. */
export function indexOf(place: number): number {
  return Math.floor(place / EFFECTS_PER_ENTRY_MAX);
}

/** Never changed in place: a snapshot may be reading it. */
interface Effect {
  readonly index: number;
  readonly sub: number;
  readonly id: Uint8Array;
  readonly channel: string;
  readonly payload: Uint8Array;
  readonly attempts: number;
  readonly notBefore: number;
  readonly lastError: string | null;
}

export interface OutboxOptions {
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  readonly pendingMax: number;
}

export class Outbox {
  private readonly codec: FrameCodec;
  private readonly clusterId: Uint8Array;
  private readonly pendingMax: number;
  private pendingEffects = new VersionedMap<number, Effect>();
  private deadEffects = new VersionedMap<number, Effect>();
  private acknowledgedEffects: Effect[] = [];
  /** The bytes of each of them, made by the first snapshot that has it. */
  private acknowledgedBytes: (Uint8Array | null)[] = [];
  private acknowledgedCount = 0;
  private droppedDead = 0;
  private readonly idScratch = new Uint8Array(2 * HASH_BYTES + 4);

  constructor(options: OutboxOptions) {
    assert(options.clusterId.length === HASH_BYTES, 'a cluster id is 16 bytes');
    this.codec = options.codec;
    this.clusterId = options.clusterId;
    this.pendingMax = options.pendingMax;
  }

  /** True when `count` more effects can wait. */
  hasRoom(count: number): boolean {
    return this.pendingEffects.size + count <= this.pendingMax;
  }

  /** An effect of the entry at `index`, whose chain hash stands at hash[hashAt]. */
  add(index: number, sub: number, hash: Uint8Array, hashAt: number, channel: string, payload: Uint8Array): void {
    assert(sub < EFFECTS_PER_ENTRY_MAX && this.hasRoom(1), 'the outbox has room for the effect');
    const from = this.idScratch;
    from.set(this.clusterId, 0);
    for (let i = 0; i < HASH_BYTES; i++) from[HASH_BYTES + i] = hash[hashAt + i]!;
    writeU32(from, 2 * HASH_BYTES, sub);
    const id = new Uint8Array(HASH_BYTES);
    this.codec.hash(from, 0, from.length, id, 0);
    this.pendingEffects.set(effectPlace(index, sub), {
      index,
      sub,
      id,
      channel,
      payload,
      attempts: 0,
      notBefore: 0,
      lastError: null,
    });
  }

  /** The effect ran. An acknowledgement that comes late, for a dead letter, still counts; a second one changes nothing. */
  acknowledge(ref: EffectRef): void {
    const place = effectPlace(ref.index, ref.sub);
    const effect = this.pendingEffects.get(place) ?? this.deadEffects.get(place);
    if (effect === undefined) return;
    this.pendingEffects.delete(place);
    this.deadEffects.delete(place);
    this.acknowledgedCount++;
    const small = effect.payload.length <= ACKNOWLEDGED_PAYLOAD_BYTES_MAX;
    this.acknowledgedEffects.push(small ? effect : { ...effect, payload: NO_PAYLOAD });
    this.acknowledgedBytes.push(null);
    if (this.acknowledgedEffects.length <= ACKNOWLEDGED_KEPT) return;
    this.acknowledgedEffects.shift();
    this.acknowledgedBytes.shift();
  }

  /** An attempt failed; another may start at `notBefore`. A report of an attempt that is counted already changes nothing. */
  fail(failure: EffectFailure): void {
    const place = effectPlace(failure.index, failure.sub);
    const effect = this.pendingEffects.get(place);
    if (effect === undefined || failure.attempt <= effect.attempts) return;
    const { attempt: attempts, notBefore, error: lastError } = failure;
    this.pendingEffects.set(place, { ...effect, attempts, notBefore, lastError });
  }

  /** The last attempt failed; nobody tries again. */
  bury(death: EffectDeath): void {
    const place = effectPlace(death.index, death.sub);
    const effect = this.pendingEffects.get(place);
    if (effect === undefined) return;
    const attempts = Math.max(effect.attempts, death.attempt);
    this.pendingEffects.delete(place);
    this.deadEffects.set(place, { ...effect, attempts, lastError: death.error });
    if (this.deadEffects.size > OUTBOX_DEAD_MAX) {
      this.deadEffects.delete(this.deadEffects.keys().next().value!);
      this.droppedDead++;
    }
  }

  /** Pending effects, index order. */
  *pending(): IterableIterator<OutboxEntry> {
    for (const effect of this.pendingEffects.values()) yield entryOf(effect, 'pending');
  }

  /** Places (effectPlace) of the pending effects, in order: for a scan that makes no objects. */
  pendingPlaces(): IterableIterator<number> {
    return this.pendingEffects.keys();
  }

  /** The pending effect at a place, or null when it is not pending (any more). */
  pendingAt(place: number): OutboxEntry | null {
    const effect = this.pendingEffects.get(place);
    return effect === undefined ? null : entryOf(effect, 'pending');
  }

  /** Before which time the pending effect at a place is not tried again (0: none); without making an entry of it. Null: it is not pending. */
  notBeforeAt(place: number): number | null {
    return this.pendingEffects.get(place)?.notBefore ?? null;
  }

  isPending(place: number): boolean {
    return this.pendingEffects.has(place);
  }

  /** Attempts that the log knows of; 0 when it is not pending. */
  attemptsAt(place: number): number {
    return this.pendingEffects.get(place)?.attempts ?? 0;
  }

  /** First pending index, or null: D at this index is what a quorum must confirm. */
  firstPendingIndex(): number | null {
    return this.pendingEffects.first()?.[1].index ?? null;
  }

  /** Effects that wait to run: asked every tick, so without making an object. */
  get pendingCount(): number {
    return this.pendingEffects.size;
  }

  get counts(): OutboxCounts {
    return {
      pending: this.pendingEffects.size,
      acknowledged: this.acknowledgedCount,
      dead: this.deadEffects.size + this.droppedDead,
    };
  }

  /** For the console: pending first, then dead, then the newest acknowledged ones (large payloads of those are gone). */
  list(limit: number): OutboxEntry[] {
    const out: OutboxEntry[] = [];
    const take = (effects: Iterable<Effect>, state: OutboxEntry['state']): void => {
      for (const effect of effects) {
        if (out.length >= limit) return;
        out.push(entryOf(effect, state));
      }
    };
    take(this.pendingEffects.values(), 'pending');
    take(this.deadEffects.values(), 'dead');
    take([...this.acknowledgedEffects].reverse(), 'acknowledged');
    return out;
  }

  /** Canonical bytes. */
  encode(): Uint8Array {
    return collect(this.stream());
  }

  /** The same piece by piece, as of now. One stream at a time. */
  stream(pieceBytes = PIECE_BYTES): SnapshotStream {
    const encode = (w: ByteWriter, _place: number, effect: Effect): void => encodeEffect(w, effect);
    const w = new ByteWriter(1024);
    w.varint(this.acknowledgedEffects.length);
    for (let i = 0; i < this.acknowledgedEffects.length; i++)
      w.bytes((this.acknowledgedBytes[i] ??= effectBytes(this.acknowledgedEffects[i]!)));
    w.varint(this.acknowledgedCount);
    w.varint(this.droppedDead);
    return joined(
      streamOfMap(this.pendingEffects, pieceBytes, encode),
      streamOfMap(this.deadEffects, pieceBytes, encode),
      streamOfBytes(w.view()),
    );
  }

  /** Replaces the outbox; throws CodecError for bytes that no outbox encodes to. */
  restore(bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    const pending = decodeEffects(r, true);
    const dead = decodeEffects(r, false);
    const acknowledged: Effect[] = [];
    for (let left = r.count(4); left > 0; left--) acknowledged.push(decodeEffect(r));
    if (acknowledged.length > ACKNOWLEDGED_KEPT) throw new CodecError('too many acknowledged effects');
    const acknowledgedCount = r.varint();
    const droppedDead = r.varint();
    r.end();
    this.pendingEffects = pending;
    this.deadEffects = dead;
    this.acknowledgedEffects = acknowledged;
    this.acknowledgedBytes = acknowledged.map(() => null);
    this.acknowledgedCount = acknowledgedCount;
    this.droppedDead = droppedDead;
  }

  /** Forgets what waits (mutation drop-outbox-on-restore). */
  dropPending(): void {
    this.pendingEffects.clear();
  }
}

function entryOf(effect: Effect, state: OutboxEntry['state']): OutboxEntry {
  const { index, sub, channel, payload, attempts, notBefore, lastError } = effect;
  return { id: toHex(effect.id), index, sub, channel, payload, state, attempts, notBefore, lastError };
}

function encodeEffect(w: ByteWriter, effect: Effect): void {
  w.varint(effect.index);
  w.varint(effect.sub);
  w.bytes(effect.id);
  w.text(effect.channel);
  w.blob(effect.payload);
  w.varint(effect.attempts);
  w.varint(effect.notBefore);
  w.u8(effect.lastError === null ? 0 : 1);
  if (effect.lastError !== null) w.text(effect.lastError);
}

function effectBytes(effect: Effect): Uint8Array {
  const w = new ByteWriter(128);
  encodeEffect(w, effect);
  return w.copy();
}

function decodeEffect(r: ByteReader): Effect {
  return {
    index: r.varint(),
    sub: r.varint(),
    id: r.bytes(HASH_BYTES).slice(),
    channel: r.text(),
    payload: r.blob(),
    attempts: r.varint(),
    notBefore: r.varint(),
    lastError: flag(r) ? r.text() : null,
  };
}

function flag(r: ByteReader): boolean {
  const value = r.u8();
  if (value > 1) throw new CodecError('a flag is 0 or 1');
  return value === 1;
}

function decodeEffects(r: ByteReader, ordered: boolean): VersionedMap<number, Effect> {
  const effects = new VersionedMap<number, Effect>();
  let previous = -1;
  for (let left = r.count(4); left > 0; left--) {
    const effect = decodeEffect(r);
    const place = effectPlace(effect.index, effect.sub);
    if (effect.sub >= EFFECTS_PER_ENTRY_MAX || effects.has(place) || (ordered && place <= previous))
      throw new CodecError('effects are not in order');
    previous = place;
    effects.set(place, effect);
  }
  return effects;
}
