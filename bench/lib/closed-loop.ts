/**
 * The closed loop of a load generator: `inFlight` slots, each sends its next put when it has its reply. Warm-up, then a measured window, then it drains,
 * so that every put that was sent is answered before the run counts as over.
 *
 * Invariants: only replies inside the window are counted and timed; a slot has one put outstanding at most; nothing is allocated for a put here.
 */
import { performance } from 'node:perf_hooks';
import type { ChildMessage } from './child.ts';
import { tell } from './child.ts';
import { latencyHistogram, latencyOf, type Latency } from './latency.ts';

/** What a load generator is told. */
export interface LoadOrder {
  readonly type: 'run';
  readonly inFlight: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

/** What it says when the window has passed. */
export interface LoadResult extends ChildMessage {
  readonly type: 'measured';
  /** Replies within the window. */
  readonly puts: number;
  readonly windowMs: number;
  readonly latencyMs: Latency;
}

/** What it says when nothing is outstanding any more. */
export interface LoadTotal extends ChildMessage {
  readonly type: 'drained';
  /** Puts acknowledged since the start, warm-up and drain included. */
  readonly acknowledged: number;
  /** Puts that came to anything but `ok`, by what they came to. */
  readonly errors: Readonly<Record<string, number>>;
}

export class ClosedLoop {
  private readonly order: LoadOrder;
  private readonly send: (slot: number) => void;
  private readonly startedMs: Float64Array;
  private readonly histogram = latencyHistogram();
  private readonly errors: Record<string, number> = {};
  private measuring = false;
  private stopping = false;
  private outstanding = 0;
  private acknowledged = 0;
  private countedFrom = 0;
  private windowFromMs = 0;

  /** `send` sends the next put of a slot; its reply comes to `replied` or `failed`. */
  constructor(order: LoadOrder, send: (slot: number) => void) {
    this.order = order;
    this.send = send;
    this.startedMs = new Float64Array(order.inFlight);
  }

  start(): void {
    for (let slot = 0; slot < this.order.inFlight; slot++) this.next(slot);
    setTimeout(() => {
      this.begin();
    }, this.order.warmUpMs);
  }

  /** The put of this slot is acknowledged. */
  replied(slot: number): void {
    this.acknowledged++;
    if (this.measuring) {
      const elapsedNs = Math.round((performance.now() - this.startedMs[slot]!) * 1e6);
      this.histogram.record(elapsedNs > 0 ? elapsedNs : 1);
    }
    this.ended(slot);
  }

  failed(slot: number, why: string): void {
    this.errors[why] = (this.errors[why] ?? 0) + 1;
    this.ended(slot);
  }

  private ended(slot: number): void {
    this.outstanding--;
    if (!this.stopping) this.next(slot);
    else if (this.outstanding === 0) this.report();
  }

  private next(slot: number): void {
    this.outstanding++;
    this.startedMs[slot] = performance.now();
    this.send(slot);
  }

  private begin(): void {
    tell({ type: 'begin' });
    this.countedFrom = this.acknowledged;
    this.windowFromMs = performance.now();
    this.measuring = true;
    setTimeout(() => {
      this.end();
    }, this.order.measureMs);
  }

  private end(): void {
    this.measuring = false;
    this.stopping = true;
    const result: LoadResult = {
      type: 'measured',
      puts: this.acknowledged - this.countedFrom,
      windowMs: performance.now() - this.windowFromMs,
      latencyMs: latencyOf(this.histogram),
    };
    tell(result);
    if (this.outstanding === 0) this.report();
  }

  private report(): void {
    const total: LoadTotal = { type: 'drained', acknowledged: this.acknowledged, errors: this.errors };
    tell(total);
  }
}
