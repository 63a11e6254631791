/** Small helpers of the engine's tests: manifests, batches, and a store over a MemoryDisk. */
import { assert } from '../../assert.ts';
import { nobleCodec } from '../codec/noble.ts';
import { blankManifest } from '../blank-manifest.ts';
import { type CommitIndex, NONE } from '../commit-index.ts';
import { ENVELOPE_BYTES } from '../constants.ts';
import { FrameBatch } from '../frame-batch.ts';
import type { FrameCodec } from '../frame-codec.ts';
import { frameBytes, KIND, writeEnvelope, writeHeader } from '../frame.ts';
import { ZERO_HASH } from '../hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix, writeHeaderRecord } from '../header-suffix.ts';
import type { LogFatal, LogOptions, ManifestState, RecoveredLog, Refusal } from '../log-contract.ts';
import { LogStore } from '../log-store.ts';
import { MemoryDisk } from './memory-disk.ts';

export const CLUSTER = new Uint8Array(16).fill(7);

export function manifest(over: Partial<ManifestState> = {}): ManifestState {
  const bootId = new Uint8Array(16).fill(9);
  const founders = [bootId, bootId, bootId];
  const blank = blankManifest({ clusterId: CLUSTER, replicaId: 1, bootId, founders, environment: 'dev' });
  return { ...blank, view: 1, logView: 1, ...over };
}

/** Sealed frames first.. with these body sizes; `salt` makes other content. */
export function batch(
  first: number,
  prevHash: Uint8Array,
  bodies: readonly number[],
  view = 1,
  salt = 0,
  codec: FrameCodec = nobleCodec,
): FrameBatch {
  const sizes = bodies.map((body) => ENVELOPE_BYTES + body);
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + frameBytes(size), 0));
  let at = 0;
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i]!;
    writeHeader(bytes, at, size, first + i, view, first + i + 1, 0, 0);
    writeEnvelope(bytes, at + 80, KIND.command, 1, 5, first + i, 0);
    bytes.fill((first + i + salt * 31) & 0xff, at + 80 + ENVELOPE_BYTES, at + 80 + size);
    at += frameBytes(size);
  }
  const chain = prevHash.slice();
  const count = codec.seal(bytes, 0, bytes.length, chain);
  assert(count === sizes.length, 'every frame was sealed');
  return new FrameBatch(bytes, count, chain);
}

/** Header records of the frames of these batches. */
export function suffix(...batches: readonly FrameBatch[]): HeaderSuffix {
  const first = batches[0]!.first;
  const last = batches[batches.length - 1]!.last;
  const bytes = new Uint8Array((last - first + 1) * HEADER_RECORD_BYTES);
  for (const part of batches) {
    for (let index = part.first; index <= part.last; index++) {
      writeHeaderRecord(part, index, bytes, (index - first) * HEADER_RECORD_BYTES);
    }
  }
  return new HeaderSuffix(first, bytes);
}

/** A store on a MemoryDisk that remembers what it was told. */
export class Bench {
  readonly disk: MemoryDisk;
  readonly store: LogStore;
  readonly recovered: RecoveredLog;
  readonly durable: { index: number; hash: Uint8Array; view: number }[] = [];
  readonly damaged: number[] = [];
  readonly fatal: LogFatal[] = [];
  readonly space: boolean[] = [];

  constructor(disk: MemoryDisk, over: Partial<LogOptions> = {}) {
    this.disk = disk;
    const opened = openLog(disk, over, {
      onDurable: (index, hash, view) => this.durable.push({ index, hash: hash.slice(), view }),
      onDamaged: (index) => this.damaged.push(index),
      onFatal: (fatal) => this.fatal.push(fatal),
      onSpace: (full) => this.space.push(full),
    });
    if ('refusal' in opened) throw new Error(`refused: ${opened.refusal.code} ${opened.refusal.message}`);
    this.store = opened.store;
    this.recovered = opened.recovered;
  }

  /** Last index promised, NONE when none. */
  get promised(): CommitIndex {
    const last = this.durable[this.durable.length - 1];
    return last === undefined ? NONE : (last.index as CommitIndex);
  }

  append(part: FrameBatch, view = 1): FrameBatch {
    this.store.append(part, view);
    return part;
  }

  settle(): this {
    this.disk.pump();
    return this;
  }

  /** Every frame of the log, read back. */
  readAll(): { index: number; hash: Uint8Array }[] {
    const all: { index: number; hash: Uint8Array }[] = [];
    for (let next = this.store.first; next <= this.store.end; ) {
      let moved = false;
      this.store.read(next, 64 * 1024, (outcome) => {
        if (outcome.kind !== 'frames') return;
        const { batch: got } = outcome;
        for (let index = got.first; index <= got.last; index++) all.push({ index, hash: got.hashOf(index).slice() });
        next = got.last + 1;
        moved = true;
      });
      this.disk.pump();
      if (!moved) break;
    }
    return all;
  }
}

export const QUIET = { onDurable: () => {}, onDamaged: () => {}, onFatal: () => {}, onSpace: () => {} };

export function openLog(
  disk: MemoryDisk,
  over: Partial<LogOptions> = {},
  events: LogOptions['events'] = QUIET,
): { store: LogStore; recovered: RecoveredLog } | { refusal: Refusal } {
  return LogStore.open({
    disk,
    codec: nobleCodec,
    events,
    expect: { clusterId: CLUSTER, replicaId: 1 },
    segmentBytes: 16 * 1024,
    pipelineMax: 16,
    ...over,
  });
}

export function formatted(disk: MemoryDisk, state: ManifestState = manifest()): MemoryDisk {
  const refusal = LogStore.format(disk, nobleCodec, state);
  assert(refusal === null, `formatting failed: ${refusal?.message}`);
  return disk;
}

/** A chain of batches, one after the other. */
export class Chain {
  first = 0;
  hash: Uint8Array = ZERO_HASH;
  readonly batches: FrameBatch[] = [];

  next(bodies: readonly number[], view = 1, salt = 0): FrameBatch {
    const made = batch(this.first, this.hash, bodies, view, salt);
    this.first = made.last + 1;
    this.hash = made.lastHash;
    this.batches.push(made);
    return made;
  }

  hashOf(index: number): Uint8Array {
    return this.batches.find((part) => part.contains(index))!.hashOf(index);
  }
}

/** A closed log of eighteen frames in several segments, large and small, with a manifest that holds the headers of its end. */
export function filled(over: ConstructorParameters<typeof Bench>[1]): { disk: MemoryDisk; chain: Chain } {
  const disk = formatted(new MemoryDisk());
  const chain = new Chain();
  const first = new Bench(disk, over);
  for (let i = 0; i < 6; i++) first.append(chain.next([0, 60, 1600]));
  first.settle();
  first.store.saveManifest(manifest({ view: 2, headers: suffix(...chain.batches.slice(3)) }), () => {});
  first.settle();
  first.store.close();
  return { disk, chain };
}
