import { expect, test } from 'vitest';
import { at, type CommitIndex, NONE } from './commit-index.ts';
import { toHex } from './hash.ts';
import { batch, Bench, Chain, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

test('a formatted directory opens empty, and again', () => {
  const disk = formatted(new MemoryDisk());
  for (let i = 0; i < 3; i++) {
    const { recovered, store } = new Bench(disk);
    expect(recovered).toMatchObject({
      outcome: 'empty',
      end: NONE,
      head: NONE,
      promised: NONE,
      recoveringHead: false,
      connected: true,
    });
    store.close();
  }
});

test('appended frames are promised in order, once a batch, and are there after a restart', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk);
  const chain = new Chain();
  const sizes = [[10], [200, 0, 3], [5000], [1, 2, 3, 4, 5, 6, 7, 8], [9000], [12], [3000]];
  for (const bodies of sizes) bench.append(chain.next(bodies));
  bench.settle();
  expect(bench.durable.map((d) => d.index)).toEqual(chain.batches.map((b) => b.last));
  expect(bench.durable.map((d) => toHex(d.hash))).toEqual(chain.batches.map((b) => toHex(b.lastHash)));
  expect(bench.store.idle).toBe(true);
  expect(bench.store.report().segments).toBe(2);
  const again = new Bench(disk.restart());
  expect(again.recovered).toMatchObject({ outcome: 'clean', end: chain.first - 1, promised: chain.first - 1 });
  expect(toHex(again.recovered.endHash)).toBe(toHex(chain.hash));
  expect(again.recovered.headers.last).toBe(chain.first - 1);
  expect(again.readAll().map((f) => toHex(f.hash))).toEqual(
    Array.from({ length: chain.first }, (_, index) => toHex(chain.hashOf(index))),
  );
  again.append(chain.next([33]));
  again.settle();
  expect(again.promised).toBe(chain.first - 1);
});

test('batches queued while a write is in flight share the next write and one tail record', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  bench.append(chain.next([1]));
  bench.settle();
  const before = disk.stats.writes;
  for (let i = 0; i < 20; i++) bench.append(chain.next([100]));
  bench.settle();
  // One frame alone, nineteen together, and a tail record each.
  expect(disk.stats.writes - before).toBe(4);
  expect(bench.promised).toBe(20);
});

test('an install keeps, cuts and goes on, within a segment and across segments', () => {
  for (const keep of [NONE, at(0), at(1), at(7), at(11), at(12)]) {
    const disk = formatted(new MemoryDisk());
    const bench = new Bench(disk);
    const chain = new Chain();
    for (let i = 0; i < 13; i++) bench.append(chain.next([3000]));
    const kept = chain.batches.filter((b) => b.last <= keep);
    const after = new Chain();
    after.first = keep + 1;
    after.hash = keep === NONE ? after.hash : chain.hashOf(keep);
    const fresh = Array.from({ length: 6 }, () => after.next([2500], 2, 1));
    const order: string[] = [];
    const headers = suffix(...kept, ...fresh);
    bench.store.install(manifest({ view: 2, logView: 2, headers }), keep, keep, () => order.push('installed'));
    expect(bench.store.end).toBe(keep);
    for (const part of fresh) bench.append(part, 2);
    bench.settle();
    expect(order).toEqual(['installed']);
    expect(bench.promised).toBe(keep + 6);
    const again = new Bench(disk.restart());
    expect(again.recovered).toMatchObject({ outcome: 'clean', end: keep + 6, head: keep + 6 });
    expect(again.readAll().map((f) => toHex(f.hash))).toEqual([
      ...kept.map((b) => toHex(b.lastHash)),
      ...fresh.map((b) => toHex(b.lastHash)),
    ]);
  }
});

test('a manifest update waits for earlier appends and is in both copies when it is done', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  bench.append(chain.next([1]));
  let saved = false;
  bench.store.saveManifest(manifest({ view: 5, headers: suffix(...chain.batches) }), () => {
    saved = true;
    expect(bench.promised).toBe(0);
  });
  bench.settle();
  expect(saved).toBe(true);
  expect(bench.store.manifest.view).toBe(5);
  for (const path of ['manifest.a', 'manifest.b']) {
    const copy = disk.clone();
    copy.remove(path);
    const opened = openLog(copy);
    expect('recovered' in opened && opened.recovered.manifest.view).toBe(5);
  }
});

test('a checkpoint that is promised is stored beside the frames that are written; one above waits for them', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  for (let i = 0; i < 4; i++) bench.append(chain.next([1]));
  bench.settle();
  const save = (index: number, done: () => void): void => {
    const checkpoint = { index: at(index), hash: chain.hashOf(index), digest: new Uint8Array(16) };
    bench.store.saveManifest({ ...bench.store.manifest, checkpoint }, done);
  };
  const when: CommitIndex[] = [];
  bench.append(chain.next([1]));
  save(3, () => when.push(bench.promised));
  while (when.length === 0) {
    // There is always a frame to write.
    bench.append(chain.next([1]));
    disk.pump(1);
  }
  expect(bench.store.idle).toBe(false);
  expect(bench.promised).toBeGreaterThan(4);
  expect(bench.store.manifest.checkpoint.index).toBe(3);
  const last = bench.append(chain.next([1])).last;
  save(last, () => when.push(bench.promised));
  bench.append(chain.next([1]));
  bench.settle();
  expect(when[1]).toBe(last);
  expect(bench.promised).toBe(last + 1);
  const again = new Bench(disk.restart());
  expect(again.recovered).toMatchObject({ outcome: 'clean', end: last + 1 });
  expect(again.recovered.manifest.checkpoint.index).toBe(last);
});

test('a disk error poisons the log for good', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  bench.append(chain.next([1]));
  bench.settle();
  disk.failures.push('EIO');
  bench.append(chain.next([1]));
  bench.append(chain.next([1]));
  bench.settle();
  expect(bench.fatal.map((f) => f.code)).toEqual(['E_FSYNC']);
  expect(bench.promised).toBe(0);
  let saved = false;
  bench.store.saveManifest(manifest({ view: 2 }), () => (saved = true));
  bench.append(chain.next([1]));
  bench.settle();
  expect(saved).toBe(false);
  expect(bench.fatal.length).toBe(1);
});

test('a full disk is a state: frames wait, view changes live on, and it ends by itself', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  disk.capacityBytes = disk.usedBytes() + 8192;
  for (let i = 0; i < 6; i++) bench.append(chain.next([4000]));
  bench.settle();
  expect(bench.space).toEqual([true]);
  expect(bench.store.full).toBe(true);
  const promised = bench.promised;
  expect(promised).toBeGreaterThanOrEqual(2);
  expect(promised).toBeLessThan(5);
  let saved = false;
  bench.store.saveManifest(manifest({ view: 3, headers: suffix(...chain.batches) }), () => (saved = true));
  bench.store.tick();
  bench.settle();
  expect(saved).toBe(true);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  bench.store.tick();
  bench.settle();
  expect(bench.space).toEqual([true, false]);
  expect(bench.promised).toBe(5);
  expect(bench.fatal).toEqual([]);
});

test('frames that are queued are read from memory, the others from the medium', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  bench.append(chain.next([10, 20, 30]));
  bench.settle();
  bench.append(chain.next([10, 20, 30]));
  const seen: number[] = [];
  for (const from of [1, 4, 6]) {
    bench.store.read(from, 1_000_000, (outcome) => seen.push(outcome.kind === 'frames' ? outcome.batch.first : -1));
  }
  bench.settle();
  expect(seen.sort((a, b) => a - b)).toEqual([-1, 1, 4]);
});

test('frames that come again and again before a slot beside them is repaired wait once: nobody may have what lies there', () => {
  const chain = new Chain();
  const first = new Bench(formatted(new MemoryDisk()));
  for (let i = 0; i < 6; i++) first.append(chain.next([100]));
  const disk = first.settle().disk.restart();
  const { length } = chain.batches[0]!.bytes;
  for (const index of [2, 3, 4]) disk.flip('log/00000000000000000000.seg', 64 + index * length + 90);
  const bench = new Bench(disk);
  expect(bench.recovered.faulty).toMatchObject([{ from: 2, to: 4 }]);
  let told = 0;
  for (let i = 0; i < 100; i++) bench.store.repair(chain.batches[3]!, () => told++);
  bench.settle();
  expect(told).toBe(0);
  bench.store.repair(chain.batches[2]!, () => {});
  bench.settle();
  expect([told, bench.store.faulty]).toEqual([1, [{ from: 4, to: 4 }]]);
});

test('a frame that was damaged while the log runs hides none that stands behind it, and all of the damage is told at once (seed 1100089)', () => {
  const chain = new Chain();
  const bench = new Bench(formatted(new MemoryDisk()));
  for (let i = 0; i < 20; i++) bench.append(chain.next([100]));
  bench.settle();
  const { length } = chain.batches[0]!.bytes;
  for (const index of [5, 6]) bench.disk.flip('log/00000000000000000000.seg', 64 + index * length + 12);
  const outcomes: string[] = [];
  const read = (index: number): void => {
    bench.store.read(index, 1, (outcome) => outcomes.push(`${index} ${outcome.kind}`));
    bench.settle();
  };
  for (const index of [5, 6, 7, 19]) read(index);
  expect(outcomes).toEqual(['5 faulty', '6 faulty', '7 frames', '19 frames']);
  expect([bench.damaged, bench.store.faulty]).toEqual([[5, 6], [{ from: 5, to: 6 }]]);
  // From its end, as from its beginning.
  for (const index of [6, 5]) bench.store.repair(chain.batches[index]!, () => {});
  bench.settle();
  expect([bench.store.faulty, bench.readAll().length]).toEqual([[], 20]);
});

test('a damaged slot is found by a read and repaired in place', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  for (let i = 0; i < 5; i++) bench.append(chain.next([300]));
  bench.settle();
  disk.flip('log/00000000000000000000.seg', 64 + 2 * 416 + 90);
  let fault = '';
  bench.store.read(
    2,
    10_000,
    (outcome) => (fault = outcome.kind === 'faulty' ? `${outcome.index} ${outcome.fault}` : outcome.kind),
  );
  bench.settle();
  expect(fault).toBe('2 payload-hash');
  let repaired = false;
  bench.store.repair(chain.batches[2]!, () => (repaired = true));
  bench.append(chain.next([300]));
  bench.settle();
  expect(repaired).toBe(true);
  expect(bench.readAll().length).toBe(6);
  expect(new Bench(disk.restart()).recovered).toMatchObject({ outcome: 'clean', end: 5 });
});

test('a batch of one frame that fills a segment fits, a larger one is a programming error', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const most = 16 * 1024 - 64 - 80 - 32;
  const chain = new Chain();
  for (let i = 0; i < 3; i++) bench.append(chain.next([most]));
  bench.settle();
  expect(bench.promised).toBe(2);
  expect(() => bench.append(batch(3, chain.hash, [most + 1]))).toThrow('fits an empty segment');
});

test('on a full disk an install drops the frames it cuts and the log goes on with others', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  disk.capacityBytes = disk.usedBytes() + 8192;
  for (let i = 0; i < 6; i++) bench.append(chain.next([4000]));
  bench.settle();
  const written = bench.promised;
  const kept = chain.batches.slice(0, written + 1);
  const fresh = new Chain();
  fresh.first = written + 1;
  fresh.hash = chain.hashOf(written);
  let installed = false;
  bench.store.install(
    manifest({ view: 2, logView: 2, headers: suffix(...kept) }),
    written,
    written,
    () => (installed = true),
  );
  bench.settle();
  expect([installed, bench.store.full, bench.store.end]).toEqual([true, true, written]);
  bench.append(fresh.next([2000]), 2);
  bench.append(fresh.next([2000]), 2);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  bench.store.tick();
  bench.settle();
  expect([bench.promised, bench.fatal.length]).toEqual([written + 2, 0]);
  const again = new Bench(disk.restart());
  expect(again.recovered).toMatchObject({ outcome: 'clean', end: written + 2 });
  expect(toHex(again.recovered.endHash)).toBe(toHex(fresh.hash));
});

test('an install that cuts nothing keeps the empty segment behind the end (simulator seed 47)', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  for (let i = 0; i < 4; i++) bench.append(chain.next([3700]));
  bench.settle();
  bench.append(chain.next([3700]));
  while (!disk.list('log').some((name) => name.endsWith('004.seg'))) disk.complete(0);
  const again = new Bench(disk.crash({ names: 9, sector: () => false }));
  chain.batches.pop();
  expect(again.recovered.end).toBe(3);
  expect(again.store.report().segments).toBe(2);
  again.store.install(manifest({ view: 2, logView: 2, headers: suffix(...chain.batches) }), at(3), at(3), () => {});
  again.append(batch(4, chain.batches[3]!.lastHash, [100], 2), 2);
  again.settle();
  expect(again.promised).toBe(4);
  expect(new Bench(again.disk.restart()).recovered).toMatchObject({ outcome: 'clean', end: 4 });
});

test('a read never returns what an install cut off, even while it is being overwritten (simulator seed 1017)', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  for (let i = 0; i < 6; i++) bench.append(chain.next([100]));
  bench.settle();
  const fresh = new Chain();
  fresh.first = 3;
  fresh.hash = chain.hashOf(2);
  bench.store.install(
    manifest({ view: 2, logView: 2, headers: suffix(...chain.batches.slice(0, 3)) }),
    at(2),
    at(2),
    () => {},
  );
  bench.settle();
  bench.append(fresh.next([100, 100, 100], 2, 1), 2);
  // The read completes before the write that replaces the frames behind it.
  let last = -1;
  bench.store.read(1, 10_000, (outcome) => (last = outcome.kind === 'frames' ? outcome.batch.last : -1));
  disk.complete(disk.pending - 1);
  expect(last).toBe(2);
});

test('a read stops at the end of a segment whose cut frames are still behind it (simulator seed 110022)', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk).settle();
  const chain = new Chain();
  for (let i = 0; i < 6; i++) bench.append(chain.next([300]));
  bench.settle();
  // Damage below the cut hides where frame 3 stands: what follows goes into another segment, and 3 to 5 stay where they are.
  disk.flip('log/00000000000000000000.seg', 64 + 416 + 20);
  const kept = suffix(...chain.batches.slice(0, 3));
  bench.store.install(manifest({ view: 2, logView: 2, headers: kept }), at(2), at(2), () => {});
  bench.settle();
  const fresh = new Chain();
  fresh.first = 3;
  fresh.hash = chain.hashOf(2);
  bench.append(fresh.next([300, 300, 300], 2, 1), 2);
  bench.store.repair(chain.batches[1]!, () => {});
  bench.settle();
  const hashes = [0, 1, 2].map((index) => chain.hashOf(index)).concat([3, 4, 5].map((index) => fresh.hashOf(index)));
  expect(bench.readAll().map((entry) => entry.hash)).toEqual(hashes);
  expect(new Bench(disk.restart()).readAll().map((entry) => entry.hash)).toEqual(hashes);
});
