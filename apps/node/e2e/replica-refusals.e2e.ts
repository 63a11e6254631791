/** Starts that must be refused: each with its code, its exit code, and a line that says what to do. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { EXIT_CODES, type ExitName } from '../src/replica/exit-codes.ts';
import { TestCluster, type TestClusterOptions } from '../src/testing/cluster.ts';
import { until } from '../src/testing/until.ts';

/** With these root may do to any file what it likes. */
const NO_OVERRIDE = '-dac_override,-dac_read_search';

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
});

/** Formats r1 of a cluster of one and stops it. */
async function formatted(options: TestClusterOptions = {}): Promise<TestCluster> {
  cluster = await TestCluster.create({ replicas: 1, enableChaos: false, ...options });
  cluster.run(1);
  await until(() => cluster!.isReady(1));
  await cluster.signal(1, 'SIGTERM');
  return cluster;
}

async function refused(
  one: TestCluster,
  code: ExitName,
  text: string | RegExp,
  wrapper: readonly string[] = [],
): Promise<void> {
  one.run(1, wrapper);
  expect([one.output(1).slice(-2000), await one.exitCode(1)]).toEqual([expect.anything(), EXIT_CODES[code]]);
  const lines = one.output(1).trimEnd().split('\n');
  expect(lines.at(-1)).toMatch(new RegExp(`^chronon.*${code}: `));
  expect(lines.at(-1)).toMatch(text);
}

describe('a start is refused', () => {
  it('Wrong cluster / node id: on a directory of another cluster, or of another replica', async () => {
    const one = await formatted();
    one.addMember(1, { clusterId: 'ab'.repeat(16) });
    await refused(one, 'E_CLUSTER_ID', /abababab/);
    const members = [1, 2, 3].map((id) => ({ ...one.members[0]!, id }));
    one.addMember(1, { id: 2, members });
    await refused(one, 'E_REPLICA_ID', /r1|replica 1/);
    one.addMember(1, {});
    one.run(1);
    await until(() => one.isReady(1));
  });

  it('on a directory that nothing was formatted in', async () => {
    const one = await TestCluster.create({ replicas: 1 });
    cluster = one;
    one.addMember(1, { format: null });
    await refused(one, 'E_NOT_FORMATTED', /r1/);
    mkdirSync(one.dataDir(1));
    await refused(one, 'E_NOT_FORMATTED', /r1/);
  });

  it('without a manifest, even where it might format', async () => {
    const one = await formatted();
    one.run(1);
    await one.primary();
    expect(await one.submit(1, 'deposit', { account: 'a', cents: 1 })).toMatchObject({ outcome: 'ok' });
    await one.signal(1, 'SIGKILL');
    rmSync(join(one.dataDir(1), 'manifest.a'));
    rmSync(join(one.dataDir(1), 'manifest.b'));
    await refused(one, 'E_MANIFEST_MISSING', /manifest/);
  });

  it('Two processes, one dir: while another process has the directory', async () => {
    const one = await formatted();
    one.run(1);
    await until(() => one.isReady(1));
    const pid = one.pid(1)!;
    const other = await TestCluster.create({ replicas: 1 });
    try {
      other.addMember(1, { dataDir: one.dataDir(1) });
      await refused(other, 'E_LOCKED', new RegExp(`process ${pid}`));
    } finally {
      await other.destroy();
    }
    expect(one.isUp(1)).toBe(true);
  });

  it('Two processes, one dir: not after a kill -9 with I/O in flight, although io_uring keeps the descriptor for a moment', async () => {
    const one = await formatted({ app: 'kv' });
    one.run(1);
    for (let round = 0; round < 3; round++) {
      await one.primary();
      const client = one.client();
      const puts = Array.from({ length: 50 }, (_, i) => client.submit('put', { key: `${i}`, value: 'v'.repeat(4000) }));
      await Promise.race(puts);
      await one.signal(1, 'SIGKILL');
      client.close();
      await Promise.allSettled(puts);
      one.run(1);
    }
    await one.primary();
    expect(one.output(1)).not.toContain('E_LOCKED');
  });

  it('with chaos on a production directory', async () => {
    const one = await formatted({ environment: 'production' });
    one.addMember(1, { enableChaos: true });
    await refused(one, 'E_CHAOS_PRODUCTION', /production/);
  });

  it('with another number of members than it was formatted for', async () => {
    const one = await formatted();
    const three = [1, 2, 3].map((id) => ({ ...one.members[0]!, id, apiPort: one.members[0]!.apiPort }));
    one.addMember(1, { members: three });
    await refused(one, 'E_CONFIG', /formatted for 1 replicas, the configuration has 3/);
  });

  it('with an application that is none', async () => {
    const one = await TestCluster.create({ replicas: 1 });
    cluster = one;
    one.addMember(1, { app: 'nonsense' });
    await refused(one, 'E_APP', /neither built in \(bank, kv\) nor a file/);
    const path = join(one.root, 'app.mjs');
    writeFileSync(path, 'export default { name: "x" }');
    one.addMember(1, { app: path });
    await refused(one, 'E_APP', /version must be.*application is missing/);
  });

  it('with a broken configuration', async () => {
    const one = await TestCluster.create({ replicas: 1 });
    cluster = one;
    one.addMember(1, { peerSecret: 'short' });
    await refused(one, 'E_CONFIG', /peerSecret/);
  });

  it('with a port that is taken', async () => {
    const one = await TestCluster.create({ replicas: 1 });
    cluster = one;
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(one.members[0]!.clientPort, '127.0.0.1', resolve));
    await refused(one, 'E_PORT', new RegExp(`client port ${one.members[0]!.clientPort}`));
    server.close();
  });

  it('in a directory it may not write', async ({ skip }) => {
    // Permissions bind root only without these capabilities.
    const asRoot = process.getuid?.() === 0;
    const wrapper = asRoot ? ['setpriv', `--bounding-set=${NO_OVERRIDE}`, `--inh-caps=${NO_OVERRIDE}`] : [];
    if (asRoot && spawnSync(wrapper[0]!, [...wrapper.slice(1), 'true']).status !== 0)
      return skip('root, and setpriv cannot drop capabilities here');
    const one = await formatted();
    chmodSync(one.dataDir(1), 0o500);
    await refused(one, 'E_DIRECTORY', /cannot be used/, wrapper);
    chmodSync(one.dataDir(1), 0o700);
    one.run(1, wrapper);
    await until(() => one.isReady(1));
  });
});
