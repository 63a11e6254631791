/**
 * DurabilityWorker: group commit. One write of frames is in flight at a time; every batch that comes meanwhile is gathered in the other of two buffers,
 * so that the next write needs no copying when its turn comes. The tail record goes to the disk with its frames, as the second link of one chain, so that
 * the disk begins it when they are durable, whatever this thread does then; it overlaps the next frames. When it is durable too, the promises that depend
 * on both are released, in order. When the next frame does not fit its segment any more, the next segment gets its header and name beside the last writes of
 * this one, and its frames are gathered as soon as there is a buffer for them: a rotation holds up nothing unless the disk is slower with names than with frames.
 *
 * Invariants:
 *  - bytes already acknowledged are rewritten unchanged: the tail block's old prefix stands at the start of the buffer that is gathered;
 *  - a buffer does not change while its write is in flight;
 *  - a promise is released only when its frames and a tail record at or above it are durable;
 *  - a disk error stops everything; nothing is ever tried again.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE } from './commit-index.ts';
import { BLOCK_BYTES, HASH_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameBatch } from './frame-batch.ts';
import { frame } from './frame.ts';
import type { Policy } from '../policy.ts';
import type { Segment } from './segment.ts';
import type { TailFile } from './tail-file.ts';
import type { DiskCallback, DiskError, VirtualDisk } from './virtual-disk.ts';

/** Most bytes of one write of frames. */
export const WRITE_BYTES_MAX = 4 * 1024 * 1024;

export interface WorkerOptions {
  readonly disk: VirtualDisk;
  readonly segmentBytes: number;
  readonly tail: TailFile;
  readonly policy: Policy;
  /** The next frame, `base`, needs a new segment; answered by `rotated`, later. Frames before it may still be on their way. */
  needSegment(base: number, prevHash: Uint8Array): void;
  onDurable(index: number, hash: Uint8Array, view: number): void;
  /** Nothing is queued, written or to be promised. */
  onIdle(): void;
  onError(error: DiskError): void;
}

/** A batch whose promise is not released yet. */
interface Promised {
  readonly batch: FrameBatch;
  readonly view: number;
}

/** The last frame in a buffer. */
interface Gathered {
  readonly index: CommitIndex;
  readonly hash: Uint8Array;
}

export class DurabilityWorker {
  private readonly options: WorkerOptions;
  /** What is gathered for the next write, from the start of the tail block. */
  private staging: Uint8Array;
  /** The buffer of the write in flight; the next to gather in. */
  private inFlight: Uint8Array;
  /** The segment for which frames are gathered. */
  private segment: Segment | null = null;
  /** That of the write in flight. */
  private writingIn: Segment | null = null;
  /** The next segment has been asked for, and not been gone over to yet. */
  private asked = false;
  /** It is ready, with its header. */
  private following: { readonly segment: Segment; readonly prefix: Uint8Array } | null = null;
  /** Batches with frames that are not gathered yet. */
  private queue: FrameBatch[] = [];
  private queueHead = 0;
  /** First frame of queue[queueHead] that is not gathered. */
  private position = 0;
  private promised: Promised[] = [];
  private promisedHead = 0;
  private writing = false;
  /** The tail record of the frames in flight is chained behind them. */
  private chained = false;
  private awaitingSegment = false;
  private stopped = false;
  /** Bytes in staging, and where they begin in the segment. */
  private filled = 0;
  private offset = 0;
  /** Last frame gathered for the next write; null when none is. */
  private gathered: Gathered | null = null;
  /** Last frame of the write in flight. */
  private writingIndex: CommitIndex = NONE;
  private writingHash: Uint8Array = new Uint8Array(HASH_BYTES);
  /** Frames through here are on the medium. */
  written: CommitIndex;
  writtenHash: Uint8Array;
  /** Promised. */
  durable: CommitIndex;

  constructor(options: WorkerOptions, written: CommitIndex, writtenHash: Uint8Array) {
    this.options = options;
    const whole = Math.min(WRITE_BYTES_MAX, options.segmentBytes);
    const bytes = whole === WRITE_BYTES_MAX ? whole : whole + BLOCK_BYTES;
    this.staging = options.disk.allocate(bytes);
    this.inFlight = options.disk.allocate(bytes);
    this.written = written;
    this.writtenHash = writtenHash;
    this.durable = written;
  }

  get idle(): boolean {
    return !this.writing && this.nothingToWrite && this.options.tail.idle && this.released;
  }

  private get nothingToWrite(): boolean {
    return this.gathered === null && this.queueHead === this.queue.length;
  }

  /** Queued frames wait for a segment that cannot be made. */
  get blocked(): boolean {
    return this.awaitingSegment && !this.writing && this.options.tail.idle;
  }

  private get released(): boolean {
    return this.promisedHead === this.promised.length || this.options.tail.held;
  }

  enqueue(batch: FrameBatch, view: number): void {
    this.queue.push(batch);
    this.promised.push({ batch, view });
    if (this.writing) this.gather();
    else this.pump();
  }

  /** Frames that are queued or in flight, from `index` on, or null. */
  findQueued(index: number): FrameBatch | null {
    for (let i = this.promisedHead; i < this.promised.length; i++) {
      const { batch } = this.promised[i]!;
      if (batch.contains(index)) return batch.slice(index, batch.last);
    }
    return null;
  }

  /** Goes on in `segment` behind its last frame; `prefix` is the content of its tail block up to there, verified. */
  useSegment(segment: Segment | null, prefix: Uint8Array): void {
    assert(!this.writing && this.gathered === null && !this.asked, 'the staging buffer is free');
    this.gatherIn(segment, prefix);
    this.pump();
  }

  /** The segment that was asked for is ready; `prefix` is its header. */
  rotated(segment: Segment, prefix: Uint8Array): void {
    if (this.stopped) return;
    this.following = { segment, prefix };
    this.awaitingSegment = false;
    if (this.writing) this.gather();
    else this.pump();
  }

  private gatherIn(segment: Segment | null, prefix: Uint8Array): void {
    assert(
      segment === null || prefix.length === segment.end % BLOCK_BYTES,
      'the prefix is the tail block up to the end',
    );
    this.segment = segment;
    this.staging.set(prefix);
    this.filled = prefix.length;
    this.offset = (segment?.end ?? 0) - prefix.length;
  }

  /** The next frame goes into this segment if there is room. */
  isIn(segment: Segment): boolean {
    return this.segment === segment;
  }

  /** Puts what is in memory of the tail block over `bytes` as they were read at `offset` of a segment; nothing is in flight. */
  overlay(segment: Segment, offset: number, bytes: Uint8Array): void {
    if (this.segment !== segment) return;
    const from = Math.max(offset, segment.end - this.filled);
    const to = Math.min(offset + bytes.length, segment.end);
    if (from >= to) return;
    const skipped = from - (segment.end - this.filled);
    bytes.set(this.staging.subarray(skipped, skipped + to - from), from - offset);
  }

  /** The log ends at `index` now (after an install); nothing is queued or in flight. */
  reset(index: CommitIndex, hash: Uint8Array): void {
    assert(!this.writing && this.nothingToWrite && !this.asked, 'nothing is being written');
    this.written = index;
    this.writtenHash = hash;
    this.durable = index;
    this.promised = [];
    this.promisedHead = 0;
    this.awaitingSegment = false;
  }

  /** Forgets the queued frames, none of which is written: an install cuts them off. */
  dropQueued(): void {
    assert(this.blocked, 'only frames that wait for a segment are dropped');
    this.queue = [];
    this.queueHead = 0;
    this.position = 0;
    this.promised = [];
    this.promisedHead = 0;
    this.awaitingSegment = false;
    this.asked = false;
  }

  stop(): void {
    this.stopped = true;
  }

  /** Issues the next write when there is something to write and nothing in flight. */
  private pump(): void {
    if (this.writing || this.stopped || this.awaitingSegment || this.nothingToWrite) return;
    if (this.gathered === null) this.gather();
    if (this.gathered !== null) this.writeGathered(this.gathered);
    else {
      this.awaitingSegment = true;
      this.askForSegment();
    }
  }

  /** For the first frame that is not gathered. */
  private askForSegment(): void {
    const batch = this.queue[this.queueHead];
    if (this.asked || batch === undefined) return;
    this.asked = true;
    this.options.needSegment(batch.first + this.position, frame.prevHash(batch.bytes, batch.offsets[this.position]!));
  }

  /** Copies queued frames behind those gathered, as many as the buffer and the segment have room for. */
  private gather(): void {
    if (this.following !== null && this.gathered === null) {
      this.gatherIn(this.following.segment, this.following.prefix);
      this.following = null;
      this.asked = false;
    }
    const { staging, segment, offset } = this;
    if (segment === null) return;
    const room = Math.min(staging.length, segment.bytes - offset);
    while (this.queueHead < this.queue.length) {
      const batch = this.queue[this.queueHead]!;
      const from = this.position;
      const to = fitting(batch, from, room - this.filled);
      if (to === from) break;
      const start = batch.offsets[from]!;
      const end = batch.offsets[to]!;
      staging.set(
        start === 0 && end === batch.bytes.length ? batch.bytes : batch.bytes.subarray(start, end),
        this.filled,
      );
      segment.marks.noteRun(batch, from, to, offset + this.filled);
      this.filled += end - start;
      const last = (batch.first + to - 1) as CommitIndex;
      this.gathered = { index: last, hash: batch.hashOf(last) };
      if (to < batch.count) {
        this.position = to;
        break;
      }
      this.position = 0;
      this.queueHead++;
    }
    this.compactQueue();
    const head = this.queue[this.queueHead];
    if (head === undefined) return;
    const frameBytes = head.offsets[this.position + 1]! - head.offsets[this.position]!;
    if (offset + this.filled + frameBytes > segment.bytes) this.askForSegment();
  }

  /** Writes what is gathered, and goes on gathering in the other buffer, behind the same tail block. */
  private writeGathered({ index, hash }: Gathered): void {
    const { staging, segment, filled, offset } = this;
    assert(segment !== null, 'frames are gathered for a segment');
    const length = Math.ceil(filled / BLOCK_BYTES) * BLOCK_BYTES;
    staging.fill(0, filled, length);
    this.writing = true;
    this.writingIn = segment;
    this.writingIndex = index;
    this.writingHash = hash;
    segment.last = index;
    segment.end = offset + filled;
    this.submit(segment, offset, staging.subarray(0, length));
    this.gathered = null;
    const kept = filled % BLOCK_BYTES;
    this.inFlight.set(staging.subarray(filled - kept, filled));
    this.staging = this.inFlight;
    this.inFlight = staging;
    this.filled = kept;
    this.offset = offset + filled - kept;
    this.gather();
    if (this.options.policy.ackBeforeBarrier) this.acknowledgeEarly(segment, index);
  }

  private submit(segment: Segment, offset: number, bytes: Uint8Array): void {
    const { disk, tail, policy } = this.options;
    const { file } = segment;
    // The mutations that go on after an error do not let the disk drop the tail record.
    const goesOn = policy.ignoreShortWrite || policy.retryFsync;
    const link = goesOn ? null : tail.link(this.writingIndex, this.writingHash, segment.base, segment.end);
    this.chained = link !== null;
    if (link === null) file.write(offset, bytes, true, this.onFrames);
    else disk.writeChain([{ file, offset, bytes, callback: this.onFrames }, link]);
  }

  private readonly onFrames: DiskCallback = (error) => {
    const segment = this.writingIn;
    if (this.stopped || segment === null) return;
    if (error !== null && !this.options.policy.ignoreShortWrite) {
      if (this.options.policy.retryFsync) segment.file.barrier((again) => this.afterRetry(again));
      else this.options.onError(error);
      return;
    }
    this.finishWrite(segment);
  };

  private finishWrite(segment: Segment): void {
    this.writing = false;
    this.written = this.writingIndex;
    this.writtenHash = this.writingHash;
    const { tail, policy } = this.options;
    if (!this.chained) tail.advance(this.written, this.writtenHash, segment.base, segment.end);
    this.pump();
    if (policy.promiseBeforeTailRecord) this.release(this.written);
    if (tail.held && this.idle) this.options.onIdle();
  }

  /** A tail record through `index` is durable. */
  release(index: CommitIndex): void {
    if (index > this.durable) this.durable = index;
    while (this.promisedHead < this.promised.length && !this.stopped) {
      const { batch, view } = this.promised[this.promisedHead]!;
      if (batch.last > index) break;
      this.promisedHead++;
      this.options.onDurable(batch.last, batch.lastHash, view);
    }
    if (this.promisedHead > 256 && this.promisedHead * 2 > this.promised.length) {
      this.promised = this.promised.slice(this.promisedHead);
      this.promisedHead = 0;
    }
    if (this.idle) this.options.onIdle();
  }

  private compactQueue(): void {
    if (this.queueHead === this.queue.length) {
      this.queue.length = 0;
      this.queueHead = 0;
    } else if (this.queueHead > 256) {
      this.queue = this.queue.slice(this.queueHead);
      this.queueHead = 0;
    }
  }

  /** The retry-fsync mutation: the second barrier succeeds, the pages are gone. */
  private afterRetry(error: DiskError | null): void {
    if (error !== null || this.writingIn === null)
      this.options.onError(error ?? { code: 'EIO', message: 'no segment' });
    else this.finishWrite(this.writingIn);
  }

  /** The ack-before-barrier mutation: promises as soon as anything comes back from the disk. */
  private acknowledgeEarly(segment: Segment, index: CommitIndex): void {
    segment.file.read(0, SEGMENT_HEADER_BYTES, () => {
      if (!this.stopped) this.release(index);
    });
  }
}

/** End of the longest run of frames from `from` on that takes at most `room` bytes. */
function fitting(batch: FrameBatch, from: number, room: number): number {
  const { offsets, count } = batch;
  const start = offsets[from]!;
  if (offsets[count]! - start <= room) return count;
  let low = from;
  let high = count;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! - start <= room) low = middle;
    else high = middle - 1;
  }
  return low;
}
