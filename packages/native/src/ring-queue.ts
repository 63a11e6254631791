/**
 * RingQueue: hands requests to one native ring and their results back, in as few system calls as a turn allows.
 *
 * Submission: what a turn of the loop asks for goes to the kernel in one call at its end, behind the messages that the turn sends (a microtask): the
 * peers have their copy of a batch, or the promise for one, while this thread is still in the call. A long write goes at once: what the turn does next, gathering
 * frames as long as these, would let the device wait for longer than the call takes.
 *
 * Invariants: `done` is called exactly once, never from inside the call that got it; requests that find no free pages wait in
 * the order of their arrival, and nothing overtakes them; after a failed submission every request fails.
 */
import { constants as osConstants } from 'node:os';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import type { NativeRing } from './native-binding.ts';

/** No room now. */
export const AGAIN = -osConstants.errno.EAGAIN;
const UNCHAINED = -1;
/** Writes of so many bytes do not wait for the end of the turn. */
const LONG_WRITE_BYTES = 128 * 1024;
const CANCELED = -osConstants.errno.ECANCELED;

/** Gets the bytes moved (0 for a sync) or -errno; `token` is for {@link RingQueue.take}. */
export type RingDone = (result: number, token: number) => void;

/** One write of a chain: whole blocks. */
export interface ChainPart {
  readonly fd: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly done: RingDone;
}

interface Waiting {
  readonly start: () => number;
  readonly done: RingDone;
}

export class RingQueue {
  readonly #ring: NativeRing;
  /** By token, in the order they began. */
  readonly #running = new Map<number, RingDone>();
  #waiting: Waiting[] = [];
  /** Memory of the ring that the program has: writes from it take no pages. */
  readonly #allocated = new WeakSet<ArrayBufferLike>();
  #flushScheduled = false;
  #closed = false;
  #prefetched = false;
  /** -errno of the submission that failed. */
  #fatal = 0;

  constructor(ring: NativeRing) {
    this.#ring = ring;
    ring.onWake = (count, error) => this.#onWake(count, error);
  }

  /** Memory for writes that are not copied, or null when the ring has not so much; whole blocks. */
  allocate(bytes: number): Uint8Array | null {
    const memory = this.#closed ? null : this.#ring.allocate(bytes);
    if (memory === null) return null;
    this.#allocated.add(memory);
    return new Uint8Array(memory);
  }

  /** Whether `bytes` are written from where they stand. */
  holds(bytes: Uint8Array): boolean {
    return this.#allocated.has(bytes.buffer);
  }

  /** Writes bytes[from, from + length): whole blocks, no more than the ring has pages. */
  write(
    fd: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    length: number,
    durable: boolean,
    done: RingDone,
  ): void {
    this.prefetch(fd, offset, 0);
    this.#start(() => this.#ring.write(fd, offset, bytes, from, length, durable, UNCHAINED), done);
    if (length >= LONG_WRITE_BYTES) this.#submit();
  }

  /** Durable writes, each of which begins when the one before it is done. False when there is no room for all now; then nothing is begun. */
  writeChain(parts: readonly ChainPart[]): boolean {
    if (this.#closed || this.#fatal !== 0 || this.#waiting.length > 0) return false;
    this.prefetch(-1, 0, 0);
    let copied = 0;
    let long = false;
    for (const { bytes } of parts) {
      if (!this.holds(bytes)) copied += bytes.length;
      if (bytes.length >= LONG_WRITE_BYTES) long = true;
    }
    if (!this.#ring.hasRoom(parts.length, copied / BLOCK_BYTES)) return false;
    let after = UNCHAINED;
    for (const { fd, offset, bytes, done } of parts) {
      after = this.#ring.write(fd, offset, bytes, 0, bytes.length, true, after);
      if (after < 0) throw new Error(`a chained write was refused (${after}) although there was room`);
      this.#running.set(after, done);
    }
    if (long) this.#submit();
    else this.#submitSoon();
    return true;
  }

  /** Reads whole blocks; `done` must {@link take} them when its result is not negative. */
  read(fd: number, offset: number, length: number, done: RingDone): void {
    this.#start(() => this.#ring.read(fd, offset, length), done);
  }

  /** Blocking: bytes read into all of `into`, fewer at the end of the file, or -errno. */
  readBlocking(fd: number, offset: number, into: Uint8Array): number {
    return this.#closed ? CANCELED : this.#ring.readBlocking(fd, offset, into);
  }

  /** Begins the next {@link readBlocking}, which is of these bytes; any write before it, and a `length` of 0, gives that up. */
  prefetch(fd: number, offset: number, length: number): void {
    if (this.#closed || (length === 0 && !this.#prefetched)) return;
    this.#prefetched = length > 0;
    this.#ring.prefetch(fd, offset, length);
  }

  sync(fd: number, done: RingDone): void {
    this.#start(() => this.#ring.sync(fd), done);
  }

  /** Copies a finished read; returns how many bytes. */
  take(token: number, into: Uint8Array, at: number, skip: number): number {
    return this.#ring.take(token, into, at, skip);
  }

  /** Waits for the kernel to let go of every page; requests still running end with ECANCELED. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ring.close();
    this.#failAll(CANCELED);
  }

  #start(start: () => number, done: RingDone): void {
    if (this.#closed || this.#fatal !== 0) {
      queueMicrotask(() => done(this.#closed ? CANCELED : this.#fatal, -1));
      return;
    }
    if (this.#waiting.length > 0 || !this.#tryStart(start, done)) this.#waiting.push({ start, done });
  }

  /** False when the ring has no room. */
  #tryStart(start: () => number, done: RingDone): boolean {
    const token = start();
    if (token === AGAIN) return false;
    if (token < 0) {
      queueMicrotask(() => done(token, -1));
      return true;
    }
    this.#running.set(token, done);
    this.#submitSoon();
    return true;
  }

  #submitSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    this.#submit();
  };

  #submit(): void {
    if (this.#closed || this.#fatal !== 0) return;
    this.#submitted(this.#ring.submit());
  }

  /** What the kernel did not take never ends: nothing is left to wait for. */
  #submitted(result: number): void {
    if (!result || this.#closed || this.#fatal !== 0) return;
    this.#fatal = result;
    this.#failAll(result);
  }

  #failAll(result: number): void {
    const ended = [...this.#running.values(), ...this.#waiting.map(({ done }) => done)];
    this.#running.clear();
    this.#waiting = [];
    queueMicrotask(() => {
      for (const done of ended) call(done, result, -1);
    });
  }

  #onWake(count: number, error: number): void {
    // Two passes: a token may be reused by a request that the first callback makes.
    const ended: (RingDone | undefined)[] = [];
    const results = this.#ring.results.slice(0, 2 * count);
    for (let i = 0; i < count; i++) {
      const token = results[2 * i]!;
      ended.push(this.#running.get(token));
      this.#running.delete(token);
    }
    for (let i = 0; i < count; i++) {
      const done = ended[i];
      if (done !== undefined) call(done, results[2 * i + 1]!, results[2 * i]!);
    }
    while (this.#waiting.length > 0 && this.#tryStart(this.#waiting[0]!.start, this.#waiting[0]!.done))
      this.#waiting.shift();
    this.#submitted(error);
  }
}

/** A callback that throws must not keep the others from being called. */
function call(done: RingDone, result: number, token: number): void {
  try {
    done(result, token);
  } catch (cause) {
    queueMicrotask(() => {
      throw cause;
    });
  }
}
