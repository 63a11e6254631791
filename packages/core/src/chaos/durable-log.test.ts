import { expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import {
  BLOCK_BYTES,
  ENVELOPE_BYTES,
  FRAME_HEADER_BYTES,
  SECTOR_BYTES,
  SEGMENT_HEADER_BYTES,
} from '../engine/constants.ts';
import { frameBytes, KIND, writeEnvelope, writeHeader, writeU64 } from '../engine/frame.ts';
import { Prng } from '../prng.ts';
import { DurableLog } from './durable-log.ts';
import type { SimInode } from './sim-inode.ts';
import { SimStorage } from './sim-storage.ts';

const codec = await createWasmCodec();

/** A segment image with `count` frames from `base` on, all of `view`. */
function segment(
  base: number,
  count: number,
  view: number,
  prevHash: Uint8Array = new Uint8Array(16),
): { bytes: Uint8Array; hashes: Uint8Array[]; ends: number[] } {
  const size = frameBytes(ENVELOPE_BYTES);
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES + count * size + 4096);
  bytes.set([0x50, 0x4c, 0x4f, 0x47, 2, 0, 0, 0], 0);
  writeU64(bytes, 8, base);
  bytes.set(prevHash, 16);
  const chain = prevHash.slice();
  const hashes: Uint8Array[] = [];
  const ends: number[] = [];
  for (let i = 0; i < count; i++) {
    const at = SEGMENT_HEADER_BYTES + i * size;
    writeHeader(bytes, at, ENVELOPE_BYTES, base + i, view, base + i, 0, 0);
    writeEnvelope(bytes, at + FRAME_HEADER_BYTES, KIND.noop, 0, 0, 0, 0);
    codec.seal(bytes, at, at + size, chain);
    hashes.push(chain.slice());
    ends.push(at + size);
  }
  return { bytes, hashes, ends };
}

test('only frames on the medium under a durable name are found', () => {
  const storage = new SimStorage(1, new Prng(1));
  const seen: number[] = [];
  const log = new DurableLog(storage, codec, (index) => seen.push(index));
  const image = segment(0, 5, 3);
  const inode = storage.create('log/00000000000000000000.seg');
  inode.write(0, image.bytes, false);
  expect(log.hashAt(2)).toBeNull();
  inode.barrier(inode.completed);
  expect(log.hashAt(2)).toBeNull(); // the name is not durable yet
  storage.syncDirectory('log', storage.completed);
  expect(log.hashAt(2)).toEqual(image.hashes[2]);
  expect(log.has(4, image.hashes[4]!)).toBe(true);
  expect(log.has(4, image.hashes[3]!)).toBe(false);
  expect(log.hashAt(5)).toBeNull();
  expect(log.frameOf(3, image.hashes[3]!)).toMatchObject({ index: 3, view: 3 });
  expect(seen).toEqual([0, 1, 2, 3, 4]);
});

test('what lies behind a changed byte is read again', () => {
  const storage = new SimStorage(1, new Prng(1));
  const log = new DurableLog(storage, codec, () => {});
  const before = segment(0, 5, 3);
  const after = segment(0, 6, 4);
  const inode = storage.create('log/00000000000000000000.seg');
  inode.write(0, before.bytes, false);
  inode.barrier(inode.completed);
  storage.syncDirectory('log', storage.completed);
  expect(log.has(4, before.hashes[4]!)).toBe(true);
  inode.write(before.ends[2]! + 20, new Uint8Array([7]), true);
  expect(log.hashAt(2)).toEqual(before.hashes[2]);
  expect(log.hashAt(3)).toBeNull();
  inode.write(0, after.bytes, true);
  expect(log.hashAt(5)).toEqual(after.hashes[5]);
  expect(log.has(2, before.hashes[2]!)).toBe(false);
});

test('frames behind the gap of a torn write stand there, but are no part of the run', () => {
  const storage = new SimStorage(1, new Prng(1));
  const log = new DurableLog(storage, codec, () => {});
  const { bytes, hashes, ends } = segment(3, 6, 2);
  bytes.fill(0, ends[0]! + 16, ends[1]! + 8);
  storage.create('log/00000000000000000003.seg').write(0, bytes, true);
  storage.syncDirectory('log', storage.completed);
  expect(log.hashAt(3)).toEqual(hashes[0]);
  expect([4, 5, 6, 8].map((index) => log.hashAt(index))).toEqual([null, null, null, null]);
  expect(log.standsBehindGap(6, 8, hashes[5]!)).toBe(true);
  expect(log.standsBehindGap(7, 7, hashes[4]!)).toBe(true);
  expect(log.standsBehindGap(6, 8, hashes[4]!)).toBe(false);
  // Frame 5 has lost its first bytes, 9 was never there, 3 is below the gap.
  for (const [first, last] of [
    [5, 8],
    [8, 9],
    [3, 8],
  ] as const)
    expect(log.standsBehindGap(first, last, hashes[5]!)).toBe(false);
});

test('what stands in a segment behind the beginning of the next one was given up: it is no copy', () => {
  const storage = new SimStorage(1, new Prng(1));
  const log = new DurableLog(storage, codec, () => {});
  const older = segment(0, 8, 3);
  const newer = segment(5, 2, 4, older.hashes[4]);
  const place = (path: string, bytes: Uint8Array): void => {
    storage.create(path).write(0, bytes, true);
    storage.syncDirectory('log', storage.completed);
  };
  place('log/00000000000000000000.seg', older.bytes);
  expect(log.has(6, older.hashes[6]!)).toBe(true);
  place('log/00000000000000000005.seg', newer.bytes);
  expect(log.has(4, older.hashes[4]!)).toBe(true);
  expect(log.hashAt(6)).toEqual(newer.hashes[1]);
  expect(log.has(6, older.hashes[6]!)).toBe(false);
  expect(log.frameOf(6, older.hashes[6]!)).toBeNull();
  expect(log.provable(6, older.hashes[6]!)).toBe(false);
  expect(log.placeOf(6)).toMatchObject({ path: 'log/00000000000000000005.seg' });
  expect(log.hashAt(7)).toBeNull();
  storage.unlink('log/00000000000000000005.seg');
  storage.syncDirectory('log', storage.completed);
  expect(log.has(6, older.hashes[6]!)).toBe(true);
});

test('damage does not undo that a frame was durable, but it is not intact any more', () => {
  const storage = new SimStorage(1, new Prng(1));
  const log = new DurableLog(storage, codec, () => {});
  const image = segment(0, 20, 3);
  const inode = storage.create('log/00000000000000000000.seg');
  inode.write(0, image.bytes, true);
  storage.syncDirectory('log', storage.completed);
  const last = image.hashes.length - 1;
  expect(log.provable(last, image.hashes[last]!)).toBe(true);
  const from = Math.floor((image.ends[last]! - 1) / SECTOR_BYTES) * SECTOR_BYTES;
  expect(inode.corrupt(from, new Uint8Array(SECTOR_BYTES).fill(9))).toBe(true);
  expect(inode.visible[from]).toBe(9);
  expect(log.has(last, image.hashes[last]!)).toBe(true);
  expect(log.provable(last, image.hashes[last]!)).toBe(false);
  expect(log.provable(0, image.hashes[0]!)).toBe(true);
  inode.write(0, image.bytes, true); // repaired
  expect(log.provable(last, image.hashes[last]!)).toBe(true);
  expect(inode.damagedSectors).toBe(0);
});

test('what stands between two damaged places of a segment is lost with them, and the end of one whose successor cannot say what it was', () => {
  const storage = new SimStorage(1, new Prng(1));
  const log = new DurableLog(storage, codec, () => {});
  const place = (path: string, bytes: Uint8Array): SimInode => {
    const inode = storage.create(path);
    inode.write(0, bytes, true);
    storage.syncDirectory('log', storage.completed);
    return inode;
  };
  const first = segment(0, 40, 3);
  const [path, next] = ['log/00000000000000000000.seg', 'log/00000000000000000040.seg'];
  const inode = place(path, first.bytes);
  place(next, segment(40, 3, 3, first.hashes[39]!).bytes);
  const losses = (of: string, sector: number): (number | undefined)[] => {
    const lost = log.losses(of, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)!;
    return [lost[0]?.index, lost.at(-1)?.index];
  };
  expect(losses(path, 2)).toEqual([8, 13]);
  expect(losses(next, 0)).toEqual([40, 42]);
  expect(inode.corrupt(2 * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES))).toBe(true);
  expect(losses(path, 6)).toEqual([8, 31]);
  // Where it begins, nothing says any more with what the one before ends.
  expect(losses(next, 0)).toEqual([8, 42]);
  expect(log.provable(20, first.hashes[20]!)).toBe(true);
  expect(inode.corrupt(6 * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES))).toBe(true);
  expect([7, 8, 20, 31, 32].map((index) => log.provable(index, first.hashes[index]!))).toEqual([
    true,
    false,
    false,
    false,
    true,
  ]);
  expect(log.has(20, first.hashes[20]!)).toBe(true);
});

test('a frame that stands on the medium in its place is durable, also where its last bytes were there by chance before it was written', () => {
  const storage = new SimStorage(1, new Prng(1));
  const seen: number[] = [];
  const log = new DurableLog(storage, codec, (index) => seen.push(index));
  const image = segment(7, 8, 3);
  const end = image.ends[7]!;
  // A recycled file, misplaced zeros where the last frame will end (with zeros), and a scrubber that has read them.
  const inode = storage.create('log/00000000000000000007.seg');
  inode.write(0, new Uint8Array(2 * BLOCK_BYTES).fill(0xff), true);
  storage.syncDirectory('log', storage.completed);
  inode.corrupt(end - (end % SECTOR_BYTES), new Uint8Array(SECTOR_BYTES));
  inode.wasRead(0, BLOCK_BYTES);
  const bytes = inode.medium.slice(0, BLOCK_BYTES);
  bytes.set(image.bytes.subarray(0, end));
  inode.write(0, bytes, true);
  expect(log.has(14, image.hashes[7]!)).toBe(true);
  expect(log.frameOf(14, image.hashes[7]!)!.bytes).toEqual(image.bytes.subarray(image.ends[6], end));
  expect(seen).toEqual([7, 8, 9, 10, 11, 12, 13, 14]);
  // What was cut and overwritten is none.
  bytes.fill(0, image.ends[6], end);
  inode.write(0, bytes, true);
  expect(log.has(14, image.hashes[7]!)).toBe(false);
  expect(log.has(13, image.hashes[6]!)).toBe(true);
});
