/** `chronon log verify | show | tail` and `chronon doctor` as an operator runs them: on running, stopped and damaged directories, on files of version 1. */
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chronon, chrononLater, temporaryDirectory } from './cluster.ts';
import { TestCluster } from '../src/testing/cluster.ts';
import { freeBase } from '../src/testing/ports.ts';
import { until } from '../src/testing/until.ts';

const VECTORS = fileURLToPath(new URL('../../../../shared/vectors/rust-log-v1/', import.meta.url));

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ replicas: 1, app: 'kv' });
});
afterAll(async () => {
  await cluster.destroy();
});

describe('log tools on a running replica', () => {
  it('verify, show and tail while it writes: never torn, never damaged', async () => {
    const client = cluster.client();
    let running = true;
    let count = 0;
    const load = (async () => {
      while (running) {
        await client.submit('put', { key: `k${count % 100}`, value: 'v'.repeat(300) });
        count++;
      }
    })();
    const directory = cluster.dataDir(1);
    await until(() => count > 10);
    for (let i = 0; i < 3; i++) {
      const verified = await chrononLater('log', 'verify', directory, '--json');
      expect(verified.code, verified.stderr).toBe(0);
      const report = JSON.parse(verified.stdout) as { ok: boolean; firstIndex: string; entries: number };
      expect(report).toMatchObject({ ok: true, format: 2, firstIndex: '0' });
      const tail = await chrononLater('log', 'tail', directory, '--limit', '3', '--json');
      const shown = tail.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { index: string; file: string });
      expect([tail.code, shown.length]).toEqual([0, 3]);
      expect(Number(shown[2]!.index)).toBeGreaterThanOrEqual(report.entries - 1);
    }
    running = false;
    await load;
    expect(cluster.isUp(1)).toBe(true);
    const shown = chronon('log', 'show', directory, '--from', '2', '--limit', '2', '--json');
    expect(
      shown.stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { index: string }).index),
    ).toEqual(['2', '3']);
  });

  it('a stopped directory and a single segment verify too; damage is exit 1 with kind, index, file and offset; wrong use is 2', async () => {
    await cluster.signal(1, 'SIGKILL');
    const directory = cluster.dataDir(1);
    expect(chronon('log', 'verify', directory).code).toBe(0);
    const copy = temporaryDirectory();
    try {
      fs.cpSync(join(directory, 'log'), join(copy, 'log'), { recursive: true });
      const segment = fs.readdirSync(join(copy, 'log')).find((name) => name.endsWith('.seg'))!;
      expect(chronon('log', 'verify', join(copy, 'log', segment)).code).toBe(0);
      const fd = fs.openSync(join(copy, 'log', segment), 'r+');
      fs.writeSync(fd, Buffer.from([0xaa]), 0, 1, 64 + 100);
      fs.closeSync(fd);
      for (const path of [copy, join(copy, 'log', segment)]) {
        const ran = chronon('log', 'verify', path, '--json');
        expect(ran.code).toBe(1);
        expect(JSON.parse(ran.stdout)).toMatchObject({
          ok: false,
          fault: { kind: 'payload-hash', index: '0', offset: 64, file: segment },
        });
      }
      expect(chronon('log', 'show', copy).code).toBe(1);
      expect(chronon('log', 'verify', join(copy, 'nothing')).code).toBe(2);
      expect(chronon('log', 'verify').code).toBe(2);
      expect(chronon('log', 'show', copy, '--from', 'x').code).toBe(2);
    } finally {
      fs.rmSync(copy, { recursive: true });
    }
  });
});

describe('log tools on version 1 files', () => {
  it.for(['single', 'compacted', 'batches-two-views'])('%s: verify, show and tail', (name, { skip }) => {
    if (!fs.existsSync(VECTORS)) return skip('shared/vectors is not here');
    const path = join(VECTORS, `${name}.log`);
    const vector = JSON.parse(fs.readFileSync(join(VECTORS, `${name}.json`), 'utf8')) as {
      entries: { index: string }[];
      tail_hash: string;
    };
    const verified = chronon('log', 'verify', path, '--json');
    expect([verified.code, JSON.parse(verified.stdout)]).toEqual([
      0,
      {
        ok: true,
        format: 1,
        firstIndex: vector.entries[0]!.index,
        lastIndex: vector.entries.at(-1)!.index,
        entries: vector.entries.length,
        tailHash: vector.tail_hash,
      },
    ]);
    const shown = chronon('log', 'show', path, '--json').stdout.trim().split('\n');
    expect(shown.map((line) => JSON.parse(line) as unknown)).toEqual(
      vector.entries.slice(0, 20).map((entry) => ({ ...entry, file: basename(path) })),
    );
    const tail = chronon('log', 'tail', path, '--limit', '2', '--json').stdout.trim().split('\n');
    expect(tail.map((line) => (JSON.parse(line) as { index: string }).index)).toEqual(
      vector.entries.slice(-2).map(({ index }) => index),
    );
  });
});

describe('chronon doctor', () => {
  it('exits 0 when there is nothing to be done, 1 with a problem and what to do, 2 for wrong use', async () => {
    const directory = temporaryDirectory();
    try {
      const base = String(await freeBase());
      const fine = chronon('doctor', '--data', join(directory, 'data'), '--port', base, '--json');
      const report = JSON.parse(fine.stdout) as { ok: boolean; findings: { id: string; level: string }[] };
      const problems = report.findings.filter(({ level }) => level === 'problem').map(({ id }) => id);
      // A temporary directory may be in memory, small or full, and that is a problem.
      const ours = problems.filter((id) => id !== 'file-system' && id !== 'space');
      expect([ours, fine.code]).toEqual([[], problems.length === 0 ? 0 : 1]);
      expect(report.findings.map(({ id }) => id)).toEqual(
        expect.arrayContaining([
          'kernel',
          'node',
          'codec',
          'io_uring',
          'space',
          'flush-sync',
          'clock',
          'nofile',
          'data',
        ]),
      );
      fs.mkdirSync(join(directory, 'data'));
      fs.writeFileSync(join(directory, 'data', 'cluster.json'), 'x');
      const bad = chronon('doctor', '--data', join(directory, 'data'), '--port', base);
      expect(bad.code).toBe(1);
      expect(bad.stdout).toMatch(/PROBLEM\s+data .*is damaged[^\n]*\n\s+-> restore the file/);
      expect(chronon('doctor', '--nonsense').code).toBe(2);
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  });
});
