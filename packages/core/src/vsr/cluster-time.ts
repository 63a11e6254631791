/**
 * Cluster time: the time that a majority of clocks agrees on (docs/protocol.md, "Time"; Marzullo 1984, as NTP and TigerBeetle use it). Pure: samples in, an interval out.
 *
 * A heartbeat and its answer are the ping and pong: the peer read its wall clock somewhere between the two, so its distance from this replica's *monotone* clock
 * lies within half a round trip of the middle. Every clock, the own one too, is believed within the tolerance; the smallest interval that a majority
 * shares is where cluster time is, and the own clock is held to it. So a clock that jumps, here or there, is outvoted.
 *
 * Invariants: safety never depends on any of this: a wrong answer makes stamps odd, never entries; memory is two samples a peer.
 */

/** Samples older than two windows are forgotten. */
export const CLOCK_WINDOW_MS = 5000;
/** Two clocks drift apart by at most this share of the time since the sample. */
export const CLOCK_DRIFT_MAX = 0.001;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Distance of a peer's wall clock from the own monotone clock. */
interface Sample {
  readonly offsetMs: number;
  readonly errorMs: number;
  readonly atMs: number;
}

/** The smallest interval that lies in as many of `intervals` as possible, and in how many. */
export function smallestShared(intervals: readonly Interval[]): Interval & { readonly count: number } {
  let best = { low: 0, high: 0, count: 0 };
  // A best one begins where one of them begins. They are few: looking at each pair is shorter than sorting edges.
  for (let i = 0; i < intervals.length; i++) {
    const { low } = intervals[i]!;
    let count = 0;
    let high = Number.POSITIVE_INFINITY;
    for (let j = 0; j < intervals.length; j++) {
      const other = intervals[j]!;
      if (other.low > low || other.high < low) continue;
      count++;
      if (other.high < high) high = other.high;
    }
    const earlier = high - low === best.high - best.low && low < best.low;
    const smaller = count === best.count && (high - low < best.high - best.low || earlier);
    if (count > best.count || smaller) best = { low, high, count };
  }
  return best;
}

/** How far off a sample may be by now, in ms; Infinity: forgotten. */
function errorNow(sample: Sample, monotonicMs: number): number {
  const ageMs = monotonicMs - sample.atMs;
  return ageMs < 2 * CLOCK_WINDOW_MS ? sample.errorMs + CLOCK_DRIFT_MAX * ageMs : Number.POSITIVE_INFINITY;
}

export class ClusterTime {
  private readonly peers: readonly number[];
  private readonly quorum: number;
  private readonly toleranceMs: number;
  /** Best sample of the window at hand and of the one before, by peer. */
  private readonly samples = new Map<number, { readonly windowStartMs: number; best: Sample; before: Sample | null }>();

  constructor(peers: readonly number[], quorum: number, toleranceMs: number) {
    this.peers = peers;
    this.quorum = quorum;
    this.toleranceMs = toleranceMs;
  }

  /** `peer` read `wallMs` between `sentMs` and `receivedMs` of the own monotone clock. */
  sample(peer: number, wallMs: number, sentMs: number, receivedMs: number): void {
    if (!(receivedMs >= sentMs)) return;
    const middle = (sentMs + receivedMs) / 2;
    const fresh: Sample = { offsetMs: wallMs - middle, errorMs: (receivedMs - sentMs) / 2, atMs: receivedMs };
    const known = this.samples.get(peer);
    if (known === undefined || receivedMs - known.windowStartMs >= CLOCK_WINDOW_MS) {
      const before = known !== undefined && receivedMs - known.windowStartMs < 2 * CLOCK_WINDOW_MS ? known.best : null;
      this.samples.set(peer, { windowStartMs: receivedMs, best: fresh, before });
    } else if (fresh.errorMs <= known.best.errorMs) known.best = fresh;
  }

  /** Cluster time in ms, by the own clocks of this moment; null while no majority agrees. */
  nowMs(wallMs: number, monotonicMs: number): number | null {
    if (this.quorum === 1) return wallMs;
    const agreed = smallestShared(this.intervals(wallMs, monotonicMs).map(({ interval }) => interval));
    if (agreed.count < this.quorum) return null;
    return monotonicMs + Math.min(agreed.high, Math.max(agreed.low, wallMs - monotonicMs));
  }

  /** Why there is no cluster time, for the operator; null when there is. */
  problem(wallMs: number, monotonicMs: number): string | null {
    if (this.nowMs(wallMs, monotonicMs) !== null) return null;
    const known = this.intervals(wallMs, monotonicMs).slice(1);
    const distances = known.map(({ id, interval }) => {
      const ms = Math.round((interval.low + interval.high) / 2 - (wallMs - monotonicMs));
      return `r${id} ${ms >= 0 ? '+' : ''}${ms} ms`;
    });
    const silent = this.peers
      .filter((peer) => !known.some(({ id }) => id === peer))
      .map((peer) => `r${peer} not heard`);
    return `no majority of clocks agrees within ${this.toleranceMs} ms (from here: ${[...distances, ...silent].join(', ')})`;
  }

  /** The own clock first, then whoever was heard lately. */
  private intervals(wallMs: number, monotonicMs: number): { readonly id: number; readonly interval: Interval }[] {
    const own = wallMs - monotonicMs;
    const all = [{ id: 0, interval: { low: own - this.toleranceMs, high: own + this.toleranceMs } }];
    for (const peer of this.peers) {
      const known = this.samples.get(peer);
      if (known === undefined) continue;
      const newError = errorNow(known.best, monotonicMs);
      const oldError = known.before === null ? Number.POSITIVE_INFINITY : errorNow(known.before, monotonicMs);
      const sample = oldError < newError ? known.before! : known.best;
      const error = Math.min(newError, oldError) + this.toleranceMs;
      if (error === Number.POSITIVE_INFINITY) continue;
      all.push({ id: peer, interval: { low: sample.offsetMs - error, high: sample.offsetMs + error } });
    }
    return all;
  }
}
