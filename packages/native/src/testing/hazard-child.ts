/**
 * A process (or a worker_thread of it) that stops at one step of a disk's life. Run by hazards.test.ts:
 * `node ... hazard-child.ts STEP main|worker|terminate ROOT`. Ends with code 0 when nothing aborted on the way.
 */
import { spawnSync } from 'node:child_process';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { frameBytes, writeHeader } from '@chronon/core/engine/frame';
import type { DiskError, DiskFile } from '@chronon/core/engine/virtual-disk';
import { IoUringDisk } from '../io-uring-disk.ts';
import { loadNative } from '../native-binding.ts';
import { createNativeCodec } from '../native-codec.ts';
import { pattern } from './pattern.ts';

const { binding } = loadNative();
if (binding === null) throw new Error('the hazard tests need the addon');
const BLOCK = 4096;
/** RingOption of cpp/ring.h: 4 has threads in the kernel's place. */
const ringOptions = Number(process.env['HAZARD_RING_OPTIONS'] ?? 0);
// The steps that close the native ring under its queue's feet make the queue throw: that is not what is tested.
process.on('uncaughtException', (cause: NodeJS.ErrnoException) => {
  if (cause.code === 'ECLOSED') return;
  process.stderr.write(`${cause.stack}\n`);
  process.exit(1);
});
const keepAlive: unknown[] = [];

/** Something in flight of each kind. */
function startAll(file: DiskFile, done: (error: DiskError | null) => void = () => {}): void {
  for (let i = 0; i < 32; i++) file.write(i * BLOCK, pattern(BLOCK, i), i % 2 === 0, done);
  file.write(0, pattern(3 * 1024 * 1024, 1), true, done);
  file.barrier(done);
  file.read(0, 64 * BLOCK, done);
}

/** Blocks to write durably into. What goes through the page cache is flushed before the ring writes past it: the kernel calls a collision EIO. */
function grow(file: DiskFile): void {
  if (file.size() >= 32 * BLOCK) return;
  file.writeSync(0, new Uint8Array(32 * BLOCK));
  file.barrierSync();
}

/** Chains of three links over two files; `done` once the last link of the last one has ended. */
function startChains(
  disk: IoUringDisk,
  file: DiskFile,
  other: DiskFile,
  done: (error: DiskError | null) => void,
): void {
  for (const each of [file, other]) grow(each);
  for (let i = 0; i < 16; i++) {
    disk.writeChain([
      { file, offset: 0, bytes: pattern(2 * BLOCK, i), callback: () => {} },
      { file: other, offset: i * BLOCK, bytes: pattern(BLOCK, i), callback: () => {} },
      { file, offset: 2 * BLOCK, bytes: pattern(BLOCK, i), callback: i === 15 ? done : () => {} },
    ]);
  }
}

const steps: Record<string, (root: string) => void | Promise<void>> = {
  load: () => {},
  'disk-open': (root) => {
    keepAlive.push(new IoUringDisk(root, binding, ringOptions));
  },
  'file-open': (root) => {
    keepAlive.push(new IoUringDisk(root, binding, ringOptions).open('f', { create: true }));
  },
  'in-flight': (root) => startAll(new IoUringDisk(root, binding, ringOptions).open('f', { create: true })),
  'queued-not-submitted': (root) => {
    const disk = new IoUringDisk(root, binding, ringOptions);
    const file = disk.open('f', { create: true });
    file.write(0, pattern(BLOCK, 1), true, () => {});
    disk.ring.write(9999, 0, pattern(BLOCK, 1), 0, BLOCK, true, -1);
  },
  'after-a-write': (root) =>
    new Promise((resolve) => {
      new IoUringDisk(root, binding, ringOptions)
        .open('f', { create: true })
        .write(0, pattern(BLOCK, 1), true, () => resolve());
    }),
  'inside-a-callback': (root) =>
    new Promise((resolve) => {
      const file = new IoUringDisk(root, binding, ringOptions).open('f', { create: true });
      startAll(file, () => {
        startAll(file);
        resolve();
      });
    }),
  'ring-closed-inside-a-callback': (root) =>
    new Promise((resolve) => {
      const disk = new IoUringDisk(root, binding, ringOptions);
      startAll(disk.open('f', { create: true }), () => {
        disk.ring.close();
        resolve();
      });
    }),
  'closing-in-flight': (root) => {
    const disk = new IoUringDisk(root, binding, ringOptions);
    startAll(disk.open('f', { create: true }));
    disk.close();
  },
  'ring-closed-in-flight': (root) => {
    const disk = new IoUringDisk(root, binding, ringOptions);
    startAll(disk.open('f', { create: true }));
    disk.ring.close();
  },
  'two-disks': (root) => {
    for (const name of ['a', 'b', 'c'])
      startAll(new IoUringDisk(root, binding, ringOptions).open(name, { create: true }));
  },
  'chains-in-flight': (root) => {
    const disk = new IoUringDisk(root, binding, ringOptions);
    startChains(disk, disk.open('f', { create: true }), disk.open('g', { create: true }), () => {});
  },
  'ring-closed-inside-a-chain': (root) =>
    new Promise((resolve) => {
      const disk = new IoUringDisk(root, binding, ringOptions);
      startChains(disk, disk.open('f', { create: true }), disk.open('g', { create: true }), () => {
        disk.ring.close();
        resolve();
      });
    }),
  // Memory of the ring in flight, a read ahead that nobody wants any more, and the ring closed under both.
  'allocated-and-prefetched': async (root) => {
    const disk = new IoUringDisk(root, binding, ringOptions);
    const file = disk.open('f', { create: true });
    file.writeSync(0, new Uint8Array(4 * 1024 * 1024));
    file.barrierSync();
    const memory = disk.allocate(1024 * 1024);
    keepAlive.push(memory);
    await new Promise<void>((resolve) => file.write(0, memory, true, () => resolve()));
    file.write(0, memory, true, () => {});
    file.write(1024 * 1024, disk.allocate(1024 * 1024), true, () => {});
    for (let i = 0; i < 3; i++) file.prefetch(4 * 1024 * 1024);
    disk.ring.close();
    memory.fill(1);
  },
  // Run with V8 collecting and compacting all the time: nothing that is in flight may move or go.
  'collected-all-the-time': async (root) => {
    for (let round = 0; round < 40; round++) {
      const disk = new IoUringDisk(root, binding, ringOptions);
      const [file, other] = [disk.open('f', { create: true }), disk.open('g', { create: true })];
      const bytes = disk.allocate(24 * BLOCK);
      bytes.set(pattern(24 * BLOCK, round));
      const ended = (start: (done: (error: DiskError | null) => void) => void): Promise<void> =>
        new Promise((resolve, reject) => {
          start((error) => (error === null ? resolve() : reject(new Error(error.message))));
        });
      await Promise.all([
        ended((done) => startChains(disk, file, other, done)),
        ended((done) => file.write(8 * BLOCK, bytes, true, done)),
        ended((done) => other.barrier(done)),
      ]);
      const back = await new Promise<Uint8Array | null>((resolve) =>
        file.read(8 * BLOCK, bytes.length, (_, read) => resolve(read)),
      );
      if (back === null || Buffer.compare(back, bytes) !== 0) throw new Error(`bytes differ in round ${round}`);
      if (round % 2 === 0) disk.close();
    }
  },
  'forked-in-flight': async (root) => {
    const file = new IoUringDisk(root, binding, ringOptions).open('f', { create: true });
    const bytes = pattern(1024 * 1024, 5);
    const ended = new Promise<DiskError | null>((done) => file.write(0, bytes, true, done));
    for (let i = 0; i < 5; i++) spawnSync('true');
    if ((await ended) !== null) throw new Error('write failed');
    const read = new Promise<Uint8Array | null>((done) => file.read(0, bytes.length, (_, back) => done(back)));
    spawnSync('true');
    if (Buffer.compare((await read)!, bytes) !== 0) throw new Error('bytes differ after a fork');
  },
  codec: () => {
    // Buffers of the exact size, so that one byte too far is seen; every level of SIMD; damage in every field.
    for (let level = 0; level <= binding.simd(); level++) {
      const codec = createNativeCodec(binding, level);
      for (let size = 0; size < 2400; size += 61) {
        const one = frameBytes(size);
        const bytes = new Uint8Array(3 * one);
        for (let i = 0; i < 3; i++) writeHeader(bytes, i * one, size, i, 0, 0, 0, 0);
        codec.seal(bytes, 0, bytes.length, new Uint8Array(16));
        if (codec.verify(bytes, 0, bytes.length, 0, new Uint8Array(16)).count !== 3) throw new Error('not intact');
        for (let at = 0; at < bytes.length; at += 7) {
          const damaged = bytes.slice(0, bytes.length - (at % 90));
          damaged[at % damaged.length]! ^= 1 + (at % 255);
          if (codec.verify(damaged, 0, damaged.length, 0, new Uint8Array(16)).count === 3) throw new Error('not seen');
        }
        codec.hash(bytes, 0, bytes.length, new Uint8Array(16), 0);
      }
    }
  },
  'dropped-and-collected': async (root) => {
    const gc = (globalThis as { gc?: () => void }).gc;
    if (gc === undefined) throw new Error('needs --expose-gc');
    let ended = 0;
    let wanted = 0;
    for (let i = 0; i < 60; i++) {
      const file = new IoUringDisk(root, binding, ringOptions).open(`f${i % 4}`, { create: true });
      const bytes = pattern(8 * BLOCK, i);
      wanted += 2;
      // Neither the disk nor the file is held by anything but the I/O in flight.
      file.write(0, bytes, true, () => {
        file.read(0, bytes.length, (_, back) => {
          if (back === null || back.length !== bytes.length) throw new Error('lost read');
          ended++;
          file.close();
        });
        ended++;
      });
      gc();
      if (i % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
      gc();
    }
    while (ended < wanted) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      gc();
    }
  },
};

const [, , step = 'load', where = 'main', root = '.'] = process.argv;
if (isMainThread && where !== 'main') {
  const worker = new Worker(new URL(import.meta.url), { argv: [step, where, root], workerData: { where } });
  worker.on('error', (cause) => {
    throw cause;
  });
  if (where === 'terminate') worker.on('message', () => void worker.terminate());
  worker.on('exit', () => process.stdout.write('thread ended\n'));
} else {
  await steps[step]!(root);
  parentPort?.postMessage('at the step');
  if ((workerData as { where?: string } | null)?.where === 'terminate') setInterval(() => {}, 1000);
  else if (step !== 'dropped-and-collected') process.exit(0);
}
