/** The log of record, sentence by sentence (docs/log-format.md, "Recovery"): what counts, what is stale, what is missing, what is torn. */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at } from './commit-index.ts';
import { BLOCK_BYTES } from './constants.ts';
import { toHex } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import { encodeManifest, MANIFEST_PATHS } from './manifest.ts';
import { segmentPath } from './segment.ts';
import { encodeTail, slotOffset, TAIL_PATH, TAIL_SLOT_BYTES } from './tail-record.ts';
import { Bench, Chain, CLUSTER, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();
const OVER = { codec, segmentBytes: 16 * 1024 };
const FIRST = segmentPath(0);
/** Frames of 100 bytes of body take so many in the segment. */
const FRAME = 216;

/** A closed log of `count` frames of 100 bytes of body. */
function logOf(count: number, state = manifest()): { disk: MemoryDisk; chain: Chain } {
  const disk = formatted(new MemoryDisk(), state);
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  for (let i = 0; i < count; i++) bench.append(chain.next([100]));
  bench.settle();
  bench.store.close();
  return { disk, chain };
}

function store(disk: MemoryDisk, state: ReturnType<typeof manifest>): void {
  for (const path of MANIFEST_PATHS) {
    const file = disk.open(path, { create: true });
    file.writeSync(0, encodeManifest(state, 50, codec));
    file.barrierSync();
  }
}

/** Both slots say that the log ends with `index` of the first segment. */
function setTail(disk: MemoryDisk, chain: Chain, index: number, logView = 1, promised = index): void {
  const file = disk.open(TAIL_PATH);
  for (const sequence of [100, 101]) {
    const slot = new Uint8Array(TAIL_SLOT_BYTES);
    const end = 64 + (index + 1) * FRAME;
    encodeTail(slot, CLUSTER, sequence, logView, at(index), chain.hashOf(index), 0, end, at(promised));
    file.writeSync(slotOffset(sequence), slot);
  }
  file.barrierSync();
}

/** A chain that leaves `chain` behind `index`. */
function branch(chain: Chain, index: number): Chain {
  const other = new Chain();
  other.first = index + 1;
  other.hash = chain.hashOf(index);
  return other;
}

function headersOf(chain: Chain, from: number, to: number): HeaderSuffix {
  return suffix(...chain.batches.filter((part) => part.first >= from && part.last <= to));
}

test('frames of an older view above the head are stale, whatever they chain to', () => {
  // Frames 0..7 of view 1; the log of view 2 ends at 4, the tail record says so, and the cut off frames still chain.
  const { disk, chain } = logOf(8);
  store(disk, manifest({ view: 2, logView: 2, headers: headersOf(chain, 2, 4) }));
  setTail(disk, chain, 4, 2);
  const bench = new Bench(disk, OVER);
  expect(bench.recovered).toMatchObject({ outcome: 'torn', end: 4, head: 4, promised: 4 });
  const next = branch(chain, 4);
  bench.append(next.next([100], 2, 1), 2);
  bench.settle();
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ end: 5, head: 5 });
});

test('frames of the log view above the head count, promised or not', () => {
  const { disk, chain } = logOf(8);
  store(disk, manifest({ headers: headersOf(chain, 2, 4) }));
  setTail(disk, chain, 3);
  // 4 is stated by the headers; 5, 6 and 7 chain and are of the log view.
  expect(new Bench(disk, OVER).recovered).toMatchObject({ outcome: 'clean', end: 7, head: 7, faulty: [] });
});

test('above both the tail record and the last stored header a bad frame is torn, not faulty', () => {
  const { disk, chain } = logOf(8);
  setTail(disk, chain, 4);
  disk.flip(FIRST, 64 + 6 * FRAME + 90);
  expect(new Bench(disk, OVER).recovered).toMatchObject({ outcome: 'torn', end: 5, faulty: [] });
});

test('between the tail record and the last stored header a frame is missing: of the head, and nackable', () => {
  const { disk, chain } = logOf(5);
  const next = branch(chain, 4);
  const more = [next.next([100], 2), next.next([100], 2)];
  store(disk, manifest({ view: 2, logView: 2, headers: suffix(...chain.batches.slice(2), ...more) }));
  setTail(disk, chain, 4, 2);
  const { recovered } = new Bench(disk, OVER);
  expect(recovered).toMatchObject({ end: 4, head: 6, promised: 4, faulty: [], connected: true });
  expect(toHex(recovered.headHash)).toBe(toHex(next.hash));
  expect(recovered.notes.join()).toContain('indexes 5..6 are missing');
});

test('the log joins the stored headers at a damaged slot by what the frame above it says', () => {
  // Damage in slot 3, just below the first stored header; the frames from 5 on are of the view that was given up.
  const { disk, chain } = logOf(8);
  const next = branch(chain, 3);
  const fresh = [next.next([100], 2, 1), next.next([100], 2, 1)];
  store(disk, manifest({ view: 2, logView: 2, headers: suffix(...fresh) }));
  disk.flip(FIRST, 64 + 3 * FRAME + 90);
  const { recovered } = new Bench(disk, OVER);
  expect(recovered).toMatchObject({ connected: true, end: 3, head: 5, faulty: [{ from: 3, to: 3 }] });
  expect(toHex(recovered.faulty[0]!.hash!)).toBe(toHex(chain.hashOf(3)));
});

test('an older tail record is no head; it keeps an unreadable slot from being nacked, over restarts', () => {
  const { disk, chain } = logOf(8);
  const next = branch(chain, 3);
  const fresh = Array.from({ length: 3 }, () => next.next([100], 2, 1));
  store(disk, manifest({ view: 2, logView: 2, headers: suffix(...chain.batches.slice(2, 4), ...fresh) }));
  disk.flip(FIRST, 64 + 5 * FRAME + 90);
  for (let i = 0; i < 3; i++) {
    const { recovered, store: opened } = new Bench(disk, OVER);
    expect(recovered).toMatchObject({ end: 3, head: 6, promised: 5 });
    opened.close();
  }
});

test('an older tail record that knows of promises above itself keeps them through an install that was cut off, though stale frames stand there', () => {
  const { disk, chain } = logOf(8);
  const next = branch(chain, 4);
  const headers = suffix(...Array.from({ length: 4 }, () => next.next([100], 3, 1)));
  store(disk, manifest({ view: 3, logView: 3, headers, junction: { index: at(4), hash: chain.hashOf(4) } }));
  setTail(disk, chain, 4, 2, 6);
  for (let i = 0; i < 2; i++) {
    const { recovered, store: opened } = new Bench(disk, OVER);
    expect(recovered).toMatchObject({ end: 4, head: 8, promised: 6 });
    opened.close();
  }
});

test('a run behind a gap counts when it leads to a stored header or to the next segment, not otherwise', () => {
  const bench = new Bench(formatted(new MemoryDisk()), OVER);
  const chain = new Chain();
  for (let i = 0; i < 12; i++) bench.append(chain.next([3000]));
  bench.settle();
  bench.store.close();
  const faulty = (change: (disk: MemoryDisk) => void): { from: number; to: number }[] => {
    const disk = bench.disk.clone();
    change(disk);
    return new Bench(disk, OVER).recovered.faulty.map(({ from, to }) => ({ from, to }));
  };
  const size = 3120;
  const header = (index: number): number => 64 + (index % 5) * size + 2;
  // 1 is bad, 2..4 lead to the next segment.
  expect(faulty((disk) => disk.flip(FIRST, header(1)))).toEqual([{ from: 1, to: 1 }]);
  // 1 and 3 are bad: nothing anchors 2.
  const both = (disk: MemoryDisk): void => [1, 3].forEach((index) => disk.flip(FIRST, header(index)));
  expect(faulty(both)).toEqual([{ from: 1, to: 3 }]);
  // A stored header anchors it.
  expect(
    faulty((disk) => {
      both(disk);
      store(disk, manifest({ headers: headersOf(chain, 2, 2) }));
    }),
  ).toEqual([
    { from: 1, to: 1 },
    { from: 3, to: 3 },
  ]);
});

test('what recovery read from a cache is on the medium before the first message', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk, OVER).settle();
  const chain = new Chain();
  bench.append(chain.next([100]));
  bench.settle();
  bench.append(chain.next([100]));
  // The process is killed with its frames in flight: they reach the cache of the system, and no further.
  const killed = disk.restart(() => true);
  const again = new Bench(killed, OVER);
  expect(again.recovered.end).toBe(1);
  const cut = killed.crash({ names: 0, sector: () => false });
  expect(new Bench(cut, OVER).recovered).toMatchObject({ end: 1, promised: 1 });
});

test('a directory in which a replica has run is not one that was never formatted', () => {
  const lost = (disk: MemoryDisk): string => {
    for (const path of MANIFEST_PATHS) disk.remove(path);
    const opened = openLog(disk, OVER);
    return 'refusal' in opened ? opened.refusal.code : 'opened';
  };
  // Formatting that was cut off before the manifest.
  expect(lost(formatted(new MemoryDisk()))).toBe('E_NOT_FORMATTED');
  // The flush of its tail record failed as well: any of the four copies may be there.
  for (let landed = 0; landed < 16; landed++) {
    const disk = formatted(new MemoryDisk());
    const copies = [0, 1, 2, 3].filter((copy) => (landed & (1 << copy)) === 0);
    for (const copy of copies) disk.content(TAIL_PATH).fill(0, copy * BLOCK_BYTES, (copy + 1) * BLOCK_BYTES);
    expect([landed, lost(disk)]).toEqual([landed, 'E_NOT_FORMATTED']);
  }
  // It had voted, though its log is empty.
  expect(lost(logOf(0).disk)).toBe('E_MANIFEST_MISSING');
  expect(lost(logOf(1).disk)).toBe('E_MANIFEST_MISSING');
  const snapshotOnly = formatted(new MemoryDisk());
  snapshotOnly.open('snapshots/00000000000000000007.snap', { create: true });
  expect(lost(snapshotOnly)).toBe('E_MANIFEST_MISSING');
});
