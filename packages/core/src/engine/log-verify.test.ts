import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { nobleCodec } from './codec/noble.ts';
import { createWasmCodec } from './codec/wasm.ts';
import { at } from './commit-index.ts';
import { toHex } from './hash.ts';
import { bytesOf } from './log-reader.ts';
import { type ShownEntry, verifyLogFile } from './log-verify.ts';
import { type LogFiles, lastPromised, verifyLogDirectory, verifySegment } from './log-verify-directory.ts';
import { Bench, Chain, formatted, manifest, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const VECTORS = fileURLToPath(new URL('../../../../../shared/vectors/rust-log-v1/', import.meta.url));
const present = existsSync(VECTORS);
const codecs = [nobleCodec, await createWasmCodec()];

interface Vector {
  readonly base_index: string;
  readonly entries: readonly Record<string, unknown>[];
  readonly tail_hash: string;
  readonly end_offset: number;
}

describe.skipIf(!present)('logs that the Rust implementation wrote (skipped: shared/vectors is not here)', () => {
  const names = ['single', 'compacted', 'batches-two-views'];
  const log = (name: string): Uint8Array => new Uint8Array(readFileSync(`${VECTORS}${name}.log`));
  const vector = (name: string): Vector => JSON.parse(readFileSync(`${VECTORS}${name}.json`, 'utf8')) as Vector;

  test.each(names)('%s verifies, field by field', (name) => {
    for (const codec of codecs) {
      const shown: ShownEntry[] = [];
      const report = verifyLogFile(name, bytesOf(log(name)), {
        codec,
        from: 0n,
        onEntry: (entry) => shown.push(entry),
      });
      const { entries, tail_hash } = vector(name);
      expect(shown).toEqual(entries.map((entry) => ({ ...entry, file: name })));
      expect(report).toEqual({
        ok: true,
        format: 1,
        firstIndex: entries[0]!['index'],
        lastIndex: entries[entries.length - 1]!['index'],
        entries: entries.length,
        tailHash: tail_hash,
      });
    }
  });

  test.each(names)('%s: damage is named by kind, index and offset', (name) => {
    const { entries, end_offset } = vector(name);
    const [codec] = codecs;
    const verify = (change: (bytes: Uint8Array) => Uint8Array | void) => {
      const bytes = log(name);
      const report = verifyLogFile(name, bytesOf(change(bytes) ?? bytes), { codec: codec! });
      return report.ok ? 'ok' : `${report.fault.kind} ${report.fault.index} ${report.fault.offset}`;
    };
    for (const entry of entries) {
      const offset = entry['offset'] as number;
      const where = `${entry['index'] as string} ${offset}`;
      expect(verify((b) => void (b[offset + 20]! ^= 1))).toBe(`header-checksum ${where}`);
      if ((entry['payload_size'] as number) > 0)
        expect(verify((b) => void (b[offset + 80]! ^= 1))).toBe(`payload-hash ${where}`);
      expect(verify((b) => b.slice(0, offset + 84))).toBe(`torn-tail ${where}`);
    }
    const next = String(Number(entries[entries.length - 1]!['index']) + 1);
    expect(verify((b) => void (b[end_offset + 8]! ^= 1))).toBe(`sentinel ${next} ${end_offset}`);
    expect(verify((b) => b.slice(0, end_offset))).toBe(`sentinel ${next} ${end_offset}`);
    const second = entries[1]!['offset'] as number;
    const third = entries[2]!['offset'] as number;
    const without = (b: Uint8Array): Uint8Array => new Uint8Array([...b.subarray(0, second), ...b.subarray(third)]);
    expect(verify(without)).toBe(`index-gap ${entries[1]!['index'] as string} ${second}`);
  });
});

function filesOf(disk: MemoryDisk): LogFiles {
  return {
    list: () => disk.list('log'),
    open: (name) => (disk.list('log').includes(name) ? disk.open(`log/${name}`) : null),
  };
}

function written(): { disk: MemoryDisk; chain: Chain } {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk);
  const chain = new Chain();
  for (let i = 0; i < 12; i++) bench.append(chain.next([2000, 100]));
  bench.settle();
  bench.store.close();
  return { disk, chain };
}

test('a directory verifies through its tail record, and shows a range without reading what is behind it', () => {
  const { disk, chain } = written();
  const whole = { ok: true, format: 2, firstIndex: '0', lastIndex: '23', entries: 24, tailHash: toHex(chain.hash) };
  for (const codec of codecs) expect(verifyLogDirectory(filesOf(disk), { codec })).toEqual(whole);
  expect(lastPromised(filesOf(disk))).toBe(23n);
  const shown: ShownEntry[] = [];
  const options = { codec: nobleCodec, from: 7n, limit: 3, onEntry: (entry: ShownEntry) => shown.push(entry) };
  disk.flip('log/00000000000000000014.seg', 70);
  expect(verifyLogDirectory(filesOf(disk), options)).toMatchObject({ ok: true, lastIndex: '9' });
  const later = { ...options, from: 12n, onEntry: () => {} };
  expect(verifyLogDirectory(filesOf(disk), later)).toMatchObject({ ok: false, fault: { index: '14' } });
  expect(shown.map(({ index, chain_hash }) => [index, chain_hash])).toEqual(
    [7, 8, 9].map((index) => [String(index), toHex(chain.hashOf(index))]),
  );
});

test('an empty directory verifies', () => {
  const disk = formatted(new MemoryDisk());
  const report = verifyLogDirectory(filesOf(disk), { codec: nobleCodec });
  expect(report).toEqual({
    ok: true,
    format: 2,
    firstIndex: null,
    lastIndex: null,
    entries: 0,
    tailHash: '0'.repeat(32),
  });
});

test('frames above the tail record are not counted, as after a cut', () => {
  const { disk, chain } = written();
  const bench = new Bench(disk);
  const kept = chain.batches.slice(0, 3);
  bench.store.install(
    manifest({ view: 2, logView: 2, headers: suffix(...kept) }),
    kept[2]!.last as never,
    kept[2]!.last as never,
    () => {},
  );
  bench.settle();
  const report = verifyLogDirectory(filesOf(disk), { codec: nobleCodec });
  expect(report).toMatchObject({ ok: true, entries: 6, tailHash: toHex(kept[2]!.lastHash) });
});

test('damage in a directory is named: frame, segment, tail record', () => {
  const cases: [(disk: MemoryDisk) => void, object][] = [
    [(disk) => disk.flip('log/00000000000000000000.seg', 64 + 10), { kind: 'header-checksum', index: '0', offset: 64 }],
    [(disk) => disk.flip('log/00000000000000000000.seg', 64 + 200), { kind: 'payload-hash', index: '0', offset: 64 }],
    [(disk) => disk.flip('log/00000000000000000000.seg', 20), { kind: 'header-checksum', index: '0', offset: 0 }],
    [(disk) => disk.content('log/00000000000000000000.seg').fill(0, 64), { kind: 'torn-tail', index: '0', offset: 64 }],
    [
      (disk) => {
        disk.flip('log/tail', 5);
        disk.flip('log/tail', 4096 + 5);
      },
      { kind: 'tail-record', index: '24' },
    ],
    [(disk) => disk.remove('log/00000000000000000014.seg'), { kind: 'torn-tail', index: '14' }],
  ];
  for (const [damage, fault] of cases) {
    const { disk } = written();
    damage(disk);
    expect(verifyLogDirectory(filesOf(disk), { codec: nobleCodec })).toMatchObject({ ok: false, fault });
  }
});

test('a compacted log verifies from its first segment on, also when the segments were used before', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk);
  const chain = new Chain();
  for (let i = 0; i < 60; i++) {
    bench.append(chain.next([2000, 100]));
    bench.settle();
    if (i % 20 !== 19) continue;
    const index = at(chain.first - 9);
    const checkpoint = { index, hash: chain.hashOf(index).slice(), digest: new Uint8Array(16) };
    bench.store.saveManifest(manifest({ checkpoint, headers: suffix(...chain.batches.slice(-4)) }), () => {});
    bench.settle();
    bench.store.compact(index, () => {});
    bench.settle();
  }
  expect(bench.fatal).toEqual([]);
  const report = verifyLogDirectory(filesOf(disk), { codec: nobleCodec });
  expect(report).toMatchObject({ ok: true, lastIndex: '119', tailHash: toHex(chain.hash) });
  expect(Number(report.firstIndex)).toBeGreaterThan(50);
  // Each segment by itself as well: behind its last frame stand older ones.
  const names = disk.list('log').filter((name) => name.endsWith('.seg'));
  let entries = 0;
  for (const name of names) {
    const one = verifySegment(filesOf(disk), name, disk.open(`log/${name}`), { codec: nobleCodec });
    expect(one).toMatchObject({ ok: true, format: 2 });
    expect(verifyLogFile(name, disk.open(`log/${name}`), { codec: nobleCodec })).toMatchObject({ ok: true });
    entries += one.entries;
  }
  expect(entries).toBe(report.entries);
});

test('a live directory is not called torn: frames on their way and cuts while it is read', () => {
  const disk = formatted(new MemoryDisk());
  const bench = new Bench(disk);
  const chain = new Chain();
  let view = 1;
  let steps = 0;
  /** Something happens at every look of the reader. */
  const happen = (): void => {
    steps++;
    bench.append(chain.next([1500, 40], view));
    disk.pump(1 + (steps % 4));
    if (steps % 9 === 0) {
      bench.settle();
      const keep = chain.first - 3;
      const kept = chain.batches.map((part) =>
        part.first > keep ? null : part.slice(part.first, Math.min(part.last, keep)),
      );
      chain.batches.splice(0, chain.batches.length, ...kept.filter((part) => part !== null));
      chain.first = keep + 1;
      chain.hash = chain.batches.at(-1)!.lastHash;
      view++;
      const state = manifest({ view, logView: view, headers: suffix(...chain.batches.slice(-3)) });
      bench.store.install(state, at(keep), at(keep), () => {});
    }
  };
  for (let i = 0; i < 20; i++) happen();
  const live: LogFiles = {
    list: () => {
      if (steps % 3 === 0) happen();
      return filesOf(disk).list();
    },
    open: (name) => {
      if (name !== 'tail' && steps % 2 === 0) happen();
      return filesOf(disk).open(name);
    },
  };
  for (let i = 0; i < 60; i++) {
    expect(verifyLogDirectory(live, { codec: nobleCodec })).toMatchObject({ ok: true });
    happen();
  }
  expect(bench.fatal).toEqual([]);
});
