/**
 * TailFile: writes tail records while the log runs. At most one write is in flight; targets that arrive meanwhile coalesce into the next.
 *
 * Invariants: a record is written only when its frames are durable (the caller's duty); records alternate between the slots, so the newest complete
 * one always survives; while `held`, nothing is written and nothing reported.
 */
import { type CommitIndex, NONE } from './commit-index.ts';
import { HASH_BYTES } from './constants.ts';
import { ZERO_HASH } from './hash.ts';
import { encodeTail, slotOffset, TAIL_SLOT_BYTES } from './tail-record.ts';
import type { DiskCallback, DiskError, DiskFile } from './virtual-disk.ts';

export interface TailFileOptions {
  readonly file: DiskFile;
  readonly clusterId: Uint8Array;
  /** No record on disk has a higher sequence. */
  readonly sequence: number;
  readonly logView: number;
  /** Nothing may be promised yet. */
  readonly held: boolean;
  /** A record through this index is durable. */
  onWritten(index: CommitIndex): void;
  onError(error: DiskError): void;
}

export class TailFile {
  private readonly options: TailFileOptions;
  private readonly slots = [new Uint8Array(TAIL_SLOT_BYTES), new Uint8Array(TAIL_SLOT_BYTES)] as const;
  private sequence: number;
  /** Log view of the records written from now on. */
  logView: number;
  held: boolean;
  /** Records written since open. */
  writes = 0;
  private inFlight = false;
  /** What the record in flight says. */
  private writing: CommitIndex = NONE;
  private waiting = false;
  private index: CommitIndex = NONE;
  private readonly hash = new Uint8Array(HASH_BYTES);
  private segment = 0;
  private endOffset = 0;

  constructor(options: TailFileOptions) {
    this.options = options;
    this.sequence = options.sequence;
    this.logView = options.logView;
    this.held = options.held;
  }

  get idle(): boolean {
    return !this.inFlight && !this.waiting;
  }

  /** Frames through `index` are durable: say so. */
  advance(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number): void {
    this.target(index, hash, segment, endOffset);
    this.waiting = !this.held;
    if (this.waiting && !this.inFlight) this.issue(this.onAdvanced);
  }

  /** Writes one record, alone, and calls `done`. Used for lowering; nothing else may be in flight. */
  put(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number, done: DiskCallback): void {
    this.target(index, hash, segment, endOffset);
    this.issue((error) => {
      this.inFlight = false;
      done(error);
    });
  }

  private target(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number): void {
    this.index = index;
    this.hash.set(index === NONE ? ZERO_HASH : hash);
    this.segment = segment;
    this.endOffset = endOffset;
  }

  private issue(callback: DiskCallback): void {
    this.sequence++;
    const slot = this.slots[this.sequence % 2]!;
    const { clusterId, file } = this.options;
    encodeTail(slot, clusterId, this.sequence, this.logView, this.index, this.hash, this.segment, this.endOffset);
    this.writing = this.index;
    this.waiting = false;
    this.inFlight = true;
    this.writes++;
    file.write(slotOffset(this.sequence), slot, true, callback);
  }

  private readonly onAdvanced: DiskCallback = (error) => {
    this.inFlight = false;
    if (error !== null) {
      this.options.onError(error);
      return;
    }
    const written = this.writing;
    if (this.waiting) this.issue(this.onAdvanced);
    this.options.onWritten(written);
  };
}
