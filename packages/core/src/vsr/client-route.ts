/**
 * Route of a session client: which replica it talks to. One connection at a time; follows hellos and redirects, leaves a silent or lost replica,
 * never hops without a pause for long.
 *
 * Invariants: at most one connection is open or being opened; `epoch` grows with each; a redirect of an older view than one already heard is ignored;
 * after a lost connection or a redirect that leads nowhere, the next attempt waits a jittered, growing, bounded time.
 */
import { assert } from '../assert.ts';
import type { Prng } from '../prng.ts';

/** What the host does for a client. Connections keep order, and neither duplicate nor change a message (TCP). */
export interface SessionPort {
  /** Opens a connection; answered by onConnected or onDisconnected, never synchronously. */
  connect(replica: number): void;
  /** Closes it; no further event of it may follow. */
  disconnect(replica: number): void;
  /** One transport message on the open connection; the bytes are the host's from now on. */
  send(replica: number, bytes: Uint8Array): void;
  /** There is something to send: call `flush` at the end of this turn. Asked once until then. */
  wantFlush(): void;
}

export interface RouteTimes {
  readonly connectTimeoutMs: number;
  /** How long to wait for the hello of a new connection before sending anyway. */
  readonly helloTimeoutMs: number;
  /** Silence with requests in flight after which another replica is tried. */
  readonly silenceMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** How long a lost or silent replica is not believed to be primary on another's word. */
  readonly suspectMs: number;
}

export type RoutePhase = 'idle' | 'pause' | 'connecting' | 'greeting' | 'probe' | 'open';

/** Redirects followed without a pause. */
const HOPS_MAX = 4;
/** Times in a row that a replica may say it cannot serve and does not know who can: it may be cut off from its peers, and never will. */
const DOUBTS_MAX = 6;
/** Refusals in a row, not one request served between them, by a replica that said it serves. */
const REFUSALS_MAX = 16;

export class ClientRoute {
  /** Replica talked to (or about to be). */
  target: number;
  phase: RoutePhase = 'idle';
  /** Grows with each connection; 0 is none. */
  epoch = 0;
  /** Highest view heard of, -1 for none. */
  view = -1;
  private readonly replicas: readonly number[];
  private readonly port: SessionPort;
  private readonly prng: Prng;
  private readonly times: RouteTimes;
  private nowMs = 0;
  /** End of the current phase's patience, or time of the next step. */
  private untilMs = 0;
  private probeSentMs = 0;
  private backoffMs: number;
  private hops = 0;
  /** Place of the replica that was tried last without anybody naming it. */
  private turn: number;
  private doubts = 0;
  private readonly suspectUntilMs = new Map<number, number>();
  /** Where each replica was met, and who was met there: addresses may have been given in any order. */
  private readonly places = new Map<number, number>();
  private readonly met = new Map<number, number>();

  constructor(replicas: readonly number[], port: SessionPort, prng: Prng, times: RouteTimes) {
    assert(replicas.length > 0, 'a client knows a replica');
    this.replicas = replicas;
    this.port = port;
    this.prng = prng;
    this.times = times;
    this.backoffMs = times.backoffMinMs;
    this.turn = prng.below(replicas.length);
    this.target = replicas[this.turn]!;
  }

  /** Everything may be sent. */
  get open(): boolean {
    return this.phase === 'open';
  }

  /** One request may be sent to learn who is primary. */
  get mayProbe(): boolean {
    return this.phase === 'probe' && this.nowMs >= this.untilMs;
  }

  /** The probe is out and nothing came back: whatever became of its call, this replica is of no use. */
  private get probeUnanswered(): boolean {
    const out = this.phase === 'probe' && this.untilMs === Number.POSITIVE_INFINITY;
    return out && this.nowMs - this.probeSentMs >= this.times.silenceMs;
  }

  get connected(): boolean {
    return this.phase === 'greeting' || this.phase === 'probe' || this.phase === 'open';
  }

  /** There is work: makes sure that somebody is being talked to. */
  start(): void {
    if (this.phase === 'idle') this.dial(this.target);
  }

  onConnected(replica: number): boolean {
    if (this.phase !== 'connecting' || replica !== this.target) return false;
    this.epoch++;
    this.phase = 'greeting';
    this.untilMs = this.nowMs + this.times.helloTimeoutMs;
    return true;
  }

  onDisconnected(replica: number): boolean {
    if (replica !== this.target || this.phase === 'idle' || this.phase === 'pause') return false;
    this.suspect(replica);
    this.rotate();
    return true;
  }

  /** The replica at the other end said who it is. */
  learn(id: number): void {
    this.places.set(id, this.target);
    this.met.set(this.target, id);
  }

  /** Where to dial a replica; null: nobody has told. */
  private placeOf(id: number): number | null {
    const place = this.places.get(id);
    if (place !== undefined) return place;
    const free = this.replicas.includes(id) && (this.met.get(id) ?? id) === id;
    return free ? id : null;
  }

  /** What a hello, or the redirect of a refusal, says of the view. `primary` null: not known there. */
  onDirection(view: number, primary: number | null, source: 'hello' | 'refusal'): void {
    if (!this.connected) return;
    if (view < this.view) return this.doubt();
    if (view > this.view) this.suspectUntilMs.clear();
    this.view = view;
    const place = primary === null ? null : this.placeOf(primary);
    if (place === this.target) {
      if (source === 'refusal') return this.doubt();
      this.phase = 'open';
      return;
    }
    if (primary !== null && place === null && this.replicas.length > 1) {
      this.port.disconnect(this.target);
      return this.rotate();
    }
    if (place === null || this.suspected(place) || this.hops >= HOPS_MAX) return this.doubt();
    this.hops++;
    this.port.disconnect(this.target);
    this.dial(place);
  }

  /** The replica answered as only a serving primary does. */
  onServed(): void {
    if (!this.connected) return;
    this.phase = 'open';
    this.hops = 0;
    this.doubts = 0;
    this.backoffMs = this.times.backoffMinMs;
  }

  /** It refused, though it said that it serves: it may be cut off from its peers, and never will again. */
  onRefused(): void {
    if (++this.doubts > REFUSALS_MAX) this.leave();
  }

  onProbeSent(): void {
    this.untilMs = Number.POSITIVE_INFINITY;
    this.probeSentMs = this.nowMs;
  }

  /** The replica talked to is of no use any more (silent, or it answers nonsense). */
  leave(): void {
    if (this.phase === 'idle' || this.phase === 'pause') return;
    this.port.disconnect(this.target);
    this.suspect(this.target);
    this.rotate();
  }

  stop(): void {
    if (this.phase !== 'idle' && this.phase !== 'pause') this.port.disconnect(this.target);
    this.phase = 'idle';
  }

  /** Lets time pass. Returns true when the phase changed so that there may be something to send. */
  tick(nowMs: number): boolean {
    this.nowMs = nowMs;
    if (this.phase === 'pause' && nowMs >= this.untilMs) {
      this.dial(this.target);
    } else if (this.phase === 'connecting' && nowMs >= this.untilMs) {
      this.leave();
    } else if (this.phase === 'greeting' && nowMs >= this.untilMs) {
      this.phase = 'probe';
      this.untilMs = nowMs;
      return true;
    } else if (this.probeUnanswered) {
      this.leave();
    }
    return this.mayProbe;
  }

  /** A jittered pause that grows with each call until a request is served. */
  nextBackoffMs(): number {
    const pause = this.backoffMs * (0.5 + this.prng.float());
    this.backoffMs = Math.min(this.times.backoffMaxMs, this.backoffMs * 2);
    return pause;
  }

  private dial(replica: number): void {
    this.target = replica;
    this.phase = 'connecting';
    this.untilMs = this.nowMs + this.times.connectTimeoutMs;
    this.port.connect(replica);
  }

  /** Stays, and asks again after a pause; but not for ever. */
  doubt(): void {
    if (!this.connected) return;
    if (++this.doubts > DOUBTS_MAX) return this.leave();
    this.phase = 'probe';
    this.untilMs = this.nowMs + this.nextBackoffMs();
  }

  private rotate(): void {
    // Two that point at each other are left in turn; only then redirects are followed again (simulator, half-connected).
    this.hops = 0;
    this.doubts = 0;
    // All take their turn, whoever was talked to last: a replica that is cut off may go on naming a dead primary.
    const left = this.target;
    do this.turn = (this.turn + 1) % this.replicas.length;
    while (this.replicas[this.turn] === left && this.replicas.length > 1);
    this.target = this.replicas[this.turn]!;
    this.phase = 'pause';
    this.untilMs = this.nowMs + this.nextBackoffMs();
  }

  private suspect(replica: number): void {
    this.suspectUntilMs.set(replica, this.nowMs + this.times.suspectMs);
  }

  private suspected(replica: number): boolean {
    return (this.suspectUntilMs.get(replica) ?? Number.NEGATIVE_INFINITY) > this.nowMs;
  }
}
