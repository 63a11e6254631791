/**
 * Requests: what a primary has accepted from clients and not yet answered: the queue in front of the pipeline, which numbers of each session are
 * under way, and to which connection each reply goes. Memory of a primary only; the session table is kernel state.
 *
 * Invariants: a session's numbers enter the queue in order and once; a number ahead of the next one is parked (at most a window of them).
 */
import { envelope, KIND } from '../engine/frame.ts';
import { SESSION_WINDOW } from '../reply.ts';

/** An accepted session: the next number to queue, connections by number modulo the window, copies that came early. */
interface Tracked {
  next: number;
  underWay: number;
  readonly origins: number[];
  readonly parked: Map<number, Uint8Array>;
}

/** Called for each request that will get no answer from this primary. */
export type Abandon = (origin: number, session: number, request: number) => void;

export class Requests {
  private queue: Uint8Array[] = [];
  private head = 0;
  private readonly sessions = new Map<number, Tracked>();
  private readonly registers = new Map<number, number>();
  private readonly parkedMax: number;
  private parkedCount = 0;

  /** Parks at most `parkedMax` copies, all sessions together. */
  constructor(parkedMax: number) {
    this.parkedMax = parkedMax;
  }

  /** Requests waiting for the pipeline. */
  get waiting(): number {
    return this.queue.length - this.head;
  }

  peek(): Uint8Array | null {
    return this.head < this.queue.length ? this.queue[this.head]! : null;
  }

  shift(): Uint8Array {
    const payload = this.queue[this.head]!;
    this.queue[this.head++] = NOTHING;
    if (this.head > 1024 && this.head * 2 > this.queue.length) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    return payload;
  }

  /** An entry of the replica itself (no client waits for it). */
  internal(payload: Uint8Array): void {
    this.queue.push(payload);
  }

  /** A register: queued once a nonce. */
  register(origin: number, payload: Uint8Array): void {
    const nonce = envelope.request(payload, 0);
    if (!this.registers.has(nonce)) this.queue.push(payload);
    this.registers.set(nonce, origin);
  }

  /**
   * A command or cancel of a live session whose table expects `tableNext`. `again` queues a number a second time (the
   * no-session-dedupe mutation). Returns false when it is too far ahead.
   */
  accept(origin: number, payload: Uint8Array, tableNext: number, again: boolean): boolean {
    const session = envelope.client(payload, 0);
    const number = envelope.request(payload, 0);
    let tracked = this.sessions.get(session);
    if (tracked === undefined) {
      tracked = { next: tableNext, underWay: 0, origins: [], parked: new Map() };
      this.sessions.set(session, tracked);
    }
    const parks = number > tracked.next && !tracked.parked.has(number);
    if (number >= tracked.next + SESSION_WINDOW || (parks && this.parkedCount >= this.parkedMax)) {
      this.forgetIdle(session, tracked);
      return false;
    }
    if (parks) this.parkedCount++;
    tracked.origins[number % SESSION_WINDOW] = origin;
    if (number > tracked.next) {
      tracked.parked.set(number, payload);
    } else if (number === tracked.next) {
      this.push(tracked, payload);
      this.unpark(tracked);
    } else if (again || envelope.kind(payload, 0) === KIND.cancel) {
      this.queue.push(payload);
      tracked.underWay++;
    }
    return true;
  }

  private push(tracked: Tracked, payload: Uint8Array): void {
    this.queue.push(payload);
    tracked.next++;
    tracked.underWay++;
  }

  private unpark(tracked: Tracked): void {
    for (let payload = tracked.parked.get(tracked.next); payload !== undefined; ) {
      tracked.parked.delete(tracked.next);
      this.parkedCount--;
      this.push(tracked, payload);
      payload = tracked.parked.get(tracked.next);
    }
  }

  /** The connection that waits for this reply, or null; the number is no longer under way. */
  settle(session: number, request: number, index: number): number | null {
    if (session === index) {
      const origin = this.registers.get(request);
      if (origin === undefined) return null;
      this.registers.delete(request);
      return origin;
    }
    const tracked = this.sessions.get(session);
    if (tracked === undefined) return null;
    const origin = tracked.origins[request % SESSION_WINDOW];
    tracked.underWay--;
    this.forgetIdle(session, tracked);
    return origin ?? null;
  }

  private forgetIdle(session: number, tracked: Tracked): void {
    if (tracked.underWay <= 0 && tracked.parked.size === 0) this.sessions.delete(session);
  }

  /** Gives up what is parked for sessions that are not alive any more: the number it waits for can never come. */
  sweep(alive: (session: number) => boolean, abandon: Abandon): void {
    for (const [session, tracked] of this.sessions) {
      if (tracked.parked.size === 0 || alive(session)) continue;
      for (const number of tracked.parked.keys()) abandon(tracked.origins[number % SESSION_WINDOW]!, session, number);
      this.parkedCount -= tracked.parked.size;
      tracked.parked.clear();
      this.forgetIdle(session, tracked);
    }
  }

  /** Forgets everything; `abandon` hears of each request that was under way or parked. */
  clear(abandon: Abandon): void {
    for (const [session, tracked] of this.sessions) {
      for (
        let number = Math.max(0, tracked.next - Math.min(tracked.underWay, SESSION_WINDOW));
        number < tracked.next;
        number++
      ) {
        const origin = tracked.origins[number % SESSION_WINDOW];
        if (origin !== undefined) abandon(origin, session, number);
      }
      for (const number of tracked.parked.keys()) abandon(tracked.origins[number % SESSION_WINDOW]!, session, number);
    }
    for (const [nonce, origin] of this.registers) abandon(origin, 0, nonce);
    this.sessions.clear();
    this.registers.clear();
    this.parkedCount = 0;
    this.queue = [];
    this.head = 0;
  }
}

const NOTHING = new Uint8Array(0);
