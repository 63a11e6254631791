import fs from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileSystemOf } from '../replica/directory.ts';
import { formatCluster } from '../supervisor/format.ts';
import { newCluster } from '../supervisor/cluster-file.ts';
import { freePorts } from '../testing/ports.ts';
import { dataDirectory, ports } from './data.ts';
import { fileSystem, flushes, ioUring, space } from './disk.ts';
import type { Finding } from './finding.ts';
import { clock, kernel, limits, mayLockMemory, processor, runtime } from './machine.ts';

/** Not under /tmp: it may be in memory. */
const scratch = fileURLToPath(new URL('../../../../packages/native/build/test', import.meta.url));
let root: string;
beforeEach(() => {
  fs.mkdirSync(scratch, { recursive: true });
  root = fs.mkdtempSync(join(scratch, 'doctor-'));
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

/** A formatted directory of three replicas. */
function formatted(): string {
  const dir = join(root, 'data');
  fs.mkdirSync(dir);
  formatCluster(dir, newCluster({ replicas: 3, environment: 'dev', app: 'kv' }));
  return dir;
}

function levels(findings: readonly Finding[]): Record<string, string> {
  return Object.fromEntries(findings.map(({ id, level }) => [id, level]));
}

function of(findings: readonly Finding[], id: string): Finding {
  return findings.find((finding) => finding.id === id)!;
}

/** Damages a byte in the middle of what means something. */
function damage(path: string): void {
  const bytes = fs.readFileSync(path);
  bytes[30]! ^= 0xff;
  fs.writeFileSync(path, bytes);
}

describe('the machine', () => {
  it('kernel, Node, codec and limits are named', async () => {
    expect(kernel().what).toContain(process.arch);
    expect(runtime()).toMatchObject({ level: 'ok', facts: { v8: process.versions.v8, icu: process.versions['icu'] } });
    const { what, facts } = await processor();
    expect(facts['codec']).toMatch(/native|wasm|noble/);
    if (facts['simd'] !== null) expect(what).toMatch(/ with (portable code|SSE4\.2|AVX2|AVX-512)/);
    expect(limits().map(({ id }) => id)).toEqual(['nofile', 'memlock']);
  });

  it('root without the capability is bound by the limit of locked memory, as in a container', () => {
    const status = (capabilities: string): string =>
      `Name:\tnode\nUid:\t0\t0\t0\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t${capabilities}\n`;
    expect(['000001ffffffffff', '0000000000004000'].map((set) => mayLockMemory(status(set)))).toEqual([true, true]);
    // Docker's default set, none, and a file that does not say.
    expect(['00000000a80425fb', '0000000000000000'].map((set) => mayLockMemory(status(set)))).toEqual([false, false]);
    expect(mayLockMemory('')).toBe(false);
  });

  it('a wall clock that is stepped is seen', () => {
    const start = { wallMs: 1_800_000_000_000.25, monotonicMs: 12_345.678 };
    const after = (wallMs: number, monotonicMs: number) =>
      clock(start, { wallMs: start.wallMs + wallMs, monotonicMs: start.monotonicMs + monotonicMs });
    expect(after(1000, 1000)).toMatchObject({ what: expect.stringContaining('clock source'), facts: { partedMs: 0 } });
    expect(after(1500, 1000)).toMatchObject({ level: 'warning', facts: { partedMs: 500, passedMs: 1000 } });
    expect(after(1000, 1500)).toMatchObject({ level: 'warning', facts: { partedMs: -500, passedMs: 1500 } });
  });
});

describe('the disk', () => {
  it('a memory file system is a problem, and why io_uring is not used there is said', ({ skip }) => {
    if (fileSystemOf('/dev/shm') !== 'tmpfs') return skip('/dev/shm is no tmpfs');
    expect(fileSystem('/dev/shm')).toMatchObject({
      level: 'problem',
      what: expect.stringContaining('a power cut loses everything'),
    });
    expect(ioUring('/dev/shm')).toMatchObject({
      level: 'warning',
      advice: expect.any(String),
      facts: { reason: expect.any(String) },
    });
  });

  it('too little space is a problem, enough is none', () => {
    expect(space(root, 1_000_000)).toMatchObject({ level: 'problem', advice: expect.stringContaining('E_NO_SPACE') });
    expect(space(root, 1).facts['freeBytes']).toBeGreaterThan(0);
  });

  it('flushes are timed on each disk that works, and leave nothing behind', async () => {
    const findings = await flushes(root);
    expect(findings[0]!.id).toBe('flush-sync');
    for (const { facts } of findings) {
      const { p50Ms, p99Ms, maxMs, rounds, histogram } = facts as Record<string, number> & {
        histogram: { count: number }[];
      };
      expect(p50Ms! <= p99Ms! && p99Ms! <= maxMs!).toBe(true);
      expect(histogram.reduce((sum, { count }) => sum + count, 0)).toBe(rounds);
    }
    expect(fs.readdirSync(root)).toEqual([]);
  });
});

describe('the data directory', () => {
  it('a directory that is not there, and one that was formatted, are fine', () => {
    expect(levels(dataDirectory(join(root, 'none')).findings)).toEqual({ data: 'ok' });
    const state = dataDirectory(formatted());
    expect(levels(state.findings)).toEqual({ data: 'ok', endpoint: 'ok', r1: 'ok', r2: 'ok', r3: 'ok' });
    expect([state.replicas, state.running]).toEqual([3, false]);
    expect(of(state.findings, 'data').facts).toMatchObject({ environment: 'dev', app: 'kv', replicas: 3 });
  });

  it('one damaged copy of a manifest is a warning, two are a problem with a way out, and nothing is touched', () => {
    const dir = formatted();
    damage(join(dir, 'r1', 'manifest.a'));
    damage(join(dir, 'r2', 'manifest.a'));
    damage(join(dir, 'r2', 'manifest.b'));
    fs.rmSync(join(dir, 'r3', 'log', 'tail'));
    const before = fs.readFileSync(join(dir, 'r2', 'manifest.a'));
    const { findings } = dataDirectory(dir);
    expect(levels(findings)).toMatchObject({ r1: 'warning', r2: 'problem', r3: 'problem' });
    expect(of(findings, 'r2').advice).toContain('E_MANIFEST');
    expect(of(findings, 'r3').what).toContain('log/tail is missing');
    expect(fs.readFileSync(join(dir, 'r2', 'manifest.a'))).toEqual(before);
  });

  it('directories of another replica or cluster, or missing, are named', () => {
    const dir = formatted();
    fs.rmSync(join(dir, 'r3'), { recursive: true });
    fs.renameSync(join(dir, 'r1'), join(dir, 'r3'));
    const { findings } = dataDirectory(dir);
    expect(of(findings, 'r3')).toMatchObject({ level: 'problem', advice: expect.stringContaining('E_REPLICA_ID') });
    expect(of(findings, 'r1')).toMatchObject({ level: 'problem', what: expect.stringContaining('is missing') });
    const path = join(dir, 'cluster.json');
    const cluster = JSON.parse(fs.readFileSync(path, 'utf8')) as { clusterId: string };
    fs.writeFileSync(path, JSON.stringify({ ...cluster, clusterId: 'ab'.repeat(16) }));
    expect(of(dataDirectory(dir).findings, 'r2').advice).toContain('E_CLUSTER_ID');
  });

  it('a stale or damaged endpoint file is said, and that nothing is lost', () => {
    const dir = formatted();
    const path = join(dir, 'endpoint.json');
    const common = { version: 1, startTime: '1', clusterId: '', dataDir: dir, token: '', app: 'kv', supervisorUrl: '' };
    fs.writeFileSync(path, JSON.stringify({ ...common, pid: process.pid, consoleUrl: null, replicas: [] }));
    expect(of(dataDirectory(dir).findings, 'endpoint')).toMatchObject({
      level: 'warning',
      advice: expect.stringContaining('nothing is lost'),
    });
    fs.writeFileSync(path, '{');
    expect(of(dataDirectory(dir).findings, 'endpoint').level).toBe('warning');
  });

  it('a file that is no description of a cluster is a problem', () => {
    const dir = formatted();
    fs.writeFileSync(join(dir, 'cluster.json'), 'x');
    expect(levels(dataDirectory(dir).findings)).toEqual({ data: 'problem' });
  });

  it('a taken port is named with what it is for', async () => {
    const [base] = await freePorts(1);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(base, '127.0.0.1', resolve));
    try {
      const found = await ports(base!, 1, false);
      expect(found).toMatchObject({ level: 'problem', what: expect.stringContaining(`${base} (the console)`) });
      expect((await ports(base!, 1, true)).level).toBe('ok');
    } finally {
      server.close();
    }
  });
});
