/** Epochs against every install remembered for ever. */
import { expect, it } from 'vitest';
import { at, type CommitIndex, NONE } from '../engine/commit-index.ts';
import { Prng } from '../prng.ts';
import { Epochs } from './epochs.ts';
import { elected } from './testing/lab.ts';

it('says of each completion what all installs since leave of it, and remembers no more than what waits for the disk', () => {
  const prng = new Prng(11);
  const epochs = new Epochs();
  const ends: number[] = [NONE];
  let [durable, end]: [CommitIndex, CommitIndex] = [NONE, NONE];
  const writes: { index: number; epoch: number }[] = [];
  for (let round = 0; round < 20_000; round++) {
    const dice = prng.float();
    if (dice < 0.4 && end - durable < 40) {
      end = at(end + prng.range(1, 5));
      writes.push({ index: end, epoch: epochs.current });
    } else if (dice < 0.5) {
      end = (end - prng.below(Math.min(end + 2, 30))) as CommitIndex;
      durable = Math.min(durable, end) as CommitIndex;
      epochs.begin(end);
      ends.push(end);
      epochs.settle(durable);
    } else if (writes.length > 0) {
      // Also one long ago.
      const { index, epoch } = writes.splice(prng.below(writes.length), 1)[0]!;
      const all = Math.min(index, ...ends.slice(epoch + 1));
      const said = epochs.through(index, epoch) ?? NONE;
      expect(Math.max(said, durable)).toBe(Math.max(all, durable));
      if (all > durable) durable = all as CommitIndex;
      epochs.settle(durable);
    }
    expect(epochs.kept).toBeLessThanOrEqual(end - durable + 1);
  }
  expect(ends.length).toBeGreaterThan(1000);
});

it('a replica through many view changes remembers no install of long ago', () => {
  const lab = elected(3);
  for (let i = 0; i < 30; i++) {
    const primary = lab.replicas.find((r) => r.node.state.serving)!.id;
    lab.submit(primary, `c${i}`);
    lab.crashAndReturn(primary);
  }
  for (const { node } of lab.replicas) expect(node.state.epochs.kept).toBeLessThanOrEqual(1);
});
