import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freeBase } from '../src/testing/ports.ts';
import { chronon, chrononReading, CLI, Cluster, temporaryDirectory } from './cluster.ts';

let cluster: Cluster;
const directories: string[] = [];
beforeAll(async () => {
  cluster = await Cluster.start();
});
afterAll(async () => {
  await cluster.destroy();
  for (const directory of directories) fs.rmSync(directory, { recursive: true, force: true });
});

function emptyDirectory(): string {
  const directory = temporaryDirectory();
  directories.push(directory);
  return directory;
}

describe('start refuses', () => {
  it('a second process on one directory', async () => {
    const ran = chronon('start', '--no-console', '--data', cluster.data, '--port', String(await freeBase()));
    expect(ran.code).toBe(20);
    expect(ran.stderr).toMatch(/E_LOCKED.*in use by process \d+/);
  });

  it('a port in use, naming it, with nothing started', async () => {
    const base = await freeBase();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(base + 21, '127.0.0.1', resolve));
    const data = emptyDirectory();
    const ran = chronon('start', '--no-console', '--data', data, '--port', String(base));
    server.close();
    expect(ran.code).toBe(50);
    expect(ran.stderr).toContain(`port ${base + 21}, for clients of r2, is in use`);
    expect(fs.existsSync(join(data, 'r1'))).toBe(false);
  });

  it('another number of replicas than the directory has, naming both', async () => {
    const data = emptyDirectory();
    fs.cpSync(join(cluster.data, 'cluster.json'), join(data, 'cluster.json'));
    const ran = chronon('start', '--no-console', '--data', data, '--replicas', '5', '--port', String(await freeBase()));
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(/formatted with 3 replicas, --replicas says 5/);
    expect(chronon('start', '--replicas', '4', '--data', data)).toMatchObject({ code: 2 });
  });

  it('a foreign directory, untouched', () => {
    const data = emptyDirectory();
    fs.writeFileSync(join(data, 'thesis.tex'), 'years of work');
    const ran = chronon('start', '--no-console', '--data', data);
    expect(ran.code).toBe(21);
    expect(ran.stderr).toMatch(/E_DIRECTORY.*thesis\.tex/);
    expect(fs.readdirSync(data)).toEqual(['thesis.tex']);
  });

  it('a directory that cannot be used', () => {
    const ran = chronon('start', '--no-console', '--data', '/dev/null/data');
    expect(ran.code).toBe(21);
    expect(ran.stderr).toMatch(/E_DIRECTORY/);
  });

  it('an unknown application', async () => {
    const ran = chronon(
      'start',
      '--no-console',
      '--data',
      emptyDirectory(),
      '--app',
      './no-such-app.mjs',
      '--port',
      String(await freeBase()),
    );
    expect(ran.code).toBe(30);
    expect(ran.stderr).toMatch(/E_APP.*no-such-app/);
  });

  it('chaos on data formatted for production', async () => {
    const args = ['--environment', 'production', '--enable-chaos', '--port', String(await freeBase())];
    const ran = chronon('start', '--no-console', '--data', emptyDirectory(), ...args);
    expect(ran.code).toBe(31);
    expect(ran.stderr).toMatch(/E_CHAOS_PRODUCTION/);
  });
});

describe('wrong use', () => {
  it.each([
    [['nosuch'], /unknown command/],
    [['status', '--bogus'], /unknown option/],
    [['replica', 'kill', '9'], /r1 to r7/],
    [['chaos', 'cut', '1'], /missing required argument/],
    [['submit', 'transfer', '{not json'], /E_USAGE.*not JSON/],
    [['submit', 'transfer', '{}', '--timeout', 'NaN'], /a duration is needed/],
    [['query', 'balance', '--timeout', '-1'], /duration|unknown option/],
    [['query', 'balance', '--max-lag', '99999999999999m'], /at most/],
    [['chaos', 'cut', '1', '2', '--ttl', '11m'], /100 ms to 10 minutes/],
    [['replica', 'pause', '1', '--for', '0'], /100 ms to 10 minutes/],
    [['workload', 'bank', '--clients', '0'], /1 to 1000/],
    [['workload', 'bank', '--seconds', '9007199254740991'], /1 to 86400/],
    [['simulate', '--seeds', '0'], /1 to/],
    [['simulate', '--threads', '0'], /1 to 1024/],
    [['check', 'x', '--model', 'kv', '--seconds', '0'], /1 to 86400/],
    [['effects', 'list', '--limit', '5000'], /1 to 1000/],
    [['log', 'show', 'x', '--limit', '1.5'], /whole number/],
  ])('%j ends with 2 and says how', (args, says) => {
    const ran = chronon(...args);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(says);
  });

  it.each([
    ['stdout', ['--help'], 141],
    ['stdout', ['status'], 141],
    ['stderr', ['nosuch'], 2],
  ] as const)('a reader that closed %s (%j) ends it quietly', (stream, args, status) => {
    const fifo = join(emptyDirectory(), 'fifo');
    execFileSync('mkfifo', [fifo]);
    const reader = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const writer = fs.openSync(fifo, 'w');
    fs.closeSync(reader);
    const argv = args[0] === 'status' ? [...args, '--data', cluster.data] : args;
    const stdio = stream === 'stdout' ? (['ignore', writer, 'pipe'] as const) : (['ignore', 'pipe', writer] as const);
    const ran = spawnSync(process.execPath, [CLI, ...argv], { encoding: 'utf8', stdio: [...stdio] });
    fs.closeSync(writer);
    expect([ran.status, ran.stdout ?? '', ran.stderr ?? '']).toEqual([status, '', '']);
  });

  it('no cluster there', () => {
    const ran = chronon('status', '--data', emptyDirectory());
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(/E_NO_CLUSTER/);
  });
});

describe('bad input to a running cluster', () => {
  it('a malformed command is named with the path of what is wrong', () => {
    const ran = cluster.run('submit', 'transfer', '{"from":"a","to":"b","cents":1.5}');
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(/E_INPUT.*cents/);
    expect(cluster.run('submit', 'burn', '{}')).toMatchObject({ code: 2 });
  });

  it('a business error is typed, and nothing changed', () => {
    const ran = cluster.run('submit', 'withdraw', '{"account":"nobody","cents":1}', '--timeout', '60s', '--json');
    expect(ran.code).toBe(3);
    expect(JSON.parse(ran.stdout)).toMatchObject({ outcome: 'rejected', code: 'NoSuchAccount' });
  });

  it('a request to a backup reaches the primary', async () => {
    const status = await cluster.agreed();
    const backup = status.replicas.find(({ id }) => id !== status.primary)!;
    const endpoint = JSON.parse(fs.readFileSync(join(cluster.data, 'endpoint.json'), 'utf8')) as { token: string };
    const ran = chronon(
      'submit',
      'deposit',
      '{"account":"zoe","cents":3}',
      '--url',
      backup.url,
      '--token',
      endpoint.token,
      '--timeout',
      '60s',
      '--json',
    );
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    const wrong = chronon('status', '--url', backup.url, '--token', 'not-the-token-of-this-cluster');
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/E_TOKEN/);
  });

  it('garbage on a peer port and on a client port changes nothing', async () => {
    const before = (await cluster.agreed()).replicas.map(({ pid }) => pid);
    for (const port of [cluster.base + 12, cluster.base + 11, cluster.base + 10]) {
      await new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => socket.end(Buffer.alloc(100_000, 0xa5)));
        socket.resume();
        socket.on('error', () => resolve());
        socket.on('close', () => resolve());
      });
    }
    expect((await cluster.agreed()).replicas.map(({ pid }) => pid)).toEqual(before);
  });

  it('an oversized payload is refused with the limit, before it is sent', async () => {
    const kv = await Cluster.start({ replicas: 1, args: ['--no-console', '--app', 'kv'] });
    try {
      const put = (bytes: number): string => JSON.stringify({ key: 'k', value: 'x'.repeat(bytes) });
      const ran = chrononReading(put(2 << 20), 'submit', 'put', '-', '--data', kv.data);
      expect(ran.code).toBe(2);
      expect(ran.stderr).toMatch(/bytes/);
      const taken = chrononReading(put(10_000), 'submit', 'put', '-', '--timeout', '60s', '--data', kv.data);
      expect(taken).toMatchObject({ code: 0 });
    } finally {
      await kv.destroy();
    }
  });
});
