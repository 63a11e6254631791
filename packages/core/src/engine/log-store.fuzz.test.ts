/**
 * Random lives of a log: appends, installs, manifest updates, compactions and snapshots installed, with completions in any order, ended by a kill or by a
 * power cut that keeps any sectors, then opened again, several lives a seed. The model knows what was promised and what could legally be there.
 */
import { expect, test } from 'vitest';
import { Prng } from '../prng.ts';
import { createWasmCodec } from './codec/wasm.ts';
import { at, type CommitIndex, max, NONE } from './commit-index.ts';
import type { FrameBatch } from './frame-batch.ts';
import { toHex, ZERO_HASH } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import { batch, Bench, formatted, manifest, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();
const OVER = { codec, segmentBytes: 8 * 1024, pipelineMax: 16 };
const LIVES = 5;
const ACTIONS = 30;

/** One single-frame batch an index: the log of one log view, as far as it was ever handed to the store. */
type Log = FrameBatch[];

class Model {
  readonly prng: Prng;
  /** The log of each log view. */
  readonly logs = new Map<number, Log>([[1, []]]);
  /** What an install to a log view kept. */
  readonly kept = new Map<number, number>();
  view = 1;
  logView = 1;
  /** Stored for certain. */
  storedView = 1;
  storedLogView = 1;
  promised = new Map<number, number>();
  /** Of the manifest handed over last: never cut. */
  checkpoint: CommitIndex = NONE;
  storedCheckpoint: CommitIndex = NONE;
  salt = 0;

  constructor(seed: number) {
    this.prng = new Prng(seed);
  }

  get log(): Log {
    return this.logs.get(this.logView)!;
  }

  headers(): HeaderSuffix {
    const recent = this.log.slice(-(OVER.pipelineMax + 1));
    return recent.length === 0 ? HeaderSuffix.EMPTY : suffix(...recent);
  }

  /** The next frame of the current log, not yet in it. */
  next(): FrameBatch {
    const last = this.log[this.log.length - 1];
    this.salt++;
    const size = this.prng.pick([0, 40, 300, 900, 2000]);
    return batch(this.log.length, last?.lastHash ?? ZERO_HASH, [size], this.logView, this.salt, codec);
  }

  manifest(): ReturnType<typeof manifest> {
    const { view, logView, checkpoint: index } = this;
    const blank = new Uint8Array(16);
    const hash = index === NONE ? blank : this.log[index]!.lastHash;
    return manifest({ view, logView, headers: this.headers(), checkpoint: { index, hash, digest: blank } });
  }
}

function act(model: Model, bench: Bench): void {
  const { prng } = model;
  const kind = prng.below(20);
  if (kind === 0 && model.view === model.logView) {
    // A vote: the headers of everything handed over are stored; nothing is appended until an install.
    model.view++;
    const { view } = model;
    bench.store.saveManifest(model.manifest(), () => (model.storedView = view));
  } else if (kind <= 1 || model.view > model.logView) {
    install(model, bench);
  } else if (kind <= 3) {
    compact(model, bench);
  } else if (kind === 4 && prng.chance(0.3)) {
    installSnapshot(model, bench);
  } else {
    for (let count = prng.range(1, 3); count > 0; count--) {
      const part = model.next();
      model.log.push(part);
      bench.append(part, model.logView);
    }
  }
}

/** A checkpoint at something promised; once it is stored, what is below goes. */
function compact(model: Model, bench: Bench): void {
  const promised = model.promised.get(model.logView) ?? NONE;
  if (promised <= model.checkpoint) return;
  model.checkpoint = at(model.prng.range(model.checkpoint + 1, promised));
  const { checkpoint } = model;
  bench.store.saveManifest(model.manifest(), () => {
    model.storedCheckpoint = max(model.storedCheckpoint, checkpoint);
    bench.store.compact(checkpoint);
  });
}

/** The others are further: the snapshot of an index above the end takes the place of the log. */
function installSnapshot(model: Model, bench: Bench): void {
  for (let count = model.prng.range(1, 4); count > 0; count--) model.log.push(model.next());
  model.checkpoint = at(model.log.length - 1);
  const { checkpoint } = model;
  bench.store.installSnapshot(model.manifest(), NONE, () => {
    model.storedCheckpoint = max(model.storedCheckpoint, checkpoint);
  });
}

function install(model: Model, bench: Bench): void {
  const { prng } = model;
  const from = model.log;
  const lower = prng.chance(0.1) ? NONE : from.length - 1 - prng.below(Math.min(from.length + 1, 6));
  const keep = Math.max(lower, model.checkpoint) as CommitIndex;
  model.view = Math.max(model.view, model.logView + 1);
  model.logView = model.view;
  model.logs.set(model.logView, from.slice(0, keep + 1));
  model.kept.set(model.logView, keep);
  const fresh = Array.from({ length: prng.below(4) }, () => {
    const part = model.next();
    model.log.push(part);
    return part;
  });
  const { view, logView } = model;
  bench.store.install(model.manifest(), keep, keep, () => {
    model.storedView = Math.max(model.storedView, view);
    model.storedLogView = Math.max(model.storedLogView, logView);
  });
  for (const part of fresh) bench.append(part, logView);
}

/** How far promises of all log views up to `logView` still bind a log of that view. */
function bound(model: Model, logView: number): number {
  let reach: number = NONE;
  for (const [promisedIn, index] of model.promised) {
    if (promisedIn > logView) continue;
    let kept = index;
    for (const [installed, keep] of model.kept)
      if (installed > promisedIn && installed <= logView) kept = Math.min(kept, keep);
    reach = Math.max(reach, kept);
  }
  return reach;
}

function checkRecovered(model: Model, bench: Bench): void {
  const { recovered } = bench;
  const { manifest: state, end, endHash, head, outcome } = recovered;
  expect({ outcome: outcome === 'faulty', lost: recovered.recoveringHead, connected: recovered.connected }).toEqual({
    outcome: false,
    lost: false,
    connected: true,
  });
  expect(state.view).toBeGreaterThanOrEqual(model.storedView);
  expect(state.logView).toBeGreaterThanOrEqual(model.storedLogView);
  expect(state.checkpoint.index).toBeGreaterThanOrEqual(model.storedCheckpoint);
  expect(end).toBeGreaterThanOrEqual(state.checkpoint.index);
  const { first } = recovered;
  expect(first).toBeLessThanOrEqual(state.checkpoint.index + 1);
  const log = model.logs.get(state.logView)!;
  expect(end).toBeGreaterThanOrEqual(bound(model, state.logView));
  expect(head).toBeGreaterThanOrEqual(end);
  expect(head).toBeLessThan(log.length);
  if (end !== NONE) expect(toHex(endHash)).toBe(toHex(log[end]!.lastHash));
  if (head !== NONE) expect(toHex(recovered.headHash)).toBe(toHex(log[head]!.lastHash));
  expect(bench.readAll().map(({ hash }) => toHex(hash))).toEqual(
    log.slice(first, end + 1).map((part) => toHex(part.lastHash)),
  );
}

/** The next life goes on from what recovery found; frames that are missing up to the head come from a peer. */
function resume(model: Model, bench: Bench): void {
  const { manifest: state, end, head } = bench.recovered;
  for (const logView of model.logs.keys()) if (logView > state.logView) model.logs.delete(logView);
  for (const logView of model.kept.keys()) if (logView > state.logView) model.kept.delete(logView);
  model.view = state.view;
  model.logView = state.logView;
  model.storedView = state.view;
  model.storedLogView = state.logView;
  model.checkpoint = state.checkpoint.index;
  model.storedCheckpoint = state.checkpoint.index;
  model.log.length = head + 1;
  if (model.view === model.logView) for (const part of model.log.slice(end + 1)) bench.append(part, model.logView);
  else if (head > end) model.log.length = end + 1;
}

function live(model: Model, disk: MemoryDisk): MemoryDisk {
  const { prng } = model;
  const bench = new Bench(disk, OVER);
  checkRecovered(model, bench);
  resume(model, bench);
  const note = (): void => {
    for (const { index, view } of bench.durable.splice(0)) model.promised.set(view, index);
  };
  for (let i = 0; i < ACTIONS; i++) {
    if (prng.chance(0.5)) act(model, bench);
    for (let done = prng.below(5); done > 0 && disk.pending > 0; done--) disk.complete(prng.below(disk.pending));
    note();
  }
  if (prng.chance(0.3)) disk.pump();
  note();
  expect(bench.fatal).toEqual([]);
  const survival = prng.pick([0, 0.5, 1]);
  // A killed process leaves its writes in the cache, where the next one reads them; a later power cut may still take them.
  if (prng.chance(0.5)) return disk.restart(() => prng.chance(survival));
  return disk.crash({ names: prng.below(disk.unsyncedNames + 1), sector: () => prng.chance(survival) });
}

test.each(Array.from({ length: 40 }, (_, i) => i + 1))('seed %i', (seed) => {
  const model = new Model(seed);
  let disk = formatted(new MemoryDisk());
  for (let i = 0; i < LIVES; i++) disk = live(model, disk);
  checkRecovered(model, new Bench(disk, OVER));
});
