/** The rows of the storage fault table that take whole replicas: each of a small cluster on MemoryDisks, each test named after its row. */
import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { snapshotPath } from '../engine/snapshot-path.ts';
import { MiniCluster } from './testing/mini-cluster.ts';

const codec = await createWasmCodec();

test('Slow disk / stall: a stalled backup costs nothing, a stalled primary steps down and the others go on', () => {
  const cluster = new MiniCluster(codec, MiniCluster.format(codec, 3), { stallTicks: 60 });
  expect(cluster.put('a', '1')).not.toBeNull();
  const primary = cluster.primary!;
  const { view } = primary.replica!.node.state;
  const backup = cluster.members.find((member) => member !== primary)!;
  backup.stalled = true;
  expect(cluster.put('b', '2')).not.toBeNull();
  expect(cluster.until(() => false, 300)).toBe(false);
  expect(cluster.primary!.replica!.node.state.view).toBe(view);
  backup.stalled = false;

  primary.stalled = true;
  // What it has been given it cannot finish; its heartbeats alone would keep it primary for ever.
  expect(cluster.put('c', '3')).not.toBeNull();
  expect(cluster.until(() => cluster.primary !== null && cluster.primary !== primary)).toBe(true);
  expect(cluster.put('d', '4')).not.toBeNull();
  expect(['a', 'b', 'c', 'd'].map((key) => cluster.get(key))).toEqual(['1', '2', '3', '4']);
  primary.stalled = false;
  expect(cluster.until(() => cluster.living.every(({ replica }) => replica!.status().commit === cluster.commit))).toBe(
    true,
  );
  expect(cluster.members.map(({ stopped }) => stopped)).toEqual([null, null, null]);
});

test('ENOSPC: writes are refused, reads and view changes live on, and it ends with the shortage', () => {
  const cluster = new MiniCluster(codec, MiniCluster.format(codec, 3));
  expect(cluster.put('a', '1')).not.toBeNull();
  for (const { disk } of cluster.members) disk.capacityBytes = disk.usedBytes();
  const big = 'x'.repeat(900);
  let acknowledged = 0;
  while (cluster.put(`k${acknowledged}`, big, 300) !== null) acknowledged++;
  expect(acknowledged).toBeGreaterThan(5);
  expect(cluster.get('a')).toBe('1');
  expect(cluster.get(`k${acknowledged - 1}`)).toBe(big);
  const primary = cluster.primary!;
  expect(primary.replica!.status().readOnly).toBe(true);
  cluster.kill(primary);
  expect(cluster.until(() => cluster.primary !== null)).toBe(true);
  expect(cluster.get('a')).toBe('1');
  for (const { disk } of cluster.members) disk.capacityBytes = Number.POSITIVE_INFINITY;
  expect(cluster.put('b', '2')).not.toBeNull();
  expect(cluster.members.map(({ stopped }) => stopped)).toEqual([null, null, null]);
});

test('Snapshot corrupt/partial: the one before it and the log are as good', () => {
  const cluster = new MiniCluster(codec, MiniCluster.format(codec, 1));
  for (let i = 0; i < 50; i++) cluster.put(`k${i}`, `v${i}`);
  cluster.close();
  const { disk } = cluster.members[0]!;
  expect(disk.list('snapshots').map((name) => Number(name.slice(0, 20)))).toEqual([20, 40]);
  disk.flip(snapshotPath(40), 9000);
  disk.content('snapshots/00000000000000000040.snap').fill(0, 4096, 8192);
  const again = new MiniCluster(codec, [disk]);
  expect(again.members[0]!.replica!.notes.join()).toContain(`${snapshotPath(40)}: `);
  expect(Array.from({ length: 50 }, (_, i) => again.get(`k${i}`))).toEqual(
    Array.from({ length: 50 }, (_, i) => `v${i}`),
  );
});
