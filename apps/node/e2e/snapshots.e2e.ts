/** Snapshots of three real processes: taken under load, compacted behind, fetched by a replica that was away, listed, created and verified by the API. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestCluster } from '../src/testing/cluster.ts';
import { until } from '../src/testing/until.ts';

const EVERY = 400;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({
    tuning: { segmentBytes: 128 * 1024, batchBytesMax: 16 * 1024, snapshotEvery: EVERY, pipelineMax: 64 },
  });
});
afterAll(async () => {
  await cluster.destroy();
});

/** Deposits `count` times, each to an account of its own. */
async function deposit(from: number, count: number): Promise<void> {
  const client = cluster.client();
  const workers = Array.from({ length: 16 }, async (_, worker) => {
    for (let i = worker; i < count; i += 16) {
      const outcome = await client.submit(
        'deposit',
        { account: `account-${from + i}`, cents: 1 },
        { timeoutMs: 60_000 },
      );
      expect(outcome.outcome).toBe('ok');
    }
  });
  await Promise.all(workers);
}

it('a replica that was away until the others had compacted its log comes back by a snapshot', async () => {
  const away = (await cluster.primary()) === 3 ? 2 : 3;
  await deposit(0, 50);
  await cluster.signal(away, 'SIGKILL');
  const others = [1, 2, 3].filter((id) => id !== away);
  await deposit(50, 6 * EVERY);
  for (const id of others) await until(async () => Number((await cluster.detail(id)).first) > 100);
  cluster.run(away);
  await cluster.converged();
  // What the snapshot covers is let go afterwards.
  await until(async () => Number((await cluster.detail(away)).first) > 100);
  expect(Number((await cluster.detail(away)).checkpoint)).toBeGreaterThanOrEqual(EVERY);
  const { result } = await cluster.api(away).app.query.query({ name: 'total', input: null, consistency: 'stale' });
  expect(result).toEqual({ accounts: 50 + 6 * EVERY, cents: 50 + 6 * EVERY });
  // It goes on, and starts again from what it has now.
  await deposit(10_000, 40);
  await cluster.signal(away, 'SIGKILL');
  cluster.run(away);
  await cluster.converged();
});

it('snapshots are created at one place of the log, listed as confirmed with equal digests, and verified', async () => {
  const primary = await cluster.primary();
  const other = primary === 1 ? 2 : 1;
  await expect(cluster.api(other).snapshots.create.mutate()).rejects.toThrow('E_NOT_PRIMARY');
  const before = Number((await cluster.detail(primary)).checkpoint);
  await cluster.api(primary).snapshots.create.mutate();
  for (const id of [1, 2, 3]) await until(async () => Number((await cluster.detail(id)).checkpoint) > before);
  // Its digest is confirmed by the next heartbeats.
  await until(async () => {
    const lists = await Promise.all([1, 2, 3].map((id) => cluster.api(id).snapshots.list.query()));
    const newest = lists.map(({ snapshots }) => snapshots.at(-1)!);
    const places = new Set(newest.map(({ index, file }) => `${index} ${file}`));
    return places.size === 1 && newest.every(({ confirmed }) => confirmed);
  });
  expect(await cluster.api(2).snapshots.verify.query()).toMatchObject({ replica: 2, damage: [] });
});

it('an answer about the log below its beginning says where it begins', async () => {
  const { first } = await cluster.detail(1);
  expect((await cluster.api(1).log.range.query({ from: '0' })).fault).toEqual({ index: first, kind: 'compacted' });
  const { entries } = await cluster.api(1).log.entries.query({ from: '0', limit: 5 });
  expect(entries[0]!.index).toBe(first);
});
