/** A hole that reaches below what peers still have: what is above is repaired all the same (vsr/state-transfer.ts). */
import { expect, test } from 'vitest';
import { damage, ReplicaBench } from './chaos/testing/replica-bench.ts';

test('a hole that begins below what any peer still has, and ends above the newest snapshot, is repaired where they have it', () => {
  const bench = new ReplicaBench(3);
  bench.put(5);
  while (bench.primary!.store.end < 45) bench.put(1);
  bench.until(() => bench.replicas.every((replica) => replica!.store.manifest.checkpoint.index === 40));
  bench.run(200);
  const x = bench.replicas.find((replica) => replica !== bench.primary)!.node.state.id;
  const { first } = bench.r(x).store;
  bench.crash(x);
  for (let index = first; index <= 43; index++) damage(bench.disk(x), index);
  // Segments of two replicas need not begin at the same index: the others have let go a little more.
  const left = first + 5;
  bench.onWire = (_from, to, message) => {
    if (to !== x) return message;
    if (message.type === 'snapshotReport') return { ...message, first: left };
    if (message.type !== 'newState' || message.batch === null || message.batch.first >= left) return message;
    return { ...message, first: left, batch: null };
  };
  bench.start(x);
  bench.run(1500);
  expect(bench.r(x).executor.applied).toBe(bench.r(x).node.state.end);
});
