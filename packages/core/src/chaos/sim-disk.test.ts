import { expect, test } from 'vitest';
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import { Prng } from '../prng.ts';
import { EventQueue } from './event-queue.ts';
import { SimCrash, SimDisk, type SimDevice } from './sim-disk.ts';
import { SimStorage } from './sim-storage.ts';

function device(): SimDevice {
  return { latencyLowUs: 10, latencyHighUs: 100, slowChance: 0, slowUs: 0, stallUntilUs: 0, failures: 0 };
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
      onDiskError: () => {},
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
  slow.failures = 1;
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
