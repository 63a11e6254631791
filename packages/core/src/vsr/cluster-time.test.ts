import { describe, expect, it } from 'vitest';
import { CLOCK_WINDOW_MS, ClusterTime, smallestShared } from './cluster-time.ts';
import { command, Lab, primaryId, successes } from './testing/lab.ts';

describe('smallestShared', () => {
  it.each([
    ['none', [], 0, 0, 0],
    ['one', [[1, 3]], 1, 3, 1],
    [
      'two that overlap',
      [
        [1, 3],
        [2, 5],
      ],
      2,
      3,
      2,
    ],
    [
      'touching edges',
      [
        [1, 2],
        [2, 3],
      ],
      2,
      2,
      2,
    ],
    [
      'Marzullo, 1984',
      [
        [8, 12],
        [11, 13],
        [10, 12],
      ],
      11,
      12,
      3,
    ],
    [
      'a majority and a liar',
      [
        [8, 12],
        [11, 13],
        [14, 15],
      ],
      11,
      12,
      2,
    ],
  ] as const)('%s', (_, intervals, low, high, count) => {
    const shared = smallestShared(intervals.map(([a, b]) => ({ low: a, high: b })));
    expect(shared).toEqual({ low, high, count });
  });
});

/** Clocks of r2 and r3 against r1, sampled with this round trip; r1's own wall clock is its monotone one. */
function time(distances: readonly (number | null)[], rtt = 10, tolerance = 50): ClusterTime {
  const clock = new ClusterTime([2, 3], 2, tolerance);
  for (const [i, distance] of distances.entries())
    if (distance !== null) clock.sample(2 + i, 1000 + rtt / 2 + distance, 1000, 1000 + rtt);
  return clock;
}

describe('cluster time', () => {
  it('is the own clock while a majority agrees with it', () => {
    expect(time([20, -5]).nowMs(2000, 2000)).toBe(2000);
    expect(time([20, null]).nowMs(2000, 2000)).toBe(2000);
    expect(time([20, 100_000]).nowMs(2000, 2000)).toBe(2000);
  });

  it('of a replica whose own clock is far off is held to the interval of the others', () => {
    const now = time([60_000, 60_010]).nowMs(2000, 2000)!;
    expect(now).toBeGreaterThan(61_900);
    expect(now).toBeLessThan(62_070);
  });

  it('is not known while no majority agrees, and it says whose clock is where', () => {
    const clock = time([60_000, null]);
    expect(clock.nowMs(2000, 2000)).toBe(null);
    expect(clock.problem(2000, 2000)).toBe(
      'no majority of clocks agrees within 50 ms (from here: r2 +60000 ms, r3 not heard)',
    );
    expect(new ClusterTime([2, 3], 2, 50).nowMs(2000, 2000)).toBe(null);
    expect(new ClusterTime([], 1, 50).nowMs(7, 2000)).toBe(7);
  });

  it('prefers the sample with the shortest round trip, and forgets what is old', () => {
    const clock = time([0, null]);
    clock.sample(2, 1_000_000, 1020, 2020);
    expect(clock.nowMs(2000, 2000)).toBe(2000);
    expect(clock.nowMs(2000 + 3 * CLOCK_WINDOW_MS, 2000 + 3 * CLOCK_WINDOW_MS)).toBe(null);
  });

  it('a clock that steps is followed within two windows', () => {
    const clock = time([0, 0]);
    for (let at = 1100; at < 1100 + 2 * CLOCK_WINDOW_MS + 200; at += 100) clock.sample(2, at + 5 + 90_000, at, at + 10);
    const end = 1100 + 2 * CLOCK_WINDOW_MS;
    clock.sample(3, end + 5, end, end + 10);
    expect(clock.nowMs(end, end)).toBe(end);
    clock.sample(3, end + 90_005 + CLOCK_WINDOW_MS, end + CLOCK_WINDOW_MS, end + CLOCK_WINDOW_MS + 10);
    expect(clock.nowMs(end + CLOCK_WINDOW_MS, end + CLOCK_WINDOW_MS)).toBeGreaterThan(end);
  });
});

describe('block time', () => {
  it('a missing clock majority never delays StartView, heartbeats, registers or reads; only client commands wait for it', () => {
    const lab = new Lab(3);
    lab.skewMs.set(1, 0).set(2, 60_000).set(3, -60_000);
    lab.run(60);
    const primary = primaryId(lab);
    const { state } = lab.r(primary).node;
    lab.submit(primary, 'registered');
    lab.run(5);
    expect(successes(lab)).toBe(1);
    const before = state.end;
    command(lab, primary, 1);
    lab.run(50);
    expect(state.end).toBe(before);
    expect(state.clock.problem(state.wallMs, state.monotonicMs)).toContain('no majority of clocks agrees');
    const { view } = state;
    lab.run(100);
    expect(lab.replicas.map((r) => [r.node.state.view, r.node.state.status])).toEqual(
      [1, 2, 3].map(() => [view, 'normal']),
    );
    lab.step(primary, { type: 'query', origin: 1, nonce: 1, query: 1, body: new Uint8Array(0) });
    lab.run(5);
    expect(state.primary!.reads).toEqual([]);
    for (const id of [1, 2, 3]) lab.skewMs.set(id, 0);
    lab.run(1200);
    expect(state.end).toBe(before + 1);
  });

  it('the primary stamps with the time of the majority, not with its own clock that is off', () => {
    const lab = new Lab(3);
    lab.run(60);
    const primary = primaryId(lab);
    lab.skewMs.set(primary, 3_600_000);
    lab.run(20);
    command(lab, primary, 1);
    lab.run(5);
    const [before, stamp] = lab.times(primary).slice(-2) as [bigint, bigint];
    expect(stamp > before).toBe(true);
    const { wallMs } = lab.r(primary).node.state;
    expect(Number(stamp / 1_000_000n)).toBeLessThan(wallMs - 3_590_000);
  });
});
