/**
 * Ticker: calls `task` once for each tick that has passed, a bounded number of times after a gap: a process that was stopped for a minute must not live
 * through a minute of timeouts at once, and must notice that it was away.
 */
/** Ticks caught up at most after a gap. */
const CATCH_UP_MAX = 5;
/** A gap worth telling, ms. */
const GAP_MS = 1000;

export class Ticker {
  private readonly tickMs: number;
  private readonly monotonicMs: () => number;
  private readonly task: () => void;
  private readonly onGap: (ms: number) => void;
  private lastMs: number;
  private timer: NodeJS.Timeout | null = null;

  constructor(tickMs: number, monotonicMs: () => number, task: () => void, onGap: (ms: number) => void) {
    this.tickMs = tickMs;
    this.monotonicMs = monotonicMs;
    this.task = task;
    this.onGap = onGap;
    this.lastMs = monotonicMs();
  }

  start(): void {
    this.lastMs = this.monotonicMs();
    this.timer = setInterval(() => {
      this.wake();
    }, this.tickMs);
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** Exported for its test. */
  wake(): void {
    const now = this.monotonicMs();
    const elapsedMs = now - this.lastMs;
    const due = Math.floor(elapsedMs / this.tickMs);
    if (due > CATCH_UP_MAX) this.lastMs = now;
    else this.lastMs += due * this.tickMs;
    if (elapsedMs >= GAP_MS) this.onGap(elapsedMs);
    for (let i = 0; i < Math.min(due, CATCH_UP_MAX); i++) this.task();
  }
}
