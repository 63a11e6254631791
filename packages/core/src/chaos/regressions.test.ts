/**
 * Runs that once broke an invariant, with what was wrong (testdata/regressions); each stays mended for ever. World and faults are stored whole (scenario.ts), so that
 * they mean the same when seeds draw otherwise: `chronon simulate --seed N --save FILE` writes one, `--schedule FILE` runs it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { decodeScenario, type Scenario } from './scenario.ts';
import { simulate, Simulator } from './simulator.ts';

const codec = await createWasmCodec();
const DIRECTORY = new URL('./testdata/regressions/', import.meta.url);

const REGRESSIONS = readdirSync(DIRECTORY).map((file) => {
  const stored = JSON.parse(readFileSync(new URL(file, DIRECTORY), 'utf8')) as Record<string, unknown>;
  return { file, what: stored['what'], scenario: stored['scenario'] };
});

test.each(REGRESSIONS)('$file stays mended: $what', ({ scenario }) => {
  const decoded = decodeScenario(scenario);
  expect(decoded).toBeTypeOf('object');
  const { seed } = decoded as Scenario;
  expect(simulate({ seed, replicas: null, codec, scenario: decoded as Scenario }).violation).toBeNull();
});

test('a stored scenario is the run of its seed, and what it does not know is off', () => {
  const { profile, schedule } = new Simulator({ seed: 7, replicas: null, codec });
  const whole = JSON.parse(JSON.stringify({ seed: 7, profile, schedule })) as { profile: Record<string, unknown> };
  const run = (scenario: Scenario | null): string => simulate({ seed: 7, replicas: null, codec, scenario }).traceHash;
  expect(run(decodeScenario(whole) as Scenario)).toBe(run(null));
  delete whole.profile['aimed'];
  expect((decodeScenario(whole) as Scenario).profile.aimed).toBeNull();
  expect(decodeScenario({ ...whole, schedule: [{ kind: 'earthquake' }] })).toContain('earthquake');
  expect(decodeScenario({ ...whole, seed: 'x' })).toContain('seed');
});
