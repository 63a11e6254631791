/**
 * Crash-state enumeration: at every step of a scenario, every state a power cut may leave (bounded: all prefixes of names; all, none, each alone, each
 * missing, and each torn of the un-barriered writes) must recover: nothing acknowledged lost, nothing unacknowledged invented.
 */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { type CommitIndex, NONE } from './commit-index.ts';
import { toHex } from './hash.ts';
import type { LogOptions, RecoveredLog } from './log-contract.ts';
import { SPARE_PATH } from './spare-segment.ts';
import { Bench, Chain, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { type CrashChoice, MemoryDisk } from './testing/memory-disk.ts';
import { type Policy, SOUND } from '../policy.ts';

const codec = await createWasmCodec();

/** What the outside world knows at one moment. */
interface Known {
  /** Hashes of the log by log view: all that was ever handed to append, in the order of the log of that view. */
  readonly logs: ReadonlyMap<number, readonly string[]>;
  /** Last promised index and its log view. */
  promised: number;
  promisedLogView: number;
  /** Kept by the install that begins a log view. */
  readonly kept: ReadonlyMap<number, number>;
  view: number;
  logView: number;
}

/** Every crash state looked at now, bounded. */
function* choices(disk: MemoryDisk): Generator<CrashChoice> {
  const writes = disk.unsynced();
  const names = disk.unsyncedNames;
  const some = names === 0 ? [0] : [0, Math.ceil(names / 2), names];
  for (const kept of new Set(some)) {
    yield { names: kept, sector: () => false };
    if (writes.length === 0) continue;
    yield { names: kept, sector: () => true };
    for (let i = 0; i < writes.length; i++) {
      // Zeros that are being written ahead: all or none of them is enough.
      if (writes[i]!.path === SPARE_PATH) continue;
      const sectors = writes[i]!.live.length;
      if (writes.length > 1) {
        yield { names: kept, sector: (w) => w === i };
        yield { names: kept, sector: (w) => w !== i };
      }
      if (sectors > 64) continue;
      for (let cut = 1; cut < sectors; cut++) {
        if (sectors > 16 && cut % 5 !== 1) continue;
        yield { names: kept, sector: (w, s) => w === i && s < cut };
        yield { names: kept, sector: (w, s) => w === i && s >= cut };
        yield { names: kept, sector: (w, s) => w !== i || s !== cut };
      }
    }
  }
}

let turn = 0;

function violation(known: Known, disk: MemoryDisk, over: Partial<LogOptions>): string | null {
  const opened = openLog(disk, over);
  if ('refusal' in opened) return `refused: ${opened.refusal.code} ${opened.refusal.message}`;
  const { recovered, store } = opened;
  store.close();
  const found = check(known, recovered);
  if (found !== null || turn++ % 4 !== 0) return found;
  const bench = new Bench(disk.restart(), over);
  if (bench.recovered.end !== recovered.end)
    return `a second open ends at ${bench.recovered.end}, the first at ${recovered.end}`;
  const log = known.logs.get(recovered.manifest.logView)!;
  const read = bench.readAll();
  if (read.length !== recovered.end + 1) return `${read.length} frames can be read of ${recovered.end + 1}`;
  const wrong = read.find(({ index, hash }) => log[index] !== toHex(hash));
  return wrong === undefined ? null : `frame ${wrong.index} is not of the log of view ${recovered.manifest.logView}`;
}

function check(known: Known, recovered: RecoveredLog): string | null {
  const { manifest: state, end, endHash, outcome, recoveringHead, connected } = recovered;
  if (outcome === 'faulty' || recoveringHead || !connected)
    return `a crash is no damage: ${recovered.notes.join('; ')}`;
  if (state.view < known.view || state.logView < known.logView) return `view ${state.view}.${state.logView} went back`;
  const log = known.logs.get(state.logView);
  if (log === undefined) return `log view ${state.logView} was never stored`;
  if (end !== NONE && log[end] !== toHex(endHash)) return `the end ${end} is not of the log of view ${state.logView}`;
  // A promise of an older log view reaches as far as the install of the newer one kept.
  const reach =
    state.logView === known.promisedLogView ? known.promised : Math.min(known.promised, known.kept.get(state.logView)!);
  return end < reach ? `promised through ${reach}, recovered through ${end}` : null;
}

/** Runs `act`, pumps step by step, and looks at the crash states after each step. */
class Explorer {
  readonly disk = formatted(new MemoryDisk());
  readonly chain = new Chain();
  readonly logs = new Map<number, string[]>([[1, []]]);
  readonly kept = new Map<number, number>();
  readonly over: Partial<LogOptions>;
  readonly violations: string[] = [];
  readonly bench: Bench;
  states = 0;
  view = 1;
  logView = 1;
  installedAt = 0;

  constructor(policy: Partial<Policy> = {}) {
    this.over = { policy: { ...SOUND, ...policy }, segmentBytes: 8 * 1024, codec };
    this.bench = new Bench(this.disk, this.over);
    this.disk.pump();
  }

  append(chain: Chain, bodies: readonly number[], view = 1): void {
    const part = chain.next(bodies, view, view);
    const log = this.logs.get(view)!;
    for (let index = part.first; index <= part.last; index++) log[index] = toHex(part.hashOf(index));
    this.bench.append(part, view);
  }

  known(): Known {
    const last = this.bench.durable[this.bench.durable.length - 1];
    return {
      logs: this.logs,
      kept: this.kept,
      promised: last?.index ?? NONE,
      promisedLogView: last?.view ?? 1,
      view: this.view,
      logView: this.logView,
    };
  }

  look(): void {
    const known = this.known();
    for (const choice of choices(this.disk)) {
      this.states++;
      const found = violation(known, this.disk.crash(choice), { ...this.over, policy: SOUND });
      if (found !== null && this.violations.length < 5) this.violations.push(found);
    }
  }

  /** Completes everything, oldest (or newest) first, looking after each completion. */
  explore(newestFirst = false): void {
    this.look();
    while (this.disk.pending > 0) {
      this.disk.complete(newestFirst ? this.disk.pending - 1 : 0);
      this.look();
    }
  }

  install(keep: CommitIndex, chain: Chain, bodies: readonly (readonly number[])[]): void {
    const fresh = new Chain();
    fresh.first = keep + 1;
    if (keep !== NONE) fresh.hash = chain.hashOf(keep);
    this.logs.set(2, this.logs.get(1)!.slice(0, keep + 1));
    this.kept.set(2, keep);
    const planned = new Chain();
    planned.first = fresh.first;
    planned.hash = fresh.hash;
    const kept = chain.batches.filter((part) => part.last <= keep);
    const headers = suffix(...kept, ...bodies.map((sizes) => planned.next(sizes, 2, 2)));
    this.bench.store.install(manifest({ view: 2, logView: 2, headers }), keep, keep, () => {
      this.view = 2;
      this.logView = 2;
    });
    for (const sizes of bodies) this.append(fresh, sizes, 2);
  }
}

test('append: every crash state keeps what was promised', () => {
  const explorer = new Explorer();
  for (const size of [0, 300, 1000, 5, 2100]) {
    explorer.append(explorer.chain, [size]);
    explorer.explore();
  }
  expect(explorer.violations).toEqual([]);
  expect(explorer.states).toBeGreaterThan(100);
});

test('batches, with the tail record of one overlapping the frames of the next', () => {
  for (const newestFirst of [false, true]) {
    const explorer = new Explorer();
    for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [500, 700, 0]);
    explorer.explore(newestFirst);
    expect(explorer.bench.promised).toBe(17);
    expect(explorer.violations).toEqual([]);
  }
});

test('two tail records in flight, the newer one durable first', () => {
  const explorer = new Explorer();
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
  const explorer = new Explorer();
  explorer.disk.writeChain = (links) => {
    for (const { file, offset, bytes, callback } of links) file.write(offset, bytes, true, callback);
  };
  explorer.append(explorer.chain, [300]);
  explorer.explore(true);
  expect(explorer.violations[0]).toMatch(/a crash is no damage/);
});

test('rotation: header, rename and directory are durable before a frame counts', () => {
  const explorer = new Explorer();
  for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [1700]);
  explorer.explore();
  expect(explorer.bench.store.report().segments).toBe(2);
  expect(explorer.violations).toEqual([]);
});

test('truncation by an install, within a segment and across segments', () => {
  for (const keep of [NONE, 1, 4, 5] as CommitIndex[]) {
    const explorer = new Explorer();
    for (let i = 0; i < 7; i++) explorer.append(explorer.chain, [1500]);
    explorer.disk.pump();
    explorer.install(keep, explorer.chain, [[1000], [1500], [500]]);
    explorer.explore();
    expect(explorer.bench.promised).toBe(keep + 3);
    expect(explorer.violations).toEqual([]);
  }
});

test('manifest updates: a stored view never goes back', () => {
  const explorer = new Explorer();
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

test('opening: a crash in the middle of it changes nothing', () => {
  const explorer = new Explorer();
  for (let i = 0; i < 7; i++) explorer.append(explorer.chain, [1500]);
  explorer.disk.pump(9);
  const known = explorer.known();
  let opens = 0;
  for (const choice of choices(explorer.disk)) {
    const crashed = explorer.disk.crash(choice);
    if (opens++ % 7 !== 0) continue;
    let steps = 0;
    crashed.onStep = () => {
      if (steps++ % 2 === 0) return;
      for (const again of [() => true, () => false]) {
        const found = violation(known, crashed.crash({ names: 0, sector: again }), explorer.over);
        if (found !== null && explorer.violations.length < 5) explorer.violations.push(found);
      }
    };
    openLog(crashed, explorer.over);
  }
  expect(explorer.violations).toEqual([]);
});

// The same enumeration must notice the mutations that it is there for.
test('the mutation ack-before-barrier is noticed', () => {
  const explorer = new Explorer({ ackBeforeBarrier: true });
  explorer.append(explorer.chain, [100]);
  explorer.explore();
  explorer.append(explorer.chain, [1500]);
  explorer.explore(true);
  expect(explorer.violations[0]).toMatch(/promised through 1, recovered through 0/);
});

test('the mutation no-directory-fsync is noticed', () => {
  const explorer = new Explorer({ noDirectoryFsync: true });
  for (let i = 0; i < 6; i++) explorer.append(explorer.chain, [1700]);
  explorer.explore();
  expect(explorer.violations).not.toEqual([]);
});

// These two protect from damage, not from power cuts alone.
test('the mutation promise-before-tail-record is noticed once the promised frame goes bad', () => {
  for (const promiseBeforeTailRecord of [false, true]) {
    const explorer = new Explorer({ promiseBeforeTailRecord });
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
    const explorer = new Explorer({ singleManifestCopy });
    explorer.append(explorer.chain, [100]);
    const state = manifest({ view: 9, headers: suffix(...explorer.chain.batches) });
    explorer.bench.store.saveManifest(state, () => (explorer.view = 9));
    explorer.disk.pump();
    const damaged = explorer.disk.clone();
    damaged.flip('manifest.a', 100);
    const found = violation(explorer.known(), damaged, { ...explorer.over, policy: SOUND });
    expect(found).toBe(singleManifestCopy ? 'view 1.1 went back' : null);
  }
});
