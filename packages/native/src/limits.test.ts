/** faults.md (storage), "ENOSPC" and "Short write": a file size limit (`ulimit -f`) and a full file system, for both disks. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probe } from './probe.ts';
import { LoopFileSystem } from './testing/loop-file-system.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const scratch = join(here, '../build/test');
const child = join(scratch, 'limit-child.mjs');
let root = '';
mkdirSync(scratch, { recursive: true });
const probed = probe(scratch);

beforeAll(() => {
  root = mkdtempSync(join(scratch, 'limit-'));
  buildSync({
    entryPoints: [join(here, 'testing/limit-child.ts')],
    outfile: child,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@chronon/source'],
  });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Outcome {
  readonly good: number;
  readonly code: string | null;
}

function run(script: string, kind: string, directory: string): Outcome {
  const env = { ...process.env, CHRONON_NATIVE_PATH: join(here, '../build/chronon_native.node') };
  const ran = spawnSync('bash', ['-c', `${script} exec "$0" "$@"`, process.execPath, child, kind, directory], {
    encoding: 'utf8',
    env,
  });
  expect(ran.status, ran.stderr).toBe(0);
  return JSON.parse(ran.stdout) as Outcome;
}

for (const kind of ['sync', 'io_uring']) {
  const absent = kind === 'io_uring' && !probed.ok;
  describe.skipIf(absent)(`${kind} disk at its limits${absent ? ` (skipped: ${probed.reason})` : ''}`, () => {
    it('a file size limit in mid-write is a definite ENOSPC, and poisons nothing', () => {
      const directory = mkdtempSync(join(root, 'ulimit-'));
      // 100 KiB: three whole writes of 32 KiB, and a short one.
      const outcome = run('ulimit -f 100;', kind, directory);
      expect(outcome).toEqual({ good: 3, code: 'ENOSPC', barrier: null, rewrite: null, intact: true });
    });

    it('a full file system is a definite ENOSPC, and poisons nothing', ({ skip }) => {
      const mounted = LoopFileSystem.create(mkdtempSync(join(root, 'small-')), 8);
      if (typeof mounted === 'string') return skip(mounted);
      try {
        const outcome = run('', kind, mounted.directory);
        expect(outcome).toMatchObject({ code: 'ENOSPC', barrier: null, rewrite: null, intact: true });
        expect(outcome.good).toBeGreaterThan(20);
      } finally {
        mounted.remove();
      }
    });
  });
}
