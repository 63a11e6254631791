/** Which disk is taken where, and the sentence that says why. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DiskFailure } from '@chronon/core/engine/virtual-disk';
import { openDisk } from './open-disk.ts';
import { probe } from './probe.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const scratch = join(here, '../build/test');
const child = join(scratch, 'open-disk.mjs');
let root = '';

beforeAll(() => {
  mkdirSync(scratch, { recursive: true });
  root = mkdtempSync(join(scratch, 'open-'));
  buildSync({
    stdin: {
      contents: `import { openDisk } from './open-disk.ts';
        const disk = openDisk({ root: process.argv[2], kind: 'auto' });
        console.log(JSON.stringify({ kind: disk.kind, reason: disk.fallbackReason }));
        disk.close();`,
      resolveDir: here,
    },
    outfile: child,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@chronon/source'],
  });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function opened(env: NodeJS.ProcessEnv, prefix: string[] = []): { kind: string; reason: string | null } {
  const [command, ...args] = [...prefix, process.execPath, child, root];
  const addon = join(here, '../build/chronon_native.node');
  const ran = spawnSync(command!, args, {
    encoding: 'utf8',
    env: { ...process.env, CHRONON_NATIVE_PATH: addon, ...env },
  });
  expect(ran.status, ran.stderr).toBe(0);
  return JSON.parse(ran.stdout) as { kind: string; reason: string | null };
}

describe('openDisk', () => {
  it('sync is what was asked for, so there is no reason', () => {
    const disk = openDisk({ root, kind: 'sync' });
    expect([disk.kind, disk.fallbackReason]).toEqual(['sync', null]);
    disk.close();
  });

  it('auto takes io_uring where the probe does, and leaves no file behind', () => {
    const disk = openDisk({ root, kind: 'auto' });
    const probed = probe(root);
    expect([disk.kind, disk.fallbackReason]).toEqual(probed.ok ? ['io_uring', null] : ['sync', probed.reason]);
    expect(readdirSync(root)).toEqual([]);
    disk.close();
  });

  it('a root that is missing fails for every kind', () => {
    for (const kind of ['auto', 'sync', 'io_uring'] as const)
      expect(() => openDisk({ root: join(root, 'none'), kind })).toThrow(DiskFailure);
  });

  it('names a tmpfs', ({ skip }) => {
    if (!existsSync('/dev/shm') || statfsSync('/dev/shm').type !== 0x01021994) return skip('/dev/shm is no tmpfs');
    const shm = mkdtempSync('/dev/shm/chronon-');
    const disk = openDisk({ root: shm, kind: 'auto' });
    if (probe(root).ok) expect(disk.fallbackReason).toContain('tmpfs');
    expect(disk.kind).toBe('sync');
    expect(() => openDisk({ root: shm, kind: 'io_uring' })).toThrow(/not available/);
    disk.close();
    rmSync(shm, { recursive: true });
  });

  it('names a missing, broken or switched-off addon', () => {
    expect(opened({ CHRONON_NATIVE: 'off' })).toMatchObject({
      kind: 'sync',
      reason: expect.stringContaining('off') as string,
    });
    expect(opened({ CHRONON_NATIVE_PATH: '/none.node' }).reason).toContain('/none.node is missing');
    expect(opened({ CHRONON_NATIVE_PATH: child }).reason).toContain('does not load');
  });

  it('names a seccomp profile and an old kernel', ({ skip }) => {
    const probed = probe(scratch);
    if (!probed.ok) return skip(probed.reason ?? 'no io_uring here');
    if (spawnSync('gcc', ['--version']).error !== undefined) return skip('gcc is not installed');
    const wrapper = join(scratch, 'deny-io-uring');
    const built = spawnSync('gcc', ['-o', wrapper, join(here, 'testing/deny-io-uring.c')], { encoding: 'utf8' });
    expect(built.status, built.stderr).toBe(0);
    const denied = opened({}, [wrapper, String(osConstants.errno.EPERM)]);
    expect(denied.kind).toBe('sync');
    expect(denied.reason).toContain('EPERM, a seccomp profile denies it');
    expect(opened({}, [wrapper, String(osConstants.errno.ENOSYS)]).reason).toContain('the kernel has no io_uring');
  });
});
