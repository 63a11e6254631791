/** Recovery, damage by damage: the rows of the design's storage fault table that the engine answers for, and what the Rust implementation got wrong. */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at, type CommitIndex, NONE } from './commit-index.ts';
import { BLOCK_BYTES } from './constants.ts';
import { FrameBatch } from './frame-batch.ts';
import { toHex, ZERO_HASH } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import { encodeManifest, MANIFEST_VERSION } from './manifest.ts';
import { encodeSegmentHeader, segmentPath } from './segment.ts';
import { decodeTail, TAIL_FILE_BYTES, TAIL_PATH } from './tail-record.ts';
import { batch, Bench, Chain, CLUSTER, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();
const OVER = { codec, segmentBytes: 16 * 1024 };
const FIRST = segmentPath(0);

/** A log of batches with these body sizes, closed. */
function logOf(bodies: readonly (readonly number[])[], state = manifest()): { disk: MemoryDisk; chain: Chain } {
  const disk = formatted(new MemoryDisk(), state);
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  for (const sizes of bodies) bench.append(chain.next(sizes));
  bench.settle();
  bench.store.close();
  return { disk, chain };
}

/** Offset of a frame in a log whose frames all lie in the first segment. */
function offsetOf(chain: Chain, index: number): number {
  let offset = 64;
  for (const part of chain.batches) {
    if (part.contains(index)) return offset + part.offsetOf(index);
    offset += part.bytes.length;
  }
  throw new Error(`no frame ${index}`);
}

function refusal(disk: MemoryDisk, over: Parameters<typeof openLog>[1] = {}): string {
  const opened = openLog(disk, { ...OVER, ...over });
  return 'refusal' in opened ? opened.refusal.code : 'opened';
}

const loseTail = (disk: MemoryDisk): void => {
  disk.flip(TAIL_PATH, 30);
  disk.flip(TAIL_PATH, 4096 + 30);
};

test('bit rot below the tail record is faulty, whatever part of a frame it strikes, and is repaired in place', () => {
  for (const [index, within] of [
    [0, 3],
    [0, 100],
    [2, 9],
    [2, 40],
    [2, 200],
    [3, 5],
    [4, 6],
    [4, 101],
  ] as const) {
    const { disk, chain } = logOf([[300], [100, 200], [400], [10]]);
    disk.flip(FIRST, offsetOf(chain, index) + within);
    const bench = new Bench(disk, OVER);
    expect(bench.recovered).toMatchObject({
      outcome: 'faulty',
      end: 4,
      head: 4,
      promised: 4,
      faulty: [{ from: index, to: index, hash: chain.hashOf(index) }],
    });
    expect(toHex(bench.recovered.endHash)).toBe(toHex(chain.hash));
    expect(toHex(bench.recovered.headers.hash(index)!)).toBe(toHex(chain.hashOf(index)));
    let answer = '';
    bench.store.read(index, 1000, (outcome) => (answer = outcome.kind));
    bench.settle();
    expect(answer).toBe('faulty');
    const part = chain.batches.find((b) => b.contains(index))!;
    bench.store.repair(part.slice(index, index), () => (answer = 'repaired'));
    bench.append(chain.next([50]));
    bench.settle();
    expect([answer, bench.readAll().length, bench.store.faulty]).toEqual(['repaired', 6, []]);
    expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', end: 5 });
  }
});

test('several damaged places leave every anchored run usable', () => {
  const { disk, chain } = logOf(
    Array.from({ length: 30 }, () => [100]),
    manifest(),
  );
  disk.flip(FIRST, offsetOf(chain, 5) + 4);
  disk.flip(FIRST, offsetOf(chain, 6) + 90);
  const { recovered } = new Bench(disk.clone(), OVER);
  expect(recovered.faulty).toMatchObject([{ from: 5, to: 6 }]);
  disk.flip(FIRST, offsetOf(chain, 20) + 4);
  // Nothing anchors the run between two holes: it counts as damaged with them.
  const bench = new Bench(disk, OVER);
  expect(bench.recovered.faulty).toMatchObject([{ from: 5, to: 20 }]);
  for (let index = 20; index >= 5; index--) bench.store.repair(chain.batches[index]!, () => {});
  bench.settle();
  expect(bench.store.faulty).toMatchObject([]);
  expect(bench.readAll().length).toBe(30);
});

test('a damaged range is repaired from its end too, and what stands intact below a repaired frame counts again', () => {
  const { disk, chain } = logOf(
    Array.from({ length: 30 }, () => [100]),
    manifest(),
  );
  for (const index of [5, 20]) disk.flip(FIRST, offsetOf(chain, index) + 4);
  const repaired = (index: number): unknown[] => {
    const bench = new Bench(disk, OVER);
    const told: unknown[] = [];
    bench.store.repair(
      chain.batches[index]!,
      () => told.push(index),
      (found) => told.push([found.first, found.last]),
    );
    bench.settle();
    told.push(...bench.store.faulty);
    bench.store.close();
    expect(new Bench(disk.restart(), OVER).recovered.faulty).toMatchObject(bench.store.faulty);
    return told;
  };
  const copy = disk.clone();
  // Nothing states which frame must stand before 20: that 6..19 continue 5 does not prove them.
  const bench = new Bench(copy, OVER);
  bench.store.repair(chain.batches[5]!, () => {});
  bench.settle();
  expect(bench.store.faulty).toEqual([{ from: 6, to: 20 }]);
  expect(repaired(20)).toEqual([20, [6, 19], { from: 5, to: 5 }]);
  expect(repaired(5)).toEqual([5]);
  expect(new Bench(disk, OVER).readAll().length).toBe(30);
});

test('frames that only continue what was repaired, and are not those that the next intact one states, do not count', () => {
  const { disk, chain } = logOf(
    Array.from({ length: 10 }, () => [100]),
    manifest(),
  );
  // Another frame at 3, intact and of the right length, that continues 2: of a view that was given up.
  const other = new Chain();
  other.hash = chain.batches[2]!.lastHash;
  other.first = 3;
  const given = other.next([100], 1, 7);
  expect(given.bytes.length).toBe(chain.batches[3]!.bytes.length);
  disk.content(FIRST).set(given.bytes, offsetOf(chain, 3));
  disk.flip(FIRST, offsetOf(chain, 2) + 4);
  disk.flip(FIRST, offsetOf(chain, 4) + 4);
  const bench = new Bench(disk, OVER);
  expect(bench.recovered.faulty).toMatchObject([{ from: 2, to: 4 }]);
  for (const index of [2, 4]) bench.store.repair(chain.batches[index]!, () => {});
  bench.settle();
  expect(bench.store.faulty).toEqual([{ from: 3, to: 3 }]);
  bench.store.repair(chain.batches[3]!, () => {});
  bench.settle();
  expect([bench.store.faulty, bench.readAll().length]).toEqual([[], 10]);
});

test('the end of a segment that is full is repaired before what lies below shows where it was', () => {
  const { disk, chain } = logOf(
    Array.from({ length: 17 }, () => [2500]),
    manifest(),
  );
  const { length } = chain.batches[0]!.bytes;
  const second = 6;
  for (const index of [4, 5]) disk.flip(FIRST, 64 + index * length + 4);
  let bench = new Bench(disk, OVER);
  expect(bench.recovered.faulty).toMatchObject([{ from: 4, to: second - 1 }]);
  bench.store.repair(chain.batches[5]!, () => {});
  bench.settle();
  expect([bench.fatal, bench.store.faulty]).toEqual([[], [{ from: 4, to: 4 }]]);
  bench = new Bench(disk.restart(), OVER);
  expect(bench.recovered.faulty).toMatchObject([{ from: 4, to: 4 }]);
  const read: string[] = [];
  bench.store.read(5, 1, ({ kind }) => read.push(kind));
  bench.settle();
  expect(read).toEqual(['frames']);
  // Below, its place turns out to be another one: it is asked for again.
  bench.store.repair(chain.batches[4]!, () => {});
  bench.settle();
  expect([bench.damaged, bench.store.faulty]).toEqual([[5], [{ from: 5, to: 5 }]]);
  bench.store.repair(chain.batches[5]!, () => {});
  bench.append(chain.next([100]));
  bench.settle();
  expect([bench.fatal, bench.store.faulty, bench.readAll().length]).toEqual([[], [], 18]);
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', end: 17 });
});

test('where damage took what states the end of the segment before, its frames count again once the next segment begins anew (seed 10000408)', () => {
  const { disk, chain } = logOf(
    Array.from({ length: 17 }, () => [2500]),
    manifest(),
  );
  const second = 6;
  disk.flip(FIRST, 64 + 3 * chain.batches[0]!.bytes.length + 4);
  for (const offset of [10, 64 + 4]) disk.flip(segmentPath(second), offset);
  const bench = new Bench(disk, OVER);
  expect(bench.recovered.faulty).toMatchObject([{ from: 3, to: second }]);
  const before = disk.content(FIRST).slice();
  const told: unknown[] = [];
  // Nothing says where the last frame of the first segment ends, or that it is damaged: it is not written anywhere.
  bench.store.repair(chain.batches[second - 1]!, () => told.push(second - 1));
  bench.settle();
  bench.store.repair(
    chain.batches[second]!,
    () => told.push(second),
    ({ first, last }) => told.push([first, last]),
  );
  bench.settle();
  expect([told, bench.store.faulty]).toEqual([[second, [4, 5], second - 1], [{ from: 3, to: 3 }]]);
  expect(toHex(disk.content(FIRST))).toBe(toHex(before));
  bench.store.repair(chain.batches[3]!, () => {});
  bench.settle();
  expect([bench.fatal, bench.store.faulty, bench.readAll().length]).toEqual([[], [], 17]);
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', end: 16 });
});

test('a payload that holds frames does not mislead the search behind a damaged header', () => {
  const inner = batch(3, new Uint8Array(16), [20, 30, 40]);
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  bench.append(chain.next([10, 10]));
  const carrier = chain.next([inner.bytes.length + 8]);
  carrier.bytes.set(inner.bytes, 80 + 32 + 8);
  const hash = carrier.prevHash.slice();
  codec.seal(carrier.bytes, 0, carrier.bytes.length, hash);
  const sealed = new FrameBatch(carrier.bytes, 1, hash);
  chain.hash = sealed.lastHash;
  bench.append(sealed);
  for (let i = 0; i < 3; i++) bench.append(chain.next([15]));
  bench.settle();
  disk.flip(FIRST, 64 + 2 * 128 + 6);
  const { recovered } = new Bench(disk, OVER);
  expect(recovered.faulty).toMatchObject([{ from: 2, to: 2 }]);
  expect(recovered.end).toBe(5);
});

test('the whole tail block lost: everything through the tail record is faulty, nothing is shorter', () => {
  const { disk } = logOf([[300], [100, 200], [400], [10]]);
  disk.content(FIRST).fill(0);
  const { recovered } = new Bench(disk, OVER);
  expect(recovered).toMatchObject({ outcome: 'faulty', end: 4, promised: 4, faulty: [{ from: 0, to: 4 }] });
});

test('a missing segment is damage, in the middle and at the end, and is made anew by repair', () => {
  for (const which of [0, 5, 10, 15]) {
    const { disk, chain } = logOf(Array.from({ length: 17 }, () => [3000]));
    const names = disk.list('log').filter((name) => name.endsWith('.seg'));
    expect(names.map((name) => Number(name.slice(0, 20)))).toEqual([0, 5, 10, 15]);
    disk.remove(segmentPath(which));
    const bench = new Bench(disk, OVER);
    const to = Math.min(which + 4, 16);
    expect(bench.recovered).toMatchObject({ outcome: 'faulty', end: 16, faulty: [{ from: which, to }] });
    for (let index = which; index <= to; index++) bench.store.repair(chain.batches[index]!, () => {});
    bench.append(chain.next([100]));
    bench.settle();
    expect(bench.fatal).toEqual([]);
    expect(bench.readAll().length).toBe(18);
    expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', end: 17 });
  }
});

test('a lost tail record stays lost over restarts until an install settles the head', () => {
  const { disk, chain } = logOf([[10], [20], [30]]);
  loseTail(disk);
  for (let i = 0; i < 3; i++) {
    const { recovered } = new Bench(disk, OVER);
    expect(recovered).toMatchObject({ recoveringHead: true, end: 2, head: 2 });
  }
  const bench = new Bench(disk, OVER);
  expect(() => bench.append(chain.next([1]))).toThrow('nothing is appended before an install');
  chain.batches.pop();
  const headers = suffix(...chain.batches);
  bench.store.install(manifest({ view: 2, logView: 2, headers }), at(2), at(2), () => {});
  bench.settle();
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ recoveringHead: false, outcome: 'clean', end: 2 });
});

test('one damaged copy of a tail slot is harmless', () => {
  for (const copy of [0, 1, 2, 3]) {
    const { disk } = logOf([[10], [20], [30]]);
    disk.flip(TAIL_PATH, copy * 4096 + 50);
    expect(new Bench(disk, OVER).recovered).toMatchObject({ recoveringHead: false, end: 2, promised: 2 });
    expect(new Bench(disk, OVER).recovered.notes).toEqual([]);
  }
});

test('an install cut off between manifest and tail record: the stored headers are the head, stale frames do not count', () => {
  const { disk, chain } = logOf(Array.from({ length: 8 }, () => [100]));
  const fresh = new Chain();
  fresh.first = 5;
  fresh.hash = chain.hashOf(4);
  const next = [fresh.next([100], 2, 1), fresh.next([100], 2, 1)];
  const headers = suffix(...chain.batches.slice(2, 5), ...next);
  writeManifest(disk, manifest({ view: 2, logView: 2, headers }));
  const bench = new Bench(disk.clone(), OVER);
  expect(bench.recovered).toMatchObject({ end: 4, head: 6, connected: true, promised: 4, faulty: [] });
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ end: 4, head: 6, promised: 4 });
  // A slot that cannot be read may be the very frame that the new view keeps: it stays promised over restarts.
  disk.flip(FIRST, offsetOf(chain, 5) + 8);
  const damaged = new Bench(disk, OVER);
  expect(damaged.recovered).toMatchObject({ end: 4, head: 6, connected: true });
  expect(damaged.recovered.promised).toBeGreaterThanOrEqual(5);
  expect(new Bench(disk.restart(), OVER).recovered.promised).toBeGreaterThanOrEqual(5);
});

/** Eight frames of view 1, and headers of a log of view 2 that begin far above them. */
function farBehind(): { disk: MemoryDisk; chain: Chain; headers: HeaderSuffix } {
  const other = new Chain();
  other.first = 20;
  other.hash = new Uint8Array(16).fill(3);
  return { ...logOf(Array.from({ length: 8 }, () => [100])), headers: suffix(other.next([1], 2), other.next([1], 2)) };
}

test.each([NONE, 0, 5, 7] as CommitIndex[])(
  'an install from far behind that was cut off between manifest and tail record keeps the log through its junction, %i',
  (index) => {
    const { disk, chain, headers } = farBehind();
    const junction = { index, hash: index === NONE ? ZERO_HASH : chain.hashOf(index) };
    writeManifest(disk, manifest({ view: 2, logView: 2, headers, junction }));
    const whole = disk.clone();
    for (let i = 0; i < 2; i++)
      expect(new Bench(whole, OVER).recovered).toMatchObject({ connected: true, end: index, head: 21, faulty: [] });
    if (index === NONE) return;
    // Damage hides which frame is the last one: its hash is known, and it is repaired, not cut.
    for (const slot of [index, index + 1]) if (slot < 8) disk.flip(FIRST, offsetOf(chain, slot) + 8);
    for (let i = 0; i < 2; i++) {
      const { recovered } = new Bench(disk, OVER);
      expect(recovered).toMatchObject({ connected: true, end: index, endHash: junction.hash, head: 21 });
      expect(recovered.faulty).toMatchObject([{ from: index, to: index, hash: junction.hash }]);
    }
  },
);

test('a junction that an intact frame contradicts is refused', () => {
  const { disk, headers } = farBehind();
  const junction = { index: at(5), hash: new Uint8Array(16).fill(3) };
  writeManifest(disk, manifest({ view: 2, logView: 2, headers, junction }));
  expect(refusal(disk)).toBe('E_LOG_CORRUPT');
});

test('with the tail record lost, frames that no stored header leads to are all kept, unconnected, until an install', () => {
  const { disk, chain, headers } = farBehind();
  const junction = { index: at(2), hash: chain.hashOf(2) };
  writeManifest(disk, manifest({ view: 2, logView: 2, headers, junction }));
  loseTail(disk);
  for (let i = 0; i < 2; i++) {
    const { recovered } = new Bench(disk, OVER);
    expect(recovered).toMatchObject({ connected: false, end: 7, head: 21, recoveringHead: true });
  }
  const bench = new Bench(disk, OVER);
  bench.store.install(bench.recovered.manifest, at(4), at(4), () => {});
  bench.settle();
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ connected: true, end: 4, head: 21 });
});

test('while view > log view nothing above the stored headers counts', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk, OVER).settle();
  const chain = new Chain();
  bench.append(chain.next([10]));
  bench.settle();
  const headers = suffix(...chain.batches);
  // Frames that reached the disk without a tail record.
  bench.append(chain.next([10]));
  disk.pump(1);
  const crashed = disk.crash({ names: 9, sector: () => true });
  expect(new Bench(crashed.clone(), OVER).recovered).toMatchObject({ end: 1, outcome: 'clean' });
  const tailBefore = disk.crash({ names: 9, sector: (w) => disk.unsynced()[w]!.path !== TAIL_PATH });
  writeManifest(tailBefore, manifest({ view: 2, logView: 1, headers }));
  expect(new Bench(tailBefore, OVER).recovered).toMatchObject({ end: 0, head: 0, outcome: 'torn' });
});

test('directories that must not be opened say why, and are not changed', () => {
  const other = new Uint8Array(16).fill(1);
  const cases: [string, (disk: MemoryDisk) => void, Parameters<typeof openLog>[1]?][] = [
    ['E_MANIFEST', (d) => ['manifest.a', 'manifest.b'].forEach((path) => d.flip(path, 60))],
    ['E_MANIFEST_MISSING', (d) => ['manifest.a', 'manifest.b'].forEach((path) => d.remove(path))],
    ['E_NOT_FORMATTED', (d) => d.paths().forEach((path) => d.remove(path))],
    ['E_CLUSTER_ID', () => {}, { expect: { clusterId: other, replicaId: 1 } }],
    ['E_REPLICA_ID', () => {}, { expect: { clusterId: null, replicaId: 2 } }],
    ['E_CLUSTER_ID', (d) => encodeSegmentHeader(d.content(FIRST), 0, new Uint8Array(16), other, 1, false)],
    ['E_VERSION', (d) => withVersion(d, 'manifest.b', MANIFEST_VERSION - 1)],
    ['E_VERSION', (d) => withVersion(d, 'manifest.b', MANIFEST_VERSION + 1)],
    // A manifest of an older log view than the tail record, or than a frame.
    ['E_MANIFEST', (d) => writeManifest(d, manifest({ view: 1, logView: 0 }))],
    ['E_MANIFEST', (d) => writeManifest(d, manifest({ view: 0, logView: 0 }))],
    // A vote that does not hold what was promised.
    ['E_MANIFEST', (d) => writeManifest(d, manifest({ view: 5, logView: 1, headers: HeaderSuffix.EMPTY }))],
  ];
  for (const [code, damage, over] of cases) {
    const { disk } = logOf([[10], [20]]);
    damage(disk);
    const before = disk.paths().map((path) => [path, toHex(disk.content(path))]);
    expect(refusal(disk, over)).toBe(code);
    expect(disk.paths().map((path) => [path, toHex(disk.content(path))])).toEqual(before);
  }
});

test('a cluster of one starts after a torn write and refuses real damage with every file as it was', () => {
  const alone = manifest({ members: [1], incarnations: [1], founders: [new Uint8Array(16)] });
  for (const damage of [
    (disk: MemoryDisk, chain: Chain) => disk.flip(FIRST, offsetOf(chain, 1) + 90),
    (disk: MemoryDisk) => loseTail(disk),
  ]) {
    const { disk, chain } = logOf([[10], [20], [30]], alone);
    expect(new Bench(disk.clone(), OVER).recovered.outcome).toBe('clean');
    damage(disk, chain);
    const before = disk.paths().map((path) => [path, toHex(disk.content(path))]);
    expect(refusal(disk)).toBe('E_LOG_CORRUPT');
    expect(disk.paths().map((path) => [path, toHex(disk.content(path))])).toEqual(before);
  }
});

test('an I/O error while reading or writing at open is a refusal', () => {
  const { disk } = logOf([[10], [20]]);
  disk.onStep = () => {
    disk.onStep = null;
    disk.capacityBytes = 0;
  };
  disk.content('manifest.b').fill(0);
  disk.remove('manifest.b');
  expect(refusal(disk)).toBe('E_IO_WRITE');
});

test('rust-12: a batch of thousands of frames, empty bodies among them, is one append', () => {
  const disk = formatted(new MemoryDisk());
  const over = { codec, segmentBytes: 1024 * 1024 };
  const bench = new Bench(disk, over).settle();
  const part = batch(
    0,
    new Uint8Array(16),
    Array.from({ length: 5000 }, (_, i) => i % 3),
    1,
    0,
    codec,
  );
  bench.append(part);
  bench.settle();
  expect(bench.promised).toBe(4999);
  const again = new Bench(disk.restart(), over);
  expect(again.recovered).toMatchObject({ outcome: 'clean', end: 4999 });
  expect(again.readAll().length).toBe(5000);
});

test('rust-13: a bit flip truncates nothing, and a torn batch is no reason to refuse', () => {
  const { disk, chain } = logOf([[100], [200], [300]]);
  const flipped = disk.clone();
  flipped.flip(FIRST, offsetOf(chain, 1) + 100);
  expect(new Bench(flipped, OVER).recovered).toMatchObject({ end: 2, outcome: 'faulty' });
  const bench = new Bench(disk, OVER).settle();
  bench.append(chain.next([2000, 2000, 2000]));
  const torn = disk.crash({ names: 0, sector: (_, sector) => sector % 3 === 1 });
  expect(new Bench(torn, OVER).recovered).toMatchObject({ end: 2, outcome: 'torn', faulty: [] });
});

test('a tail file that was cut short has lost the copies that it does not reach, no more', () => {
  for (const [bytes, lost] of [
    [TAIL_FILE_BYTES - 1, false],
    // One copy of the second slot is there.
    [3 * BLOCK_BYTES, false],
    [2 * BLOCK_BYTES + 100, true],
    [0, true],
  ] as const) {
    const { disk, chain } = logOf([[10], [20], [30]]);
    const content = disk.content(TAIL_PATH).slice(0, bytes);
    const before = decodeTail(disk.content(TAIL_PATH), CLUSTER);
    const { sequence } = before.kind === 'ok' ? before.tail : { sequence: Number.NaN };
    disk.remove(TAIL_PATH);
    disk.open(TAIL_PATH, { create: true }).writeSync(0, content);
    const { recovered, store } = new Bench(disk, OVER);
    expect([bytes, recovered.recoveringHead, recovered.end]).toEqual([bytes, lost, 2]);
    // What is written from now on outlives what stands in the other slot.
    const state = manifest({ view: 2, logView: 2, headers: suffix(chain.batches[2]!) });
    if (lost) store.install(state, at(2), at(2), () => {});
    disk.pump();
    const after = decodeTail(disk.content(TAIL_PATH), CLUSTER);
    expect([bytes, after]).toMatchObject([bytes, { kind: 'ok', damagedCopies: 0 }]);
    if (after.kind === 'ok' && bytes > 0) expect(after.tail.sequence).toBeGreaterThan(sequence);
  }
});

/** Writes both copies of a manifest, as an update does, with a higher sequence. */
function writeManifest(disk: MemoryDisk, state: ReturnType<typeof manifest>): void {
  for (const path of ['manifest.a', 'manifest.b']) {
    const file = disk.open(path, { create: true });
    file.writeSync(0, encodeManifest(state, 50, codec));
    file.barrierSync();
  }
}

/** A valid copy of another format version. */
function withVersion(disk: MemoryDisk, path: string, version: number): void {
  const bytes = encodeManifest(manifest(), 60, codec);
  bytes[4] = version;
  const length = new DataView(bytes.buffer).getUint32(16, true);
  codec.hash(bytes, 0, length - 16, bytes, length - 16);
  disk.content(path).set(bytes);
}
