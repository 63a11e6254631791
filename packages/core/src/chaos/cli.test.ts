/** What a run must have met to prove something: by its size. */
import { expect, test } from 'vitest';
import { SEEDS_FOR_SELDOM, SEEDS_FOR_SOMETIMES, type SeedReport, Totals } from './cli.ts';
import { emptyStatistics, SELDOM, SOMETIMES, SOMETIMES_BEYOND, STATISTICS } from './sometimes.ts';

/** A run of so many equal seeds, each of which reached these states and has every statistic above zero. */
function run(seeds: number, states: readonly string[]): Totals {
  const statistics = emptyStatistics();
  for (const name of STATISTICS) statistics[name] = 1000;
  const sometimes = Object.fromEntries(states.map((id) => [id, 1]));
  const report = {
    seed: 1,
    replicas: 3,
    virtualMs: 1,
    faults: 1,
    traceHash: '1',
    statistics,
    sometimes,
    violation: null,
  };
  const totals = new Totals();
  for (let i = 0; i < seeds; i++) totals.add(report as unknown as SeedReport);
  return totals;
}

test('the rarest states are due in a very large run only', () => {
  expect(run(SEEDS_FOR_SELDOM - 1, SOMETIMES).passed(false)).toBe(true);
  const large = run(SEEDS_FOR_SELDOM, SOMETIMES);
  expect(large.unreached).toEqual([...SELDOM]);
  expect(large.passed(false)).toBe(false);
  expect(run(SEEDS_FOR_SELDOM, [...SOMETIMES, ...SELDOM]).passed(false)).toBe(true);
});

test('a rare state that a large run did not meet fails it', () => {
  const met = SOMETIMES.filter((id) => id !== 'recovering-head');
  expect(run(SEEDS_FOR_SOMETIMES - 1, met).passed(false)).toBe(true);
  expect(run(SEEDS_FOR_SOMETIMES, met).unreached).toEqual(['recovering-head']);
});

test('what only a world beyond the atlas comes to is never due', () => {
  const { unreached } = run(SEEDS_FOR_SELDOM, []);
  expect(unreached.filter((id) => (SOMETIMES_BEYOND as readonly string[]).includes(id))).toEqual([]);
  expect(unreached).toHaveLength(SOMETIMES.length + SELDOM.length);
});
