/**
 * The corruptor: one byte of one file of a small cluster of real replicas is flipped, then everything starts from those disks. The outcome is harmless,
 * repaired, covered by a snapshot (alone) or refused; never a wrong answer, never an exception, never a replica that stops later. Every file type; alone nothing can be repaired,
 * of three the other two repair it. The lock file is packages/native's (lock.test.ts): its content decides nothing.
 *
 * A sample of the bytes, evenly spread; CHRONON_CORRUPT=all takes each (about an hour).
 */
import { describe, expect, test } from 'vitest';
import { createWasmCodec } from '../engine/codec/wasm.ts';
import { toHex } from '../engine/hash.ts';
import { HeaderSuffix } from '../engine/header-suffix.ts';
import { encodeManifest, MANIFEST_PATHS } from '../engine/manifest.ts';
import { segmentPath } from '../engine/segment.ts';
import { batch, openLog, suffix } from '../engine/testing/log-harness.ts';
import type { MemoryDisk } from '../engine/testing/memory-disk.ts';
import { MiniCluster } from './testing/mini-cluster.ts';

const codec = await createWasmCodec();
const ALL = process.env['CHRONON_CORRUPT'] === 'all';
/** Bytes a file that are flipped: so many that mean something, so many of the zeros. */
const SAMPLE = ALL ? Number.POSITIVE_INFINITY : 40;
const SAMPLE_ZEROS = ALL ? Number.POSITIVE_INFINITY : 3;
const KEYS = 110;
const TIMEOUT_MS = ALL ? 24 * 3600 * 1000 : 300_000;

interface Prepared {
  readonly disks: readonly MemoryDisk[];
  /** Execution digest by index, as the undamaged cluster has it. */
  readonly digests: ReadonlyMap<number, string>;
}

/** A stopped cluster with every key put: two snapshots, and several segments of a log that was compacted behind them. */
function prepared(replicas: number): Prepared {
  const cluster = new MiniCluster(codec, MiniCluster.format(codec, replicas));
  const digests = new Map<number, string>();
  for (let i = 0; i < KEYS; i++) {
    expect(cluster.put(keyOf(i), valueOf(i))).not.toBeNull();
    const { executor } = cluster.primary!.replica!;
    digests.set(executor.applied, toHex(executor.digest));
  }
  expect(cluster.until(() => cluster.living.every(({ replica }) => replica!.executor.applied >= KEYS))).toBe(true);
  cluster.close();
  return { disks: cluster.members.map(({ disk }) => disk.clone()), digests };
}

const keyOf = (i: number): string => `key-${i}`;
const valueOf = (i: number): string => `value ${i} `.repeat(1 + (i % 90));

/** Offsets to flip: evenly among the bytes that are not zero, and a few of the zeros. */
function offsetsOf(content: Uint8Array): number[] {
  const meaning: number[] = [];
  const zeros: number[] = [];
  content.forEach((byte, offset) => (byte === 0 ? zeros : meaning).push(offset));
  return [...spread(meaning, SAMPLE), ...spread(zeros, SAMPLE_ZEROS)];
}

function spread(offsets: readonly number[], count: number): number[] {
  if (offsets.length <= count) return [...offsets];
  return Array.from({ length: count }, (_, i) => offsets[Math.floor((i * offsets.length) / count)]!);
}

type Outcome = 'harmless' | 'repaired' | 'covered' | 'refused';

/** Starts from damaged disks, and says what became of it. */
function outcomeOf({ disks, digests }: Prepared, victim: number, where: string): Outcome {
  const found = openLog(disks[victim - 1]!.clone(), { codec, expect: { clusterId: null, replicaId: victim } });
  const clean = 'recovered' in found && found.recovered.faulty.length === 0 && !found.recovered.recoveringHead;
  const cluster = new MiniCluster(codec, disks);
  const damaged = cluster.members[victim - 1]!;
  if (damaged.replica === null) {
    expect([where, damaged.stopped]).toEqual([where, expect.stringMatching(/^E_(LOG_CORRUPT|MANIFEST): .*recover/)]);
    if (disks.length === 1) return 'refused';
  }
  const settled = cluster.until(() => cluster.living.every(({ replica }) => isWell(replica!)));
  expect([where, settled, cluster.members.map(({ stopped }) => stopped).filter((text) => text !== null)]).toEqual([
    where,
    true,
    damaged.replica === null ? [damaged.stopped] : [],
  ]);
  for (const i of [0, 19, 20, 57, KEYS - 1]) expect([where, cluster.get(keyOf(i))]).toEqual([where, valueOf(i)]);
  for (const { replica } of cluster.living) {
    const digest = replica!.executor.digestAt(KEYS);
    if (digest !== null) expect([where, toHex(digest)]).toEqual([where, digests.get(KEYS)]);
  }
  expect([where, cluster.put('another', 'one') !== null]).toEqual([where, true]);
  cluster.close();
  if (damaged.replica === null) return 'refused';
  // What was repaired is repaired on the medium.
  const { clusterId } = damaged.replica.node.state.manifest;
  const opened = openLog(damaged.disk.restart(), { codec, expect: { clusterId, replicaId: victim } });
  const left = 'recovered' in opened ? opened.recovered.faulty : [];
  if (disks.length === 1 && left.length > 0) {
    // Nobody can give it back, and nobody needs it.
    const { checkpoint } = damaged.replica.node.state.manifest;
    expect([where, left.every(({ to }) => to <= checkpoint.index)]).toEqual([where, true]);
    return 'covered';
  }
  expect([where, 'recovered' in opened, left]).toEqual([where, true, []]);
  return clean ? 'harmless' : 'repaired';
}

function isWell(replica: NonNullable<MiniCluster['members'][number]['replica']>): boolean {
  const { status, faulty, commit } = replica.status();
  const alone = replica.node.state.members.length === 1;
  const whole = faulty.every(({ to }) => alone && to <= replica.node.state.manifest.checkpoint.index);
  return status === 'normal' && whole && commit >= KEYS && replica.executor.applied >= KEYS;
}

describe.each([1, 3])('a cluster of %i', (replicas) => {
  const base = prepared(replicas);
  const names = base.disks[0]!.paths();

  test('has every file type', () => {
    expect(names.filter((name) => name.endsWith('.seg')).length).toBeGreaterThan(1);
    expect(names).not.toContain(segmentPath(0));
    expect(names.filter((name) => name.endsWith('.snap')).length).toBe(2);
    expect(names).toEqual(expect.arrayContaining(['log/tail', 'manifest.a', 'manifest.b']));
  });

  test.each(names)('one flipped byte of %s is harmless, repaired or refused', { timeout: TIMEOUT_MS }, (path) => {
    const seen = { harmless: 0, repaired: 0, covered: 0, refused: 0 };
    offsetsOf(base.disks[0]!.content(path)).forEach((offset, i) => {
      const victim = 1 + (i % replicas);
      const disks = base.disks.map((disk) => disk.clone());
      if (offset >= disks[victim - 1]!.content(path).length) return;
      disks[victim - 1]!.flip(path, offset, 1 << (offset % 8));
      seen[outcomeOf({ ...base, disks }, victim, `${path} of r${victim} at ${offset}`)]++;
    });
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
  const cluster = new MiniCluster(codec, [disk]);
  expect(cluster.members[0]!.stopped).toBeNull();
  expect(cluster.get(keyOf(KEYS - 1))).toBe(valueOf(KEYS - 1));
  expect(cluster.put('one', 'more')).toBeGreaterThan(end);
});
