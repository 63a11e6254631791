import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { BLOCK_BYTES } from './constants.ts';
import { toHex } from './hash.ts';
import { decodeSnapshot, encodeSnapshot, type SnapshotMeta, snapshotPath, SnapshotStore } from './snapshot-file.ts';
import { CLUSTER } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();

function meta(index: number): SnapshotMeta {
  const fill = (value: number): Uint8Array => new Uint8Array(16).fill(value);
  return { clusterId: CLUSTER, index, view: 3, chainHash: fill(4), timeLow: 5, timeHigh: 6, digest: fill(8) };
}

function stored(disk: MemoryDisk, ...indexes: number[]): SnapshotStore {
  const store = new SnapshotStore({ disk, codec, clusterId: CLUSTER });
  for (const index of indexes) {
    let problem: string | null = 'not done';
    store.write(
      index,
      encodeSnapshot(meta(index), [new Uint8Array(10_000).fill(index)], codec),
      (result) => (problem = result),
    );
    disk.pump();
    expect(problem).toBeNull();
  }
  return store;
}

test('a snapshot is whole blocks, canonical, and decodes to what went in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }),
      fc.nat({ max: 1_000_000 }),
      (sections, index) => {
        const bytes = encodeSnapshot(meta(index), sections, codec);
        expect(bytes.length % BLOCK_BYTES).toBe(0);
        expect(toHex(encodeSnapshot(meta(index), sections, codec))).toBe(toHex(bytes));
        const decoded = decodeSnapshot(bytes, codec);
        expect(decoded).toEqual({ ...meta(index), sections });
      },
    ),
    { numRuns: 40 },
  );
});

test('every changed byte of a snapshot, and every cut, is noticed without a throw', () => {
  const bytes = encodeSnapshot(
    meta(9),
    [new Uint8Array(20).fill(1), new Uint8Array(0), new Uint8Array(30).fill(2)],
    codec,
  );
  const meaningful = 96 + 3 * 24 + 8 + 50;
  for (let at = 0; at < meaningful; at++) {
    const changed = bytes.slice();
    changed[at]! ^= 0x10;
    expect([at, typeof decodeSnapshot(changed, codec)]).toEqual([at, 'string']);
    expect([at, typeof decodeSnapshot(bytes.subarray(0, at), codec)]).toEqual([at, 'string']);
  }
  for (const at of [meaningful, meaningful + 1, bytes.length - 1]) {
    const changed = bytes.slice();
    changed[at]! ^= 0x10;
    expect(decodeSnapshot(changed, codec)).toBe('the padding is not zero');
  }
});

test('noise is no snapshot', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      expect(typeof decodeSnapshot(bytes, codec)).toBe('string');
    }),
  );
});

test('the newest two are kept; a corrupt one is passed over with a note', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10, 20, 30);
  disk.pump();
  expect(store.list()).toEqual([20, 30]);
  const notes: string[] = [];
  expect(store.newest(1000, (text) => notes.push(text))?.index).toBe(30);
  expect(store.newest(25, (text) => notes.push(text))?.index).toBe(20);
  expect(notes).toEqual([]);
  disk.flip(snapshotPath(30), 5000);
  expect(store.newest(1000, (text) => notes.push(text))?.index).toBe(20);
  expect(notes.join()).toContain('section 0 is damaged');
  disk.flip(snapshotPath(20), 1);
  expect(store.newest(1000, (text) => notes.push(text))).toBeNull();
});

test('a crash at any step leaves the older snapshot or the newer one, never half of one', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10);
  disk.syncDirectorySync('snapshots');
  store.write(20, encodeSnapshot(meta(20), [new Uint8Array(9000).fill(20)], codec), () => {});
  const found = new Set<number>();
  for (;;) {
    for (let names = 0; names <= disk.unsyncedNames; names++) {
      for (const keep of [0, 1, 2, 3]) {
        const crashed = disk.crash({ names, sector: (_, sector) => (keep < 2 ? keep === 1 : sector % 2 === keep - 2) });
        const again = new SnapshotStore({ disk: crashed, codec, clusterId: CLUSTER });
        found.add(again.newest(1000, (text) => expect.fail(text))!.index);
      }
    }
    if (disk.pending === 0) break;
    disk.complete(0);
  }
  expect(found).toEqual(new Set([10, 20]));
});

test('a failed write is told, leaves nothing that counts, and the next one succeeds', () => {
  const disk = new MemoryDisk();
  const store = stored(disk, 10);
  disk.failures.push('ENOSPC');
  const problems: (string | null)[] = [];
  store.write(20, encodeSnapshot(meta(20), [], codec), (problem) => problems.push(problem));
  store.write(21, encodeSnapshot(meta(21), [], codec), (problem) => problems.push(problem));
  disk.pump();
  expect(problems.length).toBe(2);
  expect(problems.every((problem) => problem !== null)).toBe(true);
  expect(store.list()).toEqual([10]);
  stored(disk, 30);
  expect(store.list()).toEqual([10, 30]);
});
