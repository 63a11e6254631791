/** Damage that leaves no good copy: what a cluster may do is stop, and say why; a mutation that takes the damage for absence lies, and is caught. */
import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { beyondAtlas, reasons } from './beyond.ts';
import { MUTATIONS } from './mutations/index.ts';
import type { SimMachine } from './sim-machine.ts';
import { simulate, type SimulationResult } from './simulator.ts';

const codec = await createWasmCodec();

function run(seed: number, mutation: string | null = null): SimulationResult {
  const policy = mutation === null ? {} : { policy: MUTATIONS.get(mutation)!, forgiveHalts: true };
  return simulate({ seed, replicas: 3, codec, adjust: beyondAtlas, ...policy });
}

test.each([4, 11])(
  'seed %i: beyond the atlas the cluster stops with a reason, and nobody was told anything wrong',
  (seed) => {
    const { violation, sometimes } = run(seed);
    expect(violation).toBeNull();
    expect(sometimes['stopped-and-said-why']).toBe(1);
  },
);

test('a replica that takes damage for absence is caught where the sound one passes', () => {
  expect(run(8).violation).toBeNull();
  expect(run(8, 'nack-faulty-slot').violation?.family).not.toBe('replica');
  expect(run(8, 'nack-faulty-slot').violation).not.toBeNull();
});

test('who stands still without damage has no reason', () => {
  const state = { dataLoss: null, status: 'normal', faulty: [] as { from: number; to: number }[] };
  const machine = { id: 1, stoppedBy: null, replica: { node: { state } } } as unknown as SimMachine;
  expect(reasons([machine])).toBeNull();
  state.faulty.push({ from: 3, to: 4 });
  expect(reasons([machine])).toContain('damaged frames from 3 on');
});
