/**
 * TailFile: writes tail records while the log runs. Records alternate between the slots, and at most one is in flight to each: a target that finds
 * its slot taken waits, and later ones coalesce into it.
 *
 * Invariants: a record is begun only when its frames are durable: by the caller, or by the disk, as the link of a chain behind its frames; a slot
 * is written again only when the write before to it has completed, so of two records in flight each slot keeps its older one or has the newer, and
 * the newest complete record is at or above every promise; while `held`, nothing is written and nothing reported.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE } from './commit-index.ts';
import { HASH_BYTES } from './constants.ts';
import { ZERO_HASH } from './hash.ts';
import { encodeTail, slotOffset, TAIL_SLOT_BYTES } from './tail-record.ts';
import type { ChainLink, DiskCallback, DiskError, DiskFile, VirtualDisk } from './virtual-disk.ts';

export interface TailFileOptions {
  readonly disk: VirtualDisk;
  readonly file: DiskFile;
  readonly clusterId: Uint8Array;
  /** No record on disk has a higher sequence. */
  readonly sequence: number;
  readonly logView: number;
  /** As the newest record says. */
  readonly promised: CommitIndex;
  /** Nothing may be promised yet. */
  readonly held: boolean;
  /** A record through this index is durable. */
  onWritten(index: CommitIndex): void;
  onError(error: DiskError): void;
}

interface Slot {
  readonly bytes: Uint8Array;
  inFlight: boolean;
  /** What the record in flight says. */
  index: CommitIndex;
  readonly onWritten: DiskCallback;
}

export class TailFile {
  readonly options: TailFileOptions;
  private readonly slots: readonly [Slot, Slot];
  private sequence: number;
  /** Log view of the records written from now on. */
  logView: number;
  /** What the records written from now on forbid to nack, beyond their own index. */
  promised: CommitIndex;
  held: boolean;
  /** Records written since open. */
  writes = 0;
  /** The target waits for its slot. */
  private waiting = false;
  private index: CommitIndex = NONE;
  private readonly hash = new Uint8Array(HASH_BYTES);
  private segment = 0;
  private endOffset = 0;

  constructor(options: TailFileOptions) {
    this.options = options;
    this.sequence = options.sequence;
    this.logView = options.logView;
    this.promised = options.promised;
    this.held = options.held;
    this.slots = [this.newSlot(), this.newSlot()];
  }

  /** Sequence of the newest record. */
  get newest(): number {
    return this.sequence;
  }

  get idle(): boolean {
    return !this.slots[0].inFlight && !this.slots[1].inFlight && !this.waiting;
  }

  /** Frames through `index` are durable: say so. */
  advance(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number): void {
    this.target(index, hash, segment, endOffset);
    this.waiting = !this.held;
    this.issueWaiting();
  }

  /** The record to be chained behind the frames through `index`, or null when there can be none now: then `advance` once they are durable. */
  link(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number): ChainLink | null {
    if (this.held || this.nextSlot.inFlight) return null;
    this.target(index, hash, segment, endOffset);
    return this.record(null);
  }

  /** Writes one record, alone, and calls `done`. Used for lowering; nothing else may be in flight. */
  put(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number, done: DiskCallback): void {
    assert(this.idle, 'a record is lowered alone');
    this.target(index, hash, segment, endOffset);
    this.write(this.record(done));
  }

  private target(index: CommitIndex, hash: Uint8Array, segment: number, endOffset: number): void {
    this.index = index;
    this.hash.set(index === NONE ? ZERO_HASH : hash);
    this.segment = segment;
    this.endOffset = endOffset;
  }

  private get nextSlot(): Slot {
    return this.slots[(this.sequence + 1) % 2]!;
  }

  private issueWaiting(): void {
    if (this.waiting && !this.nextSlot.inFlight) this.write(this.record(null));
  }

  /** Takes the next slot for the target. */
  private record(done: DiskCallback | null): ChainLink {
    const slot = this.nextSlot;
    this.sequence++;
    const { clusterId, file } = this.options;
    const { sequence, logView, index, hash, segment, endOffset, promised } = this;
    encodeTail(slot.bytes, clusterId, sequence, logView, index, hash, segment, endOffset, promised);
    slot.index = this.index;
    slot.inFlight = true;
    this.waiting = false;
    this.writes++;
    const callback: DiskCallback =
      done === null
        ? slot.onWritten
        : (error) => {
            slot.inFlight = false;
            done(error);
          };
    return { file, offset: slotOffset(this.sequence), bytes: slot.bytes, callback };
  }

  private write({ file, offset, bytes, callback }: ChainLink): void {
    file.write(offset, bytes, true, callback);
  }

  private newSlot(): Slot {
    const slot: Slot = {
      bytes: this.options.disk.allocate(TAIL_SLOT_BYTES),
      inFlight: false,
      index: NONE,
      onWritten: (error) => {
        slot.inFlight = false;
        if (error !== null) {
          this.options.onError(error);
          return;
        }
        const written = slot.index;
        this.issueWaiting();
        this.options.onWritten(written);
      },
    };
    return slot;
  }
}
