/** Prefix compaction, recycling, and snapshots installed over a log: what a replica holds afterwards, and after a restart. */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at, type CommitIndex, NONE } from './commit-index.ts';
import { toHex } from './hash.ts';
import type { LogOptions, ManifestState } from './log-contract.ts';
import { segmentPath } from './segment.ts';
import { RECYCLED_PATH, SPARE_PATH } from './spare-segment.ts';
import { Bench, Chain, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import type { DiskFile } from './virtual-disk.ts';

const codec = await createWasmCodec();
const OVER: Partial<LogOptions> = { codec, segmentBytes: 16 * 1024 };

/** A log of `count` frames, five a segment. */
function logOf(count: number): { bench: Bench; chain: Chain } {
  const bench = new Bench(formatted(new MemoryDisk()), OVER);
  const chain = new Chain();
  for (let i = 0; i < count; i++) bench.append(chain.next([3000]));
  return { bench: bench.settle(), chain };
}

function withCheckpoint(chain: Chain, index: number, over: Partial<ManifestState> = {}): ManifestState {
  const digest = new Uint8Array(16).fill(5);
  return manifest({ checkpoint: { index: at(index), hash: chain.hashOf(index), digest }, ...over });
}

function bases(disk: MemoryDisk): number[] {
  return disk
    .list('log')
    .filter((name) => name.endsWith('.seg'))
    .map((name) => Number(name.slice(0, 20)));
}

/** What reading `index` gives, in a word. */
function reading(bench: Bench, index: number): string {
  let answer = '';
  bench.store.read(index, 100, (outcome) => {
    answer = outcome.kind === 'compacted' ? `compacted, begins at ${outcome.first}` : outcome.kind;
  });
  bench.settle();
  return answer;
}

function compacted(count: number, checkpoint: number, through = checkpoint): { bench: Bench; chain: Chain } {
  const made = logOf(count);
  made.bench.store.saveManifest(withCheckpoint(made.chain, checkpoint), () => {});
  made.bench.settle();
  made.bench.store.compact(through);
  made.bench.settle();
  return made;
}

test('compaction frees whole segments at or below the index, and a read below says where the log begins', () => {
  for (const [through, left] of [
    [3, [0, 5, 10, 15]],
    [4, [5, 10, 15]],
    [12, [10, 15]],
    [14, [15]],
    [16, [15]],
  ] as const) {
    const { bench, chain } = compacted(17, 16, through);
    expect([through, bases(bench.disk)]).toEqual([through, left]);
    expect([bench.store.first, bench.store.report().segments]).toEqual([left[0], left.length]);
    if (left[0] > 0) expect(reading(bench, left[0] - 1)).toBe(`compacted, begins at ${left[0]}`);
    expect(reading(bench, left[0])).toBe('frames');
    const again = new Bench(bench.disk.restart(), OVER);
    expect(again.recovered).toMatchObject({ outcome: 'clean', first: left[0], end: 16, faulty: [] });
    expect(toHex(again.recovered.endHash)).toBe(toHex(chain.hash));
    again.append(chain.next([10]));
    again.settle();
    expect(again.promised).toBe(17);
  }
});

test('rust-12: what is appended and read while segments are freed is there', () => {
  const { bench, chain } = logOf(17);
  bench.store.saveManifest(withCheckpoint(chain, 16), () => {});
  bench.settle();
  const order: string[] = [];
  bench.store.read(2, 100, (outcome) => order.push(`read ${outcome.kind}`));
  bench.store.compact(16, () => order.push('compacted'));
  for (let i = 0; i < 8; i++) bench.append(chain.next([3000]));
  bench.store.read(15, 100, (outcome) => order.push(`read ${outcome.kind}`));
  bench.settle();
  expect(order.sort()).toEqual(['compacted', 'read compacted', 'read frames']);
  expect(bench.promised).toBe(24);
  const again = new Bench(bench.disk.restart(), OVER);
  expect(again.recovered).toMatchObject({ outcome: 'clean', first: 15, end: 24 });
  expect(reading(again, 24)).toBe('frames');
});

test('a freed segment is used again without being written anew, its old frames are no frames', () => {
  const { bench, chain } = compacted(17, 16);
  expect(bench.disk.list('log')).toContain('recycled');
  const before = bench.disk.stats.bytesWritten;
  for (let i = 0; i < 4; i++) bench.append(chain.next([3000]));
  bench.settle();
  expect(bases(bench.disk)).toEqual([15, 20]);
  expect(bench.disk.paths()).toContain(SPARE_PATH);
  expect(bench.disk.paths()).not.toContain(RECYCLED_PATH);
  // Four frames, their tail records and a header: no 16 KiB of zeros.
  expect(bench.disk.stats.bytesWritten - before).toBeLessThan(16 * 1024 + 10 * 8192 + 4096);
  for (const disk of [bench.disk.clone(), bench.disk.restart()]) {
    const again = new Bench(disk, OVER);
    expect(again.recovered).toMatchObject({ outcome: 'clean', end: 20, notes: [] });
    expect(reading(again, 20)).toBe('frames');
    expect(reading(again, 21)).toBe('none');
  }
});

test('a freed segment kept by an earlier run is used; one of another size is removed', () => {
  const { bench, chain } = compacted(17, 16);
  bench.store.close();
  const other = openLog(bench.disk.clone(), { ...OVER, segmentBytes: 32 * 1024 });
  expect('store' in other && other.store.options.disk.list('log')).not.toContain('recycled');
  const again = new Bench(bench.disk, OVER);
  for (let i = 0; i < 4; i++) again.append(chain.next([3000]));
  again.settle();
  expect(again.promised).toBe(20);
  expect(again.disk.list('log')).not.toContain('recycled');
});

test('on a full disk compaction gives the space that the next frames wait for', () => {
  const { bench, chain } = logOf(15);
  bench.store.saveManifest(withCheckpoint(chain, 14), () => {});
  bench.settle();
  bench.disk.capacityBytes = bench.disk.usedBytes();
  for (let i = 0; i < 5; i++) bench.append(chain.next([3000]));
  bench.settle();
  bench.append(chain.next([3000]));
  bench.settle();
  expect([bench.store.full, bench.promised]).toEqual([true, 19]);
  bench.store.compact(14);
  bench.settle();
  expect(bench.promised).toBe(20);
  bench.disk.capacityBytes = Number.POSITIVE_INFINITY;
  bench.store.tick();
  bench.settle();
  expect(bench.store.full).toBe(false);
  expect(bench.space.at(-1)).toBe(false);
});

test('a log that begins above 0 needs a checkpoint that covers what is below and states the same hash', () => {
  const { bench, chain } = compacted(17, 9, 9);
  bench.store.close();
  const opens = (change: (disk: MemoryDisk) => void): unknown => {
    const disk = bench.disk.clone();
    change(disk);
    const opened = openLog(disk, OVER);
    if ('refusal' in opened) return opened.refusal.code;
    const { first, end, faulty } = opened.recovered;
    return { first, end, faulty: faulty.map(({ from, to }) => ({ from, to })) };
  };
  expect(opens(() => {})).toEqual({ first: 10, end: 16, faulty: [] });
  // Without the checkpoint the lower frames are missing, not absent.
  expect(opens((disk) => resave(disk, manifest()))).toEqual({ first: 0, end: 16, faulty: [{ from: 0, to: 9 }] });
  const wrong = { index: at(9), hash: new Uint8Array(16).fill(1), digest: new Uint8Array(16) };
  expect(opens((disk) => resave(disk, manifest({ checkpoint: wrong })))).toBe('E_LOG_CORRUPT');
  const inside = { ...wrong, index: at(12) };
  expect(opens((disk) => resave(disk, manifest({ checkpoint: inside })))).toBe('E_LOG_CORRUPT');
  expect(opens((disk) => resave(disk, withCheckpoint(chain, 12)))).toEqual({ first: 10, end: 16, faulty: [] });
  // A segment above the checkpoint that is gone is damage.
  expect(opens((disk) => disk.remove(segmentPath(10)))).toEqual({ first: 10, end: 16, faulty: [{ from: 10, to: 14 }] });
  expect(
    opens((disk) => {
      resave(disk, withCheckpoint(chain, 12));
      disk.remove(segmentPath(10));
    }),
  ).toEqual({ first: 13, end: 16, faulty: [{ from: 13, to: 14 }] });
});

test('damaged slots below the first index are forgotten, and their repairs are done', () => {
  const { bench, chain } = logOf(12);
  bench.store.saveManifest(withCheckpoint(chain, 11), () => {});
  bench.settle();
  bench.store.close();
  bench.disk.flip(segmentPath(0), 64 + 3120 + 90);
  bench.disk.flip(segmentPath(0), 64 + 2 * 3120 + 90);
  bench.disk.flip(segmentPath(10), 64 + 90);
  const again = new Bench(bench.disk, OVER);
  expect(again.recovered.faulty).toMatchObject([
    { from: 1, to: 2 },
    { from: 10, to: 10 },
  ]);
  let repaired = 0;
  // Its place is not known before slot 1 is repaired.
  again.store.repair(chain.batches[2]!, () => repaired++);
  again.settle();
  again.store.compact(9);
  again.settle();
  expect([repaired, again.store.faulty]).toEqual([1, [{ from: 10, to: 10 }]]);
});

/** Installs a snapshot of `chain` at `index` and returns where the log ends. */
function install(bench: Bench, chain: Chain, index: number, promised: CommitIndex = NONE): CommitIndex {
  let end = NONE;
  bench.store.installSnapshot(withCheckpoint(chain, index), promised, (settled) => (end = settled));
  bench.settle();
  return end;
}

test('a snapshot above the end: the log begins behind it, without a frame, and goes on', () => {
  for (const own of [0, 3, 12]) {
    const { bench } = logOf(own);
    const chain = new Chain();
    for (let i = 0; i < 30; i++) chain.next([100]);
    bench.store.installSnapshot(withCheckpoint(chain, 29), NONE, (end) => expect(end).toBe(29));
    expect([bench.store.end, bench.store.first]).toEqual([29, 30]);
    // Frames may follow before the install is durable.
    bench.append(chain.next([100]));
    bench.settle();
    expect([bench.promised, bases(bench.disk)]).toEqual([30, [30]]);
    expect(reading(bench, 29)).toBe('compacted, begins at 30');
    const again = new Bench(bench.disk.restart(), OVER);
    expect(again.recovered).toMatchObject({ outcome: 'clean', first: 30, end: 30, head: 30, promised: 30 });
  }
  const { bench } = logOf(3);
  const chain = new Chain();
  for (let i = 0; i < 30; i++) chain.next([100]);
  install(bench, chain, 29);
  for (let i = 0; i < 3; i++) {
    const again = new Bench(bench.disk.restart(), OVER);
    expect(again.recovered).toMatchObject({ outcome: 'clean', first: 30, end: 29, head: 29, promised: 29, faulty: [] });
    expect(toHex(again.recovered.endHash)).toBe(toHex(chain.hash));
    again.store.close();
  }
});

test('frames above the snapshot stay when they connect to it, and go when they do not', () => {
  const kept = logOf(17);
  expect(install(kept.bench, kept.chain, 12)).toBe(16);
  expect([kept.bench.store.first, bases(kept.bench.disk)]).toEqual([10, [10, 15]]);
  expect(new Bench(kept.bench.disk.restart(), OVER).recovered).toMatchObject({ first: 10, end: 16, outcome: 'clean' });

  const { bench } = logOf(17);
  const chain = new Chain();
  for (let i = 0; i < 13; i++) chain.next([3000], 1, 9);
  const state = withCheckpoint(chain, 12, { view: 2, logView: 2 });
  let end = NONE;
  bench.store.installSnapshot(state, NONE, (settled) => (end = settled));
  expect(() => bench.append(chain.next([1]))).toThrow('nothing is appended before a snapshot install');
  bench.settle();
  expect([end, bench.store.first, bases(bench.disk)]).toEqual([12, 13, []]);
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ first: 13, end: 12, outcome: 'clean' });
});

test('frames above a snapshot stay when damage hides whether they connect', () => {
  const { bench, chain } = logOf(17);
  bench.disk.flip(segmentPath(10), 64 + 3 * 3120 + 20);
  expect(install(bench, chain, 12)).toBe(16);
  expect(bases(bench.disk)).toEqual([10, 15]);
});

test('a replica that held promises above the snapshot goes on not to nack them, over restarts', () => {
  const { bench } = logOf(9);
  const chain = new Chain();
  for (let i = 0; i < 30; i++) chain.next([100]);
  install(bench, chain, 20, at(25));
  let disk = bench.disk;
  for (let i = 0; i < 3; i++) {
    disk = disk.restart();
    expect(new Bench(disk, OVER).recovered).toMatchObject({ first: 21, end: 20, promised: 25 });
  }
  const again = new Bench(disk.restart(), OVER);
  chain.batches.length = 21;
  const next = new Chain();
  next.first = 21;
  next.hash = chain.hashOf(20);
  again.append(next.next([1]));
  again.settle();
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ first: 21, end: 21, promised: 25 });
});

test('promises that an install leaves bind over restarts until another install ends them', () => {
  const { bench, chain } = logOf(9);
  const headers = suffix(...chain.batches.slice(0, 4));
  bench.store.install(manifest({ view: 2, logView: 2, headers }), at(3), at(6), () => {});
  bench.settle();
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ end: 3, promised: 6 });
  const again = new Bench(bench.disk.restart(), OVER);
  again.store.install(manifest({ view: 3, logView: 3, headers }), at(3), at(3), () => {});
  again.settle();
  expect(new Bench(bench.disk.restart(), OVER).recovered).toMatchObject({ end: 3, promised: 3 });
});

/** Writes both copies of the manifest as a store would. */
function resave(disk: MemoryDisk, state: ManifestState): void {
  for (const path of ['manifest.a', 'manifest.b']) disk.remove(path);
  const fresh = formatted(new MemoryDisk(), state);
  for (const path of ['manifest.a', 'manifest.b']) {
    const file = disk.open(path, { create: true });
    file.writeSync(0, fresh.content(path));
    file.barrierSync();
  }
  disk.syncDirectorySync('');
}

test('one bad read of the header where the log begins: what is written over it later states the chain hash that it had', () => {
  const { bench, chain } = logOf(16);
  bench.append(chain.next([200, 200]));
  bench.settle();
  // Inside of the segment: no checkpoint states the chain hash below it.
  bench.store.saveManifest(withCheckpoint(chain, 16), () => bench.store.compact(16));
  bench.settle();
  expect(bases(bench.disk)).toEqual([15]);
  bench.store.close();
  const disk = bench.disk.restart();
  const path = segmentPath(15);
  const header = disk.content(path).slice(0, 48);
  const prototype = Object.getPrototypeOf(disk.open(path)) as DiskFile;
  const { readSync } = prototype;
  let misread = 0;
  prototype.readSync = function (offset, into) {
    const got = readSync.call(this, offset, into);
    if (this.path === path && offset === 0 && misread++ === 0) into.fill(0x55);
    return got;
  };
  try {
    const again = new Bench(disk, OVER);
    expect(again.recovered).toMatchObject({ first: 15, end: 17, faulty: [] });
    again.append(chain.next([100]));
    again.settle();
    again.store.close();
  } finally {
    prototype.readSync = readSync;
  }
  expect(misread).toBeGreaterThan(1);
  // Base and chain hash; the rest may say that the file was used before.
  expect(toHex(disk.content(path).slice(8, 32))).toBe(toHex(header.slice(8, 32)));
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', first: 15, end: 18 });
});
