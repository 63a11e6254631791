import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { MUTATIONS } from './mutations/index.ts';
import { CAUGHT_BY } from './testing/mutation-seeds.ts';
import { REGRESSION_SEEDS } from './testing/regression-seeds.ts';
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

test.each(REGRESSION_SEEDS)('seed $seed stays mended: $what', ({ seed, replicas }) => {
  expect(simulate({ seed, replicas, codec }).violation).toBeNull();
});

test('a seed runs twice in the same way', () => {
  const [first, second] = [1, 2].map(() => simulate({ seed: 7, replicas: null, codec }));
  expect(second!.traceHash).toBe(first!.traceHash);
  expect(second!.statistics).toEqual(first!.statistics);
});

for (const { mutation, seeds } of CAUGHT_BY) {
  test.each(seeds)(`${mutation} is caught by seed %i, which passes without it`, (seed) => {
    const policy = MUTATIONS.get(mutation);
    expect(policy).toBeDefined();
    const result = simulate({ seed, replicas: null, codec, policy: policy!, forgiveHalts: true });
    expect(result.violation).not.toBeNull();
    expect(simulate({ seed, replicas: null, codec }).violation).toBeNull();
  });
}
