/** The directory lock between real processes, with the addon, without it, and one of each. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LockFailure, lockDirectory } from './lock.ts';
import { loadNative } from './native-binding.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const scratch = join(here, '../build/test');
const child = join(scratch, 'lock-child.mjs');
const children: ChildProcess[] = [];
let directory = '';

beforeAll(() => {
  mkdirSync(scratch, { recursive: true });
  buildSync({
    entryPoints: [join(here, 'testing/lock-child.ts')],
    outfile: child,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@chronon/source'],
  });
});
beforeEach(() => {
  directory = mkdtempSync(join(scratch, 'lock-'));
});
afterEach(() => {
  for (const process of children.splice(0)) process.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

interface Said {
  readonly mechanism?: string;
  readonly code?: string;
  readonly holder?: number | null;
}

async function locker(addon: boolean): Promise<{ process: ChildProcess; said: Said }> {
  const env = {
    ...process.env,
    CHRONON_NATIVE_PATH: join(here, '../build/chronon_native.node'),
    ...(addon ? {} : { CHRONON_NATIVE: 'off' }),
  };
  const started = spawn(process.execPath, [child, directory], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(started);
  const line = await new Promise<string>((resolve) => started.stdout.once('data', (data) => resolve(String(data))));
  return { process: started, said: JSON.parse(line) as Said };
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

const pairs =
  loadNative().binding === null
    ? [[false, false]]
    : [
        [true, true],
        [false, false],
        [true, false],
        [false, true],
      ];

describe('lockDirectory', () => {
  for (const [first, second] of pairs as [boolean, boolean][]) {
    it(`excludes: ${first ? 'with' : 'without'} the addon, then ${second ? 'with' : 'without'}`, async () => {
      const holder = await locker(first);
      expect(holder.said).toEqual({ mechanism: first ? 'flock' : 'pid-file' });
      const refused = await locker(second);
      expect(refused.said).toMatchObject({ code: 'E_LOCKED', holder: holder.process.pid });
      await killed(holder.process);
      expect((await locker(second)).said).toEqual({ mechanism: second ? 'flock' : 'pid-file' });
    });
  }

  it('is given up by release, and is exclusive within a process', async () => {
    const lock = await lockDirectory(directory);
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'E_LOCKED', holder: process.pid });
    lock.release();
    (await lockDirectory(directory)).release();
  });

  it('takes over from a dead process, and from a pid that now belongs to another', async () => {
    for (const record of [
      { pid: 999_999_999, startTime: '1' },
      { pid: 1, startTime: '1' },
    ]) {
      writeFileSync(join(directory, 'lock.pid'), JSON.stringify({ ...record, bootId: 'x' }));
      (await lockDirectory(directory)).release();
    }
    for (const rubbish of ['', '{', '[]', '{"pid":"x"}']) {
      writeFileSync(join(directory, 'lock.pid'), rubbish);
      (await lockDirectory(directory)).release();
    }
  });

  it('corruption: one flipped byte of a dead process’s record is harmless', async () => {
    const holder = await locker(false);
    await killed(holder.process);
    const record = readFileSync(join(directory, 'lock.pid'));
    for (let offset = 0; offset < record.length; offset++) {
      const damaged = Uint8Array.from(record);
      damaged[offset]! ^= 1 << (offset % 8);
      for (const name of ['lock', 'lock.pid']) writeFileSync(join(directory, name), damaged);
      (await lockDirectory(directory)).release();
    }
  });

  it('says why a directory cannot be locked', async () => {
    const failure = await lockDirectory(join(directory, 'none')).catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(LockFailure);
    expect((failure as LockFailure).code).toBe('E_LOCK');
  });
});
