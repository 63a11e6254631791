/**
 * Snapshots of a replica: restoring the newest at start, taking one at every snapshot point (a log position, equal on all replicas).
 *
 * Invariant: a snapshot becomes the manifest's checkpoint only after it is durable under its name.
 */
import { at } from './engine/commit-index.ts';
import type { FrameBatch } from './engine/frame-batch.ts';
import type { FrameCodec } from './engine/frame-codec.ts';
import { frame } from './engine/frame.ts';
import type { ManifestState, RecoveredLog } from './engine/log-contract.ts';
import { encodeSnapshot, type SnapshotStore } from './engine/snapshot-file.ts';
import type { Executor } from './kernel/executor.ts';
import { Halt } from './kernel/errors.ts';

/** Restores the newest intact snapshot that the log of record reaches; the rest is replayed from the log. */
export function restoreNewest(files: SnapshotStore, executor: Executor, log: RecoveredLog, notes: string[]): void {
  let limit: number = Math.min(log.manifest.checkpoint.index, log.end);
  for (;;) {
    const snapshot = files.newest(limit, (text) => notes.push(text));
    if (snapshot === null) return;
    try {
      executor.restore(snapshot, snapshot.sections);
      return;
    } catch (error) {
      if (!(error instanceof Halt)) throw error;
      notes.push(`snapshot ${snapshot.index}: ${error.message}`);
      limit = snapshot.index - 1;
    }
  }
}

export class SnapshotTaker {
  private readonly files: SnapshotStore;
  private readonly executor: Executor;
  private readonly every: number;
  private readonly clusterId: Uint8Array;
  private readonly codec: FrameCodec;

  constructor(files: SnapshotStore, executor: Executor, every: number, clusterId: Uint8Array, codec: FrameCodec) {
    this.files = files;
    this.executor = executor;
    this.every = every;
    this.clusterId = clusterId;
    this.codec = codec;
  }

  /** First snapshot point at or above `from`. */
  nextPoint(from: number): number {
    return this.every === 0 ? Number.MAX_SAFE_INTEGER : Math.max(1, Math.ceil(from / this.every)) * this.every;
  }

  isDue(index: number): boolean {
    return this.every > 0 && index > 0 && index % this.every === 0;
  }

  /** Takes the snapshot at `index`, just applied and the last of what was applied of `batch`. */
  take(
    batch: FrameBatch,
    index: number,
    done: (checkpoint: ManifestState['checkpoint']) => void,
    failed: (why: string) => void,
  ): void {
    const offset = batch.offsetOf(index);
    const chainHash = batch.hashOf(index).slice();
    const { sections, digest } = this.executor.snapshot();
    const meta = {
      clusterId: this.clusterId,
      index,
      view: frame.view(batch.bytes, offset),
      chainHash,
      timeLow: frame.timeLow(batch.bytes, offset),
      timeHigh: frame.timeHigh(batch.bytes, offset),
      digest,
    };
    const bytes = encodeSnapshot(meta, sections, this.codec);
    const fileDigest = new Uint8Array(16);
    this.codec.hash(bytes, 0, bytes.length, fileDigest, 0);
    this.files.write(index, bytes, (problem) => {
      if (problem === null) done({ index: at(index), hash: chainHash, digest: fileDigest });
      else failed(`snapshot ${index} was not written: ${problem}`);
    });
  }
}
