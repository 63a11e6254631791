/**
 * FailureDetector: how long a primary may be silent before a backup suspects it, from how regularly it was heard (after Chen, Toueg and Aguilera, "On the quality of service of
 * failure detectors", 2002). On a quiet machine the configured time stands; where heartbeats come irregularly it grows with their spread, so that a healthy
 * but busy cluster keeps its view.
 *
 * Invariants: memory is a fixed window; the answer lies between the configured time and PATIENCE_MAX times as much, whatever was heard.
 */

/** Heartbeats that are remembered. */
const WINDOW = 64;
/** Fewer say nothing about the spread. */
const GAPS_MIN = 8;
const DEVIATIONS = 6;
export const PATIENCE_MAX = 4;

export class FailureDetector {
  private readonly gaps = new Float64Array(WINDOW);
  private count = 0;
  private sum = 0;
  private squares = 0;
  private lastTick: number | null = null;

  /** The primary of the view at hand was heard. */
  heard(tick: number): void {
    const last = this.lastTick;
    this.lastTick = tick;
    if (last === null || tick <= last) return;
    const gap = tick - last;
    const slot = this.count % WINDOW;
    if (this.count >= WINDOW) {
      const old = this.gaps[slot]!;
      this.sum -= old;
      this.squares -= old * old;
    }
    this.gaps[slot] = gap;
    this.sum += gap;
    this.squares += gap * gap;
    this.count++;
  }

  /** Another primary: the time until it is first heard says nothing. */
  restart(): void {
    this.lastTick = null;
  }

  /** Ticks of silence that are still ordinary, when `configured` is the least. */
  patience(configured: number): number {
    const n = Math.min(this.count, WINDOW);
    if (n < GAPS_MIN) return configured;
    const mean = this.sum / n;
    const deviation = Math.sqrt(Math.max(0, this.squares / n - mean * mean));
    return Math.min(PATIENCE_MAX * configured, Math.max(configured, Math.ceil(mean + DEVIATIONS * deviation)));
  }
}
