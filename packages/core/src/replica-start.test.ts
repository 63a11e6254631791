/** What a damaged directory starts with: damage that a snapshot covers stops nobody, not even a replica that is alone (docs/operations.md). */
import { expect, test } from 'vitest';
import { damage, ReplicaBench } from './chaos/testing/replica-bench.ts';
import { snapshotPath } from './engine/snapshot-path.ts';

const startRefused = (bench: ReplicaBench, id: number): string => {
  try {
    bench.start(id);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

/** One replica with a log above a snapshot at 40, stopped; it ends `above` entries behind it. */
function alone(above: number): ReplicaBench {
  const bench = new ReplicaBench(1);
  bench.put(5);
  while (bench.r(1).store.end < 40 + above) bench.put(1);
  bench.run(50);
  expect([bench.r(1).store.manifest.checkpoint.index, bench.r(1).store.end]).toEqual([40, 40 + above]);
  bench.crash(1);
  return bench;
}

test.each([0, 3, 8])(
  'alone, damage at or below an intact snapshot is no reason to refuse; %i entries above it',
  (above) => {
    for (const where of [[39], [40], [31, 40]]) {
      const bench = alone(above);
      for (const index of where) damage(bench.disk(1), index);
      bench.start(1);
      if (above > 0) expect(bench.r(1).notes.join()).toContain('the snapshot at index 40 covers what is damaged');
      bench.put(15);
      bench.run(50);
      expect(bench.halts).toEqual([]);
      expect(bench.r(1).executor.applied).toBeGreaterThan(50);
      // And again, with what is still damaged.
      bench.restart(1);
      bench.put(1);
      expect(bench.halts).toEqual([]);
    }
  },
);

test('alone, damage above the snapshot, or below one that is damaged itself, is refused with every file as it was', () => {
  const bench = alone(3);
  damage(bench.disk(1), 42);
  expect(startRefused(bench, 1)).toContain('E_LOG_CORRUPT');
  damage(bench.disk(1), 42);
  damage(bench.disk(1), 35);
  bench.disk(1).flip(snapshotPath(40), 5000);
  const before = bench.disk(1).paths();
  expect(startRefused(bench, 1)).toContain('E_LOG_CORRUPT');
  expect(bench.disk(1).paths()).toEqual(before);
  bench.disk(1).flip(snapshotPath(40), 5000);
  bench.start(1);
  bench.put(1);
});

test('a log that ends with a damaged entry that is the snapshot’s: its replica becomes primary, and block time goes on', () => {
  const bench = new ReplicaBench(3);
  bench.put(5);
  while (bench.primary!.store.end < 40) bench.put(1);
  bench.until(() => bench.replicas.every((replica) => replica!.store.manifest.checkpoint.index === 40));
  const gone = bench.primary!.node.state.id;
  for (const id of [1, 2, 3]) bench.crash(id);
  for (const id of [1, 2, 3].filter((other) => other !== gone)) {
    damage(bench.disk(id), 40);
    bench.start(id);
  }
  bench.put(3);
  expect(bench.halts).toEqual([]);
});
