/**
 * Snapshots of a replica: restoring the newest at start, taking one at every snapshot point (a log position, equal on all replicas) while applying goes on: every
 * multiple of N, and behind each checkpoint entry.
 *
 * Invariants: taking one occupies the loop for a piece at a time
 * (kernel/snapshot-stream.ts) and waits for the disk; one is taken at a time.
 */
import { FRAME_HEADER_BYTES } from './engine/constants.ts';
import type { FrameBatch } from './engine/frame-batch.ts';
import type { RecoveredLog, Refusal } from './engine/log-contract.ts';
import type { SnapshotStore } from './engine/snapshot-file.ts';
import type { SnapshotMeta } from './engine/snapshot-format.ts';
import type { SnapshotWriter } from './engine/snapshot-writer.ts';
import type { Executor } from './kernel/executor.ts';
import { Halt } from './kernel/errors.ts';
import { SECTIONS } from './kernel/snapshot.ts';
import type { SectionStream } from './kernel/snapshot-stream.ts';
import type { HeldSnapshot } from './vsr/snapshots.ts';

/** A replica that cannot keep up leaves out points until it takes one of so many; powers of two, so that replicas still meet at the same ones. */
const STRIDE_MAX = 1024;

/**
 * Restores the newest intact snapshot that the log of record reaches; the rest is replayed from the log. One that cannot be read is removed: it is taken anew when
 * the replay comes by, or fetched. Refused, and every confirmed snapshot left where it is: an intact one that is not of this application (the wrong program was
 * started), and a state that no other replica can give back. Returns the frame header of the restored index.
 */
export function restoreNewest(
  files: SnapshotStore,
  executor: Executor,
  log: RecoveredLog,
  notes: string[],
): { readonly refusal: Refusal } | { readonly frameHeader: Uint8Array | null } {
  const limit = Math.min(log.manifest.checkpoint.index, log.end);
  const damaged: number[] = [];
  const snapshot = files.newest(limit, (text, index) => {
    notes.push(text);
    damaged.push(index);
  });
  try {
    if (snapshot !== null) executor.restore(snapshot, snapshot.sections);
  } catch (error) {
    if (!(error instanceof Halt)) throw error;
    if (error.code === 'E_APP_VERSION') return { refusal: { code: error.code, message: error.message } };
    const message = `${error.message}; start the program that this directory belongs to`;
    return { refusal: { code: 'E_SNAPSHOT', message } };
  }
  if (executor.applied + 1 < log.first && log.manifest.members.length === 1) {
    const why = `the log begins at index ${log.first}, no snapshot below it can be read, and there is no other replica to fetch one from`;
    const message = `${why} (${notes.join('; ')}): restore the directory from a backup`;
    return { refusal: { code: 'E_SNAPSHOT', message } };
  }
  for (const index of damaged) files.remove(index);
  files.sweep(log.manifest.checkpoint.index, executor.applied);
  return { frameHeader: snapshot?.frameHeader ?? null };
}

export interface SnapshotTakerOptions {
  readonly files: SnapshotStore;
  readonly executor: Executor;
  /** A snapshot at every multiple of this index; 0: none. */
  readonly every: number;
  readonly clusterId: Uint8Array;
  /** Runs a task soon, behind what waits already; an error in it stops the replica. */
  readonly defer: (task: () => void) => void;
  /** True when no snapshot is to be taken at this index. */
  readonly skip: (index: number) => boolean;
  readonly onTaken: (snapshot: HeldSnapshot) => void;
  readonly onFailed: (why: string) => void;
}

/** The snapshot that is being taken. */
interface Taking {
  readonly writer: SnapshotWriter;
  readonly sections: SectionStream;
  /** What the writer did not take yet of the last piece. */
  piece: Uint8Array;
  from: number;
}

export class SnapshotTaker {
  private readonly options: SnapshotTakerOptions;
  private taking: Taking | null = null;
  private pumping = false;
  /** Of how many snapshot points one is taken. */
  private stride = 1;

  constructor(options: SnapshotTakerOptions) {
    this.options = options;
  }

  /** First snapshot point at or above `from`. */
  nextPoint(from: number): number {
    const { every } = this.options;
    return every === 0 ? Number.MAX_SAFE_INTEGER : Math.max(1, Math.ceil(from / every)) * every;
  }

  /** True when a snapshot is taken at `index`, just applied. `asked`: it is a checkpoint entry. */
  isDue(index: number, asked: boolean): boolean {
    const { every } = this.options;
    return asked || (every > 0 && index > 0 && index % (every * this.stride) === 0);
  }

  /** Begins the snapshot at `index`, just applied and the last of what was applied of `batch`. */
  take(batch: FrameBatch, index: number): void {
    const { files, executor, onFailed } = this.options;
    if (this.options.skip(index)) return;
    if (this.taking !== null || files.busy) {
      this.stride = Math.min(2 * this.stride, STRIDE_MAX);
      onFailed(`snapshot ${index} was left out: the one before is still being written`);
      return;
    }
    const offset = batch.offsetOf(index);
    const meta: SnapshotMeta = {
      clusterId: this.options.clusterId,
      index,
      frameHeader: batch.bytes.slice(offset, offset + FRAME_HEADER_BYTES),
      chainHash: batch.hashOf(index).slice(),
      digest: executor.digest,
    };
    const writer = files.write(
      meta,
      SECTIONS.length,
      () => this.pumpSoon(),
      (result) => this.ended(meta, result),
    );
    if (typeof writer === 'string') {
      onFailed(`snapshot ${index} was not written: ${writer}`);
      return;
    }
    const { sections } = executor.snapshot();
    this.taking = { writer, sections, piece: new Uint8Array(0), from: 0 };
    this.pumpSoon();
  }

  /** Gives up the snapshot that is being taken. */
  abort(why: string): void {
    this.taking?.writer.abort(why);
  }

  private pumpSoon(): void {
    if (this.pumping) return;
    this.pumping = true;
    this.options.defer(() => {
      this.pumping = false;
      this.pump();
    });
  }

  /** Encodes one piece, unless the disk is behind. */
  private pump(): void {
    const { taking } = this;
    if (taking === null || !taking.writer.ready) return;
    if (taking.from === taking.piece.length) {
      const piece = taking.sections.next();
      if (piece === null) {
        taking.writer.finish();
        return;
      }
      taking.piece = piece;
      taking.from = 0;
    }
    if (taking.from < taking.piece.length)
      taking.from += taking.writer.append(taking.sections.section, taking.piece, taking.from);
    this.pumpSoon();
  }

  private ended(meta: SnapshotMeta, result: { readonly digest: Uint8Array } | { readonly problem: string }): void {
    this.taking?.sections.close();
    this.taking = null;
    if ('problem' in result) {
      this.options.onFailed(`snapshot ${meta.index} was not written: ${result.problem}`);
      return;
    }
    const early = this.options.executor.applied - meta.index < (this.options.every * this.stride) / 4;
    if (early && this.stride > 1) this.stride /= 2;
    this.options.onTaken({
      index: meta.index,
      state: meta.digest,
      file: result.digest,
      hash: meta.chainHash,
      confirmed: false,
    });
  }
}
