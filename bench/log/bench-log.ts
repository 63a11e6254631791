/**
 * A LogStore on a real disk with what a replica would give it: sealed frames, batch after batch, compaction behind a moving checkpoint, so that segments
 * are recycled as on a replica that takes snapshots.
 *
 * Invariants: a batch is sealed on the way, by the codec of the daemon; at most `depth` promises are outstanding.
 */
import { mkdirSync } from 'node:fs';
import { performance, type RecordableHistogram } from 'node:perf_hooks';
import { formatMachine } from '@chronon/core/chaos/format';
import type { CommitIndex } from '@chronon/core/engine/commit-index';
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { FrameBatch } from '@chronon/core/engine/frame-batch';
import { frameBytes, KIND, writeEnvelope, writeHeader, writeU32 } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { LogStore } from '@chronon/core/engine/log-store';
import type { VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { DEFAULT_CONFIG } from '@chronon/core/replica-contract';
import { openDisk } from '@chronon/native/open-disk';

export type BenchDisk = 'io_uring' | 'sync';

const ID = new Uint8Array(16).fill(7);
const SEGMENT_BYTES = DEFAULT_CONFIG.segmentBytes;
/** Most bytes of frames that are sealed ahead of a run: four segments of them. */
export const AHEAD_BYTES = 4 * SEGMENT_BYTES;

/** What one window of appends came to. */
export interface Appended {
  readonly promises: number;
  readonly seconds: number;
  /** With the warm-up and what was outstanding at the end. */
  readonly promisesInAll: number;
}

/** Lays out and seals the frames of a log, one behind the other. */
export class Sealer {
  private readonly codec: FrameCodec;
  private readonly chain = new Uint8Array(16);
  next = 0;

  constructor(codec: FrameCodec) {
    this.codec = codec;
  }

  /** `count` entries of `payloadBytes` each, the envelope included, in memory of their own or in `bytes`, which is as long as they are and zeroed. */
  batch(payloadBytes: number, count: number, bytes = new Uint8Array(frameBytes(payloadBytes) * count)): FrameBatch {
    const each = frameBytes(payloadBytes);
    for (let i = 0, at = 0; i < count; i++, at += each) {
      const index = this.next++;
      writeHeader(bytes, at, payloadBytes, index, 0, (index + 1) >>> 0, Math.floor((index + 1) / 2 ** 32), 0);
      const payload = at + FRAME_HEADER_BYTES;
      writeEnvelope(bytes, payload, KIND.command, 1, 1, index, 0);
      bytes.fill(index & 0xff, payload + ENVELOPE_BYTES, payload + payloadBytes);
      writeU32(bytes, payload + payloadBytes - 4, index >>> 0);
    }
    this.codec.seal(bytes, 0, bytes.length, this.chain);
    return new FrameBatch(bytes, count, this.chain.slice());
  }
}

export class BenchLog {
  readonly disk: VirtualDisk;
  readonly store: LogStore;
  private readonly sealer: Sealer;
  private outstanding = 0;
  private promises = 0;
  private readonly sentMs: number[] = [];
  private sentHead = 0;
  private histogram: RecordableHistogram | null = null;
  private refill: (() => void) | null = null;
  private failed: string | null = null;
  /** Segments are freed behind the writer. */
  recycles = true;
  private readonly ahead = new Uint8Array(AHEAD_BYTES);
  private freedThrough = -1;
  private bytesSinceFree = 0;

  constructor(directory: string, kind: BenchDisk, codec: FrameCodec) {
    mkdirSync(directory, { recursive: true });
    this.disk = openDisk({ root: directory, kind });
    const problem = formatMachine(this.disk, codec, { clusterId: ID, replicaId: 1, replicas: 1, bootId: ID });
    if (problem !== null) throw new Error(problem);
    this.sealer = new Sealer(codec);
    const opened = openLog(this.disk, codec, {
      onDurable: () => this.onDurable(),
      onFatal: ({ message }) => (this.failed = message),
      onDamaged: () => undefined,
      onSpace: (full) => (this.failed = full ? 'the disk is full' : this.failed),
    });
    this.store = opened;
  }

  /** Appends for `seconds` behind a warm-up of a third of it, `depth` promises outstanding; latencies go to `histogram`. */
  async run(
    payloadBytes: number,
    count: number,
    depth: number,
    seconds: number,
    histogram: RecordableHistogram | null,
  ): Promise<Appended> {
    this.refill = () => {
      while (this.outstanding < depth) this.append(payloadBytes, count);
    };
    this.promises = 0;
    this.refill();
    await pause(seconds / 3);
    const before = this.promises;
    this.histogram = histogram;
    const from = performance.now();
    await pause(seconds);
    const promises = this.promises - before;
    const took = (performance.now() - from) / 1000;
    this.histogram = null;
    await this.drained();
    return { promises, seconds: took, promisesInAll: this.promises };
  }

  /**
   * Batches that are sealed now, to be appended by {@link runSealed} before anything else is, in memory that those before them had: what the collector does with
   * gigabytes of batches made ahead is no part of an append.
   */
  prepare(payloadBytes: number, count: number, batches: number): FrameBatch[] {
    const each = frameBytes(payloadBytes) * count;
    const bytes = this.ahead.subarray(0, Math.min(AHEAD_BYTES, each * batches)).fill(0);
    return Array.from({ length: Math.floor(bytes.length / each) }, (_, i) =>
      this.sealer.batch(payloadBytes, count, bytes.subarray(i * each, (i + 1) * each)),
    );
  }

  /** Appends batches of {@link prepare}, `depth` promises outstanding, until the last one is promised. */
  async runSealed(batches: readonly FrameBatch[], depth: number): Promise<Appended> {
    let next = 0;
    this.promises = 0;
    const from = performance.now();
    await new Promise<void>((resolve) => {
      this.refill = () => {
        if (this.promises === batches.length || this.failed !== null) resolve();
        while (this.outstanding < depth && next < batches.length) this.appendBatch(batches[next++]!);
      };
      this.refill();
    });
    const took = (performance.now() - from) / 1000;
    await this.drained();
    return { promises: this.promises, seconds: took, promisesInAll: this.promises };
  }

  /** Appends until `bytes` of frames are durable. */
  async fill(payloadBytes: number, count: number, bytes: number, onBytes: (total: number) => void = () => undefined) {
    let total = 0;
    await new Promise<void>((resolve) => {
      this.refill = () => {
        if (this.failed !== null || total >= bytes) resolve();
        while (this.outstanding < 2 && total < bytes && this.failed === null) {
          total += this.append(payloadBytes, count);
          onBytes(total);
        }
      };
      this.refill();
    });
    await this.drained();
  }

  close(): void {
    this.store.close();
    this.disk.close();
  }

  private append(payloadBytes: number, count: number): number {
    return this.appendBatch(this.sealer.batch(payloadBytes, count));
  }

  private appendBatch(batch: FrameBatch): number {
    this.outstanding++;
    this.sentMs.push(performance.now());
    this.store.append(batch, 0);
    this.bytesSinceFree += batch.bytes.length;
    if (this.recycles && this.bytesSinceFree > SEGMENT_BYTES / 2) this.free();
    return batch.bytes.length;
  }

  /** Moves the checkpoint to what is durable and frees the segments below it. */
  private free(): void {
    this.bytesSinceFree = 0;
    const { store } = this;
    const through = store.durable;
    if (through <= this.freedThrough) return;
    this.freedThrough = through;
    store.read(through, 1, (outcome) => {
      if (outcome.kind !== 'frames') return;
      const hash = outcome.batch.hashOf(through).slice();
      const checkpoint = { index: through as CommitIndex, hash, digest: new Uint8Array(16) };
      store.saveManifest({ ...store.manifest, checkpoint }, () => store.compact(through));
    });
  }

  private onDurable(): void {
    this.outstanding--;
    this.promises++;
    const sent = this.sentMs[this.sentHead++]!;
    this.histogram?.record(Math.max(1, Math.round((performance.now() - sent) * 1e6)));
    if (this.sentHead === this.sentMs.length) {
      this.sentMs.length = 0;
      this.sentHead = 0;
    }
    this.refill?.();
  }

  private async drained(): Promise<void> {
    this.refill = null;
    while (this.outstanding > 0 && this.failed === null) await pause(0.002);
    if (this.failed !== null) throw new Error(this.failed);
  }
}

/** Opens the log of a directory that {@link BenchLog} wrote. Blocking: this is what a start costs. */
export function openLog(disk: VirtualDisk, codec: FrameCodec, events: Parameters<typeof LogStore.open>[0]['events']) {
  const opened = LogStore.open({
    disk,
    codec,
    events,
    expect: { clusterId: ID, replicaId: 1 },
    segmentBytes: SEGMENT_BYTES,
    pipelineMax: DEFAULT_CONFIG.pipelineMax,
  });
  if ('refusal' in opened) throw new Error(opened.refusal.message);
  return opened.store;
}

async function pause(seconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
