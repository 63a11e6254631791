import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { BLOCK_BYTES } from './constants.ts';
import { toHex } from './hash.ts';
import { SnapshotStore } from './snapshot-file.ts';
import { snapshotPath } from './snapshot-path.ts';
import { CLUSTER } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import { snapshotMeta, writeSnapshot } from './testing/snapshot-harness.ts';

const codec = await createWasmCodec();
const CHUNK = BLOCK_BYTES;

const storeOn = (disk: MemoryDisk): SnapshotStore =>
  new SnapshotStore({ disk, codec, clusterId: CLUSTER, chunkBytes: CHUNK });

function stored(disk: MemoryDisk, ...indexes: number[]): SnapshotStore {
  const store = storeOn(disk);
  for (const index of indexes) {
    let digest = '';
    writeSnapshot(store, index, [new Uint8Array(10_000).fill(index)], 1000, (result) => (digest = result));
    disk.pump();
    expect(digest).toMatch(/^[0-9a-f]{32}$/);
  }
  return store;
}

function fileOf(disk: MemoryDisk, index: number): Uint8Array {
  const file = disk.open(snapshotPath(index));
  const bytes = new Uint8Array(file.size());
  file.readSync(0, bytes);
  return bytes;
}

test('a snapshot is whole blocks, equal however it was written, and reads back as what went in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 6 }),
      fc.nat({ max: 1_000_000 }),
      fc.integer({ min: 1, max: 10_000 }),
      (sections, index, pieceBytes) => {
        const files = [1, pieceBytes].map((size) => {
          const disk = new MemoryDisk();
          const store = storeOn(disk);
          let digest = '';
          writeSnapshot(store, index, sections, size, (result) => (digest = result));
          disk.pump();
          const read = store.read(index);
          if (typeof read === 'string') return expect.fail(read);
          expect(read.sections).toEqual(sections);
          expect(read).toMatchObject(snapshotMeta(index));
          expect(toHex(read.fileDigest)).toBe(digest);
          return { bytes: fileOf(disk, index), digest };
        });
        expect(files[0]!.bytes.length % BLOCK_BYTES).toBe(0);
        expect(files[1]).toEqual(files[0]);
      },
    ),
    { numRuns: 30 },
  );
});

test('every changed byte of a snapshot, and every cut, is noticed without a throw', () => {
  const disk = new MemoryDisk();
  const store = storeOn(disk);
  const sections = [new Uint8Array(20).fill(1), new Uint8Array(0), new Uint8Array(CHUNK).fill(2)];
  writeSnapshot(store, 9, sections, 1000, () => {});
  disk.pump();
  const bytes = fileOf(disk, 9);
  const dataEnd = BLOCK_BYTES + CHUNK + 20;
  const table = bytes.length - BLOCK_BYTES;
  const places = Array.from({ length: 320 }, (_, i) => i);
  places.push(4095, 4096, dataEnd - 1, dataEnd, table - 1, table, table + 31, table + 32, bytes.length - 1);
  for (const at of places) {
    disk.flip(snapshotPath(9), at);
    expect([at, typeof store.read(9)]).toEqual([at, 'string']);
    disk.flip(snapshotPath(9), at);
  }
  expect(typeof store.read(9)).toBe('object');
  for (const cut of [0, 512, 4096, 8192, table, bytes.length - 512]) {
    const other = new MemoryDisk();
    other.mkdirSync('snapshots');
    other.open(snapshotPath(9), { create: true }).writeSync(0, bytes.subarray(0, cut));
    expect([cut, typeof storeOn(other).read(9)]).toEqual([cut, 'string']);
  }
});

test('noise is no snapshot', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), (noise) => {
      const bytes = new Uint8Array(Math.ceil(noise.length / 512) * 512);
      bytes.set(noise);
      const disk = new MemoryDisk();
      disk.mkdirSync('snapshots');
      disk.open(snapshotPath(1), { create: true }).writeSync(0, bytes);
      expect(typeof storeOn(disk).read(1)).toBe('string');
    }),
  );
});

test('those that are to be kept are kept; a corrupt one is passed over with a note', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10, 20, 30);
  store.retain((index) => index > 10);
  disk.pump();
  expect(store.list()).toEqual([20, 30]);
  const notes: string[] = [];
  expect(store.newest(1000, (text) => notes.push(text))?.index).toBe(30);
  expect(store.newest(25, (text) => notes.push(text))?.index).toBe(20);
  expect(notes).toEqual([]);
  disk.flip(snapshotPath(30), 5000);
  expect(store.newest(1000, (text) => notes.push(text))?.index).toBe(20);
  expect(notes.join()).toContain('chunk 0 is damaged');
  disk.flip(snapshotPath(20), 1);
  expect(store.newest(1000, (text) => notes.push(text))).toBeNull();
});

test('a crash at any step leaves the older snapshot or the newer one, never half of one', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10);
  disk.syncDirectorySync('snapshots');
  writeSnapshot(store, 20, [new Uint8Array(9000).fill(20)], 1000, () => {});
  const found = new Set<number>();
  for (;;) {
    for (let names = 0; names <= disk.unsyncedNames; names++) {
      for (const keep of [0, 1, 2, 3]) {
        const crashed = disk.crash({ names, sector: (_, sector) => (keep < 2 ? keep === 1 : sector % 2 === keep - 2) });
        found.add(storeOn(crashed).newest(1000, (text) => expect.fail(text))!.index);
      }
    }
    if (disk.pending === 0) break;
    disk.complete(0);
  }
  expect(found).toEqual(new Set([10, 20]));
});

test('a failed write is told once, leaves nothing that counts, and the next one succeeds', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10);
  disk.failures.push('ENOSPC');
  const problems: string[] = [];
  writeSnapshot(store, 20, [new Uint8Array(9000)], 1000, (problem) => problems.push(problem));
  writeSnapshot(store, 21, [], 1000, (problem) => problems.push(problem));
  disk.pump();
  expect(problems.length).toBe(2);
  expect(problems[0]).toBe('another snapshot is being written');
  expect(problems[1]).toContain('ENOSPC');
  expect(store.list()).toEqual([10]);
  stored(disk, 30);
  expect(store.list()).toEqual([10, 30]);
});
