import { describe, expect, it } from 'vitest';
import { Ticker } from './ticker.ts';

describe('Ticker', () => {
  it('ticks as time passes, and catches up only a little after a gap', () => {
    let now = 0;
    let ticks = 0;
    const gaps: number[] = [];
    const ticker = new Ticker(
      10,
      () => now,
      () => ticks++,
      (ms) => gaps.push(ms),
    );
    for (const [to, expected] of [
      [9, 0],
      [12, 1],
      [20, 2],
      [45, 4],
      [49, 4],
      [50, 5],
    ] as const) {
      now = to;
      ticker.wake();
      expect(ticks).toBe(expected);
    }
    now = 60_050;
    ticker.wake();
    expect(ticks).toBe(10);
    expect(gaps).toEqual([60_000]);
    now += 10;
    ticker.wake();
    expect(ticks).toBe(11);
  });
});
