/**
 * faults.md (storage) on real file systems of their own: "ENOSPC" (a disk that fills up under a replica and under a cluster) and a power cut (what no
 * barrier covered is gone) under load, for both disks. Needs root, loop devices, gcc for the power cut; skipped with the reason elsewhere.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LoopFileSystem } from '@chronon/native/testing/loop-file-system';
import { afterEach, describe, expect, it } from 'vitest';
import { chrononLater } from './cluster.ts';
import { EXIT_CODES } from '../src/replica/exit-codes.ts';
import { TestCluster } from '../src/testing/cluster.ts';
import { PATIENCE_MS, until } from '../src/testing/until.ts';

/** Not under /tmp: it may be in memory. */
const scratch = fileURLToPath(new URL('../../../packages/native/build/test', import.meta.url));
const MEGABYTES = 96;
/** Of a call that must succeed. */
const PATIENT = { timeoutMs: PATIENCE_MS };
const clean: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const step of clean.splice(0).toReversed()) await step();
});

interface World {
  readonly disk: LoopFileSystem;
  readonly cluster: TestCluster;
}

async function world(replicas: number, kind: 'sync' | 'io_uring', skip: (why: string) => never): Promise<World> {
  mkdirSync(scratch, { recursive: true });
  const parent = mkdtempSync(join(scratch, 'real-disk-'));
  const disk = LoopFileSystem.create(parent, MEGABYTES);
  if (typeof disk === 'string') {
    rmSync(parent, { recursive: true });
    return skip(disk);
  }
  clean.push(() => disk.remove());
  const cluster = await TestCluster.start({
    replicas,
    app: 'kv',
    disk: kind,
    dataIn: disk.directory,
    tuning: { segmentBytes: 1024 * 1024, snapshotEvery: 1000 },
  });
  clean.push(() => cluster.destroy());
  return { disk, cluster };
}

/** Takes all the space there is; returns how to give it back. */
function fill(directory: string): () => void {
  const path = join(directory, 'filler');
  const fd = openSync(path, 'w');
  for (const size of [1024 * 1024, 4096]) {
    const block = Buffer.alloc(size, 1);
    try {
      for (;;) writeSync(fd, block);
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    }
  }
  closeSync(fd);
  return () => rmSync(path);
}

for (const [replicas, kind] of [
  [1, 'sync'],
  [1, 'io_uring'],
  [3, 'io_uring'],
] as const) {
  describe(`${replicas === 1 ? 'one replica' : 'a cluster of three'} on the ${kind} disk`, () => {
    it('ENOSPC: read-only alarm, definite failures, reads live on, no crash, recovery by itself when there is space', async ({
      skip,
    }) => {
      const { disk, cluster } = await world(replicas, kind, skip);
      const client = cluster.client();
      const ids = cluster.members.map(({ id }) => id);
      expect(await client.submit('put', { key: 'before', value: 'full' }, PATIENT)).toMatchObject({ outcome: 'ok' });
      const free = fill(disk.directory);
      const pids = ids.map((id) => cluster.pid(id));
      const outcomes: string[] = [];
      const value = 'v'.repeat(50_000);
      for (let i = 0; i < 400 && !outcomes.includes('no-space'); i++) {
        const outcome = await client.submit('put', { key: `k${i % 20}`, value }, PATIENT);
        outcomes.push(outcome.outcome === 'rejected' ? outcome.code : outcome.outcome);
      }
      expect(outcomes.at(-1)).toBe('no-space');
      expect(new Set(outcomes)).toEqual(new Set(['ok', 'no-space']));
      // Whoever is the primary: one whose disk filled up hands over once.
      await until(async () => (await cluster.leader()).readOnly);
      expect(await client.query('get', 'before', PATIENT)).toMatchObject({ outcome: 'ok' });
      await until(async () => {
        const status = await chrononLater('status', '--url', (await cluster.leader()).url, '--token', cluster.token);
        return status.stdout.includes('NO SPACE for the log: read-only');
      });
      expect(cluster.output()).toContain('no space for the log: read-only');
      expect(ids.map((id) => cluster.pid(id))).toEqual(pids);
      // A restart on the full disk starts, read-only, and serves what it has.
      for (const id of ids) await cluster.signal(id, 'SIGKILL');
      cluster.startAll();
      await until(async () => (await cluster.leader()).readOnly);
      expect((await cluster.leader()).disk).toMatchObject({ kind, fallbackReason: null });
      expect(await client.query('get', 'before', PATIENT)).toMatchObject({ outcome: 'ok' });
      expect(await client.submit('put', { key: 'x', value }, PATIENT)).toMatchObject({
        outcome: 'rejected',
        code: 'no-space',
      });
      free();
      await until(async () => !(await cluster.leader()).readOnly);
      for (let i = 0; i < 40; i++)
        expect(await client.submit('put', { key: `k${i}`, value }, PATIENT)).toMatchObject({ outcome: 'ok' });
      await cluster.converged();
    });

    it('a power cut under load: nothing acknowledged is lost', async ({ skip }) => {
      const { disk, cluster } = await world(replicas, kind, skip);
      const problem = disk.prepareCut();
      if (problem !== null) return skip(problem);
      const ids = cluster.members.map(({ id }) => id);
      const acknowledged: string[] = [];
      for (let round = 0; round < 2; round++) {
        const client = cluster.client();
        let running = true;
        const before = acknowledged.length;
        const workers = Array.from({ length: 8 }, async (_, worker) => {
          for (let i = 0; running; i++) {
            const key = `${round}-${worker}-${i}`;
            const outcome = await client.submit('put', { key, value: key.repeat(20) });
            if (outcome.outcome === 'ok') acknowledged.push(key);
          }
        });
        await until(() => acknowledged.length - before > 300);
        // Shows that the cut is one: nobody has asked for this file to be durable.
        const control = join(disk.directory, `control-${round}`);
        writeFileSync(control, 'gone');
        disk.cutPower();
        running = false;
        client.close();
        await Promise.all(workers);
        for (const id of ids) await cluster.signal(id, 'SIGKILL');
        disk.remount();
        // Its name may have become durable with something else's, but not its bytes.
        expect(existsSync(control) ? readFileSync(control, 'utf8') : '').toBe('');
        cluster.startAll();
        await cluster.primary();
        const reader = cluster.client();
        for (const key of acknowledged) {
          const found = await reader.query('get', key, PATIENT);
          expect([key, found]).toMatchObject([key, { outcome: 'ok', result: key.repeat(20) }]);
        }
        reader.close();
        await cluster.converged();
      }
      for (const id of ids) {
        const verified = await chrononLater('log', 'verify', cluster.dataDir(id));
        expect(verified.code, verified.stdout + verified.stderr).toBe(0);
      }
    });
  });
}

it.for(['sync', 'io_uring'] as const)(
  'Slow disk / stall: the primary goes on, steps down, ends with E_DISK_STALL; the others serve all the while (%s disk)',
  async (kind, { skip }) => {
    mkdirSync(scratch, { recursive: true });
    const parent = mkdtempSync(join(scratch, 'stalled-'));
    const disk = LoopFileSystem.create(parent, MEGABYTES);
    if (typeof disk === 'string') {
      rmSync(parent, { recursive: true });
      return skip(disk);
    }
    clean.push(() => disk.remove());
    const tuning = { segmentBytes: 1024 * 1024 };
    const cluster = await TestCluster.create({ replicas: 3, app: 'kv', disk: kind, tuning });
    clean.push(() => cluster.destroy());
    clean.push(() => disk.thaw());
    // The directory of r2 is the one that will not answer. Only r2 is impatient: the machine's own disk may be slow.
    const impatient = { ...tuning, stallTicks: 100, diskStallTicks: 600 };
    cluster.addMember(2, { dataDir: join(disk.directory, 'r2'), tuning: impatient });
    cluster.startAll();
    const client = cluster.client();
    for (;;) {
      const { view } = await ledBySecond(cluster);
      const problem = disk.freeze();
      if (problem !== null) return skip(problem);
      // Its disk answers nothing any more; the others are a quorum.
      expect(await client.submit('put', { key: 'while', value: 'stalled' }, PATIENT)).toMatchObject({ outcome: 'ok' });
      expect(await client.query('get', 'while', PATIENT)).toMatchObject({ outcome: 'ok', result: 'stalled' });
      const other = await cluster.leader(PATIENCE_MS, [1, 3]);
      expect(Number(other.view)).toBeGreaterThan(Number(view));
      expect(await client.submit('put', { key: 'after', value: 'it' }, PATIENT)).toMatchObject({ outcome: 'ok' });
      await until(() => cluster.output(2).includes('chronon r2 stops: E_DISK_STALL'));
      if (cluster.output(2).includes('its own disk does not finish a write')) break;
      // An election came before the frost, so it was not r2 that had to step down.
      disk.thaw();
      await cluster.exitCode(2);
      cluster.run(2);
    }
    disk.thaw();
    expect(await cluster.exitCode(2)).toBe(EXIT_CODES.E_DISK_STALL);
    cluster.run(2);
    await cluster.converged();
  },
);

/** Waits until r2 is the primary, and lets the others' views end until it is. */
async function ledBySecond(cluster: TestCluster): Promise<{ readonly view: string }> {
  for (;;) {
    const leader = await cluster.leader();
    if (leader.id === 2) return leader;
    await cluster.signal(leader.id, 'SIGKILL');
    await cluster.primary(
      PATIENCE_MS,
      [1, 2, 3].filter((id) => id !== leader.id),
    );
    cluster.run(leader.id);
    await cluster.converged();
  }
}

/** Flips a bit of a file as rot does: past the process, on the medium. */
function rot(path: string, offset: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  writeSync(fd, Buffer.from([byte[0]! ^ 0x10]), 0, 1, offset);
  fsyncSync(fd);
  closeSync(fd);
}

it.each(['sync', 'io_uring'] as const)(
  'latent rot in a running cluster is found by the scrubber and repaired, with progress to be seen (%s disk)',
  async (kind) => {
    const cluster = await TestCluster.start({
      replicas: 3,
      app: 'kv',
      disk: kind,
      tuning: { scrubBytesPerSecond: 100_000_000, scrubRestTicks: 20 },
    });
    clean.push(() => cluster.destroy());
    const client = cluster.client();
    for (let i = 0; i < 60; i++) await client.submit('put', { key: `k${i}`, value: 'v'.repeat(1000) }, PATIENT);
    await cluster.converged();
    const damaged = (await cluster.primary()) === 1 ? 2 : 1;
    const directory = cluster.dataDir(damaged);
    const segment = readdirSync(join(directory, 'log')).find((name) => name.endsWith('.seg'))!;
    // The header of the segment, two frames, and a copy of the manifest.
    const places = [20, 64 + 10, 20_000] as const;
    for (const offset of places) rot(join(directory, 'log', segment), offset);
    rot(join(directory, 'manifest.b'), 30);
    let { passes } = (await cluster.detail(damaged)).scrub;
    await until(async () => {
      const { scrub, faulty } = await cluster.detail(damaged);
      // A view change wrote the manifest anew before the scrubber came by.
      if (scrub.damaged < 4 && scrub.passes > passes + 1) {
        ({ passes } = scrub);
        rot(join(directory, 'manifest.b'), 30);
      }
      return scrub.damaged >= 4 && scrub.repaired === scrub.damaged && faulty.length === 0;
    });
    const { scrub } = await cluster.detail(damaged);
    expect(scrub.passes).toBeGreaterThan(0);
    expect(cluster.output(damaged)).toContain('it is asked of the other replicas');
    const { url } = await cluster.detail(damaged);
    const shown = new RegExp(`r${damaged} .*${scrub.damaged} damaged, ${scrub.damaged} repaired`);
    // One that is late to answer has no line.
    await until(async () => shown.test((await chrononLater('status', '--url', url, '--token', cluster.token)).stdout));
    const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${cluster.token}` } });
    expect(await metrics.text()).toContain(`chronon_scrub_repaired_total ${scrub.damaged}`);
    for (const id of [1, 2, 3]) {
      const verified = await chrononLater('log', 'verify', cluster.dataDir(id));
      expect(verified.code, verified.stderr).toBe(0);
    }
  },
);
