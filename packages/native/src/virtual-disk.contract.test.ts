/** Runs the VirtualDisk contract over every real disk, each with every kind of descriptor visible in /proc. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { DiskError, VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { IoUringDisk } from './io-uring-disk.ts';
import { loadNative } from './native-binding.ts';
import { probe } from './probe.ts';
import { SyncDisk } from './sync-disk.ts';
import { describeDiskContract } from './testing/disk-contract.ts';
import { pattern } from './testing/pattern.ts';

/** Not under /tmp: a tmpfs there would prove nothing. */
const scratch = fileURLToPath(new URL('../build/test', import.meta.url));
mkdirSync(scratch, { recursive: true });

const { binding } = loadNative();
const probed = probe(scratch);
const disks: readonly { readonly name: string; readonly open: (root: string) => VirtualDisk; readonly flag: number }[] =
  [
    { name: 'SyncDisk', open: (root) => new SyncDisk(root), flag: 0o10000 },
    ...(binding !== null && probed.ok
      ? [
          { name: 'IoUringDisk', open: (root: string) => new IoUringDisk(root, binding), flag: 0o40000 },
          {
            name: 'IoUringDisk without registered pages',
            open: (root: string) => new IoUringDisk(root, binding, 2),
            flag: 0o40000,
          },
        ]
      : []),
  ];

if (!probed.ok) {
  describe('IoUringDisk', () => {
    it.skip(`skipped: ${probed.reason}`, () => {});
  });
}

/** Open flags of each of this process's descriptors of a path, from /proc/self/fdinfo. */
function flagsOf(path: string): number[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== path) return [];
      return [Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8)];
    } catch {
      return [];
    }
  });
}

for (const { name, open, flag } of disks) {
  describeDiskContract({
    name,
    make: () => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = open(root);
      return {
        disk,
        reopen: () => open(root),
        dispose: () => {
          disk.close();
          rmSync(root, { recursive: true, force: true });
        },
      };
    },
  });

  describe(`${name} on Linux`, () => {
    const withDisk = async (test: (disk: VirtualDisk, root: string) => Promise<void>): Promise<void> => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = open(root);
      try {
        await test(disk, root);
      } finally {
        disk.close();
        rmSync(root, { recursive: true, force: true });
      }
    };
    const ended = (start: (done: (error: DiskError | null) => void) => void): Promise<DiskError | null> =>
      new Promise(start);

    it('has only synchronous descriptors open after a barrier, and none after close', async () => {
      await withDisk(async (disk, root) => {
        const file = disk.open('seg', { create: true });
        file.writeSync(0, pattern(8192, 1));
        expect(await ended((done) => file.write(0, pattern(4096, 1), false, done))).toBeNull();
        expect(await ended((done) => file.barrier(done))).toBeNull();
        expect(await ended((done) => file.write(0, pattern(4096, 1), true, done))).toBeNull();
        const flags = flagsOf(join(root, 'seg'));
        expect(flags).toHaveLength(1);
        expect(flags[0]! & flag).toBe(flag);
        file.close();
        expect(flagsOf(join(root, 'seg'))).toHaveLength(0);
      });
    });

    it('refuses misaligned writes through the callback', async () => {
      await withDisk(async (disk) => {
        const file = disk.open('seg', { create: true });
        for (const [at, length] of [
          [1, 4096],
          [0, 100],
          [0, 0],
          [-4096, 4096],
          [Number.NaN, 4096],
        ] as const) {
          expect((await ended((done) => file.write(at, new Uint8Array(length), true, done)))?.code).toBe('EOTHER');
        }
        expect(await ended((done) => file.write(0, pattern(4096, 1), true, done))).toBeNull();
      });
    });
  });
}

if (binding !== null && probed.ok) {
  describe('IoUringDisk and the kernel', () => {
    it('continues short writes, durable and not, aligned and not', async () => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = new IoUringDisk(root, binding);
      const file = disk.open('seg', { create: true });
      for (const [i, cut] of [4096, 8192, 512, 4608].entries()) {
        const bytes = pattern(16384, i + 1);
        disk.ring.shortenNextWrite(cut);
        const error = await new Promise<DiskError | null>((done) => file.write(0, bytes, i % 2 === 0, done));
        expect(error).toBeNull();
        const back = await new Promise<Uint8Array | null>((done) => file.read(0, 16384, (_, read) => done(read)));
        expect(Buffer.compare(back!, bytes)).toBe(0);
        expect(disk.ring.state().continued).toBe(i + 1);
      }
      disk.close();
      rmSync(root, { recursive: true });
    });
  });
}
