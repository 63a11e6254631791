/**
 * SpareSegment: the next segment, made in the background before it is needed: pre-written with zeros and barriered, so that a full disk shows up here
 * and not inside an append, and appends never change a file's size. Segments that compaction freed are as good: `log/recycled` and its like are taken before
 * another one is made, and their old frames do no harm, as they are of lower indexes and chain to nothing. A few are kept, because compaction frees as many at
 * once as the frames between two snapshots took, and each one made anew is written twice.
 *
 * Invariants: `log/spare` has its name only once it is wholly written and barriered, so that the next start takes it as it is (what is being made is `log/spare.new`);
 * one write of it is in flight at a time; ENOSPC is no error but a state, tried again at each tick; a recycled segment's new
 * name is durable before it is handed over, and no two have one name.
 */
import { assert } from '../assert.ts';
import type { Policy } from '../policy.ts';
import { LOG_DIRECTORY } from './segment.ts';
import { type DiskError, DiskFailure, type DiskFile, type VirtualDisk } from './virtual-disk.ts';

export const SPARE_PATH = `${LOG_DIRECTORY}/spare`;
/** What is to become the next one. */
export const SPARE_NEW_PATH = `${SPARE_PATH}.new`;
/** A freed segment that waits to be used again. */
export const RECYCLED_PATH = `${LOG_DIRECTORY}/recycled`;
/** As many are kept: a bound on what an idle log holds. */
export const RECYCLED_PATHS: readonly string[] = [RECYCLED_PATH, ...[1, 2, 3].map((n) => `${RECYCLED_PATH}.${n}`)];
/** Zeros are written in pieces of this many bytes. */
const PIECE_BYTES = 1024 * 1024;

export interface SpareOptions {
  readonly disk: VirtualDisk;
  readonly segmentBytes: number;
  readonly policy: Policy;
  onReady(): void;
  onSpace(full: boolean): void;
  onError(error: DiskError): void;
}

/** A segment's file before it has its name. */
export interface Spare {
  readonly file: DiskFile;
  /** Where it is to be renamed from. */
  readonly path: string;
}

export class SpareSegment {
  private readonly options: SpareOptions;
  private readonly zeros: Uint8Array;
  private file: DiskFile | null = null;
  private state: 'none' | 'writing' | 'ready' | 'full' = 'none';
  /** Bytes of zeros written. */
  private written = 0;
  /** It has its name, not yet durably. */
  private named = false;
  private readonly recycled: Spare[] = [];

  constructor(options: SpareOptions) {
    this.options = options;
    this.zeros = new Uint8Array(Math.min(PIECE_BYTES, options.segmentBytes));
  }

  get ready(): boolean {
    return this.state === 'ready' || this.recycled.length > 0;
  }

  get full(): boolean {
    return this.state === 'full' && this.recycled.length === 0;
  }

  /** A name for one more freed segment, other than `taken`, or null when enough are kept. */
  nameForRecycled(taken: string | null): string | null {
    return RECYCLED_PATHS.find((path) => path !== taken && this.recycled.every((kept) => kept.path !== path)) ?? null;
  }

  /** Keeps a freed segment, which has its name durably, as one of the next. */
  recycle(spare: Spare): void {
    const wasFull = this.full;
    this.recycled.push(spare);
    if (wasFull) this.options.onSpace(false);
    this.options.onReady();
  }

  /** Takes what an earlier run made. */
  keep(file: DiskFile): void {
    assert(this.state === 'none', 'nothing is being made yet');
    this.file = file;
    this.state = 'ready';
  }

  /** Begins to make the next one, or goes on after the disk was full. */
  start(): void {
    if (this.state === 'writing' || this.ready) return;
    if (this.file === null && !this.create()) return;
    this.state = this.state === 'full' ? 'full' : 'writing';
    this.writePiece();
  }

  /** Hands over a finished file; the caller renames it. */
  take(): Spare {
    const { file } = this;
    const recycled = this.recycled.shift();
    if (recycled !== undefined) {
      if (this.state === 'full') this.state = 'none';
      return recycled;
    }
    assert(this.state === 'ready' && file !== null, 'the spare segment is ready');
    this.file = null;
    this.state = 'none';
    this.written = 0;
    this.named = false;
    return { file, path: SPARE_PATH };
  }

  close(): void {
    this.file?.close();
    for (const { file } of this.recycled) file.close();
  }

  private create(): boolean {
    try {
      this.file = this.options.disk.open(SPARE_NEW_PATH, { create: true });
      this.written = 0;
      return true;
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      if (error.code === 'ENOSPC') this.setFull();
      else this.options.onError({ code: error.code, message: error.message });
      return false;
    }
  }

  private writing = false;

  private writePiece(): void {
    const { file } = this;
    if (file === null || this.writing) return;
    this.writing = true;
    const length = Math.min(this.zeros.length, this.options.segmentBytes - this.written);
    if (length === 0) {
      file.barrier((error) => this.nameIt(error));
      return;
    }
    file.write(
      this.written,
      length === this.zeros.length ? this.zeros : this.zeros.subarray(0, length),
      false,
      (error) => {
        this.writing = false;
        if (error !== null) {
          this.failed(error);
          return;
        }
        this.written += length;
        this.writePiece();
      },
    );
  }

  /** It is whole and durable: now it gets its name. */
  private nameIt(error: DiskError | null): void {
    const { disk, policy } = this.options;
    const renamed = (failure: DiskError | null): void => {
      if (failure !== null || policy.noDirectoryFsync) {
        this.finished(failure);
        return;
      }
      this.named = true;
      disk.syncDirectory(LOG_DIRECTORY, (problem) => this.finished(problem));
    };
    if (error !== null || this.named) renamed(error);
    else disk.rename(SPARE_NEW_PATH, SPARE_PATH, renamed);
  }

  private finished(error: DiskError | null): void {
    this.writing = false;
    if (error !== null) {
      this.failed(error);
      return;
    }
    const wasFull = this.full;
    this.state = 'ready';
    if (wasFull) this.options.onSpace(false);
    this.options.onReady();
  }

  private failed(error: DiskError): void {
    if (error.code === 'ENOSPC') this.setFull();
    else if (error.code !== 'ECLOSED') this.options.onError(error);
  }

  private setFull(): void {
    const wasFull = this.full;
    this.state = 'full';
    if (!wasFull && this.full) this.options.onSpace(true);
  }
}
