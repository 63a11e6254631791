/**
 * SpareSegment: the next segment, made in the background before it is needed: pre-written with zeros and barriered, so that a full disk shows up here
 * and not inside an append, and appends never change a file's size.
 *
 * Invariants: `log/spare` holds zeros only when it is ready; one write of it is in flight at a time; ENOSPC is no error but a state, tried again at
 * each tick.
 */
import { assert } from '../assert.ts';
import { LOG_DIRECTORY } from './segment.ts';
import { type DiskError, DiskFailure, type DiskFile, type VirtualDisk } from './virtual-disk.ts';

export const SPARE_PATH = `${LOG_DIRECTORY}/spare`;
/** Zeros are written in pieces of this many bytes. */
const PIECE_BYTES = 1024 * 1024;

export interface SpareOptions {
  readonly disk: VirtualDisk;
  readonly segmentBytes: number;
  onReady(): void;
  onSpace(full: boolean): void;
  onError(error: DiskError): void;
}

export class SpareSegment {
  private readonly options: SpareOptions;
  private readonly zeros: Uint8Array;
  private file: DiskFile | null = null;
  private state: 'none' | 'writing' | 'ready' | 'full' = 'none';
  /** Bytes of zeros written. */
  private written = 0;

  constructor(options: SpareOptions) {
    this.options = options;
    this.zeros = new Uint8Array(Math.min(PIECE_BYTES, options.segmentBytes));
  }

  get ready(): boolean {
    return this.state === 'ready';
  }

  get full(): boolean {
    return this.state === 'full';
  }

  /** Begins to make the next one, or goes on after the disk was full. */
  start(): void {
    if (this.state === 'writing' || this.state === 'ready') return;
    if (this.file === null && !this.create()) return;
    this.state = this.state === 'full' ? 'full' : 'writing';
    this.writePiece();
  }

  /** Hands over the finished file; the caller renames it. */
  take(): DiskFile {
    assert(this.state === 'ready' && this.file !== null, 'the spare segment is ready');
    const { file } = this;
    this.file = null;
    this.state = 'none';
    this.written = 0;
    return file;
  }

  close(): void {
    this.file?.close();
  }

  private create(): boolean {
    try {
      this.file = this.options.disk.open(SPARE_PATH, { create: true });
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
      file.barrier((error) => this.finished(error));
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

  private finished(error: DiskError | null): void {
    this.writing = false;
    if (error !== null) {
      this.failed(error);
      return;
    }
    const wasFull = this.state === 'full';
    this.state = 'ready';
    if (wasFull) this.options.onSpace(false);
    this.options.onReady();
  }

  private failed(error: DiskError): void {
    if (error.code === 'ENOSPC') this.setFull();
    else if (error.code !== 'ECLOSED') this.options.onError(error);
  }

  private setFull(): void {
    const wasFull = this.state === 'full';
    this.state = 'full';
    if (!wasFull) this.options.onSpace(true);
  }
}
