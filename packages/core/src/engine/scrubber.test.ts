/** faults.md (storage), "Latent rot" and "EIO on read": the scrubber finds it while nobody reads it, and it is whole again. */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at } from './commit-index.ts';
import { BLOCK_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import { frame } from './frame.ts';
import { decodeManifest, MANIFEST_PATHS } from './manifest.ts';
import { type Damage, Scrubber } from './scrubber.ts';
import { decodeSegmentHeader } from './segment.ts';
import { SnapshotStore } from './snapshot-file.ts';
import { snapshotPath } from './snapshot-path.ts';
import { decodeTail, TAIL_PATH, TAIL_SLOT_BYTES } from './tail-record.ts';
import { batch, Bench, Chain, CLUSTER, filled, formatted, manifest, suffix } from './testing/log-harness.ts';
import { snapshotMeta } from './testing/snapshot-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();
const over = { codec, segmentBytes: 8 * 1024 };
/** Of bytes that are zero, one in so many is flipped. */
const ZEROS_STEP = 97;

/** A store with a scrubber, and a cluster that gives every frame it is asked for. */
class ScrubBench {
  readonly bench: Bench;
  readonly scrubber: Scrubber;
  readonly damage: Damage[] = [];
  readonly chain: Chain;

  constructor(disk: MemoryDisk, chain: Chain, bytesPerTick = 1 << 20) {
    this.bench = new Bench(disk, over).settle();
    this.chain = chain;
    this.scrubber = new Scrubber({
      store: this.bench.store,
      bytesPerTick,
      restTicks: 1,
      onDamage: (damage) => this.damage.push(damage),
      snapshots: { onDamaged() {}, isDamaged: () => false },
    });
  }

  /** Ticks until a pass more has ended. */
  pass(): this {
    const { passes } = this.scrubber.report();
    for (let i = 0; this.scrubber.report().passes === passes; i++) {
      if (i > 10_000) throw new Error(`the pass does not end: ${JSON.stringify(this.scrubber.report())}`);
      this.scrubber.tick(i);
      this.bench.settle();
    }
    return this;
  }

  /** Hands over the frames of every damaged slot, as the other replicas would. */
  repair(): this {
    for (let rounds = 0; this.bench.store.faulty.length > 0; rounds++) {
      if (rounds > 20) throw new Error(`not repaired: ${JSON.stringify(this.bench.store.faulty)}`);
      for (const { from, to } of this.bench.store.faulty) {
        for (const part of this.chain.batches) {
          const [first, last] = [Math.max(from, part.first), Math.min(to, part.last)];
          if (first <= last) this.bench.store.repair(part.slice(first, last), () => {});
        }
      }
      this.bench.settle();
    }
    return this;
  }
}

test('a whole log: passes come and go, nothing is found and nothing is written', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain);
  const writes = disk.stats.writes;
  running.pass().pass().pass();
  expect(running.damage).toEqual([]);
  expect(disk.stats.writes).toBe(writes);
  expect(running.scrubber.report()).toMatchObject({ phase: 'rest', passes: 3, position: chain.first - 1, damaged: 0 });
});

test('Latent rot: a byte anywhere that means something is found by one pass and whole after the repair', () => {
  const { disk, chain } = filled(over);
  const good = disk.clone();
  new ScrubBench(good, chain);
  let found = 0;
  for (const path of good.paths()) {
    if (path === 'log/spare') continue;
    const content = good.content(path).slice();
    for (let offset = 0; offset < content.length; offset++) {
      if (content[offset] === 0) continue;
      // Bodies are all alike: a part of them will do.
      if (path.endsWith('.seg') && offset % 11 !== 0 && content[offset] === content[offset - 1]) continue;
      if (offset % (path.endsWith('.seg') ? 3 : 5) !== 0 && offset % ZEROS_STEP !== 0) continue;
      const running = new ScrubBench(disk.clone(), chain);
      const { disk: damaged } = running.bench;
      damaged.flip(path, offset, 1 << (offset % 8));
      running.pass().repair();
      const where = `${path} at ${offset}`;
      expect([where, running.damage.map((d) => d.file)]).toEqual([where, [path]]);
      running.scrubber.tick(0);
      expect([where, running.scrubber.report()]).toMatchObject([where, { damaged: 1, repaired: 1 }]);
      expectWhole(damaged, good);
      running.pass();
      expect([where, running.damage.length, running.bench.fatal]).toEqual([where, 1, []]);
      found++;
    }
  }
  expect(found).toBeGreaterThan(500);
});

/** Every frame, header and copy is right again. */
function expectWhole(disk: MemoryDisk, good: MemoryDisk): void {
  for (const path of good.paths()) {
    if (!path.endsWith('.seg')) continue;
    const [own, right] = [disk.content(path), good.content(path)];
    expect(Buffer.compare(own.subarray(SEGMENT_HEADER_BYTES), right.subarray(SEGMENT_HEADER_BYTES))).toBe(0);
    const { view: _view, recycled: _recycled, ...stated } = decodeSegmentHeader(right)!;
    expect(decodeSegmentHeader(own)).toMatchObject(stated);
  }
  for (const path of MANIFEST_PATHS) expect(decodeManifest(disk.content(path), codec).kind).toBe('ok');
  expect(decodeTail(disk.content(TAIL_PATH), CLUSTER)).toMatchObject({ kind: 'ok', damagedCopies: 0 });
}

test('a lost write that left an older, whole frame behind is found by its chain, also the last one', () => {
  for (const bodies of [60, 50, 70]) {
    for (const index of [4, 17]) {
      const disk = formatted(new MemoryDisk());
      const chain = new Chain();
      const running = new ScrubBench(disk, chain);
      for (let i = 0; i <= 17; i++) running.bench.append(chain.next([60]));
      running.bench.settle();
      const good = disk.clone();
      const path = disk.paths().find((name) => name.endsWith('.seg'))!;
      const offset = offsetOf(disk.content(path), index);
      const older = batch(index, chain.hashOf(index - 1), [bodies], 1, 9);
      disk.content(path).set(older.bytes, offset);
      running.pass().repair().pass().repair().pass();
      const where = `body ${bodies}, index ${index}`;
      expect([where, running.damage.length > 0]).toEqual([where, true]);
      const end = offsetOf(good.content(path), 17) + frame.size(good.content(path), offsetOf(good.content(path), 17));
      const [own, right] = [disk.content(path).subarray(0, end), good.content(path).subarray(0, end)];
      expect([where, Buffer.compare(own, right)]).toEqual([where, 0]);
      expect(running.bench.fatal).toEqual([]);
    }
  }
});

test('a tail record that was lost is found, also when the older one in its place states the same index', () => {
  for (const lose of ['newest', 'both'] as const) {
    const { disk, chain } = filled(over);
    const running = new ScrubBench(disk, chain);
    const { store } = running.bench;
    const before = disk.content(TAIL_PATH).slice();
    // The same end in another log view.
    const headers = suffix(...chain.batches.slice(3));
    store.install(manifest({ view: 3, logView: 3, headers }), at(17), at(17), () => {});
    running.bench.settle();
    const written = decodeTail(disk.content(TAIL_PATH), CLUSTER);
    if (written.kind !== 'ok') throw new Error(written.kind);
    const slot = (written.tail.sequence % 2) * TAIL_SLOT_BYTES;
    const lost = lose === 'both' ? before : before.subarray(slot, slot + TAIL_SLOT_BYTES);
    disk.content(TAIL_PATH).set(lost, lose === 'both' ? 0 : slot);
    running.pass();
    expect([lose, running.damage.map(({ file }) => file)]).toEqual([lose, [TAIL_PATH]]);
    expect(decodeTail(disk.content(TAIL_PATH), CLUSTER)).toMatchObject({
      kind: 'ok',
      damagedCopies: 0,
      tail: { logView: 3, index: 17, hash: chain.hash, promised: 17 },
    });
    running.pass();
    expect([running.damage.length, running.bench.fatal]).toEqual([1, []]);
  }
});

function offsetOf(segment: Uint8Array, index: number): number {
  let at = 64;
  while (frame.index(segment, at) !== index) at += frame.size(segment, at);
  return at;
}

test('a block that the device does not give is damage of its frames only', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain);
  const path = disk.paths().find((name) => name.endsWith('.seg'))!;
  disk.unreadable.add(`${path}:1`);
  running.pass();
  expect(running.damage.length).toBeGreaterThan(0);
  expect(running.damage.every(({ file }) => file === path)).toBe(true);
  const ends = running.damage.map(({ index }) => index!);
  expect(Math.max(...ends)).toBeLessThan(chain.first - 1);
  disk.unreadable.clear();
  running.repair().pass();
  expect(running.scrubber.report().repaired).toBe(running.damage.length);
  expect(running.bench.readAll().length).toBe(chain.first);
});

test('the rate is bounded, and a busy log is left three quarters of it', () => {
  const { disk, chain } = filled(over);
  const quiet = new ScrubBench(disk.clone(), chain, 1000);
  const ticksOf = (running: ScrubBench, busy: boolean): number => {
    let ticks = 0;
    for (; running.scrubber.report().passes === 0; ticks++) {
      if (busy) {
        // Something is always on its way when the tick comes.
        running.bench.append(running.chain.next([10]));
        running.scrubber.tick(ticks);
        running.bench.settle();
      } else {
        running.scrubber.tick(ticks);
        running.bench.settle();
      }
    }
    return ticks;
  };
  const read = (running: ScrubBench): number => running.scrubber.report().bytes;
  const idleTicks = ticksOf(quiet, false);
  expect(read(quiet) / idleTicks).toBeLessThan(1100);
  const busyBench = new ScrubBench(disk.clone(), chain, 1000);
  const busyTicks = ticksOf(busyBench, true);
  expect(read(busyBench) / busyTicks).toBeLessThan(300);
  expect(busyBench.damage).toEqual([]);
});

test('writes, installs, compactions and a full disk while it reads: nothing is called damaged', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain, 4096);
  let view = 2;
  let compactions = 0;
  let { checkpoint } = manifest();
  for (let i = 0; i < 600; i++) {
    running.scrubber.tick(i);
    disk.pump(1 + (i % 3));
    if (i % 2 === 0) running.bench.append(chain.next([i % 900, 3]), view);
    if (i % 50 === 49) {
      const keep = chain.first - 5;
      const kept = chain.batches
        .filter((part) => part.first <= keep)
        .map((part) => part.slice(part.first, Math.min(part.last, keep)));
      view++;
      running.bench.store.install(
        manifest({ view, logView: view, headers: suffix(...kept.slice(-4)), checkpoint }),
        at(keep),
        at(keep),
        () => {},
      );
      chain.batches.splice(0, chain.batches.length, ...kept);
      chain.first = keep + 1;
      chain.hash = kept[kept.length - 1]!.lastHash;
    }
    if (i % 40 === 20) {
      const index = at(Math.max(running.bench.store.durable - 12, 1));
      checkpoint = { index, hash: chain.hashOf(index).slice(), digest: new Uint8Array(16) };
      const { headers } = running.bench.store.manifest;
      running.bench.store.saveManifest(manifest({ view, logView: view, headers, checkpoint }), () => {
        running.bench.store.compact(index);
        compactions++;
      });
    }
    if (i === 300) disk.capacityBytes = disk.usedBytes();
    if (i === 400) disk.capacityBytes = Number.POSITIVE_INFINITY;
    running.bench.store.tick();
  }
  running.bench.settle();
  running.pass();
  expect(running.damage).toEqual([]);
  expect(running.bench.fatal).toEqual([]);
  expect(running.scrubber.report().passes).toBeGreaterThan(3);
  expect(compactions).toBeGreaterThan(10);
  expect(running.bench.store.first).toBeGreaterThan(0);
});

test('a rotten byte anywhere in a snapshot is found, and that it is replaced is said', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain, 4096);
  const files = new SnapshotStore({ disk, codec, clusterId: CLUSTER, chunkBytes: BLOCK_BYTES });
  const written: string[] = [];
  const writer = files.write(
    snapshotMeta(5),
    1,
    () => {},
    (end) => written.push('digest' in end ? 'written' : end.problem),
  );
  if (typeof writer === 'string') throw new Error(writer);
  writer.append(0, new Uint8Array(6000).fill(3), 0);
  writer.finish();
  disk.pump();
  expect(written).toEqual(['written']);
  const path = snapshotPath(5);
  running.pass();
  expect(running.damage).toEqual([]);
  const length = disk.content(path).length;
  for (let offset = 0; offset < length; offset += 37) {
    disk.flip(path, offset);
    const found = running.damage.length;
    running.pass();
    expect([offset, running.damage.slice(found).map((d) => [d.file, d.remedy])]).toEqual([
      offset,
      [[path, 'replaced']],
    ]);
    disk.flip(path, offset);
  }
  disk.remove(path);
  const found = running.damage.length;
  running.pass();
  expect(running.damage.length).toBe(found);
});

test('a block that the device does not give now: what shares it is left alone, and is repaired when it can be read', () => {
  const disk = formatted(new MemoryDisk());
  const chain = new Chain();
  const wide = { ...over, segmentBytes: 64 * 1024 };
  const writer = new Bench(disk, wide);
  for (const size of [1000, 5000, 9000, 100, 100, 100]) writer.append(chain.next([size]));
  writer.settle().store.close();
  const bench = new Bench(disk, wide).settle();
  const path = disk.paths().find((name) => name.endsWith('.seg'))!;
  const intact = disk.content(path).slice();
  const repair = (index: number): boolean => {
    let repaired = false;
    bench.store.read(index, 1, () => {});
    bench.settle();
    bench.store.repair(chain.batches[index]!, () => (repaired = true));
    bench.settle();
    return repaired;
  };
  // The third frame covers a block wholly; the second one shares both of its blocks, the first one its own.
  disk.unreadable.add(`${path}:2`);
  expect(repair(2)).toBe(true);
  disk.unreadable.add(`${path}:1`);
  expect(repair(1)).toBe(false);
  disk.unreadable.add(`${path}:0`);
  expect(repair(0)).toBe(false);
  expect([bench.fatal, disk.content(path)]).toEqual([[], intact]);
  // The third one shares a block with the second: it is lost with it.
  expect(bench.damaged).toContain(2);
  disk.unreadable.clear();
  expect([repair(0), repair(1), repair(2)]).toEqual([true, true, true]);
  expect([bench.store.faulty, disk.content(path)]).toEqual([[], intact]);
});

test('a block that the device does not give any more is written as a whole, from the frames that are lost with it', () => {
  const disk = formatted(new MemoryDisk());
  const chain = new Chain();
  const wide = { ...over, segmentBytes: 64 * 1024 };
  const writer = new Bench(disk, wide);
  const whole = writer.append(chain.next([3000, 700, 700, 3000, 700, 700, 3000, 700]));
  writer.settle().store.close();
  for (const block of [0, 1, 2]) {
    const bench = new Bench(disk, wide).settle();
    const path = disk.paths().find((name) => name.endsWith('.seg'))!;
    const intact = disk.content(path).slice();
    disk.unreadable.add(`${path}:${block}`);
    bench.readAll();
    for (let rounds = 0; bench.store.faulty.length > 0 && rounds < 8; rounds++) {
      for (const { from, to } of bench.store.faulty) bench.store.repair(whole.slice(from, to), () => {});
      bench.settle();
    }
    expect([block, bench.store.faulty, bench.readAll().length]).toEqual([block, [], 8]);
    expect([bench.fatal, disk.content(path).subarray(64)]).toEqual([[], intact.subarray(64)]);
    bench.store.close();
  }
});

test('a segment header in a block that the device does not give: the replica goes on', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain);
  const path = disk.paths().find((name) => name.endsWith('.seg'))!;
  const intact = disk.content(path).slice();
  disk.unreadable.add(`${path}:0`);
  running.pass();
  expect(running.bench.fatal).toEqual([]);
  disk.unreadable.clear();
  running.repair().pass();
  expect(running.bench.readAll().length).toBe(chain.first);
  expect(disk.content(path).subarray(64)).toEqual(intact.subarray(64));
});

test('one read of another place: a segment header is read again before it is called damaged', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain);
  const writes = disk.stats.writes;
  const { file } = running.bench.store.segments.holding(running.bench.store.first)!;
  const prototype = Object.getPrototypeOf(file) as typeof file;
  const { read } = prototype;
  let misread = 0;
  prototype.read = function (offset, length, callback) {
    const wrong = offset === 0 && length === SEGMENT_HEADER_BYTES;
    if (wrong) misread++;
    read.call(this, offset, length, (error, bytes) => callback(error, wrong ? new Uint8Array(length) : bytes));
  };
  try {
    running.pass();
  } finally {
    prototype.read = read;
  }
  expect(misread).toBeGreaterThan(0);
  expect(running.damage).toEqual([]);
  expect(disk.stats.writes).toBe(writes);
});

test('a segment header is not written again over frames of its block that a read does not give, even twice', () => {
  const { disk, chain } = filled(over);
  const running = new ScrubBench(disk, chain);
  const { file } = running.bench.store.segments.holding(running.bench.store.first)!;
  disk.flip(file.path, 20);
  const intact = disk.content(file.path).slice();
  const prototype = Object.getPrototypeOf(file) as typeof file;
  const { read } = prototype;
  prototype.read = function (offset, length, callback) {
    read.call(this, offset, length, (error, bytes) => {
      // As before the second frame was written.
      if (offset === 0 && bytes !== null) bytes.fill(0, frame.size(bytes, SEGMENT_HEADER_BYTES) + SEGMENT_HEADER_BYTES);
      callback(error, bytes);
    });
  };
  try {
    running.pass();
  } finally {
    prototype.read = read;
  }
  expect(disk.content(file.path).subarray(64)).toEqual(intact.subarray(64));
  running.pass();
  expect(running.bench.readAll().length).toBe(chain.first);
  expect(decodeSegmentHeader(disk.content(file.path))).not.toBeNull();
});
