/**
 * The rows of the storage fault table that the engine answers for, one test a row, named after it. Elsewhere: short writes and real power cuts
 * (packages/native, apps/node/e2e), latent rot (scrubber.test.ts), slow disks and snapshots (chaos/storage-faults.test.ts), two processes on one directory
 * (packages/native, lock.test.ts), wiped disks and copied directories (first boot and recover), divergence (digests).
 */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at, NONE } from './commit-index.ts';
import { toHex } from './hash.ts';
import { encodeManifest, MANIFEST_PATHS } from './manifest.ts';
import { encodeSegmentHeader, segmentPath } from './segment.ts';
import { TAIL_PATH } from './tail-record.ts';
import { batch, Bench, Chain, CLUSTER, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import type { DiskFile } from './virtual-disk.ts';

const codec = await createWasmCodec();
const OVER = { codec, segmentBytes: 16 * 1024 };
const FIRST = segmentPath(0);
const ALONE = manifest({ members: [1], incarnations: [1], founders: [new Uint8Array(16)] });
/** Of a frame with 100 bytes of body. */
const FRAME = 216;

function logOf(count: number, state = manifest()): { bench: Bench; chain: Chain; disk: MemoryDisk } {
  const disk = formatted(new MemoryDisk(), state);
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  for (let i = 0; i < count; i++) bench.append(chain.next([100]));
  bench.settle();
  return { bench, chain, disk };
}

function opening(disk: MemoryDisk, over: Parameters<typeof openLog>[1] = {}): string {
  const opened = openLog(disk, { ...OVER, ...over });
  if ('refusal' in opened) return `${opened.refusal.code}: ${opened.refusal.message}`;
  const { outcome, end, faulty } = opened.recovered;
  return [outcome, end, ...faulty.map(({ from, to }) => `${from}..${to}`)].join(' ');
}

const frameAt = (index: number): number => 64 + index * FRAME;
const contents = (disk: MemoryDisk): string[] => disk.paths().map((path) => `${path} ${toHex(disk.content(path))}`);

test('Torn write, last un-acked entry: cut, and nothing that was acknowledged with it', () => {
  for (const state of [manifest(), ALONE]) {
    const { bench, chain, disk } = logOf(3, state);
    bench.append(chain.next([3000]));
    for (let sectors = 2; sectors < 7; sectors++) {
      const torn = disk.crash({ names: 0, sector: (_, sector) => sector < sectors });
      expect(opening(torn)).toBe('torn 2');
    }
  }
});

test('Misdirected write: what stands in the wrong place is damage, whatever its checksum says', () => {
  const { disk, chain } = logOf(6);
  const segment = disk.content(FIRST);
  const misdirected = disk.clone();
  misdirected.content(FIRST).copyWithin(frameAt(3), frameAt(2), frameAt(3));
  expect(opening(misdirected)).toBe('faulty 5 3..3');
  // The tail record of another cluster, and the header of another cluster's segment.
  const other = new Uint8Array(16).fill(1);
  const foreign = disk.clone();
  encodeSegmentHeader(foreign.content(FIRST), 0, new Uint8Array(16), other, 1, false);
  expect(opening(foreign)).toMatch(/^E_CLUSTER_ID: .*0101.*0707/);
  // A frame of this index, of another history.
  const stranger = new Chain();
  for (let i = 0; i < 4; i++) stranger.next([100], 1, 5);
  const replaced = disk.clone();
  replaced.content(FIRST).set(stranger.batches[3]!.bytes, frameAt(3));
  expect(opening(replaced)).toBe('faulty 5 3..3');
  expect(segment.length).toBe(16 * 1024);
  expect(chain.first).toBe(6);
});

test('Bit rot — header: the next entries are found again behind it, and it is repaired by its hash', () => {
  const { disk, chain } = logOf(6);
  for (let byte = 0; byte < 80; byte++) {
    const rotten = disk.clone();
    rotten.flip(FIRST, frameAt(2) + byte, 0x10);
    const bench = new Bench(rotten, OVER);
    expect(bench.recovered.faulty).toMatchObject([{ from: 2, to: 2, hash: chain.hashOf(2) }]);
    bench.store.repair(chain.batches[2]!, () => {});
    bench.settle();
    expect(bench.readAll().length).toBe(6);
  }
});

test('Bit rot — payload / middle of log: nothing is served from it, nothing else is lost; alone it is refused and untouched', () => {
  const { disk } = logOf(6);
  disk.flip(FIRST, frameAt(2) + 130);
  const bench = new Bench(disk, OVER);
  expect(bench.recovered).toMatchObject({ outcome: 'faulty', end: 5, faulty: [{ from: 2, to: 2 }] });
  const served: string[] = [];
  for (let index = 0; index < 6; index++)
    bench.store.read(index, 1, (outcome) => served.push(`${index} ${outcome.kind}`));
  bench.settle();
  expect(served.sort()).toEqual(['0 frames', '1 frames', '2 faulty', '3 frames', '4 frames', '5 frames']);
  const alone = logOf(6, ALONE).disk;
  alone.flip(FIRST, frameAt(2) + 130);
  const before = contents(alone);
  expect(opening(alone)).toMatch(
    /^E_LOG_CORRUPT: .*2\.\.2.*no file was changed.*chronon log verify.*recover --accept-loss/,
  );
  expect(contents(alone)).toEqual(before);
});

test('Bit rot — tail (acked): as in the middle, never a shorter log', () => {
  const { disk } = logOf(6);
  disk.flip(FIRST, frameAt(5) + 130);
  expect(opening(disk)).toBe('faulty 5 5..5');
  const alone = logOf(6, ALONE).disk;
  alone.flip(FIRST, frameAt(5) + 5);
  expect(opening(alone)).toMatch(/^E_LOG_CORRUPT/);
});

test('Lost writes / fsync error (EIO): never tried again, the log is poisoned, a restart verifies what there is', () => {
  const { bench, chain, disk } = logOf(3);
  const barriers = disk.stats.barriers;
  disk.failures.push('EIO');
  bench.append(chain.next([100]));
  bench.append(chain.next([100]));
  bench.settle();
  bench.store.tick();
  bench.settle();
  expect(bench.fatal).toMatchObject([{ code: 'E_FSYNC', message: expect.stringContaining('never tried again') }]);
  expect([bench.promised, disk.stats.barriers]).toEqual([2, barriers]);
  expect(opening(disk.restart())).toBe('clean 2');
});

test('EIO on write: as an fsync error, whichever file it strikes', () => {
  for (const write of [0, 1]) {
    const { bench, disk } = logOf(3);
    for (let i = 0; i < write; i++) disk.failures.push(null);
    disk.failures.push('EIO');
    bench.store.saveManifest(manifest({ view: 4 }), () => bench.fatal.push({ code: 'E_ASSERT', message: 'stored' }));
    bench.settle();
    expect(bench.fatal.map(({ code }) => code)).toEqual(['E_FSYNC']);
  }
});

test('fsync lies / lost after ack on ≤f nodes: the tail record knows what is gone', () => {
  for (const state of [manifest(), ALONE]) {
    const { disk } = logOf(6, state);
    // The device forgot a block that it had acknowledged.
    disk.content(FIRST).fill(0, frameAt(3));
    if (state === ALONE) expect(opening(disk)).toMatch(/^E_LOG_CORRUPT/);
    else expect(opening(disk)).toBe('faulty 5 3..5');
  }
});

test('ENOSPC: it shows when the next segment is made, not inside an append, and ends with the shortage', () => {
  const bench = new Bench(formatted(new MemoryDisk()), OVER).settle();
  const chain = new Chain();
  for (let i = 0; i < 5; i++) bench.append(chain.next([3000]));
  bench.settle();
  bench.disk.capacityBytes = bench.disk.usedBytes();
  for (let i = 0; i < 6; i++) bench.append(chain.next([3000]));
  bench.settle();
  // The spare segment took five more; the eleventh frame waits.
  expect([bench.promised, bench.store.full, bench.space, bench.fatal]).toEqual([9, true, [true], []]);
  let voted = false;
  bench.store.saveManifest(manifest({ view: 7, headers: suffix(...chain.batches.slice(0, 10)) }), () => (voted = true));
  bench.settle();
  expect(voted).toBe(true);
  expect(opening(bench.disk.clone())).toBe('clean 9');
  bench.disk.capacityBytes = Number.POSITIVE_INFINITY;
  bench.store.tick();
  bench.settle();
  expect([bench.promised, bench.store.full, bench.space]).toEqual([10, false, [true, false]]);
});

test('EIO on read: a log entry is as rotten; at opening the replica does not start', () => {
  const written = new Bench(formatted(new MemoryDisk()), OVER);
  const chain = new Chain();
  for (let i = 0; i < 5; i++) written.append(chain.next([3000]));
  written.settle();
  const bench = new Bench(written.disk.restart(), OVER);
  bench.disk.unreadable.add(`${FIRST}:2`);
  const outcomes: string[] = [];
  for (let index = 0; index < 5; index++)
    bench.store.read(index, 1, (outcome) => outcomes.push(`${index} ${outcome.kind}`));
  bench.settle();
  // Frames 2 and 3 reach into the block, and the way to 4 leads through the header of 3.
  expect(outcomes.sort()).toEqual(['0 frames', '1 frames', '2 faulty', '3 faulty', '4 faulty']);
  // What stands behind is found all the same, by the hash of the log's end, unless a read to be believed twice is not given.
  expect(bench.store.faulty).toEqual([{ from: 2, to: 3 }]);
  bench.store.read(4, 1, (outcome) => outcomes.push(`4 ${outcome.kind}`));
  bench.settle();
  expect(outcomes.at(-1)).toBe('4 frames');
  const unreadable = bench.disk.clone();
  unreadable.readFailures.push('EIO');
  expect(opening(unreadable)).toMatch(/^E_IO_READ: the data directory cannot be read: .*EIO/);
});

test('Manifest corruption: one good copy repairs the other, none is a refusal that makes up no vote', () => {
  const { disk } = logOf(3);
  const one = disk.clone();
  one.flip('manifest.b', 90);
  expect(opening(one)).toBe('clean 2');
  one.flip('manifest.a', 90);
  expect(opening(one)).toBe('clean 2');
  for (const path of MANIFEST_PATHS) disk.flip(path, 90);
  const before = contents(disk);
  expect(opening(disk)).toMatch(/^E_MANIFEST: .*manifest\.a.*manifest\.b.*never made up/);
  expect(contents(disk)).toEqual(before);
});

test('Manifest missing but log present: refused, and not formatted over', () => {
  const { disk } = logOf(3);
  for (const path of MANIFEST_PATHS) disk.remove(path);
  const before = contents(disk);
  expect(opening(disk)).toMatch(/^E_MANIFEST_MISSING: .*restore manifest\.a/);
  expect(() => formatted(disk)).toThrow('nothing was changed');
  expect(contents(disk)).toEqual(before);
});

test('Directory entry lost: a missing segment is damage, not a shorter log', () => {
  const bench = new Bench(formatted(new MemoryDisk()), OVER);
  const chain = new Chain();
  for (let i = 0; i < 12; i++) bench.append(chain.next([3000]));
  bench.settle();
  for (const [base, lost] of [
    [0, '0..4'],
    [5, '5..9'],
    [10, '10..11'],
  ] as const) {
    const disk = bench.disk.clone();
    disk.remove(segmentPath(base));
    expect(opening(disk)).toBe(`faulty 11 ${lost}`);
  }
  const tailless = bench.disk.clone();
  tailless.remove(TAIL_PATH);
  const opened = openLog(tailless, OVER);
  expect('recovered' in opened && opened.recovered).toMatchObject({ recoveringHead: true, faulty: [] });
});

test('Data dir copied/rolled back: parts of different age contradict each other', () => {
  const { bench, disk } = logOf(3);
  const old = disk.clone();
  bench.store.install(manifest({ view: 5, logView: 5 }), at(2), NONE, () => {});
  bench.settle();
  for (const path of MANIFEST_PATHS) disk.content(path).set(old.content(path));
  expect(opening(disk)).toMatch(/^E_MANIFEST: log\/tail is of log view 5, the manifest of 1/);
});

test('Wrong cluster / node id, wrong version: refused with both, no file is touched', () => {
  const { disk } = logOf(3);
  const before = contents(disk);
  const other = new Uint8Array(16).fill(1);
  expect(opening(disk, { expect: { clusterId: other, replicaId: 1 } })).toMatch(/^E_CLUSTER_ID: .*0707.*0101/);
  expect(opening(disk, { expect: { clusterId: CLUSTER, replicaId: 3 } })).toMatch(/^E_REPLICA_ID: .*1.*3/);
  expect(contents(disk)).toEqual(before);
  const bytes = encodeManifest(manifest(), 60, codec);
  bytes[4] = 9;
  const length = new DataView(bytes.buffer).getUint32(16, true);
  codec.hash(bytes, 0, length - 16, bytes, length - 16);
  disk.content('manifest.a').set(bytes);
  expect(opening(disk)).toMatch(/^E_VERSION: .*manifest\.a has manifest version 9/);
});

test('Misdirected write: a copy that stands where there is room for it is not believed once the repair of the slots before it runs into it', () => {
  const { disk, chain } = logOf(30);
  const bytes = disk.content(FIRST);
  // Frames 20..24 overwrite 14..18 and are themselves gone: only the copies are intact, and with shortest frames there would be room before them.
  const copies = bytes.slice(frameAt(20), frameAt(25));
  bytes.fill(0, frameAt(2), frameAt(25));
  bytes.set(copies, frameAt(14));
  const bench = new Bench(disk, OVER);
  repairAll(bench, chain);
  expect(bench.store.faulty).toEqual([]);
  expect(bench.readAll().map((f) => toHex(f.hash))).toEqual(chain.batches.map((b) => toHex(b.lastHash)));
  expect(opening(disk)).toBe('clean 29');
});

test('Misdirected read: the tail block is not written back as one bad read gave it', () => {
  for (const bad of [1, 2]) {
    const { disk, chain } = logOf(6);
    const bench = new Bench(disk, OVER);
    bench.settle();
    const open = disk.open(FIRST);
    const prototype = Object.getPrototypeOf(open) as typeof open;
    const { read } = prototype;
    const other = new Chain();
    for (let i = 0; i < 5; i++) other.next([100]);
    bench.store.install(manifest({ view: 2, logView: 2, headers: suffix(other.batches[4]!) }), at(4), at(5), () => {});
    // Locating frame 5 is the first read.
    let reads = 0;
    prototype.read = function (offset, length, callback) {
      const wrong = reads > 0 && reads <= bad;
      reads++;
      read.call(this, offset, length, (error, bytes) =>
        callback(error, wrong ? new Uint8Array(length).fill(0x55) : bytes),
      );
    };
    bench.settle();
    prototype.read = read;
    bench.append(other.next([120], 2), 2);
    bench.settle();
    expect(reads).toBeGreaterThan(1);
    expect(bench.fatal).toEqual([]);
    expect(opening(disk)).toMatch(/ 5$/);
    const all = new Bench(disk, OVER).readAll();
    expect(all.map((f) => toHex(f.hash))).toEqual(other.batches.map((b) => toHex(b.lastHash)));
    expect(toHex(chain.hashOf(4))).toBe(toHex(other.hashOf(4)));
  }
});

test('Misdirected write: where the log is cut, the chain hash is the one that is known, not what an older frame above states', () => {
  const { bench, chain, disk } = logOf(8);
  // An older frame of index 5, whole in itself: what its slot held before a write that was lost.
  const older = new Chain();
  for (let i = 0; i < 6; i++) older.next([100], 1, 3);
  disk.content(FIRST).set(older.batches[5]!.bytes, frameAt(5));
  const state = manifest({ view: 2, logView: 2, headers: suffix(chain.batches[4]!) });
  bench.store.install(state, at(4), at(4), () => {});
  bench.settle();
  bench.store.close();
  expect(bench.fatal).toEqual([]);
  expect(opening(disk)).toBe('torn 4');
  expect(toHex(new Bench(disk, OVER).recovered.endHash)).toBe(toHex(chain.hashOf(4)));
});

test('Misdirected write: the older frame that stands where a write was lost is given to nobody, and the right one is written', () => {
  const disk = formatted(new MemoryDisk());
  const chain = new Chain();
  const bench = new Bench(disk, { ...OVER, stated: (index) => chain.hashOf(index) });
  for (let i = 0; i < 8; i++) bench.append(chain.next([100]));
  bench.settle();
  const good = disk.content(FIRST).slice();
  disk.content(FIRST).set(batch(5, chain.hashOf(4), [100], 1, 9).bytes, frameAt(5));
  const given = (from: number): string => {
    let said = '';
    bench.store.read(from, 1024, (outcome) => {
      said = outcome.kind === 'frames' ? `${outcome.batch.first}..${outcome.batch.last}` : outcome.kind;
      if (outcome.kind === 'faulty') said += ` ${outcome.index}`;
    });
    bench.settle();
    return said;
  };
  expect([given(3), given(5)]).toEqual(['3..4', 'faulty 5']);
  bench.store.repair(chain.batches[5]!, () => {});
  bench.settle();
  expect(given(5)).toBe('5..7');
  expect(Buffer.compare(disk.content(FIRST).subarray(0, frameAt(8)), good.subarray(0, frameAt(8)))).toBe(0);
});

/** A log of 45 frames with the block behind 4096 read, or overwritten, with what stands 512 bytes before it: frames 18..34 seem to stand that much too high. */
const displace = (bytes: Uint8Array): Uint8Array => bytes.copyWithin(4096, 3584, 7680);

function displaced(): { disk: MemoryDisk; chain: Chain } {
  const { bench, chain, disk } = logOf(45);
  // Their headers are stored: that is what those frames are believed by.
  bench.store.saveManifest(manifest({ headers: suffix(...chain.batches.slice(20, 37)) }), () => {});
  bench.settle();
  bench.store.close();
  return { disk: disk.restart(), chain };
}

test('Misdirected read: damage that one bad read shows at opening is none', () => {
  const { disk } = displaced();
  const before = toHex(disk.content(FIRST));
  const prototype = Object.getPrototypeOf(disk.open(FIRST)) as DiskFile;
  const { readSync } = prototype;
  let misread = 0;
  prototype.readSync = function (offset, into) {
    const got = readSync.call(this, offset, into);
    if (this.path === FIRST && into.length > 8192 && misread++ === 0) displace(into);
    return got;
  };
  try {
    expect(opening(disk)).toBe('clean 44');
  } finally {
    prototype.readSync = readSync;
  }
  expect(misread).toBe(2);
  expect(toHex(disk.content(FIRST))).toBe(before);
});

/** Repairs what is damaged, the lowest first. */
function repairAll(bench: Bench, chain: Chain): void {
  const wanted = (): number[] =>
    bench.store.faulty.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
  for (let tries = 0; tries < 100 && wanted().length > 0; tries++) {
    bench.store.repair(chain.batches[wanted()[0]!]!, () => {});
    bench.settle();
  }
}

test('Misdirected write: frames behind a copy in a wrong place are not written over, whichever hole is repaired first and what is found damaged in the copy', () => {
  for (const [first, found] of [
    [[], null],
    [[], 25],
    [[35, 36, 37, 38], null],
    [[35, 36, 37, 38], 25],
  ] as const) {
    const { disk, chain } = displaced();
    const before = toHex(disk.content(FIRST));
    displace(disk.content(FIRST));
    const bench = new Bench(disk, OVER);
    expect(bench.recovered.faulty).toMatchObject([
      { from: 17, to: 17 },
      { from: 35, to: 38 },
    ]);
    if (found !== null) {
      disk.flip(FIRST, frameAt(found) + 512 + 130);
      bench.store.read(found, 1, () => {});
      bench.settle();
    }
    const behind = toHex(disk.content(FIRST).subarray(frameAt(38)));
    for (const index of first) {
      bench.store.repair(chain.batches[index]!, () => {});
      bench.settle();
      expect(toHex(disk.content(FIRST).subarray(frameAt(38)))).toBe(behind);
    }
    repairAll(bench, chain);
    expect(bench.store.faulty).toEqual([]);
    expect(toHex(disk.content(FIRST))).toBe(before);
    expect(opening(disk)).toBe('clean 44');
  }
});

test('Bit rot: what an install finds damaged on its way to where it cuts the log is asked for, what it cuts off is not', () => {
  for (const [rotten, told] of [
    [[3], [3]],
    [
      [3, 4, 5],
      [3, 4, 5],
    ],
    [[7], []],
  ] as const) {
    const { disk, chain } = logOf(10);
    const bench = new Bench(disk, OVER).settle();
    for (const index of rotten) disk.flip(FIRST, frameAt(index) + 20);
    const hash = chain.hashOf(6);
    bench.store.install(manifest({ view: 2, logView: 2 }), at(6), at(6), () => {}, hash);
    // The log goes on at once, with another frame where a damaged one stood.
    const other = batch(7, hash, [100], 2, 9);
    bench.append(other, 2);
    bench.settle();
    expect([bench.damaged, bench.store.faulty.length > 0]).toEqual([[...told], told.length > 0]);
    for (const index of told) bench.store.repair(chain.batches[index]!, () => {});
    bench.settle();
    const hashes = [...chain.batches.slice(0, 7), other].map(({ lastHash }) => toHex(lastHash));
    expect(bench.readAll().map(({ hash: read }) => toHex(read))).toEqual(hashes);
    expect(bench.fatal).toEqual([]);
  }
});

test('Directory entry lost: a log that ends in a file that is gone is cut there all the same, and opens again', () => {
  for (const keep of [4, 6]) {
    const { disk, chain } = logOf(7);
    disk.remove(FIRST);
    const opened = new Bench(disk, OVER).settle();
    expect(opened.recovered.faulty).toMatchObject([{ from: 0, to: 6 }]);
    opened.store.install(manifest({ view: 2, logView: 2 }), at(keep), at(keep), () => {}, chain.hashOf(keep));
    opened.settle();
    expect(opened.fatal).toEqual([]);
    opened.store.close();
    const again = new Bench(disk, OVER).settle();
    expect(again.recovered.faulty).toMatchObject([{ from: 0, to: keep }]);
    for (const part of chain.batches.slice(0, keep + 1)) again.store.repair(part, () => {});
    again.settle().store.close();
    expect(opening(disk)).toBe(`clean ${keep}`);
  }
});

test('Misdirected read: a frame is read again before it is called damaged', () => {
  const { disk, chain } = logOf(6);
  const bench = new Bench(disk, OVER);
  bench.settle();
  const prototype = Object.getPrototypeOf(disk.open(FIRST)) as DiskFile;
  const { read } = prototype;
  let reads = 0;
  prototype.read = function (offset, length, callback) {
    const wrong = reads++ === 0;
    read.call(this, offset, length, (error, bytes) =>
      callback(error, wrong ? disk.content(FIRST).slice(0, length) : bytes),
    );
  };
  let seen = '';
  try {
    bench.store.read(3, 1, (outcome) => {
      seen = outcome.kind === 'frames' ? toHex(outcome.batch.hashOf(3)) : outcome.kind;
    });
    bench.settle();
  } finally {
    prototype.read = read;
  }
  expect([seen, reads, bench.store.faulty, bench.damaged]).toEqual([toHex(chain.hashOf(3)), 2, [], []]);
});
