/** Runs the VirtualDisk contract over every real disk, each with every kind of descriptor visible in /proc. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { DiskError, VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { IoUringDisk } from './io-uring-disk.ts';
import { loadNative } from './native-binding.ts';
import { probe } from './probe.ts';
import { SyncDisk, THREADS } from './sync-disk.ts';
import { describeDiskContract } from './testing/disk-contract.ts';
import { pattern } from './testing/pattern.ts';

function descriptor(path: string): { readonly fd: number; readonly close: () => void } {
  const fd = openSync(path, 'r+');
  return { fd, close: () => closeSync(fd) };
}

/** Not under /tmp: a tmpfs there would prove nothing. */
const scratch = fileURLToPath(new URL('../build/test', import.meta.url));
mkdirSync(scratch, { recursive: true });

const { binding } = loadNative();
const probed = probe(scratch);
const disks: readonly { readonly name: string; readonly open: (root: string) => VirtualDisk; readonly flag: number }[] =
  [
    { name: 'SyncDisk', open: (root) => new SyncDisk(root), flag: 0o10000 },
    ...(binding === null
      ? []
      : [{ name: 'SyncDisk with threads', open: (root: string) => new SyncDisk(root, null, binding), flag: 0o10000 }]),
    ...(binding !== null && probed.ok
      ? [
          { name: 'IoUringDisk', open: (root: string) => new IoUringDisk(root, binding), flag: 0o40000 },
          {
            name: 'IoUringDisk without registered pages',
            open: (root: string) => new IoUringDisk(root, binding, 2),
            flag: 0o40000,
          },
          {
            name: 'a ring of threads',
            open: (root: string) => new IoUringDisk(root, binding, THREADS),
            flag: 0o40000,
          },
        ]
      : []),
  ];

if (!probed.ok) {
  it.skip(`IoUringDisk (skipped: ${probed.reason})`, () => {});
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

for (const [by, options] of [
  ['the kernel', 0],
  ['threads', THREADS],
] as const) {
  if (binding === null || !probed.ok) continue;
  describe(`IoUringDisk and ${by}`, () => {
    it('Short write: continued, durable and not, aligned and not', async () => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = new IoUringDisk(root, binding, options);
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

    it('a short write parts a chain: what is left of it goes on, in order', async () => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = new IoUringDisk(root, binding, options);
      const [frames, tail] = [disk.open('seg', { create: true }), disk.open('tail', { create: true })];
      for (const file of [frames, tail]) await new Promise((done) => file.write(0, new Uint8Array(16384), false, done));
      for (const [i, cut] of [4096, 8192, 512, 4608].entries()) {
        const [long, short] = [pattern(16384, i + 1), pattern(8192, i + 50)];
        const order: string[] = [];
        disk.ring.shortenNextWrite(cut);
        await new Promise<void>((done) => {
          const ended = (name: string) => (error: DiskError | null) => {
            order.push(`${name} ${error === null}`);
            if (name === 'tail') done();
          };
          disk.writeChain([
            { file: frames, offset: 0, bytes: long, callback: ended('frames') },
            { file: tail, offset: 0, bytes: short, callback: ended('tail') },
          ]);
        });
        expect(order).toEqual(['frames true', 'tail true']);
        expect(disk.ring.state().continued).toBe(i + 1);
        for (const [file, bytes] of [
          [frames, long],
          [tail, short],
        ] as const) {
          const back = new Uint8Array(bytes.length);
          file.readSync(0, back);
          expect(Buffer.compare(back, bytes)).toBe(0);
        }
      }
      expect(disk.ring.state().inFlight).toBe(0);
      disk.close();
      rmSync(root, { recursive: true });
    });

    it('begins no write behind one that was refused', async () => {
      const root = mkdtempSync(join(scratch, 'disk-'));
      const disk = new IoUringDisk(root, binding, options);
      const file = disk.open('tail', { create: true });
      await new Promise((done) => file.write(0, pattern(4096, 1), false, done));
      const { fd, close } = descriptor(join(root, 'tail'));
      const results = await new Promise<number[]>((done) => {
        const seen: number[] = [];
        const ring = new binding.Ring(8, 65536, options);
        ring.onWake = (count) => {
          for (let i = 0; i < count; i++) seen.push(ring.results[2 * i + 1]!);
          if (seen.length < 3) return;
          ring.close();
          done(seen);
        };
        const first = ring.write(9999, 0, pattern(4096, 2), 0, 4096, true, -1);
        const second = ring.write(fd, 0, pattern(4096, 3), 0, 4096, true, first);
        ring.write(fd, 0, pattern(4096, 4), 0, 4096, true, second);
        ring.submit();
      });
      close();
      expect(results).toEqual([-constants.errno.EBADF, -constants.errno.ECANCELED, -constants.errno.ECANCELED]);
      const back = new Uint8Array(4096);
      file.readSync(0, back);
      expect(back).toEqual(pattern(4096, 1));
      disk.close();
      rmSync(root, { recursive: true });
    });
  });
}

describe.skipIf(binding === null)('SyncDisk with threads', () => {
  it('writes from its own memory with O_DIRECT and O_DSYNC, beside what is read and written the plain way', async () => {
    const root = mkdtempSync(join(scratch, 'disk-'));
    const disk = new SyncDisk(root, null, binding);
    const [frames, tail] = [disk.open('seg', { create: true }), disk.open('tail', { create: true })];
    const memory = [disk.allocate(3 * 4096), disk.allocate(4096)] as const;
    for (const file of [frames, tail]) {
      file.writeSync(0, new Uint8Array(8 * 4096));
      file.barrierSync();
    }
    for (let round = 1; round <= 20; round++) {
      const [long, short] = [pattern(3 * 4096, round), pattern(4096, round + 50)];
      memory[0].set(long);
      memory[1].set(short);
      const order: string[] = [];
      await new Promise<void>((done) => {
        const ended = (name: string) => (error: DiskError | null) => {
          order.push(`${name} ${error === null}`);
          if (name === 'tail') done();
        };
        disk.writeChain([
          { file: frames, offset: 4096, bytes: memory[0], callback: ended('frames') },
          { file: tail, offset: 4096 * (round % 2), bytes: memory[1], callback: ended('tail') },
        ]);
      });
      expect(order).toEqual(['frames true', 'tail true']);
      // Not from the ring's memory: through the page cache, into a neighbour of what is written past it.
      const head = pattern(4096, round + 100);
      expect(await new Promise((done) => frames.write(0, head, true, done))).toBeNull();
      const back = new Uint8Array(4 * 4096);
      frames.readSync(0, back);
      expect(Buffer.compare(back, Buffer.concat([head, long]))).toBe(0);
      const read = await new Promise<Uint8Array | null>((done) =>
        tail.read(4096 * (round % 2), 4096, (_, got) => done(got)),
      );
      expect(Buffer.compare(read!, short)).toBe(0);
    }
    for (const name of ['seg', 'tail']) {
      const flags = flagsOf(join(root, name));
      expect(flags.every((each) => (each & 0o10000) !== 0)).toBe(true);
      expect(flags.filter((each) => (each & 0o40000) !== 0)).toHaveLength(1);
    }
    expect(await new Promise((done) => frames.barrier(done))).toBeNull();
    disk.close();
    expect(flagsOf(join(root, 'seg'))).toHaveLength(0);
    rmSync(root, { recursive: true });
  });
});
