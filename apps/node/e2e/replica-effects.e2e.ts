/** kill -9 between the run and the report of an effect, on one primary after the other: the ledger has each receipt once. */
import { readFileSync } from 'node:fs';
import { decodeLedgerLine } from '@chronon/core/kernel/ledger-sink';
import { expect, it } from 'vitest';
import { TestCluster } from '../src/testing/cluster.ts';
import { PATIENCE_MS, until } from '../src/testing/until.ts';

const TRANSFERS = 60;
/** Of a call that goes on while three processes die and start again. */
const PATIENT = { timeoutMs: PATIENCE_MS };

it('each committed transfer has its receipt exactly once, a rejected one has none', async () => {
  const cluster = await TestCluster.create();
  try {
    for (const id of [1, 2, 3]) cluster.addMember(id, { failpoints: { killAfterEffects: 7 } });
    cluster.startAll();
    await cluster.primary();
    const client = cluster.client();
    expect(await client.submit('deposit', { account: 'a', cents: 1000 }, PATIENT)).toMatchObject({ outcome: 'ok' });
    const submits = Array.from({ length: TRANSFERS }, (_, n) =>
      client.submit('transfer', { from: 'a', to: 'b', cents: n % 6 === 5 ? 5000 : 1 }, PATIENT),
    );
    // Two primaries die, each behind its seventh effect; the third replica cannot go on alone.
    await until(() => [1, 2, 3].filter((id) => !cluster.isUp(id)).length === 2);
    for (const id of [1, 2, 3]) cluster.addMember(id, {});
    for (const id of [1, 2, 3].filter((one) => cluster.isUp(one))) await cluster.signal(id, 'SIGKILL');
    cluster.startAll();
    const outcomes = await Promise.all(submits);
    const done = outcomes.filter(({ outcome }) => outcome === 'ok').length;
    expect(outcomes.filter(({ outcome }) => outcome === 'rejected').length).toBe(TRANSFERS / 6);
    expect(done).toBe(TRANSFERS - TRANSFERS / 6);
    await until(async () => {
      const details = await Promise.all([1, 2, 3].map((id) => cluster.detail(id).catch(() => null)));
      return details.every((detail) => detail?.outbox.acknowledged === done && detail.outbox.pending === 0);
    });
    await cluster.converged();
    const records = readFileSync(cluster.config.ledger, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const record = decodeLedgerLine(line);
        return record !== null && 'key' in record ? [record] : [];
      });
    expect(new Set(records.map(({ key }) => key)).size).toBe(records.length);
    expect(records.length).toBe(done);
    const { entries } = await cluster.api(2).log.entries.query({ from: '0', limit: 500 });
    const transfers = new Set(
      entries.filter(({ command }) => command === 'transfer').map(({ index }) => Number(index)),
    );
    expect(records.every(({ index }) => transfers.has(index))).toBe(true);
  } finally {
    await cluster.destroy();
  }
});
