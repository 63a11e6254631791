import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../testing/until.ts';
import { checkWanted, newCluster, prepareDirectory, readCluster, writeCluster } from './cluster-file.ts';
import { readEndpoint, startTimeOf, writeEndpoint, type Endpoint } from './endpoint-file.ts';
import { loginUrl } from './login-token.ts';
import { ManagedProcess, type ProcessSpec } from './managed-process.ts';
import { parseMembers } from './members.ts';
import { portsOf, requireFree } from './ports.ts';
import { sharedSecrets, writeConsoleEnv } from './shared-secrets.ts';

let dir = '';
beforeEach(() => {
  dir = fs.mkdtempSync(join(tmpdir(), 'chronon-supervisor-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

describe('data directory', () => {
  it('refuses one that holds something else, and touches nothing in it', () => {
    fs.writeFileSync(join(dir, 'precious.txt'), 'mine');
    expect(() => prepareDirectory(dir)).toThrow(/precious\.txt/);
    expect(fs.readdirSync(dir)).toEqual(['precious.txt']);
  });

  it('keeps what it was formatted with and names both when asked for something else', () => {
    writeCluster(dir, newCluster({ replicas: 3, environment: null, app: null }));
    const cluster = readCluster(dir)!;
    expect(cluster).toMatchObject({ replicas: 3, environment: 'dev', app: 'bank', formatted: false });
    expect(fs.statSync(join(dir, 'cluster.json')).mode & 0o777).toBe(0o600);
    expect(() => checkWanted(dir, cluster, { replicas: 5, environment: null, app: null })).toThrow(/3 replicas.*5/);
    expect(() => checkWanted(dir, cluster, { replicas: null, environment: 'production', app: null })).toThrow(
      /dev.*production/,
    );
    expect(() => checkWanted(dir, cluster, { replicas: null, environment: null, app: 'kv' })).toThrow(/bank.*kv/);
    checkWanted(dir, cluster, { replicas: 3, environment: 'dev', app: 'bank' });
  });

  it('names a damaged or newer description', () => {
    fs.writeFileSync(join(dir, 'cluster.json'), '{"version":2}');
    expect(() => readCluster(dir)).toThrow(/version 2/);
    fs.writeFileSync(join(dir, 'cluster.json'), '{');
    expect(() => readCluster(dir)).toThrow(/damaged/);
  });
});

describe('shared secrets', () => {
  it('are those of whoever came first, and damage is named', () => {
    const path = join(dir, 'secrets.json');
    const first = sharedSecrets(path);
    expect(sharedSecrets(path)).toEqual(first);
    expect(fs.statSync(path).mode & 0o777).toBe(0o600);
    writeConsoleEnv(join(dir, 'console.env'), { token: 'old', consoleSecret: 'old' });
    writeConsoleEnv(join(dir, 'console.env'), first);
    expect(fs.readFileSync(join(dir, 'console.env'), 'utf8')).toContain(first.token);
    expect(fs.readdirSync(dir).sort()).toEqual(['console.env', 'secrets.json']);
    fs.writeFileSync(path, '{"token":"short"}');
    expect(() => sharedSecrets(path)).toThrow(/holds no secrets/);
    expect(() => sharedSecrets(join(dir, 'none', 'secrets.json'))).toThrow(/cannot be used/);
  });

  it('a directory that holds only the shared ledger is an empty one', () => {
    fs.mkdirSync(join(dir, 'effects'));
    fs.writeFileSync(join(dir, 'effects', 'ledger.jsonl'), '');
    prepareDirectory(dir);
    fs.writeFileSync(join(dir, 'effects', 'thesis.tex'), '');
    expect(() => prepareDirectory(dir)).toThrow(/effects/);
  });
});

it('a login link carries its token in the fragment', () => {
  const url = new URL(loginUrl('http://127.0.0.1:7400', 'secret', 1000));
  expect(url.search).toBe('');
  const payload = /^#token=([^.]+)\./.exec(url.hash)![1]!;
  expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).toMatchObject({ exp: 601_000 });
});

describe('endpoint file', () => {
  const endpoint = (pid: number, startTime: string | null): Endpoint => ({
    version: 1,
    pid,
    startTime,
    clusterId: 'c',
    dataDir: dir,
    token: 't',
    app: 'bank',
    supervisorUrl: 'http://127.0.0.1:1',
    consoleUrl: null,
    replicas: [],
  });

  it('is stale when its process is gone or its pid is another process', () => {
    expect(readEndpoint(dir).kind).toBe('none');
    writeEndpoint(dir, endpoint(process.pid, startTimeOf(process.pid)));
    expect(readEndpoint(dir).kind).toBe('running');
    writeEndpoint(dir, endpoint(process.pid, '1'));
    expect(readEndpoint(dir).kind).toBe('stale');
    fs.writeFileSync(join(dir, 'endpoint.json'), '{"version":1}');
    expect(readEndpoint(dir).kind).toBe('damaged');
  });
});

describe('ports and members', () => {
  it('follow the documented layout', () => {
    expect(portsOf(7400, 3).replicas[2]).toEqual({ id: 3, api: 7430, client: 7431, peer: 7432 });
    expect(parseMembers('r1=a,r2=b,r3=c', 7400)[1]).toEqual({
      id: 2,
      host: 'b',
      apiPort: 7420,
      clientPort: 7421,
      peerPort: 7422,
    });
    expect(() => parseMembers('r2=a,r1=b', 7400)).toThrow(/in order/);
  });

  it('names the taken port and what it is for', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await expect(requireFree([{ port, use: 'clients of r2' }], '127.0.0.1')).rejects.toThrow(
      `port ${port}, for clients of r2, is in use`,
    );
    server.close();
  });
});

describe('managed process', () => {
  const managed: ManagedProcess[] = [];
  afterEach(async () => {
    for (const one of managed.splice(0)) await one.stop('test over');
  });

  function make(script: string, lifeline: ProcessSpec['lifeline'] = 'ipc'): ManagedProcess {
    const path = join(dir, 'child.mjs');
    fs.writeFileSync(path, script);
    const spec: ProcessSpec = {
      name: 'child',
      args: [path],
      env: process.env,
      logPath: join(dir, 'child.log'),
      lifeline,
    };
    const one: ManagedProcess = new ManagedProcess(spec, {
      onMessage: () => one.markReady(),
      onChange: () => undefined,
    });
    managed.push(one);
    return one;
  }
  const SERVE = 'process.send({type:"ready"}); setInterval(() => {}, 1000);';
  const stateOf = (pid: number): string =>
    execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).trim()[0] ?? '';

  it('starts again what dies by itself, with the reason', async () => {
    const one = make(SERVE);
    one.start();
    await until(() => one.state === 'running');
    const first = one.pid!;
    process.kill(first, 'SIGKILL');
    await until(() => one.state === 'waiting');
    expect(one.reason).toMatch(/SIGKILL.*1 s/);
    await until(() => one.state === 'running');
    expect(one.restarts).toBe(1);
    expect(one.pid).not.toBe(first);
  });

  it('does not start again what refused, and shows its last line', async () => {
    const one = make('console.error("E_CLUSTER_ID: another cluster"); process.exit(25);');
    one.start();
    await until(() => one.state === 'refused');
    expect(one.reason).toBe('exit 25 (E_CLUSTER_ID): E_CLUSTER_ID: another cluster');
  });

  it('keeps down what was stopped or killed by command until it is started', async () => {
    const one = make(SERVE);
    one.start();
    await until(() => one.state === 'running');
    await one.kill('killed by command');
    expect(one).toMatchObject({ state: 'held', pid: null });
    one.start();
    await until(() => one.state === 'running');
    await one.stop('stopped by command');
    expect(one).toMatchObject({ state: 'stopped', pid: null });
  });

  it('pauses, continues, and stops what is paused', async () => {
    const one = make(SERVE);
    one.start();
    await until(() => one.state === 'running');
    const pid = one.pid!;
    expect(one.pause('test')).toBe(true);
    await until(() => stateOf(pid) === 'T');
    one.resume();
    await until(() => stateOf(pid) !== 'T');
    one.pause('test');
    await one.stop('over');
    expect(one.pid).toBeNull();
  });

  it('gives descriptor 3 as a pipe that ends with this process', async () => {
    const one = make(
      `
      import { Socket } from 'node:net';
      const pipe = new Socket({ fd: 3 });
      pipe.on('close', () => process.exit(9));
      pipe.resume();
      // An end that is there already would come first.
      setTimeout(() => console.log('open'), 100);
    `,
      'pipe',
    );
    one.start();
    await until(() => one.lastLine() !== '' || one.state === 'waiting');
    expect([one.lastLine(), one.state]).toEqual(['open', 'starting']);
  });
});
