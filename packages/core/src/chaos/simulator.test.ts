import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { MUTATIONS } from './mutations/index.ts';
import { CAUGHT_BY } from './testing/mutation-seeds.ts';
import { shrink } from './shrink.ts';
import { simulate } from './simulator.ts';
import { COMMANDS_ACKNOWLEDGED_MIN } from './sometimes.ts';

const codec = await createWasmCodec();

/** Fresh seeds of every test run. */
const SEEDS = Array.from({ length: 20 }, (_, i) => 1000 + i);

test.each(SEEDS)('seed %i breaks no invariant', (seed) => {
  const result = simulate({ seed, replicas: null, codec });
  expect(result.violation).toBeNull();
  expect(result.statistics.commandsAcknowledged).toBeGreaterThanOrEqual(COMMANDS_ACKNOWLEDGED_MIN);
});

test('a seed runs twice in the same way', () => {
  const [first, second] = [1, 2].map(() => simulate({ seed: 7, replicas: null, codec }));
  expect(second!.traceHash).toBe(first!.traceHash);
  expect(second!.statistics).toEqual(first!.statistics);
});

test.each(CAUGHT_BY)('$mutation is caught from outside, by a seed that passes without it', ({ mutation, seeds }) => {
  const policy = MUTATIONS.get(mutation);
  expect(policy).toBeDefined();
  const caught = seeds.find((seed) => {
    const { violation } = simulate({ seed, replicas: null, codec, policy: policy!, forgiveHalts: true });
    return violation !== null && violation.family !== 'replica';
  });
  expect(caught).toBeDefined();
  expect(simulate({ seed: caught!, replicas: null, codec }).violation).toBeNull();
});

test('every mutation has its seeds', () => {
  expect(CAUGHT_BY.map(({ mutation }) => mutation)).toEqual([...MUTATIONS.keys()].sort());
});

test('a failing seed is shrunk to fewer faults that break the same invariant', () => {
  const options = { seed: 7, replicas: null, codec, policy: MUTATIONS.get('no-log-view')!, forgiveHalts: true };
  const failed = simulate(options);
  expect(failed.violation).not.toBeNull();
  const shrunk = shrink(options, failed, 12);
  expect(shrunk.left).toBeLessThan(failed.schedule.length);
  const again = simulate({ ...options, without: new Set(shrunk.without) });
  expect(again.violation?.invariant).toBe(failed.violation?.invariant);
});
