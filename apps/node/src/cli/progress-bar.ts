/** A bar on the terminal for work that takes a while: share, rate, time left. Nothing is written where stderr is no terminal, or before a moment has passed. */

const WIDTH = 30;
/** Work that is over sooner shows no bar. */
const QUIET_MS = 500;
const REDRAW_MS = 100;

export class ProgressBar {
  private readonly what: string;
  private readonly startedMs = performance.now();
  private drawnMs = 0;
  private drawn = false;

  constructor(what: string) {
    this.what = what;
  }

  /** `done` of `total` bytes. */
  show(done: number, total: number): void {
    const now = performance.now();
    const passedMs = now - this.startedMs;
    if (!process.stderr.isTTY || total === 0 || passedMs < QUIET_MS || now - this.drawnMs < REDRAW_MS) return;
    this.drawnMs = now;
    this.drawn = true;
    process.stderr.write(`\r${progressLine(this.what, done, total, passedMs)}\u001b[K`);
  }

  /** Removes the bar. */
  end(): void {
    if (this.drawn) process.stderr.write('\r\u001b[K');
  }
}

/** One line: `verifying [#####.....]  50 %  812 MiB/s  3 s left`. */
export function progressLine(what: string, done: number, total: number, passedMs: number): string {
  const share = Math.min(1, done / total);
  const full = Math.floor(share * WIDTH);
  const bar = '#'.repeat(full) + '.'.repeat(WIDTH - full);
  const perMs = done / Math.max(1, passedMs);
  const mib = ((perMs * 1000) / 1024 / 1024).toFixed(0);
  const left = perMs === 0 ? '' : `  ${Math.ceil((total - done) / perMs / 1000)} s left`;
  return `${what} [${bar}] ${String(Math.floor(share * 100)).padStart(3)} %  ${mib} MiB/s${left}`;
}
