/**
 * Set-up of a working tree, shared by `npm start`, `npm test` and `npm run bench`: dependencies, addon, build, console, browser. Imports only
 * node: built-ins, because it runs before anything is installed. A step is skipped when the content hash of its inputs has not changed.
 *
 * Invariants: a stamp is written only after its step succeeded; a step whose output is gone runs again; nothing is skipped silently.
 */
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { run, stopOnSignals } from './lib/child.mjs';
import { hashInputs, readStamp, ROOT, writeStamp } from './lib/inputs.mjs';
import { lockSetUp } from './lib/lock.mjs';
import { Progress } from './lib/progress.mjs';

const NODE_MIN = [20, 20];
const WORKSPACES = ['packages/core', 'packages/native', 'apps/node', 'apps/console'];
const ROOT_CONFIG = ['package-lock.json', 'tsconfig.base.json', 'tsconfig.json'];
const CONSOLE_DIR = join(ROOT, 'apps/console');
const STANDALONE = join(CONSOLE_DIR, '.next/standalone/apps/console');

/** A failed set-up: `exitCode` 2 means that the person must do something first. */
export class SetUpError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function bin(name) {
  return join(ROOT, 'node_modules/.bin', name);
}

async function must(what, command, args, options) {
  const { code, output } = await run(command, args, { cwd: ROOT, ...options });
  if (code === 0) return output;
  throw new SetUpError(`${what} failed (exit code ${code}):\n${output.trimEnd().split('\n').slice(-60).join('\n')}`);
}

const ADDON = join(ROOT, 'packages/native/build/chronon_native.node');

/** What npm looks at in a package.json: an edited script or export needs no new installation. */
function dependencyFields(dir) {
  const { name, version, bin, workspaces, dependencies, devDependencies, optionalDependencies, overrides } = JSON.parse(
    readFileSync(join(ROOT, dir, 'package.json'), 'utf8'),
  );
  return JSON.stringify([
    name,
    version,
    bin,
    workspaces,
    dependencies,
    devDependencies,
    optionalDependencies,
    overrides,
  ]);
}

/** Path of a browser for the end-to-end tests, or null. */
export function findBrowser() {
  const named = process.env.CHRONON_CHROMIUM;
  if (named) {
    if (!existsSync(named)) throw new SetUpError(`CHRONON_CHROMIUM names ${named}, which does not exist`, 2);
    return named;
  }
  const names = ['chromium', 'google-chrome', 'google-chrome-stable', 'chromium-browser'];
  for (const name of names) {
    for (const dir of (process.env.PATH ?? '').split(delimiter)) {
      if (dir !== '' && existsSync(join(dir, name))) return join(dir, name);
    }
  }
  return null;
}

/**
 * In order. `key`: hash of the inputs; `present`: is the output there; `make`: does it, and may return a notice for the person. A step
 * without `key` is asked only whether its output is present.
 */
const STEPS = {
  install: {
    title: 'installing dependencies',
    key: () => hashInputs(['package-lock.json', '.npmrc'], ['.', ...WORKSPACES].map(dependencyFields)),
    present: () => existsSync(join(ROOT, 'node_modules/.package-lock.json')),
    make: async () => void (await must('npm ci', 'npm', ['ci', '--ignore-scripts', '--no-progress'])),
  },
  native: {
    title: 'building the native addon',
    key: () =>
      hashInputs(
        ['packages/native/cpp', 'packages/native/scripts', 'packages/native/package.json'],
        [process.versions.modules, process.arch, process.platform],
      ),
    present: () => existsSync(ADDON),
    async make() {
      const { code, output } = await run(process.execPath, ['packages/native/scripts/build.mjs'], { cwd: ROOT });
      if (code === 0 && existsSync(ADDON)) return;
      const lines = output.trim().split('\n');
      const why = lines.find((line) => /error|cannot|no /i.test(line)) ?? (lines.at(-1) || `exit code ${code}`);
      if (process.env.CHRONON_REQUIRE_NATIVE === '1')
        throw new SetUpError(`the native addon did not build:\n${output}`);
      return `no native addon (${why}): going on with the synchronous disk and the portable codec`;
    },
  },
  build: {
    title: 'compiling',
    key: () => hashInputs([...ROOT_CONFIG, 'packages', 'apps/node']),
    present: () => WORKSPACES.slice(0, 3).every((dir) => existsSync(join(ROOT, dir, 'dist/tsconfig.tsbuildinfo'))),
    make: async () => void (await must('tsc -b', bin('tsc'), ['-b', ...WORKSPACES.slice(0, 3)])),
  },
  console: {
    title: 'building the console',
    // The console runs core's code and is type-checked against the API's declarations.
    key: () => hashInputs(['package-lock.json', 'apps/console', 'packages/core/src', 'apps/node/src/api']),
    present: () => existsSync(join(STANDALONE, 'server.js')) && existsSync(join(STANDALONE, '.next/static')),
    async make() {
      rmSync(join(CONSOLE_DIR, '.next/standalone'), { recursive: true, force: true });
      await must('next build', bin('next'), ['build'], { cwd: CONSOLE_DIR, env: { NEXT_TELEMETRY_DISABLED: '1' } });
      // `output: standalone` leaves these two to the deployer.
      cpSync(join(CONSOLE_DIR, '.next/static'), join(STANDALONE, '.next/static'), { recursive: true });
      const assets = join(CONSOLE_DIR, 'public');
      if (existsSync(assets)) cpSync(assets, join(STANDALONE, 'public'), { recursive: true });
    },
  },
  browser: {
    title: 'looking for a browser',
    present: () => findBrowser() !== null,
    async make() {
      if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
        const env = { DEBIAN_FRONTEND: 'noninteractive' };
        await run('apt-get', ['update', '-q'], { env });
        await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'chromium'], { env });
      }
      if (findBrowser() !== null) return;
      throw new SetUpError(
        'the end-to-end tests need a browser: install Debian\'s "chromium" (or Google Chrome), or set CHRONON_CHROMIUM to one',
        2,
      );
    },
  },
};

/** Brings the named steps up to date, in the order of STEPS. */
export async function setUp(names, { stopExitCode = 0 } = {}) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
    throw new SetUpError(`Chronon needs Node ${NODE_MIN.join('.')} or newer; this is ${process.versions.node}`, 2);
  }
  const release = await lockSetUp();
  const unhook = stopOnSignals(stopExitCode, release);
  try {
    const wanted = Object.keys(STEPS).filter((name) => names.includes(name));
    for (const [i, name] of wanted.entries()) await bringUp(name, `[${i + 1}/${wanted.length}]`);
  } finally {
    unhook();
    release();
  }
}

async function bringUp(name, count) {
  const step = STEPS[name];
  const key = step.key?.() ?? '';
  if (step.present() && readStamp(name) === key) return;
  const progress = new Progress();
  progress.begin(`${count} ${step.title}`);
  try {
    const notice = await step.make();
    if (!notice && step.key) writeStamp(name, key);
    progress.end('done');
    if (typeof notice === 'string') process.stderr.write(`notice: ${notice}\n`);
  } catch (error) {
    progress.end('failed');
    throw error;
  }
}

/** Runs `main` and turns a SetUpError into one message and its exit code. */
export async function runScript(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SetUpError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(error.exitCode);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !(name in STEPS));
  if (unknown.length > 0) {
    process.stderr.write(`unknown step ${unknown[0]}; steps: ${Object.keys(STEPS).join(' ')}\n`);
    process.exit(2);
  }
  await runScript(() => setUp(names.length > 0 ? names : ['install', 'native', 'build', 'console']));
}
