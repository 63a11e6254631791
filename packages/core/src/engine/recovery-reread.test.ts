/**
 * A disk that gives the same wrong bytes each time it is asked, at any of the reads that opening makes: whatever it says then, what stands on the medium is not replaced by
 * it. Once the disk is in order, nothing that was promised is missing.
 */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { BLOCK_BYTES } from './constants.ts';
import { toHex } from './hash.ts';
import { encodeManifest, MANIFEST_PATHS } from './manifest.ts';
import { segmentPath } from './segment.ts';
import { batch, Bench, Chain, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import type { DiskFile } from './virtual-disk.ts';

const codec = await createWasmCodec();
const OVER = { codec, segmentBytes: 16 * 1024 };
const FIRST = segmentPath(0);

interface Given {
  readonly disk: MemoryDisk;
  readonly chain: Chain;
}

/** Frames that cross the blocks of one segment, closed. */
function given(state = manifest()): Given {
  const disk = formatted(new MemoryDisk(), state);
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  for (let i = 0; i < 12; i++) bench.append(chain.next([700]));
  bench.settle();
  bench.store.close();
  return { disk, chain };
}

type Wrong = (disk: MemoryDisk, offset: number, length: number) => Uint8Array;

/** What a disk may give instead: nothing, the block before, rot, what stood there when the log was shorter. */
const WRONG: Record<string, Wrong> = {
  zeros: (_, _offset, length) => new Uint8Array(length),
  'another place': (disk, offset, length) => {
    const bytes = disk.content(FIRST);
    const from = offset >= BLOCK_BYTES ? offset - BLOCK_BYTES : offset + BLOCK_BYTES;
    return bytes.slice(from, from + length);
  },
  rot: (disk, offset, length) => {
    const bytes = disk.content(FIRST).slice(offset, offset + length);
    bytes.fill(0xa5, length >> 1, (length >> 1) + 64);
    return bytes;
  },
  'an older write': (disk, offset, length) => {
    const bytes = disk.content(FIRST).slice(offset, offset + length);
    return bytes.fill(0, length >> 1);
  },
};

/** Opens while every read of the first segment from the `good`th on gives `wrong`; returns what became of it and how many reads there were. */
function openMisread(disk: MemoryDisk, good: number, wrong: Wrong): { outcome: string; reads: number } {
  const file = disk.open(FIRST);
  const prototype = Object.getPrototypeOf(file) as typeof file;
  const { readSync } = prototype;
  const kept = disk.clone();
  let reads = 0;
  prototype.readSync = function (offset, into) {
    const got = readSync.call(this, offset, into);
    if (this.path === FIRST && ++reads > good) into.set(wrong(kept, offset, got));
    return got;
  };
  try {
    const opened = openLog(disk, OVER);
    if ('store' in opened) opened.store.close();
    return { outcome: 'refusal' in opened ? opened.refusal.message : opened.recovered.outcome, reads };
  } finally {
    prototype.readSync = readSync;
  }
}

/** Every way to misread what is opened. After each the log is whole through `end`, but for the `damaged` frames that it had lost before; `scan`: how many reads are the scan's. */
function everyMisread(make: () => Given, { end = 11, damaged = [] as readonly number[], scan = 2 } = {}): void {
  const { reads } = openMisread(make().disk, Number.POSITIVE_INFINITY, WRONG['zeros']!);
  expect(reads).toBeGreaterThan(2);
  for (const [name, wrong] of Object.entries(WRONG)) {
    // The first reads, of the header (again when it is damaged) and of the segment, are the scan's: what it does not find is asked of the others.
    for (let good = scan; good < reads; good++) {
      const { disk, chain } = make();
      const where = `${name} from read ${good + 1} of ${reads} on`;
      openMisread(disk, good, wrong);
      const { recovered } = new Bench(disk.restart(), OVER);
      const faulty = recovered.faulty.flatMap(({ from, to }) =>
        Array.from({ length: to - from + 1 }, (_, i) => from + i),
      );
      expect([where, recovered.end, faulty]).toEqual([where, end, damaged]);
      expect(toHex(recovered.endHash)).toBe(toHex(chain.hashOf(end)));
    }
  }
}

test('one bad read, whichever it is, refuses nothing and loses nothing, where there is no other replica either', () => {
  const alone = manifest({ members: [1], incarnations: [1], founders: [new Uint8Array(16)] });
  for (const state of [alone, manifest()]) {
    for (let bad = 1, reads = bad; bad <= reads; bad++) {
      const { disk } = given(state);
      const prototype = Object.getPrototypeOf(disk.open(FIRST)) as DiskFile;
      const { readSync } = prototype;
      reads = 0;
      prototype.readSync = function (offset, into) {
        const got = readSync.call(this, offset, into);
        if (++reads === bad) into.fill(0x5a, 0, got);
        return got;
      };
      try {
        const { recovered, store } = new Bench(disk, OVER);
        expect([bad, recovered.end, recovered.faulty, recovered.recoveringHead]).toEqual([bad, 11, [], false]);
        store.close();
      } finally {
        prototype.readSync = readSync;
      }
      expect(new Bench(disk, OVER).recovered).toMatchObject({ end: 11, outcome: 'clean' });
    }
  }
});

test('bytes that no two reads give alike refuse as what cannot be read, not as what cannot be written', () => {
  const { disk } = given();
  const prototype = Object.getPrototypeOf(disk.open(FIRST)) as DiskFile;
  const { readSync } = prototype;
  let reads = 0;
  prototype.readSync = function (offset, into) {
    const got = readSync.call(this, offset, into);
    // Behind the scan, which reads the head and the whole of it.
    if (this.path === FIRST && ++reads > 2) into.fill(reads, 0, got);
    return got;
  };
  try {
    const opened = openLog(disk, OVER);
    expect('refusal' in opened ? opened.refusal : opened.recovered).toMatchObject({ code: 'E_IO_READ' });
  } finally {
    prototype.readSync = readSync;
  }
});

test('the block that a damaged segment header is written to', () => {
  everyMisread(
    () => {
      const made = given();
      made.disk.flip(FIRST, 20);
      return made;
    },
    { scan: 3 },
  );
});

test('the block that a damaged segment header shares with a damaged frame', () => {
  everyMisread(
    () => {
      const made = given();
      made.disk.flip(FIRST, 20);
      made.disk.flip(FIRST, 64 + 300);
      return made;
    },
    { damaged: [0], scan: 3 },
  );
});

test('the blocks from the tail record on', () => {
  everyMisread(given);
});

test('the last block of a file that is no whole blocks, and shorter than a segment', () => {
  everyMisread(() => {
    const made = given();
    const content = made.disk.content(FIRST).slice(0, 64 + 12 * 816 + 100);
    made.disk.remove(FIRST);
    const file = made.disk.open(FIRST, { create: true });
    file.writeSync(0, content);
    file.barrierSync();
    made.disk.syncDirectorySync('log');
    return made;
  });
});

test('where the frame ends behind which the log is cut', () => {
  everyMisread(
    () => {
      const made = given();
      // The next view chose another entry than the one here at 8, and this replica died before it cut its log.
      const { batches } = made.chain;
      const other = batch(8, batches[7]!.lastHash, [40], 2, 1);
      const state = manifest({ view: 2, logView: 2, headers: suffix(batches[6]!, batches[7]!, other) });
      for (const path of MANIFEST_PATHS) {
        const file = made.disk.open(path);
        file.writeSync(0, encodeManifest(state, 1_000, codec));
        file.barrierSync();
      }
      return made;
    },
    { end: 7 },
  );
});
