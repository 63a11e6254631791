/** RateLimit: at most `count` permits a `windowMs`; the caller brings the clock. For log lines that strangers can cause. */
export class RateLimit {
  private readonly count: number;
  private readonly windowMs: number;
  private windowStartMs = Number.NEGATIVE_INFINITY;
  private used = 0;
  private suppressed = 0;

  constructor(count: number, windowMs: number) {
    this.count = count;
    this.windowMs = windowMs;
  }

  /** Takes a permit if there is one. */
  allow(nowMs: number): boolean {
    if (nowMs - this.windowStartMs >= this.windowMs) {
      this.windowStartMs = nowMs;
      this.used = 0;
    }
    if (this.used < this.count) {
      this.used++;
      return true;
    }
    this.suppressed++;
    return false;
  }

  /** How many were refused since the last call. */
  takeSuppressed(): number {
    const count = this.suppressed;
    this.suppressed = 0;
    return count;
  }
}
