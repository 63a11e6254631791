/** Damaged snapshots of running replicas: not counted, not offered, fetched again or superseded, by script on real Replicas and memory disks. */
import { expect, test } from 'vitest';
import { ReplicaBench } from './chaos/testing/replica-bench.ts';
import { toHex } from './engine/hash.ts';
import { snapshotPath } from './engine/snapshot-path.ts';
import type { DiskFile } from './engine/virtual-disk.ts';
import type { ReplicaConfig } from './replica-contract.ts';
import type { Message } from './vsr/messages.ts';

/** A pass takes some ticks, and the next one begins soon. */
const SCRUBBED: Partial<ReplicaConfig> = { scrubBytesPerSecond: 100_000_000, scrubRestTicks: 5 };

const indexesOf = (bench: ReplicaBench, id: number): number[] =>
  bench
    .r(id)
    .snapshots.list()
    .map(({ index }) => index);
const filesOf = (bench: ReplicaBench, id: number): number[] =>
  bench
    .disk(id)
    .list('snapshots')
    .filter((name) => name.endsWith('.snap'))
    .map((name) => Number(name.slice(0, 20)));
const bytesOf = (bench: ReplicaBench, id: number, index: number): string =>
  toHex(bench.disk(id).content(snapshotPath(index)));
const damagedOf = (bench: ReplicaBench, id: number): number[] =>
  bench.r(id).node.state.snapshots.damaged.map(({ index }) => index);
const scrubOf = (bench: ReplicaBench, id: number): number[] => {
  const { damaged, repaired } = bench.r(id).status().scrub;
  return [damaged, repaired];
};

/** Every replica holds confirmed snapshots at 110 and 120, and the log behind the older is gone. */
function compacted(n: number): ReplicaBench {
  const bench = new ReplicaBench(n, SCRUBBED);
  bench.put(125);
  const ids = bench.disks.map((_, i) => i + 1);
  bench.until(() => ids.every((id) => bench.r(id).store.first > 20 && indexesOf(bench, id).join() === '110,120'));
  bench.run(120);
  return bench;
}

function rot(bench: ReplicaBench, id: number, indexes: readonly number[]): void {
  for (const index of indexes) bench.disk(id).flip(snapshotPath(index), 5000);
}

/** No part of a snapshot reaches `id`. */
const withoutParts =
  (id: number) =>
  (_from: number, to: number, message: Message): Message | null =>
    message.type === 'snapshotPart' && to === id ? null : message;

test('a damaged snapshot is not offered, and is fetched again byte for byte without touching the state', () => {
  for (const index of [110, 120]) {
    const bench = compacted(3);
    const whole = bytesOf(bench, 3, index);
    bench.onWire = withoutParts(3);
    rot(bench, 3, [index]);
    bench.until(() => damagedOf(bench, 3).length > 0);
    bench.run(5);
    expect(indexesOf(bench, 3)).toEqual([230 - index]);
    for (const peer of [1, 2]) {
      const told = bench.r(peer).node.state.snapshots.reports.get(3)!.held;
      expect(told.map((ref) => ref.index)).toEqual([230 - index]);
    }
    expect(bench.r(3).status().notes.join()).toContain(`snapshot ${index} is damaged on the disk: it is fetched again`);
    expect(scrubOf(bench, 3)).toEqual([1, 0]);
    // The damaged file stays until there is something better.
    expect(bytesOf(bench, 3, index)).not.toBe(whole);
    bench.onWire = (_from, _to, message) => message;
    bench.until(() => bench.eventsOf(3, 'mended').length > 0);
    bench.run(5);
    expect(bench.eventsOf(3, 'mended')).toEqual([{ kind: 'mended', index, how: 'fetched' }]);
    expect(bytesOf(bench, 3, index)).toBe(whole);
    expect([indexesOf(bench, 3), filesOf(bench, 3)]).toEqual([
      [110, 120],
      [110, 120],
    ]);
    expect([scrubOf(bench, 3), bench.eventsOf(3, 'install'), bench.halts]).toEqual([[1, 1], [], []]);
    expect(
      bench
        .r(3)
        .snapshots.list()
        .every(({ confirmed }) => confirmed),
    ).toBe(true);
    expect(bench.r(3).status().notes.join()).not.toContain('is damaged');
    bench.restart(3);
    expect(bench.r(3).executor.applied).toBe(120);
  }
});

test('the log is not compacted behind a damaged snapshot: with a newer one the older intact one counts', () => {
  const bench = compacted(3);
  const { first } = bench.r(3).store;
  bench.onWire = withoutParts(3);
  rot(bench, 3, [110, 120]);
  bench.until(() => damagedOf(bench, 3).length === 2);
  bench.put(6);
  bench.until(() => indexesOf(bench, 3).includes(130));
  bench.run(120);
  // One intact snapshot alone: both damaged files and the log stay.
  expect([indexesOf(bench, 3), filesOf(bench, 3), bench.r(3).store.first]).toEqual([[130], [110, 120, 130], first]);
  bench.put(10);
  bench.until(() => indexesOf(bench, 3).length === 2);
  bench.run(120);
  expect([indexesOf(bench, 3), filesOf(bench, 3)]).toEqual([
    [130, 140],
    [130, 140],
  ]);
  expect(bench.r(3).store.first).toBeGreaterThan(first);
  expect(bench.eventsOf(3, 'mended').map((event) => ('how' in event ? event.how : ''))).toEqual([
    'superseded',
    'superseded',
  ]);
  expect(scrubOf(bench, 3)).toEqual([2, 2]);
});

test('alone a new snapshot is taken soon, at what is applied, until two intact ones are there', () => {
  for (const lost of [[120], [110, 120]]) {
    const bench = compacted(1);
    rot(bench, 1, lost);
    bench.until(() => bench.eventsOf(1, 'mended').length === lost.length, 3000);
    bench.run(200);
    const held = indexesOf(bench, 1);
    expect(held.length).toBe(2);
    expect(held.at(-1)!).toBeGreaterThan(120);
    expect([filesOf(bench, 1), scrubOf(bench, 1)]).toEqual([held, [lost.length, lost.length]]);
    // Enough is enough.
    bench.run(2000);
    expect(indexesOf(bench, 1)).toEqual(held);
    bench.restart(1);
    expect(bench.r(1).executor.applied).toBe(held.at(-1));
    bench.put(1);
  }
});

test('no other replica gives it: the primary asks for new snapshots, also for a backup', () => {
  for (const whose of ['primary', 'backup']) {
    const bench = compacted(3);
    const primary = bench.primary!.node.state.id;
    const id = whose === 'primary' ? primary : (primary % 3) + 1;
    bench.onWire = withoutParts(id);
    rot(bench, id, [110, 120]);
    bench.until(() => damagedOf(bench, id).length === 2);
    bench.until(() => bench.r(id).status().notes.join().includes('new ones are taken'));
    bench.until(() => damagedOf(bench, id).length === 0, 3000);
    const held = indexesOf(bench, id);
    expect(held.every((index) => index > 120)).toBe(true);
    bench.run(2000);
    expect([1, 2, 3].map((each) => indexesOf(bench, each))).toEqual([held, held, held]);
    expect(bench.halts).toEqual([]);
  }
});

test("a restart before the checkpoint's own snapshot is mended: of three the peers' one is installed, alone it is refused", () => {
  const three = compacted(3);
  three.onWire = withoutParts(3);
  rot(three, 3, [110, 120]);
  three.until(() => damagedOf(three, 3).length === 2);
  three.restart(3);
  expect(three.r(3).executor.applied).toBe(-1);
  three.run(50);
  expect(three.r(3).executor.applied).toBe(-1);
  three.onWire = (_from, _to, message) => message;
  three.until(() => three.r(3).executor.applied === three.r(1).executor.applied);
  expect(three.eventsOf(3, 'install')).toEqual([{ kind: 'install', index: 120 }]);
  expect(three.r(3).status().digest).toBe(three.r(1).status().digest);
  three.put(5);

  const one = compacted(1);
  rot(one, 1, [120]);
  one.until(() => damagedOf(one, 1).length === 1);
  one.crash(1);
  rot(one, 1, [110]);
  const files = filesOf(one, 1);
  expect(() => one.start(1)).toThrow(/E_SNAPSHOT: the log begins at index .* no snapshot below it can be read/);
  expect(filesOf(one, 1)).toEqual(files);
});

test('a restart with the older of the two intact goes on from that, and takes the newer again', () => {
  for (const n of [1, 3]) {
    const bench = compacted(n);
    const whole = bytesOf(bench, n, 120);
    bench.onWire = withoutParts(n);
    rot(bench, n, [120]);
    bench.until(() => damagedOf(bench, n).length === 1);
    bench.restart(n);
    expect(bench.r(n).executor.applied).toBe(110);
    bench.until(() => indexesOf(bench, n).includes(120));
    expect(bytesOf(bench, n, 120)).toBe(whole);
  }
});

test("the checkpoint's own snapshot, taken again, is confirmed: a quorum has reported these bytes before", () => {
  const bench = compacted(3);
  bench.crash(3);
  rot(bench, 3, [120]);
  bench.onWire = (_from, to, message) => (to === 3 && message.type === 'snapshotReport' ? null : message);
  bench.start(3);
  expect(bench.r(3).executor.applied).toBe(110);
  bench.until(() => indexesOf(bench, 3).includes(120));
  expect(bench.r(3).snapshots.list().at(-1)).toMatchObject({ index: 120, confirmed: true });
});

test('a peer whose own copy is bad gives bytes that are not believed; another one is asked', () => {
  const bench = compacted(3);
  const whole = bytesOf(bench, 3, 120);
  let bad = 0;
  bench.onWire = (from, to, message) => {
    if (message.type !== 'snapshotPart' || to !== 3 || from !== 1) return message;
    bad++;
    return { ...message, bytes: message.bytes.map((byte) => byte ^ 1) };
  };
  rot(bench, 3, [120]);
  bench.until(() => bench.eventsOf(3, 'mended').length === 1);
  expect([bytesOf(bench, 3, 120), bad < 5]).toEqual([whole, true]);
});

test('a power cut at any step of the replacement leaves a damaged file or the whole one, and it gets there', () => {
  const seen = new Set<string>();
  const rotten = (): ReplicaBench => {
    const bench = compacted(3);
    rot(bench, 3, [120]);
    return bench;
  };
  const probe = rotten();
  const before = bytesOf(probe, 3, 120);
  const renamed = probe.stepsUntil(3, () => bytesOf(probe, 3, 120) !== before);
  for (const steps of [renamed - 40, ...Array.from({ length: 6 }, (_, i) => renamed - 3 + i)]) {
    const bench = rotten();
    const whole = bytesOf(bench, 1, 120);
    bench.stepsUntil(3, (count) => count === steps);
    bench.cutPower(3);
    const left = bytesOf(bench, 3, 120);
    expect([whole, before]).toContain(left);
    seen.add(left === whole ? 'whole' : 'damaged');
    bench.stalled.clear();
    bench.start(3);
    bench.until(() => indexesOf(bench, 3).includes(120) && bytesOf(bench, 3, 120) === whole, 3000);
    expect(bench.halts).toEqual([]);
  }
  expect([...seen].sort()).toEqual(['damaged', 'whole']);
}, 60_000);

test('one bad read of a snapshot is not damage', () => {
  const bench = compacted(1);
  const file = bench.disk(1).open(snapshotPath(120));
  const prototype = Object.getPrototypeOf(file) as typeof file;
  const { read } = prototype;
  let last = '';
  let misread = 0;
  // Never the same place twice running.
  prototype.read = function (offset, length, callback) {
    const place = `${this.path}:${offset}`;
    const wrong = this.path.endsWith('.snap') && place !== last;
    last = place;
    read.call(this, offset, length, (error, bytes) => {
      if (wrong) misread++;
      callback(error, wrong && bytes !== null ? bytes.map((byte) => byte ^ 1) : bytes);
    });
  };
  try {
    const { passes } = bench.r(1).status().scrub;
    bench.until(() => bench.r(1).status().scrub.passes > passes + 2);
  } finally {
    prototype.read = read;
    file.close();
  }
  expect([misread > 10, scrubOf(bench, 1), damagedOf(bench, 1)]).toEqual([true, [0, 0], []]);
});

test('a fetched snapshot that the disk gives back cut short is not believed, and nothing is thrown: it is fetched again', () => {
  const bench = compacted(3);
  bench.crash(3);
  bench.put(120);
  bench.until(() => [1, 2].every((id) => bench.r(id).store.first > 130));
  const prototype = Object.getPrototypeOf(bench.disk(3).open('manifest.a')) as DiskFile;
  const { read } = prototype;
  let cut = 0;
  prototype.read = function (offset, length, callback) {
    read.call(this, offset, length, (error, bytes) => {
      const short = bytes !== null && this.path.endsWith('.part') && ++cut === 1;
      callback(error, short ? bytes.subarray(0, 512) : bytes);
    });
  };
  try {
    bench.start(3);
    bench.until(() => bench.eventsOf(3, 'install').length === 1);
  } finally {
    prototype.read = read;
  }
  bench.until(() => bench.r(3).executor.applied === bench.r(1).executor.applied);
  expect(cut).toBeGreaterThan(1);
  expect(bench.halts).toEqual([]);
});
