import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { FAULT_KINDS, type Profile } from './profile.ts';
import { simulate, Simulator } from './simulator.ts';

const codec = await createWasmCodec();

/** A world in which nothing strikes but what the test plans. */
function calm(replicas: number): Profile {
  const { profile } = new Simulator({ seed: 5, replicas, codec });
  const weights = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Profile['faults']['weights'];
  return { ...profile, heals: 'all', aimed: null, upgrades: false, faults: { ...profile.faults, weights } };
}

test.each([3, 5, 7])(
  'of %i replicas a primary that was left alone comes back with a suffix that is cut',
  (replicas) => {
    const profile = calm(replicas);
    const atUs = profile.safetyUs / 2;
    const event = { id: 0, atUs, kind: 'lone-primary' as const, atPrimary: true, durationUs: 1_000_000, seed: 1 };
    const run = (schedule: (typeof event)[]) =>
      simulate({ seed: 5, replicas, codec, scenario: { seed: 5, profile, schedule } });
    expect(run([]).statistics.truncations).toBe(0);
    const struck = run([event]);
    expect(struck.violation).toBeNull();
    expect(struck.statistics.truncations).toBeGreaterThan(0);
  },
);
