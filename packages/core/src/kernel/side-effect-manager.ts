/**
 * SideEffectManager: runs the pending effects of the outbox while this replica has authority, and reports what they came to through the log.
 *
 * The life of one effect here: pending -> running -> (acknowledge | fail | bury) gathered -> proposed -> committed, which takes it out of flight. One
 * entry of each kind is outstanding at a time; what is gathered meanwhile goes in the next one (group commit of reports).
 *
 * Invariants: an effect starts only under authority, never while it is in flight, never after its acknowledgement was applied; it stays in flight until
 * its report COMMITS; whatever was in flight in another view is forgotten (a late answer of it is ignored); running <= concurrency, in flight <= IN_FLIGHT_MAX.
 * No clock, no timer: time comes in with `tick`, jitter from the Prng.
 */
import { assert } from '../assert.ts';
import { type EntryKind, KIND } from '../engine/frame.ts';
import { type Policy, SOUND } from '../policy.ts';
import type { Prng } from '../prng.ts';
import type { VsrAuthority } from './authority.ts';
import { EFFECT_BATCH_MAX, encodeEffectAcks, encodeEffectDeaths, encodeEffectFailures } from './effect-entries.ts';
import { CancelSignal, type EffectSink, type Fence } from './effect-sink.ts';
import { FENCED } from './ledger-sink.ts';
import { indexOf, type Outbox } from './outbox.ts';
import type { OutboxEntry } from './types.ts';

/** Effects running, or waiting for their report to commit. */
export const IN_FLIGHT_MAX = 4096;

export interface EffectConfig {
  readonly concurrency: number;
  /** An attempt without an answer for so long has failed. */
  readonly timeoutMs: number;
  /** Attempts before an effect is dead. */
  readonly attemptsMax: number;
  /** Pause after the first failure; doubled by each further one, up to backoffMaxMs; half of it is jitter. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
}

export const DEFAULT_EFFECT_CONFIG: EffectConfig = {
  concurrency: 16,
  timeoutMs: 10_000,
  attemptsMax: 20,
  backoffMs: 100,
  backoffMaxMs: 30_000,
};

export type EffectEvent = 'started' | 'ran' | 'failed' | 'acknowledged' | 'dead';

export interface EffectPorts {
  readonly outbox: Pick<
    Outbox,
    'pendingPlaces' | 'pendingAt' | 'notBeforeAt' | 'isPending' | 'attemptsAt' | 'pendingCount'
  >;
  readonly authority: VsrAuthority;
  /** The sink of a channel; null: none, the effect is acknowledged unrun and counted. */
  sink(channel: string): EffectSink | null;
  /**
   * Proposes a log entry; false when it cannot be taken now. One that is taken waits, or stands in the log, as long as this view lasts: it is never proposed again, or a log that
   * does not move would fill with copies. It must not call back synchronously.
   */
  propose(kind: EntryKind, body: Uint8Array): boolean;
  /** Block time of the last applied entry, ms. */
  blockTimeMs(): number;
  /** An answer came in: call `pump` soon (not from inside this call). */
  wake(): void;
  onEvent?(id: string, event: EffectEvent): void;
}

const OUTCOMES = ['acknowledge', 'fail', 'bury'] as const;
type Outcome = (typeof OUTCOMES)[number];

/** One effect between its start and the commit of its report. */
interface Flight {
  readonly place: number;
  readonly index: number;
  readonly sub: number;
  readonly id: string;
  readonly attempt: number;
  readonly signal: CancelSignal;
  readonly startedMs: number;
  outcome: Outcome | null;
  error: string;
  notBefore: number;
  retryAtMs: number;
}

/** Reports of one kind: gathered since the last proposal, and the proposal that has not committed yet. */
interface Reports {
  readonly kind: EntryKind;
  readonly encode: (flights: readonly Flight[]) => Uint8Array;
  gathered: Flight[];
  outstanding: Flight[];
}

export class SideEffectManager {
  private readonly ports: EffectPorts;
  private readonly config: EffectConfig;
  private readonly prng: Prng;
  private readonly policy: Policy;
  private readonly flights = new Map<number, Flight>();
  /** Local time before which a place is not tried again. */
  private readonly waits = new Map<number, number>();
  private readonly reports: Readonly<Record<Outcome, Reports>> = {
    acknowledge: newReports(KIND.effectAck, encodeEffectAcks),
    fail: newReports(KIND.effectFailed, encodeEffectFailures),
    bury: newReports(KIND.effectDead, encodeEffectDeaths),
  };
  private running = 0;
  private view: number | null = null;
  private nowMs = 0;
  private starting = false;
  /** Effects acknowledged although no sink takes their channel, since this process began. */
  unrun = 0;
  /** Attempts started since this process began. */
  started = 0;

  constructor(ports: EffectPorts, prng: Prng, config: Partial<EffectConfig> = {}, policy: Policy = SOUND) {
    this.ports = ports;
    this.prng = prng;
    this.config = { ...DEFAULT_EFFECT_CONFIG, ...config };
    this.policy = policy;
    assert(this.config.concurrency > 0 && this.config.concurrency <= IN_FLIGHT_MAX, 'effects run some at a time');
  }

  /** Effects running now. */
  get runningCount(): number {
    return this.running;
  }

  /** Effects running or waiting for their report to commit. */
  get inFlight(): number {
    return this.flights.size;
  }

  /** Time has passed. */
  tick(nowMs: number): void {
    this.nowMs = nowMs;
    if (!this.follow()) return;
    for (const flight of this.flights.values()) {
      if (flight.outcome === null && nowMs - flight.startedMs >= this.config.timeoutMs) this.finish(flight, 'timeout');
    }
    this.settle();
    this.prune();
    this.start();
    this.report();
  }

  /** Entries were applied: reports may have committed, effects may have come. */
  onApplied(): void {
    if (!this.follow()) return;
    this.settle();
    if (this.ports.outbox.pendingCount > this.flights.size + this.waits.size) this.start();
    this.report();
  }

  /** The answer to `wake`. */
  pump(): void {
    if (!this.follow()) return;
    this.start();
    this.report();
  }

  /** Notices the gain, loss or change of the view in which this replica is primary. Returns whether it is primary. */
  private follow(): boolean {
    const view = this.ports.authority.primaryView();
    if (view !== this.view) {
      for (const flight of this.flights.values()) flight.signal.abort();
      this.flights.clear();
      this.waits.clear();
      for (const outcome of OUTCOMES) {
        const reports = this.reports[outcome];
        reports.gathered = [];
        reports.outstanding = [];
      }
      this.running = 0;
      this.view = view;
    }
    return view !== null;
  }

  /** Takes out of flight what the log has settled. An entry applies as a whole, so its first effect speaks for all. */
  private settle(): void {
    for (const outcome of OUTCOMES) {
      const reports = this.reports[outcome];
      const first = reports.outstanding[0];
      if (first === undefined || !this.isSettled(first, outcome)) continue;
      for (const flight of reports.outstanding) this.land(flight, outcome);
      reports.outstanding = [];
    }
  }

  private isSettled(flight: Flight, outcome: Outcome): boolean {
    const { outbox } = this.ports;
    if (!outbox.isPending(flight.place)) return true;
    return outcome === 'fail' && outbox.attemptsAt(flight.place) >= flight.attempt;
  }

  private land(flight: Flight, outcome: Outcome): void {
    if (this.flights.get(flight.place) === flight) this.flights.delete(flight.place);
    if (outcome === 'fail') this.waits.set(flight.place, flight.retryAtMs);
    else this.ports.onEvent?.(flight.id, outcome === 'bury' ? 'dead' : 'acknowledged');
  }

  /** Forgets pauses of effects that are no longer pending. */
  private prune(): void {
    const { outbox } = this.ports;
    if (this.waits.size + this.flights.size <= outbox.pendingCount) return;
    for (const place of this.waits.keys()) if (!outbox.isPending(place)) this.waits.delete(place);
  }

  /** Starts what may start, in index order, as far as there is room. */
  private start(): void {
    if (this.starting) return;
    this.starting = true;
    try {
      for (const place of this.ports.outbox.pendingPlaces()) {
        if (this.running >= this.config.concurrency || this.flights.size >= IN_FLIGHT_MAX) break;
        if (this.flights.has(place) || this.isWaiting(place)) continue;
        if (this.mustWait(place)) continue;
        // Refused at this index is refused at every later one.
        const permission = this.ports.authority.mayRun(indexOf(place));
        if (!permission.ok) break;
        const entry = this.ports.outbox.pendingAt(place);
        assert(entry !== null, 'a pending place has an effect');
        this.launch(place, entry, permission.fence);
      }
    } finally {
      this.starting = false;
    }
  }

  private isWaiting(place: number): boolean {
    const until = this.waits.get(place);
    return until !== undefined && this.nowMs < until;
  }

  /** The pause that another primary decided, seen for the first time: block time tells how much of it is left. */
  private mustWait(place: number): boolean {
    const notBefore = this.ports.outbox.notBeforeAt(place);
    if (notBefore === null || notBefore === 0 || this.waits.has(place)) return false;
    const leftMs = Math.min(notBefore - this.ports.blockTimeMs(), this.config.backoffMaxMs);
    if (leftMs <= 0) return false;
    this.waits.set(place, this.nowMs + leftMs);
    return true;
  }

  private launch(place: number, entry: OutboxEntry, fence: Fence): void {
    const { id, index, sub, channel, payload } = entry;
    const attempt = entry.attempts + 1;
    const signal = new CancelSignal();
    const flight: Flight = {
      place,
      index,
      sub,
      id,
      attempt,
      signal,
      startedMs: this.nowMs,
      outcome: null,
      error: '',
      notBefore: 0,
      retryAtMs: 0,
    };
    this.waits.delete(place);
    this.flights.set(place, flight);
    this.running++;
    const sink = this.ports.sink(channel);
    if (sink === null) {
      this.unrun++;
      this.finish(flight, null);
      return;
    }
    this.started++;
    this.ports.onEvent?.(id, 'started');
    const done = (error: string | null): void => this.finish(flight, error);
    try {
      sink.run({ key: id, fence, index, channel, payload, attempt, signal }, done);
    } catch (error) {
      done(error instanceof Error ? error.message : 'the sink threw');
    }
  }

  /** The first answer of a flight counts; one that is no longer ours is ignored. */
  private finish(flight: Flight, error: string | null): void {
    if (this.flights.get(flight.place) !== flight || flight.outcome !== null) return;
    this.running--;
    flight.error = error ?? '';
    if (error === FENCED) {
      // A newer primary was at the sink: this is no failure of the effect, and not ours to report.
      this.flights.delete(flight.place);
      this.waits.set(flight.place, this.nowMs + this.config.backoffMaxMs);
      return;
    }
    flight.outcome = error === null ? 'acknowledge' : flight.attempt >= this.config.attemptsMax ? 'bury' : 'fail';
    if (error !== null) {
      flight.signal.abort();
      const pauseMs = this.pauseMs(flight.attempt);
      flight.notBefore = this.ports.blockTimeMs() + pauseMs;
      flight.retryAtMs = this.nowMs + pauseMs;
    }
    this.reports[flight.outcome].gathered.push(flight);
    this.ports.onEvent?.(flight.id, error === null ? 'ran' : 'failed');
    if (!this.starting) this.ports.wake();
  }

  private pauseMs(attempt: number): number {
    const full = Math.min(this.config.backoffMaxMs, this.config.backoffMs * 2 ** Math.min(attempt - 1, 30));
    return Math.ceil(full / 2 + (this.prng.float() * full) / 2);
  }

  /** Proposes what is gathered, once what was proposed before has committed. */
  private report(): void {
    for (const outcome of OUTCOMES) {
      const reports = this.reports[outcome];
      if (reports.outstanding.length > 0 || reports.gathered.length === 0) continue;
      const batch = reports.gathered.slice(0, EFFECT_BATCH_MAX);
      if (!this.ports.propose(reports.kind, reports.encode(batch))) continue;
      reports.gathered = reports.gathered.slice(batch.length);
      reports.outstanding = batch;
      if (this.policy.clearInFlightOnSubmit) {
        for (const flight of batch) this.flights.delete(flight.place);
        reports.outstanding = [];
      }
    }
  }
}

function newReports(kind: EntryKind, encode: (flights: readonly Flight[]) => Uint8Array): Reports {
  return { kind, encode, gathered: [], outstanding: [] };
}
