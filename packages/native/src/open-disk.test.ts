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
        const file = disk.open('f', { create: true });
        file.write(0, new Uint8Array(4 * 4096).fill(7), false, (error) => file.barrier((late) => {
          const registered = disk.ring?.state().registered ?? null;
          console.log(JSON.stringify({ kind: disk.kind, reason: disk.fallbackReason, registered, error: error ?? late }));
          disk.close();
        }));`,
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

interface Opened {
  readonly kind: string;
  readonly reason: string | null;
  /** Whether the ring's pages are; null without a ring. */
  readonly registered: boolean | null;
}

/** Opens a disk in another process and writes to it. */
function opened(env: NodeJS.ProcessEnv, prefix: readonly string[] = []): Opened {
  const [command, ...args] = [...prefix, process.execPath, child, root];
  const addon = join(here, '../build/chronon_native.node');
  const ran = spawnSync(command!, args, {
    encoding: 'utf8',
    env: { ...process.env, CHRONON_NATIVE_PATH: addon, ...env },
  });
  expect(ran.status, ran.stderr).toBe(0);
  rmSync(join(root, 'f'), { force: true });
  const outcome = JSON.parse(ran.stdout) as Opened & { readonly error: unknown };
  expect(outcome.error).toBeNull();
  return outcome;
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

  /** The command that denies io_uring calls with an error, or why there is none. */
  const denying = (): ((errno: number, calls: string) => string[]) | string => {
    const probed = probe(scratch);
    if (!probed.ok) return probed.reason ?? 'no io_uring here';
    if (spawnSync('gcc', ['--version']).error !== undefined) return 'gcc is not installed';
    const wrapper = join(scratch, 'deny-io-uring');
    const built = spawnSync('gcc', ['-o', wrapper, join(here, 'testing/deny-io-uring.c')], { encoding: 'utf8' });
    expect(built.status, built.stderr).toBe(0);
    return (errno, calls) => [wrapper, String(errno), calls];
  };
  const { EPERM, ENOSYS } = osConstants.errno;

  it('names a seccomp profile and an old kernel', ({ skip }) => {
    const deny = denying();
    if (typeof deny === 'string') return skip(deny);
    const denied = opened({}, deny(EPERM, 'all'));
    expect(denied.kind).toBe('sync');
    expect(denied.reason).toContain('io_uring_setup: EPERM, a seccomp profile denies it');
    expect(opened({}, deny(ENOSYS, 'all')).reason).toContain('the kernel has no io_uring');
  });

  it('names a seccomp profile that allows a ring but not its use, and does without the registering of pages', ({
    skip,
  }) => {
    const deny = denying();
    if (typeof deny === 'string') return skip(deny);
    const half = opened({}, deny(EPERM, 'enter'));
    expect(half.kind).toBe('sync');
    expect(half.reason).toContain('io_uring_enter: EPERM, a seccomp profile denies it');
    expect(opened({}, deny(EPERM, 'register'))).toMatchObject({ kind: 'io_uring', reason: null, registered: false });
  });

  it('works where next to no memory may be locked', ({ skip }) => {
    const probed = probe(scratch);
    if (!probed.ok) return skip(probed.reason ?? 'no io_uring here');
    const lowered = ['bash', '-c', 'ulimit -l 64; exec "$0" "$@"'];
    // Root may lock what it wants as long as it has this capability, which a container does not give.
    const bound = process.getuid!() === 0 ? ['setpriv', '--bounding-set', '-ipc_lock', '--inh-caps', '-ipc_lock'] : [];
    const prefix = [...bound, ...lowered];
    if (spawnSync(prefix[0]!, [...prefix.slice(1), 'true']).status !== 0) return skip('setpriv does not work here');
    expect(opened({}, prefix)).toMatchObject({ kind: 'io_uring', reason: null, registered: false });
  });
});
