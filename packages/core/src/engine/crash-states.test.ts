/**
 * Crash states of everything the engine does to its disk: after each completion of each scenario, what a power cut may leave must recover (testing/crash-explorer.ts):
 * nothing acknowledged lost, nothing unacknowledged invented. And the mutations that this enumeration is there for are noticed by it.
 */
import { expect, test, vi } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at, type CommitIndex, NONE } from './commit-index.ts';
import { MANIFEST_PATHS } from './manifest.ts';
import { Scrubber } from './scrubber.ts';
import { RECYCLED_PATH } from './spare-segment.ts';
import { boundOf, CRASH_STATES, crashChoices } from './testing/crash-choices.ts';
import { Explorer } from './testing/crash-explorer.ts';
import { segmentPath } from './segment.ts';
import { SnapshotStore } from './snapshot-file.ts';
import { writeSnapshot } from './testing/snapshot-harness.ts';
import { BLOCK_BYTES } from './constants.ts';
import { Bench, Chain, CLUSTER, manifest, openLog, suffix } from './testing/log-harness.ts';
import { SOUND } from '../policy.ts';
import { Prng } from '../prng.ts';

const codec = await createWasmCodec();
Explorer.limit = boundOf(process.env['CHRONON_CRASH_STATES']);
if (Explorer.limit > CRASH_STATES) vi.setConfig({ testTimeout: 24 * 3600 * 1000 });

test('append: every crash state keeps what was promised', () => {
  const explorer = new Explorer(codec);
  for (const size of [0, 300, 1000, 5, 2100]) {
    explorer.append(explorer.chain, [size]);
    explorer.explore();
  }
  expect(explorer.violations).toEqual([]);
  expect(explorer.states).toBeGreaterThan(100);
});

test('batches, with the tail record of one overlapping the frames of the next', () => {
  for (const newestFirst of [false, true]) {
    const explorer = new Explorer(codec);
    for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [500, 700, 0]);
    explorer.explore(newestFirst);
    expect(explorer.bench.promised).toBe(17);
    expect(explorer.violations).toEqual([]);
  }
});

test('two tail records in flight, the newer one durable first', () => {
  const explorer = new Explorer(codec);
  for (let i = 0; i < 8; i++) {
    explorer.append(explorer.chain, [300]);
    // The chain's frames, then the newest call: the tail record behind them, while the one before may still be in flight.
    explorer.disk.complete(explorer.disk.pending - 1);
    explorer.look();
    if (i % 3 === 2) explorer.disk.complete(explorer.disk.pending - 1);
    explorer.look();
  }
  explorer.explore();
  expect(explorer.bench.promised).toBe(7);
  expect(explorer.violations).toEqual([]);
});

test('a disk that begins the tail record before its frames are durable is noticed', () => {
  const explorer = new Explorer(codec);
  explorer.disk.writeChain = (links) => {
    for (const { file, offset, bytes, callback } of links) file.write(offset, bytes, true, callback);
  };
  explorer.append(explorer.chain, [300]);
  explorer.explore(true);
  expect(explorer.violations[0]).toMatch(/a crash is no damage/);
});

test('rotation: header, rename and directory are durable before a frame counts', () => {
  const explorer = new Explorer(codec);
  for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [1700]);
  explorer.explore();
  expect(explorer.bench.store.report().segments).toBe(2);
  expect(explorer.violations).toEqual([]);
});

test('truncation by an install, within a segment and across segments', () => {
  for (const keep of [NONE, 1, 4, 5] as CommitIndex[]) {
    const explorer = new Explorer(codec);
    for (let i = 0; i < 7; i++) explorer.append(explorer.chain, [1500]);
    explorer.disk.pump();
    explorer.install(keep, explorer.chain, [[1000], [1500], [500]]);
    explorer.explore();
    expect(explorer.bench.promised).toBe(keep + 3);
    expect(explorer.violations).toEqual([]);
  }
});

test.each([NONE, 1, 4, 6] as CommitIndex[])(
  'an install from far behind, whose headers begin above what it keeps, through index %i: nothing kept is lost and nothing cut comes back',
  (keep) => {
    const explorer = new Explorer(codec);
    for (let i = 0; i < 7; i++) explorer.append(explorer.chain, [1500]);
    explorer.disk.pump();
    const bodies = [[1000], [1500], [500], [20], [20], [20]];
    explorer.install(keep, explorer.chain, bodies, keep, keep + 5);
    explorer.explore();
    expect(explorer.bench.promised).toBe(keep + 6);
    expect(explorer.violations).toEqual([]);
  },
);

test('manifest updates: a stored view never goes back', () => {
  const explorer = new Explorer(codec);
  explorer.append(explorer.chain, [10]);
  explorer.disk.pump();
  for (let view = 2; view < 5; view++) {
    const state = manifest({ view, headers: suffix(...explorer.chain.batches) });
    explorer.bench.store.saveManifest(state, () => (explorer.view = view));
    explorer.explore();
  }
  expect(explorer.bench.store.manifest.view).toBe(4);
  expect(explorer.violations).toEqual([]);
});

/** Frames that fill a segment two by two. */
function grow(explorer: Explorer, frames: number): void {
  for (let i = 0; i < frames; i++) explorer.append(explorer.chain, [3000]);
}

test('compaction, alone and while frames are appended and segments rotate', () => {
  for (const through of [1, 2, 5, 8]) {
    const explorer = new Explorer(codec);
    grow(explorer, 9);
    explorer.disk.pump();
    explorer.saveCheckpoint(8);
    explorer.explore();
    let done = false;
    explorer.bench.store.compact(through, () => (done = true));
    grow(explorer, through === 5 ? 4 : 0);
    explorer.explore();
    expect([done, explorer.bench.store.first]).toEqual([true, Math.floor((through + 1) / 2) * 2]);
    expect(explorer.violations).toEqual([]);
  }
});

test('recycling: a freed segment becomes the next one', () => {
  const explorer = new Explorer(codec);
  grow(explorer, 7);
  explorer.disk.pump();
  explorer.saveCheckpoint(6);
  explorer.disk.pump();
  for (let round = 0; round < 3; round++) {
    explorer.bench.store.compact(explorer.checkpoint);
    explorer.explore();
    expect(explorer.disk.paths()).toContain(RECYCLED_PATH);
    grow(explorer, 4);
    explorer.explore();
    explorer.saveCheckpoint(explorer.bench.store.end);
    explorer.disk.pump();
  }
  expect(explorer.bench.promised).toBe(18);
  expect(explorer.violations).toEqual([]);
});

test('snapshot installation above the log: it begins behind the snapshot', () => {
  for (const own of [0, 1, 5]) {
    const explorer = new Explorer(codec);
    grow(explorer, own);
    explorer.disk.pump();
    // The same log, further than this replica has it.
    const chain = new Chain();
    for (let i = 0; i < 9; i++) chain.next([3000], 1, 1);
    explorer.installSnapshot(chain, 1, at(10));
    explorer.explore();
    for (let i = 0; i < 3; i++) explorer.append(chain, [2000]);
    explorer.explore();
    expect(explorer.bench.promised).toBe(11);
    expect(explorer.violations).toEqual([]);
  }
});

test('snapshot installation into the log: frames above it stay when they connect, and go when they do not', () => {
  const connected = new Explorer(codec);
  grow(connected, 9);
  connected.disk.pump();
  const prefix = new Chain();
  for (let i = 0; i < 6; i++) prefix.next([3000], 1, 1);
  connected.installSnapshot(prefix, 1, at(8));
  connected.explore();
  expect([connected.bench.store.end, connected.violations]).toEqual([8, []]);

  const replaced = new Explorer(codec);
  grow(replaced, 9);
  replaced.disk.pump();
  const other = new Chain();
  for (let i = 0; i < 6; i++) other.next([3000], 2, 7);
  replaced.installSnapshot(other, 2, at(6));
  replaced.explore();
  expect([replaced.bench.store.end, replaced.violations]).toEqual([5, []]);
  replaced.append(other, [2000], 2);
  replaced.explore();
  expect([replaced.bench.promised, replaced.violations]).toEqual([6, []]);
});

test('an install that cuts what was promised: what must not be nacked is known after any crash', () => {
  const explorer = new Explorer(codec);
  for (let i = 0; i < 7; i++) explorer.append(explorer.chain, [1500]);
  explorer.disk.pump();
  explorer.install(at(3), explorer.chain, [[1000]], at(6));
  explorer.explore();
  expect(explorer.violations).toEqual([]);
});

test.each([
  { order: [2, 3], between: '3..3' },
  { order: [3, 2], between: '2..2' },
])(
  'repair of $order: a crash in the middle of it leaves the damage that there was, and no other',
  ({ order, between }) => {
    const written = new Explorer(codec);
    for (let i = 0; i < 12; i++) written.append(written.chain, [400]);
    written.disk.pump();
    written.bench.store.close();
    for (const offset of [64 + 2 * 512 + 5, 64 + 3 * 512 + 300]) written.disk.flip(segmentPath(0), offset);
    const bench = new Bench(written.disk, written.over);
    expect(bench.recovered.faulty).toMatchObject([{ from: 2, to: 3 }]);
    let repaired = 0;
    for (const index of order) bench.store.repair(written.chain.batches[index]!, () => repaired++);
    const states = new Set<string>();
    while (written.disk.pending > 0) {
      written.disk.complete(0);
      for (const choice of crashChoices(written.disk, Explorer.limit, new Prng(3))) {
        const opened = openLog(written.disk.crash(choice), written.over);
        if ('refusal' in opened) throw new Error(opened.refusal.message);
        const { end, faulty } = opened.recovered;
        states.add(`${end}: ${faulty.map(({ from, to }) => `${from}..${to}`).join()}`);
        if (repaired === 2) expect(faulty).toEqual([]);
        else expect(faulty.every(({ from, to }) => from >= 2 && to <= 3)).toBe(true);
      }
    }
    expect([...states].sort()).toEqual(['11: ', '11: 2..3', `11: ${between}`].sort());
  },
);

test('snapshot: after any crash the newest durable one is whole, and a newer one whole or not there', () => {
  const explorer = new Explorer(codec);
  const { disk } = explorer;
  const store = new SnapshotStore({ disk, codec, clusterId: CLUSTER, chunkBytes: BLOCK_BYTES });
  const durable: number[] = [];
  const prng = new Prng(5);
  for (const index of [10, 20, 30, 40]) {
    const sections = [new Uint8Array(6000).fill(index), new Uint8Array(3000).fill(index + 1)];
    writeSnapshot(store, index, sections, 5000, () => durable.push(index));
    while (disk.pending > 0) {
      disk.complete(0);
      for (const choice of crashChoices(disk, Explorer.limit, prng)) {
        const after = new SnapshotStore({ disk: disk.crash(choice), codec, clusterId: CLUSTER });
        const notes: string[] = [];
        const newest = after.newest(1000, (note) => notes.push(note));
        expect([notes, newest?.sections.map((section) => section.length)]).toEqual(
          newest === null ? [[], undefined] : [[], [6000, 3000]],
        );
        expect(newest?.index ?? 0).toBeGreaterThanOrEqual(durable.at(-1) ?? 0);
      }
    }
  }
  expect(durable).toEqual([10, 20, 30, 40]);
});

test('scrubbing a damaged copy of the manifest: a power cut leaves a whole one', () => {
  for (const path of MANIFEST_PATHS) {
    const explorer = new Explorer(codec);
    for (let i = 0; i < 12; i++) explorer.append(explorer.chain, [10]);
    // So many headers that a copy is several sectors: half of one is none.
    explorer.bench.store.saveManifest(manifest({ headers: suffix(...explorer.chain.batches) }), () => {});
    explorer.disk.pump();
    explorer.disk.flip(path, 40);
    const snapshots = { onDamaged() {}, isDamaged: () => false };
    const { store } = explorer.bench;
    const scrubber = new Scrubber({ store, bytesPerTick: 1 << 20, restTicks: 1, onDamage() {}, snapshots });
    for (let tick = 0; scrubber.report().passes === 0; tick++) {
      scrubber.tick(tick);
      explorer.explore();
    }
    expect([scrubber.report().repaired, explorer.violations]).toEqual([1, []]);
  }
});

test('a cluster of one starts after any power cut', () => {
  const explorer = new Explorer(
    codec,
    {},
    manifest({ members: [1], incarnations: [1], founders: [new Uint8Array(16)] }),
  );
  for (const sizes of [[0], [300, 700], [2100], [1500, 10]]) {
    explorer.append(explorer.chain, sizes);
    explorer.explore();
  }
  grow(explorer, 5);
  explorer.explore();
  explorer.saveCheckpoint(explorer.bench.store.end);
  explorer.explore();
  explorer.bench.store.compact(explorer.checkpoint);
  grow(explorer, 3);
  explorer.explore();
  // Its next view keeps everything it has.
  const next = explorer.install(explorer.bench.store.end, explorer.chain, []);
  for (let i = 0; i < 2; i++) explorer.append(next, [100], 2);
  explorer.explore();
  expect(explorer.bench.promised).toBe(next.first - 1);
  expect(explorer.violations).toEqual([]);
});

/** Crashes inside the opening of what a crash left, at every second step. */
function crashWhileOpening(explorer: Explorer): void {
  const known = explorer.known();
  let opens = 0;
  for (const choice of crashChoices(explorer.disk, CRASH_STATES, new Prng(7))) {
    const crashed = explorer.disk.crash(choice);
    if (opens++ % 5 !== 0) continue;
    let steps = 0;
    crashed.onStep = () => {
      if (steps++ % 2 === 0) return;
      for (const sector of [() => true, () => false])
        explorer.note(explorer.violation(known, crashed.crash({ names: 0, sector })));
    };
    openLog(crashed, explorer.over);
  }
}

test('opening: a crash in the middle of it changes nothing', () => {
  const rotating = new Explorer(codec);
  for (let i = 0; i < 7; i++) rotating.append(rotating.chain, [1500]);
  rotating.disk.pump(9);
  crashWhileOpening(rotating);
  expect(rotating.violations).toEqual([]);

  const compacting = new Explorer(codec);
  grow(compacting, 9);
  compacting.disk.pump();
  compacting.saveCheckpoint(8);
  compacting.disk.pump();
  compacting.bench.store.compact(8);
  for (let i = 0; i < 8; i++) {
    crashWhileOpening(compacting);
    compacting.disk.pump(1);
  }
  expect(compacting.violations).toEqual([]);

  const installing = new Explorer(codec);
  grow(installing, 5);
  installing.disk.pump();
  const chain = new Chain();
  for (let i = 0; i < 9; i++) chain.next([3000], 1, 1);
  installing.installSnapshot(chain, 1);
  while (installing.disk.pending > 0) {
    crashWhileOpening(installing);
    installing.disk.complete(0);
  }
  expect(installing.violations).toEqual([]);

  // Opening finishes an install that was cut off.
  const behind = new Explorer(codec);
  for (let i = 0; i < 7; i++) behind.append(behind.chain, [1500]);
  behind.disk.pump();
  behind.install(at(3), behind.chain, [[1000], [1500], [500], [20]], at(3), 6);
  while (behind.disk.pending > 0) {
    crashWhileOpening(behind);
    behind.disk.complete(0);
  }
  expect([behind.bench.promised, behind.violations]).toEqual([7, []]);
});

// The same enumeration must notice the mutations that it is there for.
test('the mutation ack-before-barrier is noticed', () => {
  const explorer = new Explorer(codec, { ackBeforeBarrier: true });
  explorer.append(explorer.chain, [100]);
  explorer.explore();
  explorer.append(explorer.chain, [1500]);
  explorer.explore(true);
  expect(explorer.violations[0]).toMatch(/promised through 1, recovered through 0/);
});

test('the mutation no-directory-fsync is noticed', () => {
  const explorer = new Explorer(codec, { noDirectoryFsync: true });
  for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [1700]);
  explorer.explore();
  expect(explorer.violations).not.toEqual([]);
});

// These two protect from damage, not from power cuts alone.
test('the mutation promise-before-tail-record is noticed once the promised frame goes bad', () => {
  for (const promiseBeforeTailRecord of [false, true]) {
    const explorer = new Explorer(codec, { promiseBeforeTailRecord });
    explorer.append(explorer.chain, [100]);
    explorer.disk.pump();
    explorer.append(explorer.chain, [100]);
    while (explorer.bench.promised < 1) explorer.disk.complete(0);
    const damaged = explorer.disk.crash({ names: 0, sector: () => false });
    damaged.flip('log/00000000000000000000.seg', 64 + 216 + 100);
    const opened = openLog(damaged, { ...explorer.over, policy: SOUND });
    expect('recovered' in opened && opened.recovered).toMatchObject(
      promiseBeforeTailRecord
        ? { outcome: 'torn', end: 0 }
        : { outcome: 'faulty', end: 1, faulty: [{ from: 1, to: 1 }] },
    );
  }
});

test('the mutation single-manifest-copy is noticed once that copy goes bad', () => {
  for (const singleManifestCopy of [false, true]) {
    const explorer = new Explorer(codec, { singleManifestCopy });
    explorer.append(explorer.chain, [100]);
    const state = manifest({ view: 9, headers: suffix(...explorer.chain.batches) });
    explorer.bench.store.saveManifest(state, () => (explorer.view = 9));
    explorer.disk.pump();
    const damaged = explorer.disk.clone();
    damaged.flip('manifest.a', 100);
    const found = explorer.violation(explorer.known(), damaged);
    expect(found).toBe(singleManifestCopy ? 'view 1.1 went back' : null);
  }
});
