import { expect, test } from 'vitest';
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import { Prng } from '../prng.ts';
import { EventQueue } from './event-queue.ts';
import { SimCrash, SimDisk, type SimDevice, soundDevice } from './sim-disk.ts';
import { SimStorage } from './sim-storage.ts';

function device(): SimDevice {
  return soundDevice(10, 100);
}

function world(seed = 1, over: SimDevice = device()) {
  const queue = new EventQueue();
  const storage = new SimStorage(1, new Prng(seed));
  const state = { armed: 0 };
  const open = (): SimDisk =>
    new SimDisk({
      queue,
      storage,
      device: over,
      prng: new Prng(seed + 1),
      enter: (task) => task(),
      onArmedWrite: () => state.armed++,
      onFault: () => {},
      mayHarm: () => true,
    });
  return { queue, storage, open, state };
}

function block(value: number, blocks = 1): Uint8Array {
  return new Uint8Array(BLOCK_BYTES * blocks).fill(value);
}

function settle(queue: EventQueue): void {
  while (queue.step());
}

test('a write is read back at once but lost by a power cut until a barrier', () => {
  for (const barriered of [false, true]) {
    const { queue, storage, open } = world();
    const disk = open();
    const file = disk.open('a', { create: true });
    disk.syncDirectorySync('');
    file.write(0, block(1), false, () => {});
    settle(queue);
    if (barriered) {
      file.barrier(() => {});
      settle(queue);
    }
    const seen = new Uint8Array(BLOCK_BYTES);
    expect(file.readSync(0, seen)).toBe(BLOCK_BYTES);
    expect(seen[0]).toBe(1);
    disk.crash();
    const again = open().open('a');
    expect(again.size()).toBe(BLOCK_BYTES); // a process crash keeps the page cache
    const report = storage.powerCut(0);
    expect(report.sectorsLost).toBe(barriered ? 0 : BLOCK_BYTES / SECTOR_BYTES);
    expect(storage.get('a')!.medium.every((byte) => byte === (barriered ? 1 : 0))).toBe(true);
  }
});

test('a barrier covers only the writes that had completed when it was called', () => {
  const { queue, storage, open } = world(3);
  const disk = open();
  const file = disk.open('a', { create: true });
  disk.syncDirectorySync('');
  file.writeSync(0, block(0, 2));
  file.barrierSync();
  file.write(0, block(1), false, () => {});
  file.barrier(() => {}); // issued before the write completed
  settle(queue);
  storage.powerCut(0);
  expect(storage.get('a')!.medium[0]).toBe(0);
});

test('a durable write supersedes an older unsynced one to the same bytes', () => {
  const { queue, storage, open } = world();
  const disk = open();
  const file = disk.open('a', { create: true });
  disk.syncDirectorySync('');
  file.writeSync(0, block(0, 3));
  file.barrierSync();
  file.write(0, block(1, 3), false, () => {});
  settle(queue);
  file.write(BLOCK_BYTES, block(2), true, () => {});
  settle(queue);
  file.barrier(() => {});
  settle(queue);
  const medium = storage.get('a')!.medium;
  expect([medium[0], medium[BLOCK_BYTES], medium[2 * BLOCK_BYTES]]).toEqual([1, 2, 1]);
});

test('a power cut tears an unsynced write at sector boundaries only', () => {
  let torn = 0;
  for (let seed = 0; seed < 40; seed++) {
    const { queue, storage, open } = world(seed);
    const disk = open();
    const file = disk.open('a', { create: true });
    disk.syncDirectorySync('');
    file.writeSync(0, block(1));
    file.barrierSync();
    file.write(0, block(2), false, () => {});
    settle(queue);
    storage.powerCut(0.5);
    const medium = storage.get('a')!.medium;
    const sectors = new Set<number>();
    for (let at = 0; at < BLOCK_BYTES; at += SECTOR_BYTES) {
      const sector = new Set(medium.subarray(at, at + SECTOR_BYTES));
      expect(sector.size).toBe(1);
      sectors.add(medium[at]!);
    }
    if (sectors.size === 2) torn++;
  }
  expect(torn).toBeGreaterThan(30);
});

test('a crash in mid-write tears what was in flight and no callback comes', () => {
  const { queue, open, state } = world(5);
  const disk = open();
  const file = disk.open('a', { create: true });
  file.writeSync(0, block(1));
  let called = false;
  disk.armCrash(1);
  file.write(0, block(2), false, () => {
    called = true;
  });
  while (state.armed === 0) queue.step();
  expect(disk.crash()).toBe(1);
  settle(queue);
  expect(called).toBe(false);
});

test('an unsynced name is lost by a power cut, with the file behind it', () => {
  const { storage, open } = world();
  const disk = open();
  disk.mkdirSync('log');
  disk.open('log/old', { create: true }).writeSync(0, block(1));
  disk.open('log/old').barrierSync();
  disk.syncDirectorySync('log');
  disk.renameSync('log/old', 'log/new');
  disk.open('log/other', { create: true }).barrierSync();
  expect(disk.list('log')).toEqual(['new', 'other']);
  expect(storage.powerCut(0).entriesLost).toBeGreaterThan(0);
  // Either nothing of it survived or a prefix: `other` never without `new` in an ordered cut, and `old` never together with `new`.
  const names = open().list('log');
  expect(names.includes('old')).toBe(!names.includes('new'));
});

test('a stalled device completes nothing, a failing one says EIO, a full one ENOSPC', () => {
  const slow = device();
  const { queue, storage, open } = world(1, slow);
  const disk = open();
  const file = disk.open('a', { create: true });
  const results: (string | null)[] = [];
  const note = (error: { code: string } | null): number => results.push(error === null ? null : error.code);
  slow.stallUntilUs = 1_000_000;
  file.write(0, block(1), false, note);
  while (queue.now < 900_000 && queue.step());
  expect(queue.now).toBeGreaterThanOrEqual(900_000);
  settle(queue);
  slow.due.write = 1;
  file.write(0, block(2), false, note);
  settle(queue);
  storage.capacityBytes = storage.usedBytes();
  expect(disk.freeBytes()).toBe(0);
  file.write(BLOCK_BYTES, block(3), false, note);
  settle(queue);
  expect(results).toEqual([null, 'EIO', 'ENOSPC']);
});

test('an armed blocking open throws SimCrash at the very write', () => {
  const { open } = world();
  const disk = open();
  disk.armOpenCrash(3);
  const file = disk.open('a', { create: true });
  file.writeSync(0, block(1));
  expect(() => file.barrierSync()).toThrow(SimCrash);
});

test('a failed barrier drops the pages for good: the next one succeeds without them', () => {
  for (const durable of [false, true]) {
    const over = device();
    const { queue, storage, open } = world(5, over);
    const disk = open();
    const file = disk.open('a', { create: true });
    disk.syncDirectorySync('');
    file.writeSync(0, block(1, 64));
    file.barrierSync();
    const results: (string | null)[] = [];
    const note = (error: { code: string } | null): number => results.push(error === null ? null : error.code);
    if (durable) over.due.write = 1;
    file.write(0, block(2, 64), durable, durable ? note : () => {});
    settle(queue);
    if (!durable) {
      over.due.barrier = 1;
      file.barrier(note);
      settle(queue);
    }
    file.barrier(note);
    settle(queue);
    expect(results).toEqual(['EIO', null]);
    storage.powerCut(1);
    const sectors = new Set<number>();
    for (let at = 0; at < 64 * BLOCK_BYTES; at += SECTOR_BYTES) sectors.add(storage.get('a')!.medium[at]!);
    expect(sectors).toContain(1); // some of it was lost, whatever the second barrier said
  }
});

test('a misdirected write is reported as done; the medium holds it elsewhere', () => {
  const over = device();
  const { queue, storage, open } = world(5, over);
  const file = open().open('0.seg', { create: true });
  file.writeSync(0, block(1, 16));
  file.barrierSync();
  over.due['misdirected-write'] = 1;
  const results: unknown[] = [];
  file.write(0, block(2), true, (error) => results.push(error));
  settle(queue);
  const inode = storage.get('0.seg')!;
  expect(results).toEqual([null]);
  expect(inode.intended[0]).toBe(2);
  expect(inode.medium.includes(2)).toBe(true);
  expect(inode.isIntact(0, BLOCK_BYTES)).toBe(false);
  expect(inode.visible).toEqual(inode.medium);
  file.write(0, block(2), true, () => {});
  settle(queue);
  expect(inode.isIntact(0, BLOCK_BYTES)).toBe(true);
});

test('damage that was read and is written back is not what was meant; the same bytes from memory are', () => {
  for (const carried of [true, false]) {
    const over = device();
    const { queue, storage, open } = world(5, over);
    const file = open().open('0.seg', { create: true });
    file.writeSync(0, block(1, 16));
    file.barrierSync();
    const inode = storage.get('0.seg')!;
    over.due['misdirected-write'] = 1;
    file.write(0, block(2), true, () => {});
    settle(queue);
    let bytes = block(1);
    if (carried) file.read(0, BLOCK_BYTES, (_, read) => (bytes = read!));
    settle(queue);
    bytes[BLOCK_BYTES / 2] = 3;
    file.write(0, bytes, true, () => {});
    settle(queue);
    expect(inode.medium[0]).toBe(1);
    expect(inode.intended[0]).toBe(carried ? 2 : 1);
    expect(inode.intended[BLOCK_BYTES / 2]).toBe(3);
    expect(inode.isIntact(0, BLOCK_BYTES)).toBe(!carried);
  }
});

test('a misdirected read shows other bytes once; where the atlas forbids it, never', () => {
  for (const allowed of [true, false]) {
    const over = device();
    const { queue, storage } = world(7, over);
    const disk = new SimDisk({
      queue,
      storage,
      device: over,
      prng: new Prng(3),
      enter: (task) => task(),
      onArmedWrite: () => {},
      onFault: () => {},
      mayHarm: () => allowed,
    });
    const file = disk.open('0.seg', { create: true });
    for (let i = 0; i < 16; i++) file.writeSync(i * BLOCK_BYTES, block(i));
    over.due['misdirected-read'] = 1;
    const first: number[] = [];
    for (let i = 0; i < 2; i++) file.read(3 * BLOCK_BYTES, BLOCK_BYTES, (_, bytes) => first.push(bytes![0]!));
    settle(queue);
    expect(first.filter((byte) => byte === 3)).toHaveLength(allowed ? 1 : 2);
  }
});
