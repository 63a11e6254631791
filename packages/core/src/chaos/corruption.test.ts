/**
 * The corruptor: one byte of one file of a small cluster of real replicas is flipped, then everything starts from those disks. The outcome is harmless,
 * repaired, covered by a snapshot (alone) or refused; never a wrong answer, never an exception, never a replica that stops later. Every file type; alone nothing can be repaired,
 * of three the other two repair it. The lock file is packages/native's (lock.test.ts): its content decides nothing.
 *
 * A sample of the bytes, evenly spread; CHRONON_CORRUPT=all takes each (seven minutes of one core). What a replica does is a function of what it reads (time, chance and
 * order are given here), so a byte that the same course of events on whole disks never reads cannot change it: of these a few are flipped all the same, and the rest is proven by that.
 */
import { describe, expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { BLOCK_BYTES } from '../engine/constants.ts';
import { toHex } from '../engine/hash.ts';
import { HeaderSuffix } from '../engine/header-suffix.ts';
import { encodeManifest, MANIFEST_PATHS } from '../engine/manifest.ts';
import { segmentPath } from '../engine/segment.ts';
import { RECYCLED_PATH, SPARE_PATH } from '../engine/spare-segment.ts';
import { TAIL_PATH } from '../engine/tail-record.ts';
import { batch, openLog, suffix } from '../engine/testing/log-harness.ts';
import type { MemoryDisk } from '../engine/testing/memory-disk.ts';
import { MiniCluster } from './testing/mini-cluster.ts';

const codec = await createWasmCodec();
const ALL = process.env['CHRONON_CORRUPT'] === 'all';
/** Bytes a file that are flipped: so many of those that are read and mean something, so many of the zeros that are read, so many that are not read. */
const SAMPLE = ALL ? Number.POSITIVE_INFINITY : 40;
const SAMPLE_ZEROS = ALL ? Number.POSITIVE_INFINITY : 3;
const SAMPLE_UNREAD = 3;
const TIMEOUT_MS = ALL ? 24 * 3600 * 1000 : 300_000;
/** Puts, the newest of which are in the log and the others in snapshots; few keys, so that snapshots are small and a lost put is a wrong answer. */
const PUTS = 42;
const KEYS = 7;
const SMALL = { segmentBytes: 2 * BLOCK_BYTES, snapshotEvery: 12 };

interface Prepared {
  readonly disks: readonly MemoryDisk[];
  /** Index of the last put. */
  readonly end: number;
  /** Execution digest there, as the undamaged cluster has it. */
  readonly digest: string;
}

/** A stopped cluster with every key put: two snapshots, and several segments of a log that was compacted behind them. */
function prepared(replicas: number): Prepared {
  const cluster = new MiniCluster(codec, MiniCluster.format(codec, replicas), SMALL);
  let end = 0;
  for (let i = 0; i < PUTS; i++) end = cluster.put(keyOf(i), valueOf(i))!;
  expect(cluster.until(() => cluster.living.every(({ replica }) => replica!.executor.applied >= end))).toBe(true);
  const { executor } = cluster.primary!.replica!;
  expect(executor.applied).toBe(end);
  cluster.close();
  return { disks: cluster.members.map(({ disk }) => disk.clone()), end, digest: toHex(executor.digest) };
}

const keyOf = (i: number): string => `key-${i % KEYS}`;
const valueOf = (i: number): string => `value ${i} `.repeat(1 + ((i * 13) % 90));

/** Offsets to flip: evenly among the bytes that are not zero, and a few of the zeros; and how many are proven to change nothing. */
function offsetsOf(content: Uint8Array, wasRead: Uint8Array): { readonly flipped: number[]; readonly unread: number } {
  const meaning: number[] = [];
  const zeros: number[] = [];
  const unread: number[] = [];
  content.forEach((byte, offset) => (wasRead[offset] === 0 ? unread : byte === 0 ? zeros : meaning).push(offset));
  const some = spread(unread, SAMPLE_UNREAD);
  return {
    flipped: [...spread(meaning, SAMPLE), ...spread(zeros, SAMPLE_ZEROS), ...some],
    unread: unread.length - some.length,
  };
}

function spread(offsets: readonly number[], count: number): number[] {
  if (offsets.length <= count) return [...offsets];
  return Array.from({ length: count }, (_, i) => offsets[Math.floor((i * offsets.length) / count)]!);
}

/** As `expect(actual).toEqual(expected)`, without its price while all is well: this is asked millions of times. */
function mustBe(where: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) expect([where, actual]).toEqual([where, expected]);
}

type Outcome = 'harmless' | 'repaired' | 'covered' | 'refused';

/** Starts from damaged disks, and says what became of it. */
function outcomeOf({ disks, end, digest }: Prepared, victim: number, where: string): Outcome {
  const cluster = new MiniCluster(codec, disks, SMALL);
  const damaged = cluster.members[victim - 1]!;
  const refusal = damaged.stopped;
  if (refusal !== null) {
    expect([where, refusal]).toEqual([where, expect.stringMatching(/^E_(LOG_CORRUPT|MANIFEST): .*recover/)]);
    if (disks.length === 1) return 'refused';
  }
  const settled = cluster.until(() => cluster.living.every(({ replica }) => isWell(replica!, end)));
  for (const member of cluster.members) mustBe(where, member.stopped, member === damaged ? refusal : null);
  mustBe(where, settled, true);
  // One put before the older snapshot, one between the two, and those behind them.
  for (const i of [PUTS - 1, PUTS - 2, PUTS - 3, PUTS - 5, PUTS - KEYS])
    mustBe(where, cluster.get(keyOf(i)), valueOf(i));
  for (const { replica } of cluster.living) {
    const own = replica!.executor.digestAt(end);
    if (own !== null) mustBe(where, toHex(own), digest);
  }
  mustBe(where, cluster.put('another', 'one') !== null, true);
  cluster.close();
  if (damaged.replica === null) return 'refused';
  // What was repaired is repaired on the medium.
  const { clusterId, checkpoint } = damaged.replica.node.state.manifest;
  const expected = { clusterId, replicaId: victim };
  const opened = openLog(damaged.disk.restart(), { codec, expect: expected, segmentBytes: SMALL.segmentBytes });
  mustBe(where, 'recovered' in opened, true);
  const left = 'recovered' in opened ? opened.recovered.faulty : [];
  if (disks.length === 1 && left.length > 0) {
    // Nobody can give it back, and nobody needs it.
    for (const { to } of left) mustBe(where, to <= checkpoint.index, true);
    return 'covered';
  }
  if (left.length > 0) expect([where, left]).toEqual([where, []]);
  return damaged.openedWhole ? 'harmless' : 'repaired';
}

function isWell(replica: NonNullable<MiniCluster['members'][number]['replica']>, end: number): boolean {
  const { status, faulty, commit } = replica.status();
  const alone = replica.node.state.members.length === 1;
  const whole = faulty.every(({ to }) => alone && to <= replica.node.state.manifest.checkpoint.index);
  return status === 'normal' && whole && commit >= end && replica.executor.applied >= end;
}

/** For each file the bytes that any replica reads in the course of events which `outcomeOf` makes, on whole disks. */
function readsOf(base: Prepared): ReadonlyMap<string, Uint8Array> {
  const disks = base.disks.map((disk) => disk.clone());
  const reads = disks.map((disk) => disk.trackReads());
  expect(outcomeOf({ ...base, disks }, 1, 'whole disks')).toBe('harmless');
  const all = new Map<string, Uint8Array>();
  for (const path of base.disks[0]!.paths()) {
    const each = reads.map((of) => of.get(path)!);
    all.set(
      path,
      each[0]!.map((_, offset) => Number(each.some((one) => one[offset] !== 0))),
    );
  }
  return all;
}

describe.each([1, 3])('a cluster of %i', (replicas) => {
  const base = prepared(replicas);
  const reads = readsOf(base);
  const names = base.disks[0]!.paths();

  test('has every file type', () => {
    expect(names.filter((name) => name.endsWith('.seg')).length).toBeGreaterThan(1);
    expect(names).not.toContain(segmentPath(0));
    expect(names.filter((name) => name.endsWith('.snap')).length).toBe(2);
    expect(names).toEqual(expect.arrayContaining([RECYCLED_PATH, SPARE_PATH, TAIL_PATH, ...MANIFEST_PATHS]));
  });

  test.each(names)('one flipped byte of %s is harmless, repaired or refused', { timeout: TIMEOUT_MS }, (path) => {
    const { flipped, unread } = offsetsOf(base.disks[0]!.content(path), reads.get(path)!);
    const seen = { harmless: 0, repaired: 0, covered: 0, refused: 0 };
    flipped.forEach((offset, i) => {
      const victim = 1 + (i % replicas);
      const disks = base.disks.map((disk) => disk.clone());
      if (offset >= disks[victim - 1]!.content(path).length) return;
      const original = disks[victim - 1]!.content(path)[offset];
      disks[victim - 1]!.flip(path, offset, 1 << (offset % 8));
      mustBe(path, disks[victim - 1]!.content(path)[offset] !== original, true);
      seen[outcomeOf({ ...base, disks }, victim, `${path} of r${victim} at ${offset}`)]++;
    });
    const judged = Object.values(seen).reduce((sum, count) => sum + count, unread);
    if (ALL) expect(judged).toBe(base.disks[0]!.content(path).length);
    // Alone a damaged promise cannot be repaired: it is refused, or a snapshot covers it. Of three it always is.
    if (path.endsWith('.seg')) expect(replicas === 1 ? seen.refused + seen.covered : seen.repaired).toBeGreaterThan(0);
    if (path === names.findLast((name) => name.endsWith('.seg')) && replicas === 1)
      expect(seen.refused).toBeGreaterThan(0);
    if (!path.endsWith('.seg')) expect(seen.repaired + seen.refused).toBe(0);
    if (replicas === 3) expect(seen.refused).toBe(0);
  });
});

test('a cluster of one whose manifest states entries that were never written cuts them and goes on', () => {
  const { disks } = prepared(1);
  const disk = disks[0]!.clone();
  const opened = openLog(disk.clone(), { codec, expect: { clusterId: null, replicaId: 1 } });
  if (!('recovered' in opened)) throw new Error(opened.refusal.message);
  // On a full disk a manifest update overtakes the frames that wait for space; then the power fails.
  const { end, endHash, headers, manifest } = opened.recovered;
  const ghost = batch(end + 1, endHash, [10, 10], manifest.view);
  const bytes = new Uint8Array([...headers.slice(end - 4, end).bytes, ...suffix(ghost).bytes]);
  const state = { ...manifest, headers: new HeaderSuffix(end - 4, bytes) };
  for (const path of MANIFEST_PATHS) {
    const file = disk.open(path);
    file.writeSync(0, encodeManifest(state, 1_000_000, codec));
    file.barrierSync();
  }
  const cluster = new MiniCluster(codec, [disk], SMALL);
  expect(cluster.members[0]!.stopped).toBeNull();
  expect(cluster.get(keyOf(PUTS - 1))).toBe(valueOf(PUTS - 1));
  expect(cluster.put('one', 'more')).toBeGreaterThan(end);
});
