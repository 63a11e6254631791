/**
 * The execution digest: D[n] = H(D[n-1] ++ H(what entry n came to)), D[-1] = 16 zero bytes. Two replicas that executed the same log to the same effect
 * have equal D; the first index where they differ is where one of them went wrong.
 *
 * What entry n came to: `chain hash 16 | status u8 | varint + body | varint count, each effect: kind u8, varint + channel or level, varint + payload or
 * message | varint + write set`. Two levels, so that what many entries came to is hashed side by side in one call of the codec: `advance` only takes
 * the bytes down; they are hashed when somebody asks, or when there are PENDING_MAX. The last D are remembered in a ring.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE } from '../engine/commit-index.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { ByteWriter } from './bytes.ts';
import type { SideEffect } from './types.ts';

/** How many D are remembered by default. */
export const DIGEST_RING = 65_536;

/** The ring begins with so many. */
const RING_START = 1024;

const EFFECT_KIND = { emit: 0, log: 1 } as const;
const NO_EFFECTS: readonly SideEffect[] = [];
const NO_BYTES = new Uint8Array(0);
/** Entries, and about how many bytes of them, that wait to be hashed together. */
const PENDING_MAX = 256;
const PENDING_BYTES_MAX = 256 * 1024;
/** Scratch memory above this is given back after use, in bytes. */
const SCRATCH_KEEP_BYTES = 4 * 1024 * 1024;

export class ExecutionDigest {
  private readonly codec: FrameCodec;
  /** Grows by doubling up to `size` entries: a young replica does not pay for what it has not executed. */
  private ring: Uint8Array;
  private readonly size: number;
  private readonly current = new Uint8Array(HASH_BYTES);
  /** What the entries `settled + 1` to `last` came to, one behind the other, and where each ends. */
  private scratch = new ByteWriter(4096);
  private readonly ends = new Uint32Array(PENDING_MAX);
  private readonly digests = new Uint8Array(PENDING_MAX * HASH_BYTES);
  private settled = -1;
  private last = -1;
  /** Oldest index whose D is still in the ring. */
  private floor = 0;

  constructor(codec: FrameCodec, ringSize: number = DIGEST_RING) {
    assert(Number.isSafeInteger(ringSize) && ringSize > 0, 'the digest ring has room');
    this.codec = codec;
    this.size = ringSize;
    this.ring = new Uint8Array(Math.min(ringSize, RING_START) * HASH_BYTES);
  }

  get index(): CommitIndex {
    return this.last < 0 ? NONE : (this.last as CommitIndex);
  }

  /** D of the last index: a copy. */
  value(): Uint8Array {
    this.settle();
    return this.current.slice();
  }

  /** D[index], or null when it is not (or no longer) known: a copy. */
  at(index: number): Uint8Array | null {
    this.settle();
    if (index < this.floor || index > this.last) return null;
    const at = this.offsetOf(index);
    return this.ring.slice(at, at + HASH_BYTES);
  }

  /** Advances to `index` with an entry that has no result, effects or write set. `hash`: where its chain hash stands. */
  plain(index: number, hash: Uint8Array, hashAt: number, status: number): void {
    this.advance(index, hash, hashAt, status, NO_BYTES, NO_EFFECTS, NO_BYTES);
  }

  advance(
    index: number,
    hash: Uint8Array,
    hashAt: number,
    status: number,
    body: Uint8Array,
    effects: readonly SideEffect[],
    writeSet: Uint8Array,
  ): void {
    assert(index === this.last + 1, 'the digest advances one index at a time');
    const w = this.scratch;
    w.range(hash, hashAt, hashAt + HASH_BYTES);
    w.u8(status);
    w.varint(body.length);
    w.range(body, 0, body.length);
    w.varint(effects.length);
    for (let i = 0; i < effects.length; i++) writeEffect(w, effects[i]!);
    w.varint(writeSet.length);
    w.range(writeSet, 0, writeSet.length);
    this.last = index;
    this.ends[index - this.settled - 1] = w.length;
    if (index - this.settled === PENDING_MAX || w.length >= PENDING_BYTES_MAX) this.settle();
  }

  /** Hashes what is pending. */
  private settle(): void {
    const count = this.last - this.settled;
    if (count === 0) return;
    const { scratch, digests } = this;
    this.codec.hashChain(scratch.raw(), this.ends, count, this.current, digests);
    for (let i = 0; i < count; i++) this.remember(this.settled + 1 + i, i * HASH_BYTES);
    this.settled = this.last;
    if (scratch.length > SCRATCH_KEEP_BYTES) this.scratch = new ByteWriter(4096);
    else scratch.reset();
  }

  private remember(index: number, from: number): void {
    if (index - this.floor >= this.size) this.floor = index - this.size + 1;
    if ((index - this.floor) * HASH_BYTES >= this.ring.length) this.grow(index);
    const at = this.offsetOf(index);
    for (let i = 0; i < HASH_BYTES; i++) this.ring[at + i] = this.digests[from + i]!;
  }

  /** Continues from a snapshot at `index`, whose digest is taken over. */
  restore(index: number, digest: Uint8Array): void {
    assert(digest.length === HASH_BYTES, 'a digest is 16 bytes');
    this.current.set(digest);
    this.scratch.reset();
    this.settled = index;
    this.last = index;
    this.floor = index;
    this.ring.set(digest, this.offsetOf(index));
  }

  private offsetOf(index: number): number {
    return (index * HASH_BYTES) % this.ring.length;
  }

  /** Room for the D of `next` and of those from `floor` on. */
  private grow(next: number): void {
    const old = this.ring;
    this.ring = new Uint8Array(Math.min(this.size * HASH_BYTES, old.length * 2));
    for (let index = this.floor; index < next; index++) {
      const at = (index * HASH_BYTES) % old.length;
      this.ring.set(old.subarray(at, at + HASH_BYTES), this.offsetOf(index));
    }
  }
}

function writeEffect(w: ByteWriter, effect: SideEffect): void {
  w.u8(EFFECT_KIND[effect.kind]);
  if (effect.kind === 'emit') {
    w.text(effect.channel);
    w.blob(effect.payload);
  } else {
    w.text(effect.level);
    w.text(effect.message);
  }
}
