/** Snapshots on their way between replicas, where something comes between (replica-transfer.ts). */
import { expect, test } from 'vitest';
import { ReplicaBench } from './chaos/testing/replica-bench.ts';
import { at } from './engine/commit-index.ts';

test('a fetched snapshot that the log has come past before it could be installed makes room for the one that is needed', () => {
  const bench = new ReplicaBench(3);
  bench.put(5);
  bench.crash(3);
  bench.put(120);
  bench.until(() => [1, 2].every((id) => bench.r(id).store.first > 20));
  bench.start(3);
  const { transfer } = bench.r(3).snapshots;
  const n = bench.r(3).node.state;
  bench.until(() => transfer.fetching !== null);
  // An install of a view that does not end: the snapshot is fetched, and waits.
  n.stored = false;
  bench.run(200);
  const { index } = transfer.fetching!;
  bench.put(10);
  bench.until(() => [1, 2].every((id) => bench.r(id).store.manifest.checkpoint.index === index + 10));
  // As if a peer that came back had given the frames after all.
  n.applied = at(index);
  n.stored = true;
  bench.run(300);
  expect(bench.r(3).executor.applied).toBeGreaterThanOrEqual(index + 10);
});
