/**
 * `node scripts/compose-test.mjs [--json]`: docker-compose.yml for real. The configuration is always checked (by the compose tool, else by reading
 * it); where a Docker engine answers, three replicas and the console are built, started, broken and healed, under a project name of their own.
 * Prints one line a test, or with --json one object {tests: [{name, status, reason}]}. Exit code 1 when a test failed.
 *
 * Invariants: nothing of another project is touched; containers and volumes of this run are gone at its end.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { run, stopOnSignals } from './lib/child.mjs';
import { ROOT } from './lib/inputs.mjs';

const BASE_IMAGE = 'node:20-bookworm-slim';
const PROJECT = `chrononcompose${process.pid}`;
const REPLICAS = [1, 2, 3];
const DENY_IO_URING = './apps/node/docker/seccomp-no-io-uring.json';
/** Only something broken needs it; a busy machine may. */
const PATIENCE_MS = 240_000;
/** Of one command or request. */
const CALL_MS = 60_000;
/** Faults are healed by the test, not by time. */
const LEASE_MS = 600_000;
const POLL_MS = 500;
const CENTS = 1000;

/** Why the rest cannot be tried here; not a failure. */
class Skip extends Error {}

let tool = null;
let port = 0;
let cookie = '';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function must(condition, message) {
  if (!condition) throw new Error(message);
}

async function findTool() {
  for (const candidate of [
    ['docker', 'compose'],
    ['docker-compose', undefined],
  ]) {
    const [command, ...rest] = candidate.filter(Boolean);
    if ((await run(command, [...rest, 'version'], {})).code === 0) return [command, ...rest];
  }
  return null;
}

/** Runs the compose tool on this run's project. */
async function compose(args, { env = {}, mayFail = false } = {}) {
  const [command, ...rest] = tool;
  const environment = { CHRONON_PORT: String(port), COMPOSE_INTERACTIVE_NO_CLI: '1', ...env };
  const result = await run(command, [...rest, '-p', PROJECT, ...args], { cwd: ROOT, env: environment });
  if (result.code !== 0 && !mayFail) {
    throw new Error(`compose ${args.join(' ')} ended with ${result.code}:\n${tail(result.output, 40)}`);
  }
  return result;
}

const tail = (text, lines) => text.trimEnd().split('\n').slice(-lines).join('\n');

async function docker(...args) {
  const { code, output, stdout } = await run('docker', args, {});
  must(code === 0, `docker ${args.join(' ')} ended with ${code}:\n${tail(output, 20)}`);
  return stdout.trim();
}

/** Id of a service's container; by its labels, which every compose tool sets (and asking the engine is faster than asking the tool). */
async function containerOf(service) {
  const label = (key, value) => ['--filter', `label=com.docker.compose.${key}=${value}`];
  return await docker('ps', '-a', '-q', ...label('project', PROJECT), ...label('service', service));
}

const inside = async (service, ...command) => await docker('exec', await containerOf(service), ...command);

/** `chronon ARGS` inside the container of a replica. */
const chronon = async (id, ...args) => await inside(`r${id}`, 'chronon', ...args);

async function until(what, probe) {
  const end = Date.now() + PATIENCE_MS;
  let last = '';
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${PATIENCE_MS / 1000} s${last && `; last: ${last}`}`);
    await sleep(POLL_MS);
  }
}

async function freePort() {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port: free } = server.address();
      server.close(() => resolve(free));
    });
  });
}

/** The cluster as one replica's container sees it. */
async function statusFrom(id) {
  return JSON.parse(await chronon(id, 'status', '--json'));
}

/** Replicas `ids` normal, one of them primary, nothing left to apply, one digest. */
async function agreement(ids) {
  return await until(`agreement of r${ids.join(', r')}`, async () => {
    const status = await statusFrom(ids[0]);
    const chosen = status.replicas.filter(({ id }) => ids.includes(id));
    const [first, ...others] = chosen;
    const settled = chosen.every((r) => r.status === 'normal' && r.applied !== null && r.applied === r.commit);
    const same = others.every((r) => r.applied === first.applied && r.digest === first.digest);
    return settled && same && ids.includes(status.primary) ? status : null;
  });
}

/** Submits one command inside the container of a replica. */
async function submit(id, name, input) {
  await chronon(id, 'submit', name, JSON.stringify(input), '--timeout', `${CALL_MS}ms`);
}

async function balance(id, account) {
  const text = await chronon(id, 'query', 'balance', JSON.stringify(account), '--timeout', `${CALL_MS}ms`);
  return Number(/-?\d+/.exec(text)?.[0] ?? Number.NaN);
}

const others = (id) => REPLICAS.filter((other) => other !== id);

async function consoleFetch(path, init = {}) {
  const origin = `http://127.0.0.1:${port}`;
  const headers = { cookie, origin, ...(init.body === undefined ? {} : { 'content-type': 'application/json' }) };
  return await fetch(`${origin}${path}`, { ...init, headers, signal: AbortSignal.timeout(CALL_MS) });
}

/** A mutation of the console's own API, as its page calls it. */
async function fromPage(path, input = {}) {
  const response = await consoleFetch(`/api/trpc/${path}`, { method: 'POST', body: JSON.stringify(input) });
  const answer = await response.json();
  must(response.ok, `${path}: ${response.status} ${JSON.stringify(answer).slice(0, 500)}`);
  return answer.result.data;
}

/** Opens a fresh link, as a browser does. */
async function logIn() {
  const link = await inside('console', 'chronon-link');
  const [, token] = /#token=(\S+)$/.exec(link) ?? [];
  must(token !== undefined, `no link: ${link}`);
  const response = await consoleFetch('/api/login', { method: 'POST', body: JSON.stringify({ token }) });
  must(response.status === 204, `login: ${response.status} ${await response.text()}`);
  cookie = (response.headers.get('set-cookie') ?? '').split(';')[0];
}

/** The next frame of the page's event stream. */
async function liveFrame() {
  const response = await consoleFetch('/api/trpc/live');
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const [, data] = /^data: (\{"epoch".*\})$/m.exec(text) ?? [];
    if (data !== undefined) return JSON.parse(data);
  }
  throw new Error(`no frame in the event stream: ${response.status} ${tail(text, 3)}`);
}

/** The overview as the server renders it, as text, once `pattern` is on it. */
async function pageWith(pattern) {
  return await until(`${pattern} on the overview`, async () => {
    const response = await consoleFetch('/');
    must(response.ok, `the page: ${response.status}`);
    const text = (await response.text()).replace(/<!-- -->/g, '');
    return pattern.test(text) ? text : null;
  });
}

async function healthy(services) {
  await until(`health of ${services.join(', ')}`, async () => {
    for (const service of services) {
      const state = await docker('inspect', '-f', '{{.State.Health.Status}}', await containerOf(service));
      if (state !== 'healthy') return false;
    }
    return true;
  });
}

/** True when this machine's kernel lets containers have io_uring, false when it does not, null when it cannot be known here. */
function kernelAllowsIoUring() {
  const path = '/proc/sys/kernel/io_uring_disabled';
  if (process.platform !== 'linux' || !existsSync(path)) return null;
  return readFileSync(path, 'utf8').trim() === '0';
}

async function checkConfig() {
  if (tool !== null) {
    await compose(['config', '-q']);
    return;
  }
  // No tool: what a reader can see. Keys that docker-compose 1.29 does not know, and files that are named but not there.
  const text = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
  must(!text.includes('\t'), 'a tab');
  for (const key of [/^name:/m, /^version:/m, /^\s+start_interval:/m, /^\s+required:/m]) {
    must(!key.test(text), `${key} is not understood by every compose tool`);
  }
  for (const name of ['r1', 'r2', 'r3', 'console', 'tools']) {
    must(new RegExp(`^  ${name}:$`, 'm').test(text), `there is no service ${name}`);
  }
  for (const [, path] of text.matchAll(/(?:dockerfile: |seccomp:\$\{CHRONON_SECCOMP:-)([^\s}]+)/g)) {
    must(existsSync(join(ROOT, path)), `${path} does not exist`);
  }
}

async function build() {
  const registry = process.env.NPM_CONFIG_REGISTRY;
  await compose(['build', ...(registry ? ['--build-arg', `NPM_CONFIG_REGISTRY=${registry}`] : [])]);
}

async function comesUp() {
  await compose(['up', '-d']);
  await healthy(['r1', 'r2', 'r3', 'console']);
  await agreement(REPLICAS);
}

async function isConfined() {
  for (const service of ['r1', 'r2', 'r3', 'console']) {
    const [{ Config, HostConfig, NetworkSettings }] = JSON.parse(await docker('inspect', await containerOf(service)));
    must(Config.User === 'node', `${service} runs as ${Config.User || 'root'}`);
    must(HostConfig.ReadonlyRootfs, `the root file system of ${service} is writable`);
    must(JSON.stringify(HostConfig.CapDrop) === '["ALL"]', `${service} keeps capabilities`);
    must(HostConfig.SecurityOpt.includes('no-new-privileges:true'), `${service} may gain privileges`);
    const published = Object.values(NetworkSettings.Ports).flatMap((bindings) => bindings ?? []);
    must(published.length === (service === 'console' ? 1 : 0), `${service} publishes ${published.length} ports`);
    must(
      published.every(({ HostIp }) => HostIp === '127.0.0.1'),
      `${service} listens beyond loopback`,
    );
    const secrets = Config.Env.filter((entry) => /TOKEN|SECRET/.test(entry));
    must(secrets.length === 0, `the environment of ${service} shows ${secrets.map((entry) => entry.split('=')[0])}`);
  }
}

async function pageNamesTheDisk() {
  const logs = (await compose(['logs', 'console'])).stdout;
  must(/Chronon is up: http:\/\/127\.0\.0\.1:\d+\/#token=/.test(logs), 'the log of the console has no link');
  await logIn();
  const text = await pageWith(/io_uring/);
  const fallback = /fallback:[^<]*/.exec(text)?.[0];
  if (kernelAllowsIoUring() === true) must(fallback === undefined, `the page speaks of a ${fallback}`);
}

async function takesCommands() {
  await submit(1, 'deposit', { account: 'alice', cents: CENTS });
  await submit(2, 'deposit', { account: 'bob', cents: 1 });
  await submit(3, 'transfer', { from: 'alice', to: 'bob', cents: 400 });
  const found = await balance(2, 'bob');
  must(found === 401, `the balance of bob is ${found}, not 401`);
}

async function deposit(id, cents) {
  await submit(id, 'deposit', { account: 'carol', cents });
}

/** Heals from the page; whoever does not answer in time has healed nothing, and is asked again. */
async function healFromPage() {
  await until('nothing broken on purpose', async () => {
    await fromPage('chaos.healAll');
    return (await liveFrame()).faults.length === 0;
  });
}

async function cutFromPage() {
  const before = await agreement(REPLICAS);
  const gone = before.primary;
  const links = others(gone).flatMap((id) => [
    { from: gone, to: id },
    { from: id, to: gone },
  ]);
  await fromPage('chaos.cut', { links, ttlMs: LEASE_MS, reason: 'compose test' });
  const after = await agreement(others(gone));
  must(BigInt(after.view) > BigInt(before.view), 'no new view');
  await deposit(after.primary, 10);
  await healFromPage();
  await agreement(REPLICAS);
  must((await balance(gone, 'carol')) === 10, 'the balance of carol is wrong after the heal');
}

async function killAndPauseFromPage() {
  for (const kind of ['kill', 'pause']) {
    const { primary: gone } = await agreement(REPLICAS);
    await fromPage(`chaos.${kind}`, { replica: gone, ttlMs: LEASE_MS, reason: 'compose test' });
    const { primary } = await agreement(others(gone));
    await deposit(primary, 10);
    await until(`the page says that r${gone} is under a ${kind}`, async () => {
      const { faults } = await liveFrame();
      return faults.some((fault) => fault.kind === kind && fault.replica === gone);
    });
    await healFromPage();
    await agreement(REPLICAS);
  }
  must((await balance(1, 'carol')) === 30, 'the balance of carol is wrong after kill and pause');
}

/** One line of the ledger a receipt that was sent. */
async function receipts(id) {
  const lines = (await inside(`r${id}`, 'cat', '/data/effects/ledger.jsonl')).split('\n');
  return lines.map((line) => JSON.parse(line)).filter(({ channel }) => channel === 'receipts');
}

async function containerKilled() {
  const { primary: gone } = await agreement(REPLICAS);
  // The kill comes before, between or after the run and the ack of this transfer's receipt: one receipt in each case.
  await submit(gone, 'transfer', { from: 'alice', to: 'bob', cents: 5 });
  await compose(['kill', '-s', 'SIGKILL', `r${gone}`]);
  const { primary } = await agreement(others(gone));
  await deposit(primary, 10);
  await compose(['start', `r${gone}`]);
  await agreement(REPLICAS);
  must((await balance(gone, 'carol')) === 40, 'the balance of carol is wrong after the container came back');
  await until('a receipt for each of two transfers', async () => (await receipts(gone)).length >= 2);
}

async function restartsItself() {
  const before = await docker('inspect', '-f', '{{.RestartCount}}', await containerOf('r2'));
  // Its parent, tini, ends with it.
  const pid = JSON.parse(await inside('r2', 'cat', '/data/endpoint.json')).pid;
  await inside('r2', 'sh', '-c', `kill -9 ${pid}`).catch(() => '');
  await until('a restart of the container of r2', async () => {
    const now = await docker('inspect', '-f', '{{.RestartCount}}', await containerOf('r2'));
    return Number(now) > Number(before);
  });
  await agreement(REPLICAS);
}

async function downAndUp() {
  const before = await agreement(REPLICAS);
  await compose(['down']);
  await compose(['up', '-d']);
  await healthy(['r1', 'r2', 'r3', 'console']);
  const after = await agreement(REPLICAS);
  must(after.clusterId === before.clusterId, 'another cluster id');
  must((await balance(1, 'bob')) === 406 && (await balance(3, 'carol')) === 40, 'balances changed');
  const keys = (await receipts(2)).map(({ key }) => key);
  must(keys.length === 2 && keys[0] !== keys[1], `two transfers, but ${keys.length} receipts`);
  await logIn();
}

async function fallsBack() {
  await compose(['up', '-d'], { env: { CHRONON_SECCOMP: DENY_IO_URING } });
  await healthy(['r1', 'r2', 'r3']);
  await agreement(REPLICAS);
  await deposit(1, 10);
  await pageWith(/fallback:[^<]*seccomp/);
}

async function refusesLostVolume() {
  const { clusterId } = await agreement(REPLICAS);
  await compose(['down']);
  await docker('volume', 'rm', `${PROJECT}_r3`);
  await compose(['up', '-d']);
  await until('the refusal of r3', async () => /E_WIPED/.test((await compose(['logs', 'r3'])).output));
  const status = await agreement([1, 2]);
  must(status.clusterId === clusterId, 'another cluster id');
  await deposit(1, 10);
}

async function recoversLostVolume() {
  await compose(['stop', 'r3']);
  await compose(['run', '--rm', 'tools', 'recover', '--replica', '3', '--data', '/volumes/r3', '--yes']);
  await compose(['up', '-d', 'r3']);
  await agreement(REPLICAS);
  must((await balance(3, 'carol')) === 60, 'the balance of carol is wrong on the recovered replica');
}

/** In order; the first that fails ends the run, because each stands on the one before. */
const TESTS = [
  ['the images build, addon included', build],
  ['up: empty volumes are formatted together; healthy, one primary, one digest', comesUp],
  ['containers: no root, no capabilities, read-only, loopback only, no secret in the environment', isConfined],
  ['the printed link opens the console, which names the disk', pageNamesTheDisk],
  ['commands and queries', takesCommands],
  ['a cut from the page: a new view, a heal, one digest', cutFromPage],
  ['kill and pause from the page, healed from the page', killAndPauseFromPage],
  ['the container of the primary killed, and started again', containerKilled],
  ['a container whose supervisor dies is restarted', restartsItself],
  ['down and up: nothing is lost', downAndUp],
  ['without io_uring: the synchronous disk, and the page says why', fallsBack],
  ['a lost volume is not formatted again; the others go on', refusesLostVolume],
  ['its replica is recovered with an empty volume', recoversLostVolume],
];

async function requireEngine() {
  if (tool === null) throw new Skip('neither `docker compose` nor docker-compose is installed');
  if ((await run('docker', ['info'], {})).code !== 0) throw new Skip('no Docker engine answers');
  if ((await run('docker', ['image', 'inspect', BASE_IMAGE], {})).code === 0) return;
  const { code, output } = await run('docker', ['pull', '-q', BASE_IMAGE], {});
  if (code !== 0) throw new Skip(`${BASE_IMAGE} is not here and cannot be pulled: ${tail(output, 1)}`);
}

async function main() {
  const tests = [];
  const note = (name, status, reason = '') => {
    tests.push({ name, status, reason });
    if (!process.argv.includes('--json')) process.stdout.write(`${status}: ${name}${reason && `: ${reason}`}\n`);
  };
  const attempt = async (name, task) => {
    const started = Date.now();
    try {
      await task();
      process.stderr.write(`${name}: ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
      note(name, 'passed');
      return true;
    } catch (error) {
      note(name, 'failed', error.message);
      return false;
    }
  };
  tool = await findTool();
  port = await freePort();
  await attempt('docker-compose.yml is valid', checkConfig);
  try {
    await requireEngine();
  } catch (error) {
    if (!(error instanceof Skip)) throw error;
    note('docker-compose.yml at work', 'skipped', error.message);
    return tests;
  }
  let logs = '';
  try {
    for (const [name, task] of TESTS) {
      if (await attempt(name, task)) continue;
      logs = (await compose(['logs', '--tail=30'], { mayFail: true })).output;
      break;
    }
  } finally {
    if (process.env.CHRONON_COMPOSE_KEEP !== '1') await compose(['down', '-v', '-t', '5'], { mayFail: true });
  }
  if (logs !== '') process.stderr.write(logs.replace(/#token=\S+/g, '#token=(hidden)'));
  return tests;
}

stopOnSignals(130);
const tests = await main();
if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ tests })}\n`);
process.exit(tests.some(({ status }) => status === 'failed') ? 1 : 0);
