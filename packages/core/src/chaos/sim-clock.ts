/**
 * SimClock: the two clocks of one machine, derived from virtual time: a monotone one that drifts, and a wall clock that drifts, steps
 * and freezes. Safety must never depend on either.
 */
import { US_PER_MS, type EventQueue } from './event-queue.ts';

/** Wall time at virtual time 0, milliseconds since the epoch. */
export const WALL_START_MS = 1_700_000_000_000;

export class SimClock {
  private readonly queue: EventQueue;
  /** Rate against virtual time; 1 is true. */
  readonly rate: number;
  private wallOffsetMs: number;
  private frozenAt: number | null = null;

  constructor(queue: EventQueue, rate: number, wallOffsetMs: number) {
    this.queue = queue;
    this.rate = rate;
    this.wallOffsetMs = wallOffsetMs;
  }

  monotonicMs(): number {
    return (this.queue.now / US_PER_MS) * this.rate;
  }

  wallMs(): number {
    return this.frozenAt ?? WALL_START_MS + this.wallOffsetMs + this.monotonicMs();
  }

  /** The wall clock jumps by `ms`, forward or back. */
  step(ms: number): void {
    this.wallOffsetMs += ms;
    if (this.frozenAt !== null) this.frozenAt += ms;
  }

  /** Somebody sets the wall clock right; its drift stays. */
  setRight(): void {
    this.frozenAt = null;
    this.wallOffsetMs = this.queue.now / US_PER_MS - this.monotonicMs();
  }

  /** The wall clock stands still until thawed; it then shows true (drifted) time again. */
  freeze(): void {
    this.frozenAt ??= this.wallMs();
  }

  thaw(): void {
    this.frozenAt = null;
  }

  /** Virtual microseconds in `ms` of this machine's monotone clock. */
  toVirtualUs(ms: number): number {
    return Math.max(1, Math.round((ms * US_PER_MS) / this.rate));
  }
}
