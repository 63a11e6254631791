/**
 * LogSegments: the open segments of a running log, rotation into the spare one, removal above and below.
 *
 * Invariants: segments ascend in base; frames go into a new segment only when its header, its name and the directory are durable; a removed segment is
 * gone for good (directory synced) before anything is written above it; segments are freed from the oldest on, each durably before the next, so that a
 * crash leaves no hole.
 */
import { assert } from '../assert.ts';
import type { Policy } from '../policy.ts';
import type { CommitIndex } from './commit-index.ts';
import { BLOCK_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import { encodeSegmentHeader, LOG_DIRECTORY, OffsetMarks, type Segment, segmentPath } from './segment.ts';
import { type Spare, SPARE_PATH, SpareSegment } from './spare-segment.ts';
import type { DiskCallback, DiskError, DiskFile, VirtualDisk } from './virtual-disk.ts';

export interface SegmentsOptions {
  readonly disk: VirtualDisk;
  readonly segmentBytes: number;
  readonly clusterId: Uint8Array;
  readonly policy: Policy;
  view(): number;
  onSpace(full: boolean): void;
  onError(error: DiskError): void;
  /** A spare segment is ready. */
  onReady(): void;
}

type Rotated = (segment: Segment, prefix: Uint8Array) => void;

interface Rotation {
  readonly base: number;
  readonly prevHash: Uint8Array;
  readonly made: Rotated;
  /** Name of the file that is taken for it, until the file has its own; null before it is started. */
  from: string | null;
}

export class LogSegments {
  private readonly options: SegmentsOptions;
  private readonly spare: SpareSegment;
  private list: Segment[] = [];
  /** Bases of files that no log of record holds and that the next install removes. */
  private leftovers: number[] = [];
  private rotation: Rotation | null = null;
  /** Steps that met a full disk; tried again at the next tick. */
  private waiting: (() => void)[] = [];
  /** Segments that compaction frees, oldest first, and who waits for them. */
  private freeing: { readonly segment: Segment | null; readonly done: () => void }[] = [];
  private closed = false;

  constructor(options: SegmentsOptions) {
    this.options = options;
    const { disk, segmentBytes, policy } = options;
    this.spare = new SpareSegment({
      disk,
      segmentBytes,
      policy,
      onReady: () => {
        this.startRotation();
        options.onReady();
      },
      onSpace: (full) => options.onSpace(full),
      onError: (error) => options.onError(error),
    });
  }

  /** `recycled`: the freed segments that an earlier run kept; `spare`: the one that it made ahead. */
  adopt(
    segments: readonly Segment[],
    leftovers: readonly number[],
    recycled: readonly Spare[],
    spare: DiskFile | null,
  ): void {
    this.list = [...segments];
    this.leftovers = [...leftovers];
    if (spare !== null) this.spare.keep(spare);
    for (const kept of recycled) this.spare.recycle(kept);
  }

  get full(): boolean {
    return this.spare.full || this.waiting.length > 0;
  }

  get count(): number {
    return this.list.length;
  }

  /** File size of a segment that is made. */
  get bytesEach(): number {
    return this.options.segmentBytes;
  }

  /** Bytes of frames and headers. */
  get bytes(): number {
    let bytes = 0;
    for (const segment of this.list) bytes += segment.end;
    return bytes;
  }

  /** The segment in which the frame behind `end` may go, if there is one. */
  current(end: CommitIndex): Segment | null {
    const last = this.list[this.list.length - 1];
    return last !== undefined && last.last === end ? last : null;
  }

  /** The segment that holds the frame of `index`, or null. */
  holding(index: number): Segment | null {
    for (let i = this.list.length - 1; i >= 0; i--) {
      const segment = this.list[i]!;
      if (segment.base <= index) return index <= segment.last ? segment : null;
    }
    return null;
  }

  /** Base of the oldest segment; 0 for an empty log. */
  get firstBase(): number {
    return this.list[0]?.base ?? 0;
  }

  /** Base of the first segment above `index`, or null. */
  baseAbove(index: number): number | null {
    return this.list.find((segment) => segment.base > index)?.base ?? null;
  }

  /** The segment above this one, or null. */
  after(segment: Segment): Segment | null {
    return this.list[this.list.indexOf(segment) + 1] ?? null;
  }

  /** Begins to make the next segment in the background; not while the last one made still bears the spare's name. */
  prepare(): void {
    if (!this.closed && (this.rotation?.from ?? null) === null) this.spare.start();
  }

  tick(): void {
    if (this.waiting.length > 0) {
      for (const step of this.waiting.splice(0)) step();
      if (this.waiting.length === 0) this.options.onSpace(false);
    } else if (this.spare.full) this.prepare();
  }

  /** A segment can be made now, without waiting for space. */
  get ready(): boolean {
    return this.spare.ready && this.waiting.length === 0;
  }

  /** Makes a segment that begins with `base`; `made` gets it with its header, which is the content of its first block so far. */
  rotate(base: number, prevHash: Uint8Array, made: Rotated): void {
    assert(this.rotation === null, 'one rotation at a time');
    this.rotation = { base, prevHash, made, from: null };
    this.startRotation();
  }

  /** Forgets a rotation that waits for space; false when it is under way. */
  cancelRotation(): boolean {
    if ((this.rotation?.from ?? null) !== null) return false;
    this.rotation = null;
    return true;
  }

  private startRotation(): void {
    const { rotation } = this;
    if (rotation === null || rotation.from !== null || this.closed) return;
    if (!this.spare.ready) {
      this.spare.start();
      return;
    }
    const { file, path } = this.spare.take();
    rotation.from = path;
    const block = new Uint8Array(BLOCK_BYTES);
    const { options } = this;
    const recycled = path !== SPARE_PATH;
    encodeSegmentHeader(block, rotation.base, rotation.prevHash, options.clusterId, options.view(), recycled);
    file.write(0, block, true, (error) => {
      if (error !== null) {
        this.options.onError(error);
        return;
      }
      this.name(path, rotation.base, () => {
        const segment: Segment = {
          base: rotation.base,
          prevHash: rotation.prevHash.slice(),
          file,
          bytes: file.size(),
          marks: new OffsetMarks(),
          last: rotation.base - 1,
          end: SEGMENT_HEADER_BYTES,
        };
        this.insert(segment);
        this.rotation = null;
        this.prepare();
        rotation.made(segment, block.subarray(0, SEGMENT_HEADER_BYTES));
      });
    });
  }

  private insert(segment: Segment): void {
    const above = this.list.findIndex((other) => other.base > segment.base);
    if (above < 0) this.list.push(segment);
    else this.list.splice(above, 0, segment);
  }

  private name(path: string, base: number, then: () => void): void {
    const { disk, policy } = this.options;
    this.retrying(
      (callback) => disk.rename(path, segmentPath(base), callback),
      () => {
        if (policy.noDirectoryFsync) then();
        else this.retrying((callback) => disk.syncDirectory(LOG_DIRECTORY, callback), then);
      },
    );
  }

  /** Runs a step again at each tick while the disk is full. */
  private retrying(step: (callback: DiskCallback) => void, then: () => void): void {
    step((error) => {
      if (this.closed) return;
      if (error === null) {
        then();
      } else if (error.code === 'ENOSPC') {
        this.waiting.push(() => this.retrying(step, then));
        this.options.onSpace(true);
      } else this.options.onError(error);
    });
  }

  /** Removes every segment that begins above `keep`, and the leftovers. */
  removeAbove(keep: CommitIndex, then: () => void): void {
    const { disk, policy } = this.options;
    const gone = this.list.filter((segment) => segment.base > keep);
    this.list = this.list.filter((segment) => segment.base <= keep);
    const paths = [...gone.map((segment) => segment.base), ...this.leftovers].map(segmentPath);
    this.leftovers = [];
    if (paths.length === 0) {
      then();
      return;
    }
    // Highest first: a crash in between leaves no hole.
    const next = (): void => {
      const path = paths.pop();
      if (path !== undefined) this.retrying((callback) => disk.unlink(path, callback), next);
      else if (policy.noDirectoryFsync) finish();
      else this.retrying((callback) => disk.syncDirectory(LOG_DIRECTORY, callback), finish);
    };
    const finish = (): void => {
      for (const segment of gone) segment.file.close();
      then();
    };
    next();
  }

  /**
   * Frees the whole segments whose last frame is at or below `through`; never the last one, nor one that the newest tail record may point into
   * (`durable`), nor one that is being repaired (`busy`). They leave the list at once; `done` when the directory says so durably. Returns the first index
   * of what is left.
   */
  compact(through: number, durable: number, busy: Segment | null, done: () => void): number {
    let count = 0;
    while (this.list[count + 1] !== undefined) {
      const segment = this.list[count]!;
      if (this.list[count + 1]!.base - 1 > through || segment.last >= durable || segment === busy) break;
      count++;
    }
    const begins = this.freeing.length === 0;
    for (const segment of this.list.splice(0, count)) this.freeing.push({ segment, done: nothing });
    this.freeing.push({ segment: null, done });
    if (begins) this.freeNext();
    return this.list[0]?.base ?? 0;
  }

  /** Frees the oldest segment that is to go, then the next one. */
  private freeNext(): void {
    const [next] = this.freeing;
    if (next === undefined || this.closed) return;
    if (next.segment === null) {
      this.freeing.shift();
      next.done();
      this.freeNext();
      return;
    }
    const { disk, policy } = this.options;
    const { file, base, bytes } = next.segment;
    // While a rotation still renames a recycled file, the name is its (simulator seed 20032).
    const name = bytes === this.options.segmentBytes ? this.spare.nameForRecycled(this.rotation?.from ?? null) : null;
    const gone = (): void => {
      if (name !== null) this.spare.recycle({ file, path: name });
      else file.close();
      this.freeing.shift();
      this.freeNext();
    };
    this.retrying(
      (callback) =>
        name !== null ? disk.rename(segmentPath(base), name, callback) : disk.unlink(segmentPath(base), callback),
      () => {
        if (policy.noDirectoryFsync) gone();
        else this.retrying((callback) => disk.syncDirectory(LOG_DIRECTORY, callback), gone);
      },
    );
  }

  close(): void {
    this.closed = true;
    for (const { segment } of this.freeing) segment?.file.close();
    this.spare.close();
    for (const segment of this.list) segment.file.close();
  }
}

function nothing(): void {}
