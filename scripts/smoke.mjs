/**
 * `node scripts/smoke.mjs NODE_BIN`: the built product under another Node: three replicas and the console start on a fresh directory, take
 * commands, answer queries, agree on one digest, and stop with exit code 0. Prints one JSON line; exit code 1 on failure.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CLI = join(ROOT, 'apps/node/bin/chronon.mjs');
const START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 60_000;
const POLL_MS = 250;
const PATIENT = ['--timeout', '60s'];

const nodeBin = process.argv[2] ?? process.execPath;
// Not under /tmp: that may be a tmpfs, where nothing is durable.
const data = mkdtempSync(join(ROOT, '.smoke-'));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A base port whose neighbours (console N, supervisor N+1, replica i: N+10i .. N+10i+2) are free now. */
async function freePort() {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 20_000 + Math.floor(Math.random() * 10_000);
    const ports = [base, base + 1, ...[1, 2, 3].flatMap((id) => [0, 1, 2].map((offset) => base + 10 * id + offset))];
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error('no free range of ports found');
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function chronon(...args) {
  const { status, stdout, stderr } = spawnSync(nodeBin, [CLI, ...args, '--data', data], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`chronon ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

function readStatus() {
  const { status, stdout } = spawnSync(nodeBin, [CLI, 'status', '--json', '--data', data], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return status === 0 ? JSON.parse(stdout) : null;
}

async function until(what, deadlineMs, probe) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await sleep(POLL_MS);
  }
}

/** Every replica normal, with nothing left to apply and the same digest. */
function converged(status) {
  if (status === null || status.primary === null) return null;
  const [first, ...others] = status.replicas;
  const settled = status.replicas.every((r) => r.status === 'normal' && r.applied !== null && r.applied === r.commit);
  return settled && others.every((r) => r.applied === first.applied && r.digest === first.digest) ? status : null;
}

async function main() {
  const port = await freePort();
  let output = '';
  const cluster = spawn(nodeBin, [CLI, 'start', '--data', data, '--port', String(port), '--replicas', '3'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [cluster.stdout, cluster.stderr])
    stream.setEncoding('utf8').on('data', (chunk) => (output += chunk));
  const ended = new Promise((resolve) => cluster.once('close', (code, signal) => resolve(code ?? signal)));
  try {
    await until('three replicas that agree', START_DEADLINE_MS, () => {
      if (cluster.exitCode !== null) throw new Error(`start ended with ${cluster.exitCode}`);
      return existsSync(join(data, 'endpoint.json')) ? converged(readStatus()) : null;
    });
    chronon('submit', 'deposit', JSON.stringify({ account: 'alice', cents: 1000 }), ...PATIENT);
    chronon('submit', 'deposit', JSON.stringify({ account: 'bob', cents: 100 }), ...PATIENT);
    chronon('submit', 'transfer', JSON.stringify({ from: 'alice', to: 'bob', cents: 400 }), ...PATIENT);
    const balance = chronon('query', 'balance', '"bob"', ...PATIENT);
    if (!/\b500\b/.test(balance)) throw new Error(`the balance of bob is 500, but the query says ${balance}`);
    const status = await until('one digest on all replicas', START_DEADLINE_MS, () => converged(readStatus()));
    cluster.kill('SIGTERM');
    const code = await Promise.race([ended, sleep(STOP_DEADLINE_MS).then(() => 'still running')]);
    if (code !== 0) throw new Error(`after SIGTERM the cluster ended with ${code}, not 0`);
    if (existsSync(join(data, 'endpoint.json'))) throw new Error('the endpoint file is still there');
    return { ok: true, node: nodeBin, view: status.view, commit: status.replicas[0].commit };
  } catch (error) {
    throw new Error(`${error.message}\n--- output of start\n${readLogs(output)}`);
  } finally {
    if (cluster.exitCode === null) cluster.kill('SIGKILL');
    await Promise.race([ended, sleep(STOP_DEADLINE_MS)]);
    rmSync(data, { recursive: true, force: true });
  }
}

function readLogs(output) {
  const endpoint = join(data, 'endpoint.json');
  const known = existsSync(endpoint)
    ? readFileSync(endpoint, 'utf8').replace(/"token":\s*"[^"]*"/g, '"token":"(hidden)"')
    : '';
  return `${output.split('\n').slice(-60).join('\n')}\n${known}`;
}

try {
  process.stdout.write(`${JSON.stringify(await main())}\n`);
} catch (error) {
  process.stdout.write(`${JSON.stringify({ ok: false, node: nodeBin })}\n`);
  process.stderr.write(`smoke run failed: ${error.message}\n`);
  process.exit(1);
}
