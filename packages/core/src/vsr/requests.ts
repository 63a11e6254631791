/**
 * Requests: what a primary has accepted from clients and not yet answered: the queue in front of the pipeline, which numbers of each session are
 * under way, and to which connection each reply goes. Memory of a primary only; the session table is kernel state.
 *
 * Invariants: a session's numbers enter the queue in order and once; a number ahead of the next one is parked (at most a window of them); sessions take
 * turns (round robin), so that a full window of one never delays another by more than one request; queue and parked copies are bounded in number and
 * bytes, and no session takes more than what is still free, so that there is always room for a newcomer; a parked copy whose turn came waits on until there is room for it, too; entries of the
 * replica itself have a bound of their own, and take no room of the clients'.
 */
import { ENVELOPE, envelope, KIND } from '../engine/frame.ts';
import { sameBytes } from '../engine/hash.ts';
import { SESSION_WINDOW } from '../reply.ts';

/** What waits of one session (or of all registers, or of the replica itself), first in, first out. */
class Lane {
  private payloads: Uint8Array[] = [];
  private head = 0;
  bytes = 0;
  /** Of the replica itself: no client waits for what is in it. */
  readonly own: boolean;

  constructor(own = false) {
    this.own = own;
  }

  get count(): number {
    return this.payloads.length - this.head;
  }

  peek(): Uint8Array {
    return this.payloads[this.head]!;
  }

  push(payload: Uint8Array): void {
    this.payloads.push(payload);
    this.bytes += payload.length;
  }

  shift(): Uint8Array {
    const payload = this.payloads[this.head]!;
    this.payloads[this.head++] = NOTHING;
    this.bytes -= payload.length;
    if (this.head === this.payloads.length) {
      this.payloads.length = 0;
      this.head = 0;
    } else if (this.head > 1024 && this.head * 2 > this.payloads.length) {
      this.payloads = this.payloads.slice(this.head);
      this.head = 0;
    }
    return payload;
  }

  /** The same bytes wait here already. */
  holds(payload: Uint8Array): boolean {
    for (let i = this.head; i < this.payloads.length; i++) if (sameBytes(this.payloads[i]!, payload)) return true;
    return false;
  }

  /** Numbers whose command waits here. */
  commands(): Set<number> {
    const waiting = this.payloads.slice(this.head).filter((p) => envelope.kind(p, 0) === KIND.command);
    return new Set(waiting.map((p) => envelope.request(p, 0)));
  }
}

/** An accepted session: the next number to queue, connections by number modulo the window, copies that came early. */
interface Tracked {
  next: number;
  underWay: number;
  readonly origins: number[];
  /** What was queued for each number under way, by number modulo the window: a copy must be the same. */
  readonly payloads: (Uint8Array | undefined)[];
  readonly parked: Map<number, Uint8Array>;
  parkedBytes: number;
  /** Numbers with a cancel queued behind their command. */
  readonly cancels: Set<number>;
  readonly lane: Lane;
}

/** How an offered request fared. `taken`: it is under way or parked, if it was not before. `mismatch`: its number is under way with another command. */
export type Verdict = 'taken' | 'busy' | 'full' | 'mismatch';

/**
 * Called for each request that will get no answer from this primary. `proposed`: it may stand in the log; otherwise it certainly does not.
 */
export type Abandon = (origin: number, session: number, request: number, proposed: boolean) => void;

/**
 * Entries of the replica itself that may wait, each at most PAYLOAD_BYTES_MAX long. Each producer keeps to one at a time: a report of each of the three outcomes of effects, the
 * replacement of each of six other members, a version (another, should all programs be replaced meanwhile), a checkpoint: 11, and some to spare.
 */
export const OWN_ENTRIES_MAX = 16;

/** Bounds of what waits, all sessions together: of the queue, and again of the parked copies. */
export interface RequestLimits {
  readonly countMax: number;
  readonly bytesMax: number;
}

export class Requests {
  private readonly limits: RequestLimits;
  /** Lanes with something in them, the one whose turn it is at `turn`. */
  private turns: Lane[] = [];
  private turn = 0;
  private count = 0;
  private bytes = 0;
  private readonly sessions = new Map<number, Tracked>();
  private readonly registers = new Map<number, number>();
  private readonly registerLane = new Lane();
  private readonly ownLane = new Lane(true);
  /** Timers wait for cluster time, as commands do; what the replica itself reports does not. */
  private readonly timerLane = new Lane(true);
  /** Sessions whose next number is parked because there was no room for it. */
  private readonly stalled = new Set<Tracked>();
  private parkedCount = 0;
  private parkedBytes = 0;
  private shifted = 0;
  private measuredMs = 0;
  private perMs = 0;

  constructor(limits: RequestLimits) {
    this.limits = limits;
  }

  /** All that waits for the pipeline. */
  get waiting(): number {
    return this.count + this.own;
  }

  /** Requests of clients that wait for it. */
  get clients(): number {
    return this.count;
  }

  /** Bytes of their payloads. */
  get clientBytes(): number {
    return this.bytes;
  }

  /** Entries of the replica itself that wait for it. */
  get own(): number {
    return this.ownLane.count + this.timerLane.count;
  }

  /** Requests ahead of their turn. */
  get parked(): number {
    return this.parkedCount;
  }

  /** Bytes of their payloads. */
  get parkedByteCount(): number {
    return this.parkedBytes;
  }

  peek(): Uint8Array | null {
    return this.waiting > 0 ? this.turns[this.turn]!.peek() : null;
  }

  /** Gives the turn to the next lane whose first payload passes; null when none does. */
  peekIf(passes: (payload: Uint8Array) => boolean): Uint8Array | null {
    for (let lanes = this.turns.length - this.turn; lanes > 0; lanes--) {
      const head = this.turns[this.turn]!.peek();
      if (passes(head)) return head;
      this.turns.push(this.turns[this.turn++]!);
    }
    this.compact();
    return null;
  }

  private compact(): void {
    if (this.turn <= 1024 || this.turn * 2 <= this.turns.length) return;
    this.turns = this.turns.slice(this.turn);
    this.turn = 0;
  }

  shift(): Uint8Array {
    const lane = this.turns[this.turn++]!;
    const payload = lane.shift();
    if (lane.count > 0) this.turns.push(lane);
    this.compact();
    if (!lane.own) {
      this.count--;
      this.bytes -= payload.length;
      if (this.stalled.size > 0) for (const tracked of this.stalled) this.unpark(tracked);
    }
    this.shifted++;
    return payload;
  }

  private enqueue(lane: Lane, payload: Uint8Array): void {
    if (lane.count === 0) this.turns.push(lane);
    lane.push(payload);
    if (lane.own) return;
    this.count++;
    this.bytes += payload.length;
  }

  /** Called every tick: how fast the queue drains. */
  measure(nowMs: number): void {
    const elapsed = nowMs - this.measuredMs;
    if (elapsed <= 0) return;
    this.perMs += 0.1 * (this.shifted / elapsed - this.perMs);
    this.shifted = 0;
    this.measuredMs = nowMs;
  }

  /** When a refused client may try again: about what the queue needs to drain, in ms. */
  get retryAfterMs(): number {
    const drainMs = this.perMs > 0 ? this.count / this.perMs : RETRY_AFTER_MS.max;
    return Math.round(Math.min(RETRY_AFTER_MS.max, Math.max(RETRY_AFTER_MS.min, drainMs)));
  }

  /** An entry of the replica itself (no client waits for it). One that waits already is not queued twice. False: too many wait, whoever proposes it comes again. */
  internal(payload: Uint8Array): boolean {
    const lane = envelope.kind(payload, 0) === KIND.timerFired ? this.timerLane : this.ownLane;
    if (lane.holds(payload)) return true;
    if (this.own >= OWN_ENTRIES_MAX) return false;
    this.enqueue(lane, payload);
    return true;
  }

  /** A register: queued once a nonce. `full`: the log cannot grow. */
  register(origin: number, payload: Uint8Array, full: boolean): Verdict {
    const nonce = envelope.request(payload, 0);
    if (!this.registers.has(nonce)) {
      if (full) return 'full';
      if (!this.hasRoom(this.registerLane, payload)) return 'busy';
      this.enqueue(this.registerLane, payload);
    }
    this.registers.set(nonce, origin);
    return 'taken';
  }

  /**
   * A command or cancel of a live session whose table expects `tableNext`. A copy of what is under way is taken before any bound is asked. `again` queues
   * a number a second time (the no-session-dedupe mutation).
   */
  accept(origin: number, payload: Uint8Array, tableNext: number, full: boolean, again: boolean): Verdict {
    const session = envelope.client(payload, 0);
    let tracked = this.sessions.get(session);
    if (tracked === undefined) {
      const fresh = { next: tableNext, underWay: 0, parkedBytes: 0, lane: new Lane() };
      tracked = { ...fresh, origins: [], payloads: [], parked: new Map(), cancels: new Set() };
      this.sessions.set(session, tracked);
    } else if (isIdle(tracked)) {
      tracked.next = tableNext;
    }
    const number = envelope.request(payload, 0);
    const verdict = this.take(tracked, number, payload, full, again);
    if (verdict === 'taken') tracked.origins[number % SESSION_WINDOW] = origin;
    return verdict;
  }

  private take(tracked: Tracked, number: number, payload: Uint8Array, full: boolean, again: boolean): Verdict {
    const cancel = envelope.kind(payload, 0) === KIND.cancel;
    if (number > tracked.next || tracked.parked.has(number)) return this.park(tracked, number, payload, cancel, full);
    if (number < tracked.next && !again) {
      if (!cancel) return copyOf(tracked.payloads[number % SESSION_WINDOW], payload);
      if (tracked.cancels.has(number)) return 'taken';
    }
    if (full) return 'full';
    if (!this.hasRoom(tracked.lane, payload)) return 'busy';
    if (number === tracked.next) {
      this.push(tracked, payload);
      this.unpark(tracked);
      return 'taken';
    }
    if (cancel) tracked.cancels.add(number);
    this.enqueue(tracked.lane, payload);
    tracked.underWay++;
    return 'taken';
  }

  /** Keeps a copy that came early. A cancel replaces the command of its number and is not replaced by it. */
  private park(tracked: Tracked, number: number, payload: Uint8Array, cancel: boolean, full: boolean): Verdict {
    const { parked } = tracked;
    const old = parked.get(number);
    if (old !== undefined && !cancel) return copyOf(old, payload);
    if (full) return 'full';
    if (number >= tracked.next + SESSION_WINDOW) return 'busy';
    if (old === undefined) {
      const free = this.limits.bytesMax - this.parkedBytes;
      if (this.parkedCount >= this.limits.countMax || free <= 0) return 'busy';
      if (parked.size > 0 && tracked.parkedBytes + payload.length > free) return 'busy';
    }
    this.countParked(tracked, old === undefined ? 1 : 0, payload.length - (old?.length ?? 0));
    parked.set(number, payload);
    this.unpark(tracked);
    return 'taken';
  }

  private countParked(tracked: Tracked, count: number, bytes: number): void {
    this.parkedCount += count;
    this.parkedBytes += bytes;
    tracked.parkedBytes += bytes;
  }

  /**
   * The longest lane may grow while it is shorter than what is free: alone, a session has half of the room; a newcomer always finds some. Into an empty queue goes a
   * payload of any size, or it could never be taken.
   */
  private hasRoom(lane: Lane, payload: Uint8Array): boolean {
    const { countMax, bytesMax } = this.limits;
    if (this.count >= countMax) return false;
    if (lane.count === 0) return this.bytes === 0 || this.bytes + payload.length <= bytesMax;
    return lane.count < countMax - this.count && lane.bytes + payload.length <= bytesMax - this.bytes;
  }

  private push(tracked: Tracked, payload: Uint8Array): void {
    this.enqueue(tracked.lane, payload);
    tracked.payloads[tracked.next % SESSION_WINDOW] = payload;
    tracked.next++;
    tracked.underWay++;
  }

  /** What waited behind the number just queued follows it, as far as there is room. */
  private unpark(tracked: Tracked): void {
    for (;;) {
      const payload = tracked.parked.get(tracked.next);
      if (payload === undefined) break;
      if (!this.hasRoom(tracked.lane, payload)) {
        this.stalled.add(tracked);
        return;
      }
      tracked.parked.delete(tracked.next);
      this.countParked(tracked, -1, -payload.length);
      this.push(tracked, payload);
    }
    this.stalled.delete(tracked);
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
    const slot = request % SESSION_WINDOW;
    const origin = tracked.origins[slot];
    tracked.payloads[slot] = undefined;
    if (tracked.underWay > 0) tracked.underWay--;
    if (tracked.cancels.size > 0) tracked.cancels.delete(request);
    return origin ?? null;
  }

  /** The connection is gone: what it parked is forgotten; its client sends everything unanswered again. */
  disconnect(origin: number): void {
    if (this.parkedCount === 0) return;
    for (const tracked of this.sessions.values()) {
      for (const [number, payload] of tracked.parked) {
        if (tracked.origins[number % SESSION_WINDOW] !== origin) continue;
        tracked.parked.delete(number);
        this.countParked(tracked, -1, -payload.length);
      }
    }
  }

  /** Forgets idle sessions, and gives up what is parked for sessions that are not alive any more: the number it waits for can never come. */
  sweep(alive: (session: number) => boolean, abandon: Abandon): void {
    for (const [session, tracked] of this.sessions) {
      const { parked, origins } = tracked;
      if (parked.size > 0 && !alive(session)) {
        for (const number of parked.keys()) abandon(origins[number % SESSION_WINDOW]!, session, number, false);
        this.countParked(tracked, -parked.size, -tracked.parkedBytes);
        parked.clear();
      }
      if (isIdle(tracked)) this.sessions.delete(session);
    }
  }

  /** Forgets everything; `abandon` hears of each request that was under way or parked. */
  clear(abandon: Abandon): void {
    for (const [session, tracked] of this.sessions) {
      const { next, underWay, origins, parked, lane } = tracked;
      const waiting = lane.commands();
      for (let number = Math.max(0, next - Math.min(underWay, SESSION_WINDOW)); number < next; number++) {
        const origin = origins[number % SESSION_WINDOW];
        if (origin !== undefined) abandon(origin, session, number, !waiting.has(number));
      }
      for (const number of parked.keys()) abandon(origins[number % SESSION_WINDOW]!, session, number, false);
    }
    for (const [nonce, origin] of this.registers) abandon(origin, 0, nonce, true);
    this.sessions.clear();
    this.stalled.clear();
    this.registers.clear();
    for (const lane of [this.registerLane, this.ownLane, this.timerLane]) while (lane.count > 0) lane.shift();
    this.parkedCount = 0;
    this.parkedBytes = 0;
    this.turns = [];
    this.turn = 0;
    this.count = 0;
    this.bytes = 0;
  }
}

/** Nothing of the session is under way: the table alone knows its next number. */
function isIdle(tracked: Tracked): boolean {
  return tracked.underWay === 0 && tracked.parked.size === 0;
}

/** A later copy of a command: the same but for what it acknowledges. What was cancelled meanwhile is answered so. */
function copyOf(held: Uint8Array | undefined, copy: Uint8Array): Verdict {
  if (held === undefined || envelope.kind(held, 0) === KIND.cancel) return 'taken';
  if (held.length !== copy.length) return 'mismatch';
  for (let i = 0; i < held.length; i++) {
    const acknowledges = i >= ENVELOPE.ackBelow && i < ENVELOPE.ackBelow + 8;
    if (held[i] !== copy[i] && !acknowledges) return 'mismatch';
  }
  return 'taken';
}

const NOTHING = new Uint8Array(0);
/** Bounds of a retry-after. */
export const RETRY_AFTER_MS = { min: 5, max: 1000 } as const;
