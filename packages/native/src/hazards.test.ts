/**
 * What kills native addons: the environment ending at any step of a disk's life (process, worker_thread, terminate()), a fork
 * with I/O in flight, collection of dropped disks; and all of it again under AddressSanitizer and UBSan.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { probe } from './probe.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const scratch = join(here, '../build/test');
mkdirSync(scratch, { recursive: true });
const probed = probe(scratch);
const child = join(scratch, 'hazard-child.mjs');
const addon = join(here, '../build/chronon_native.node');

// One plain file: worker threads do not inherit a TypeScript loader.
beforeAll(() => {
  buildSync({
    entryPoints: [join(here, 'testing/hazard-child.ts')],
    outfile: child,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@chronon/source'],
  });
});

const STEPS = [
  'load',
  'disk-open',
  'file-open',
  'in-flight',
  'queued-not-submitted',
  'after-a-write',
  'inside-a-callback',
  'ring-closed-inside-a-callback',
  'closing-in-flight',
  'ring-closed-in-flight',
  'two-disks',
  'chains-in-flight',
  'ring-closed-inside-a-chain',
  'allocated-and-prefetched',
];

/** The same disk, its ring made of threads. */
const ON_THREADS = { HAZARD_RING_OPTIONS: '4' };

interface Ended {
  readonly code: number | string | null;
  readonly output: string;
}

function run(step: string, where: string, env: NodeJS.ProcessEnv = {}, flags: readonly string[] = []): Promise<Ended> {
  const root = mkdtempSync(join(scratch, 'hazard-'));
  const args = ['--expose-gc', ...flags, child, step, where, root];
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { env: { ...process.env, CHRONON_NATIVE_PATH: addon, ...env }, timeout: 240_000 },
      (cause, stdout, stderr) => {
        rmSync(root, { recursive: true, force: true });
        const code = cause === null ? 0 : (cause.code ?? cause.signal ?? null);
        resolve({ code, output: stdout + stderr });
      },
    );
  });
}

describe.skipIf(!probed.ok)(
  `the addon survives its environment's end${probed.ok ? '' : ` (skipped: ${probed.reason})`}`,
  () => {
    for (const step of STEPS) {
      it(`at step ${step}: process, worker exit, worker terminate; a ring of the kernel and one of threads`, async () => {
        const modes = ['main', 'worker', 'terminate'].flatMap((where) => [
          { where, env: {} },
          { where, env: ON_THREADS },
        ]);
        const ended = await Promise.all(
          modes.map(async ({ where, env }) => ({ where, ...(await run(step, where, env)) })),
        );
        expect(ended).toEqual(
          modes.map(({ where }) => ({ where, code: 0, output: where === 'main' ? '' : 'thread ended\n' })),
        );
      });
    }

    it('a garbage collector that runs and compacts all the time', async () => {
      const flags = ['--gc-interval=200', '--stress-compaction'];
      expect(await run('collected-all-the-time', 'main', {}, flags)).toEqual({ code: 0, output: '' });
    });

    it('a fork with I/O in flight', async () => {
      for (const env of [{}, ON_THREADS])
        expect(await run('forked-in-flight', 'main', env)).toEqual({ code: 0, output: '' });
    });

    it('disks dropped while I/O is in flight are neither collected too early nor leaked into', async () => {
      for (const env of [{}, ON_THREADS])
        expect(await run('dropped-and-collected', 'main', env)).toEqual({ code: 0, output: '' });
    });
  },
);

const libasan = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
const noAsan = !probed.ok ? probed.reason : existsSync(libasan) ? null : 'g++ has no libasan';

describe.skipIf(noAsan !== null)(
  `under AddressSanitizer and UBSan${noAsan === null ? '' : ` (skipped: ${noAsan})`}`,
  () => {
    it('every step is clean', { timeout: 600_000 }, async () => {
      const built = spawnSync(process.execPath, [join(here, '../scripts/build.mjs')], {
        encoding: 'utf8',
        env: { ...process.env, CHRONON_NATIVE_ASAN: '1', CHRONON_REQUIRE_NATIVE: '1' },
      });
      expect(built.status, built.stdout + built.stderr).toBe(0);
      const env = {
        CHRONON_NATIVE_PATH: join(here, '../build/chronon_native_asan.node'),
        LD_PRELOAD: libasan,
        ASAN_OPTIONS: 'detect_leaks=0',
        UBSAN_OPTIONS: 'print_stacktrace=1',
      };
      for (const [where, steps] of [
        [
          'terminate',
          [
            'in-flight',
            'queued-not-submitted',
            'inside-a-callback',
            'ring-closed-inside-a-callback',
            'two-disks',
            'chains-in-flight',
            'ring-closed-inside-a-chain',
            'allocated-and-prefetched',
          ],
        ],
        ['main', ['codec', 'closing-in-flight', 'forked-in-flight', 'dropped-and-collected', 'collected-all-the-time']],
      ] as const) {
        for (const [step, more] of steps.flatMap((one) => [[one, {}] as const, [one, ON_THREADS] as const])) {
          const { code, output } = await run(step, where, { ...env, ...more });
          expect({ step, where, code, output }).toEqual({
            step,
            where,
            code: 0,
            output: where === 'main' ? '' : 'thread ended\n',
          });
        }
      }
    });
  },
);
