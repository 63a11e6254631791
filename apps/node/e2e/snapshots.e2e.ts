/** Snapshots of three real processes: taken under load, compacted behind, fetched by a replica that was away, listed, created and verified by the API. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestCluster } from '../src/testing/cluster.ts';
import { CALL_MS, PATIENCE_MS, until } from '../src/testing/until.ts';

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
      const input = { account: `account-${from + i}`, cents: 1 };
      expect(await client.submit('deposit', input, { timeoutMs: CALL_MS })).toMatchObject({ outcome: 'ok' });
    }
  });
  await Promise.all(workers);
  client.close();
}

it('a replica that was away until the others had compacted its log comes back by a snapshot', async () => {
  await deposit(0, 50);
  const away = (await cluster.primary()) === 3 ? 2 : 3;
  const others = [1, 2, 3].filter((id) => id !== away);
  await cluster.signal(away, 'SIGKILL');
  let count = 50;
  const compacted = async (): Promise<boolean> => {
    const details = await Promise.all(others.map((id) => cluster.detail(id)));
    return details.every(({ first }) => Number(first) > 100);
  };
  // On a slow disk a replica leaves out snapshot points: the load goes on until both have let go what the one that is away has.
  await until(async () => {
    await deposit(count, EVERY);
    count += EVERY;
    return compacted();
  });
  // In memory they may still have what their logs have let go, and give it: only what is on their disks is left to them.
  for (const id of others) await cluster.signal(id, 'SIGKILL');
  for (const id of others) cluster.run(id);
  await cluster.primary(PATIENCE_MS, others);
  // A segment that was being removed may still be there, and goes again.
  await until(compacted);
  cluster.run(away);
  await cluster.converged();
  expect(cluster.output(away)).toMatch(/"event":"install"/);
  expect(Number((await cluster.detail(away)).first)).toBeGreaterThan(100);
  expect(Number((await cluster.detail(away)).checkpoint)).toBeGreaterThanOrEqual(EVERY);
  const { result } = await cluster.api(away).app.query.query({ name: 'total', input: null, consistency: 'stale' });
  expect(result).toEqual({ accounts: count, cents: count });
  // It goes on, and starts again from what it has now.
  await deposit(100_000, 40);
  await cluster.signal(away, 'SIGKILL');
  cluster.run(away);
  await cluster.converged();
});

it('snapshots are created at one place of the log, listed as confirmed with equal digests, and verified', async () => {
  const ids = [1, 2, 3];
  const before = Number((await cluster.detail(1)).checkpoint);
  // Asked again where one was left out, as a replica does that is still writing the one before.
  await until(async () => {
    await cluster.underOnePrimary(async (primary) => {
      const other = primary === 1 ? 2 : 1;
      await expect(cluster.api(other).snapshots.create.mutate()).rejects.toThrow('E_NOT_PRIMARY');
      await cluster.api(primary).snapshots.create.mutate();
    });
    await cluster.converged();
    return await confirmed(ids, before);
  });
  expect(await cluster.api(2).snapshots.verify.query()).toMatchObject({ replica: 2, damage: [] });
});

/** Waits until all hold the newest snapshot, above `index`, as confirmed and alike; false when one of them says that it left it out. */
async function confirmed(ids: readonly number[], index: number): Promise<boolean> {
  let leftOut = false;
  await until(async () => {
    const lists = await Promise.all(ids.map(async (id) => (await cluster.api(id).snapshots.list.query()).snapshots));
    const details = await Promise.all(ids.map((id) => cluster.detail(id)));
    const newest = Math.max(...lists.flat().map((one) => Number(one.index)));
    leftOut = details.some(({ notes }) => notes.some((note) => note.startsWith(`snapshot ${newest} was left out`)));
    const held = lists.map((list) => list.find((one) => Number(one.index) === newest && one.confirmed));
    if (leftOut) return true;
    if (newest <= index || held.includes(undefined)) return false;
    expect(new Set(held.map((one) => one!.file)).size).toBe(1);
    return true;
  });
  return !leftOut;
}

it('an answer about the log below its beginning says where it begins', async () => {
  // A snapshot that was confirmed just now may still let the log begin later.
  await until(async () => {
    const { first } = await cluster.detail(1);
    const { fault } = await cluster.api(1).log.range.query({ from: '0' });
    const { entries } = await cluster.api(1).log.entries.query({ from: '0', limit: 5 });
    if ((await cluster.detail(1)).first !== first) return false;
    expect(fault).toEqual({ index: first, kind: 'compacted' });
    expect(entries[0]!.index).toBe(first);
    return true;
  });
});
