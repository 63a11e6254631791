/** Three real replica processes: agreement, failover under load, restart, chaos by lease, bad input at each door. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { decodeLedgerLine } from '@chronon/core/kernel/ledger-sink';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TTL_MS_MAX } from '../src/replica/leases.ts';
import { TestCluster } from '../src/testing/cluster.ts';
import { CALL_MS, PATIENCE_MS, until } from '../src/testing/until.ts';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start();
});
afterAll(async () => {
  await cluster.destroy();
});

/** Keys in the shared ledger. */
function ledgerKeys(): string[] {
  const text = readFileSync(cluster.config.ledger, 'utf8');
  return text.split('\n').flatMap((line) => {
    const record = decodeLedgerLine(line);
    return record !== null && 'key' in record ? [record.key] : [];
  });
}

describe('a cluster of three', () => {
  it('agrees on commands, and each replica says the same', async () => {
    expect(await cluster.submit(1, 'deposit', { account: 'alice', cents: 1000 })).toMatchObject({ outcome: 'ok' });
    const moved = await cluster.submit(2, 'transfer', { from: 'alice', to: 'bob', cents: 300 });
    expect(moved).toMatchObject({ outcome: 'ok' });
    const refused = await cluster.submit(3, 'transfer', { from: 'bob', to: 'alice', cents: 99_999 });
    expect(refused).toMatchObject({ outcome: 'rejected' });
    expect(refused.outcome === 'rejected' && refused.index).not.toBeNull();
    for (const id of [1, 2, 3]) expect(await cluster.query(id, 'balance', 'bob')).toBe(300);
    await cluster.converged();
    // One look may meet the replicas at different indexes (what an effect did is committed behind it), in an election, or one that is late to answer.
    await until(async () => {
      const { primary, replicas } = await cluster.status(2);
      const primaries = replicas.filter(({ role }) => role === 'primary').map(({ id }) => id);
      return primaries.length === 1 && primaries[0] === primary && new Set(replicas.map((r) => r.digest)).size === 1;
    });
  });

  it('a command with an idempotency key runs once, whichever replica and session it comes through', async () => {
    const order = (id: number, cents: number) =>
      cluster.submit(id, 'deposit', { account: 'keyed', cents }, 'order 4711');
    const first = await order(1, 7);
    expect(first.outcome).toBe('ok');
    for (const id of [2, 3]) expect(await order(id, 7)).toEqual(first);
    expect(await order(2, 8)).toMatchObject({ outcome: 'rejected', code: 'IdempotencyConflict' });
    expect(await cluster.query(3, 'balance', 'keyed')).toBe(7);
  });

  it('a stale query may be bounded by what it may lack', async () => {
    await cluster.converged();
    const bounded = { name: 'balance', input: 'keyed', consistency: 'stale', maxLagMs: 60_000 } as const;
    expect((await cluster.api(1).app.query.query(bounded)).result).toBe(7);
  });

  it('shows its log as it is on each disk, byte for byte the same', async () => {
    await cluster.converged();
    const ranges = await Promise.all([1, 2, 3].map((id) => cluster.api(id).log.range.query({ from: '0' })));
    const shortest = Math.min(...ranges.map(({ frames }) => frames.length));
    expect(shortest).toBeGreaterThan(100);
    expect(new Set(ranges.map(({ frames }) => frames.slice(0, shortest - 4))).size).toBe(1);
    const { entries } = await cluster.api(1).log.entries.query({ from: '0', limit: 50 });
    expect(entries.map(({ command }) => command)).toEqual(expect.arrayContaining(['deposit', 'transfer']));
    for (let i = 1; i < entries.length; i++) expect(entries[i]!.prevHash).toBe(entries[i - 1]!.hash);
  });

  it('writes each receipt once', async () => {
    await until(async () => (await cluster.api(2).outbox.list.query()).counts.acknowledged === 1);
    expect(ledgerKeys().length).toBe(1);
  });

  it('survives kill -9 of the primary under load: nothing acknowledged is lost, nothing done twice', async () => {
    const client = cluster.client();
    const receipts = ledgerKeys().length;
    await client.submit('deposit', { account: 'load', cents: 1_000_000 });
    let acknowledged = 0;
    let running = true;
    const others: unknown[] = [];
    const workers = Array.from({ length: 8 }, async () => {
      while (running) {
        const outcome = await client.submit('transfer', { from: 'load', to: 'sink', cents: 1 }, { timeoutMs: CALL_MS });
        if (outcome.outcome === 'ok') acknowledged++;
        else others.push(outcome);
      }
    });
    await until(() => acknowledged > 200);
    const before = await cluster.primary();
    await cluster.signal(before, 'SIGKILL');
    const alive = [1, 2, 3].filter((id) => id !== before);
    await cluster.primary(PATIENCE_MS, alive);
    const at = acknowledged;
    await until(() => acknowledged > at + 200);
    cluster.run(before);
    await until(() => cluster.isReady(before));
    running = false;
    await Promise.all(workers);
    expect(others).toEqual([]);
    await cluster.converged();
    expect(await client.query('balance', 'sink')).toMatchObject({ outcome: 'ok', result: acknowledged });
    await until(async () => (await cluster.detail(alive[0]!)).outbox.pending === 0);
    const keys = ledgerKeys();
    expect(keys.length).toBe(receipts + acknowledged);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('a cut is a lease: the primary is replaced, writes go on, a lease that nobody heals ends by itself', async () => {
    const { id: primary, view } = await cluster.leader();
    const others = [1, 2, 3].filter((id) => id !== primary);
    const asked = cluster.api(others[0]!);
    for (const other of others) {
      for (const [from, to] of [
        [primary, other],
        [other, primary],
      ] as const) {
        // In force at both ends, or at the one that answered in time.
        const { acks } = await asked.chaos.cut.mutate({ from, to, ttlMs: TTL_MS_MAX, reason: 'e2e' });
        expect(acks.some(({ ok }) => ok)).toBe(true);
      }
    }
    await until(async () => (await asked.chaos.list.query()).leases.length === 4);
    const next = await cluster.primary(PATIENCE_MS, others);
    expect(await cluster.submit(others[1]!, 'deposit', { account: 'during', cents: 1 })).toMatchObject({
      outcome: 'ok',
    });
    // Whoever did not answer in time may have healed nothing.
    await until(async () => (await asked.chaos.healAll.mutate()).acks.every(({ ok }) => ok));
    // One that nobody heals.
    await until(async () => {
      const { acks } = await asked.chaos.cut.mutate({ from: primary, to: next, ttlMs: 1000, reason: 'e2e' });
      return acks.every(({ ok }) => ok);
    });
    await until(async () => {
      const { leases, unreachable } = await asked.chaos.list.query();
      return leases.length === 0 && unreachable.length === 0;
    });
    await cluster.converged();
    expect(BigInt((await cluster.detail(next)).view)).toBeGreaterThan(BigInt(view));
  });

  it('garbage at the doors changes nothing', async () => {
    for (const { peerPort, clientPort, apiPort } of cluster.members) {
      for (const port of [peerPort, clientPort, apiPort]) {
        for (let i = 0; i < 5; i++) {
          await new Promise<void>((resolve) => {
            const socket = connectSocket(port, '127.0.0.1', () => socket.end(randomBytes(1000 * i + 10)));
            socket.on('error', () => undefined);
            socket.on('close', () => resolve());
            setTimeout(() => socket.destroy(), 200);
          });
        }
      }
    }
    expect(await cluster.submit(1, 'deposit', { account: 'after', cents: 1 })).toMatchObject({ outcome: 'ok' });
    expect([1, 2, 3].every((id) => cluster.isUp(id))).toBe(true);
  });

  it('without a quorum a submit ends in time with a typed outcome', async () => {
    const primary = await cluster.primary();
    const others = [1, 2, 3].filter((id) => id !== primary);
    for (const id of others) await cluster.signal(id, 'SIGKILL');
    const outcome = await cluster
      .api(primary)
      .app.submit.mutate({ name: 'deposit', input: { account: 'x', cents: 1 }, timeoutMs: 1500 });
    expect(['unknown', 'rejected']).toContain(outcome.outcome);
    if (outcome.outcome === 'rejected') expect(outcome.code).toBe('timeout');
    const status = await cluster.status(primary);
    for (const id of others)
      expect(status.replicas[id - 1]).toMatchObject({ id, pid: null, status: 'unreachable', role: 'none' });
    for (const id of others) cluster.run(id);
    await cluster.primary();
    await cluster.converged();
  });

  it('loses nothing when all are killed at once', async () => {
    const before = await cluster.detail(1);
    await Promise.all([1, 2, 3].map((id) => cluster.signal(id, 'SIGKILL')));
    cluster.startAll();
    await cluster.primary();
    await cluster.converged();
    const after = await cluster.detail(1);
    expect(BigInt(after.commit ?? '-1')).toBeGreaterThanOrEqual(BigInt(before.commit ?? '-1'));
    expect(await cluster.query(2, 'balance', 'during')).toBe(1);
  });

  it('stops with code 0 on a signal, twice is fine', async () => {
    cluster.pid(3);
    process.kill(cluster.pid(3)!, 'SIGINT');
    process.kill(cluster.pid(3)!, 'SIGINT');
    expect(await cluster.exitCode(3)).toBe(0);
    cluster.run(3);
    await cluster.converged();
  });
});
