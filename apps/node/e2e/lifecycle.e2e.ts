import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Cluster, isAlive, processesNaming, until } from './cluster.ts';

const clusters: Cluster[] = [];
afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.destroy();
});

async function start(options: Parameters<typeof Cluster.start>[0] = {}): Promise<Cluster> {
  const cluster = await Cluster.start(options);
  clusters.push(cluster);
  return cluster;
}

describe('start and stop', () => {
  it('starts, serves, ends once on TERM twice, and goes on where it stopped', async () => {
    const cluster = await start();
    const status = await cluster.agreed();
    const printed = cluster.run('status', '--json');
    expect(printed.code).toBe(0);
    expect(Object.keys(JSON.parse(printed.stdout) as object)).toEqual(['clusterId', 'view', 'primary', 'replicas']);
    expect(status.clusterId).toMatch(/^[0-9a-f]{32}$/);
    expect(status.replicas.map(({ id, role, status: s }) => [id, role === 'primary', s])).toEqual(
      [1, 2, 3].map((id) => [id, id === status.primary, 'normal']),
    );
    expect(fs.statSync(join(cluster.data, 'endpoint.json')).mode & 0o777).toBe(0o600);
    cluster.deposit('alice', 1000);
    expect(cluster.balance('alice')).toBe(1000);
    const pids = status.replicas.map(({ pid }) => pid!);
    expect(await cluster.end('SIGTERM', 'SIGTERM')).toBe(0);
    expect(fs.existsSync(join(cluster.data, 'endpoint.json'))).toBe(false);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(cluster.run('status')).toMatchObject({ code: 1 });
    await cluster.restart();
    expect(cluster.balance('alice')).toBe(1000);
  });

  it.each(['SIGINT', 'SIGHUP'] as const)('ends cleanly on %s', async (signal) => {
    const cluster = await start({ replicas: 1 });
    cluster.deposit('alice', 5);
    expect(await cluster.end(signal)).toBe(0);
    expect(processesNaming(cluster.data)).toEqual([]);
  });

  it('kill -9 of the supervisor leaves no process and loses nothing; the stale endpoint is named', async () => {
    const cluster = await start();
    cluster.deposit('alice', 700);
    // One that is paused cannot notice by itself.
    expect(cluster.run('replica', 'pause', '3')).toMatchObject({ code: 0 });
    process.kill(cluster.pid, 'SIGKILL');
    await until('no process left', () => processesNaming(cluster.data).length === 0);
    const status = cluster.run('status');
    expect(status.code).toBe(1);
    expect(status.stderr).toMatch(/E_STALE.*not stopped cleanly/);
    await cluster.restart();
    expect(cluster.balance('alice')).toBe(700);
  });
});

describe('replica processes', () => {
  it('one that dies is started again with a visible reason; one killed by command stays down until started', async () => {
    const cluster = await start();
    const pid = await cluster.pidOf(2);
    process.kill(pid, 'SIGKILL');
    await until('r2 started again', async () => {
      const now = (await cluster.status())?.replicas[1]?.pid;
      return typeof now === 'number' && now !== pid;
    });
    expect(cluster.output).toMatch(/r2: ended by SIGKILL; starts again in 1 s/);
    await cluster.agreed();

    expect(cluster.run('replica', 'kill', '2')).toMatchObject({ code: 0 });
    // One that dies after it by itself is started again: by then r2 would have been.
    const third = await cluster.pidOf(3);
    process.kill(third, 'SIGKILL');
    await until('r3 started again', async () => {
      const now = (await cluster.status())?.replicas[2]?.pid;
      return typeof now === 'number' && now !== third;
    });
    const { replicas } = await until('an answer', () => cluster.status());
    expect(replicas[1]).toMatchObject({ id: 2, pid: null, status: 'unreachable', role: 'none' });
    cluster.deposit('alice', 10);
    // Nobody can say that all is healed while one does not answer.
    expect(cluster.run('chaos', 'heal')).toMatchObject({ code: 1, stdout: expect.stringMatching(/r2: failed: /) });
    expect(cluster.run('replica', 'start', 'r2')).toMatchObject({ code: 0 });
    await cluster.agreed();
    expect(cluster.balance('alice')).toBe(10);
  });

  it('a pause is a lease: it ends by itself, or is healed', async () => {
    const cluster = await start();
    const { primary } = await cluster.agreed();
    const backup = primary === 1 ? 2 : 1;
    const stateOf = (pid: number): string =>
      /^State:\s*(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
    const pid = await cluster.pidOf(backup);
    // Looked at meanwhile: a slow command may end after the pause.
    const pausing = cluster.runLater('replica', 'pause', String(backup), '--for', '5s');
    await until('paused', () => stateOf(pid) === 'T');
    await until('continued', () => stateOf(pid) !== 'T');
    expect(await pausing).toMatchObject({ code: 0 });
    expect(cluster.run('replica', 'pause', String(backup), '--for', '5m')).toMatchObject({ code: 0 });
    await until('paused', () => stateOf(pid) === 'T');
    const listed = cluster.run('chaos', 'list', '--json');
    expect(listed.stdout).toMatch(/"kind":"pause"/);
    await cluster.heal();
    await until('healed', () => stateOf(pid) !== 'T');
    await cluster.agreed();
  });
});
