/**
 * Repairing damaged slots in place, with the same frames by hash.
 *
 * Invariants: a range is repaired from its first slot up, because only the offset of that one is known; a frame is written only where the chain says it
 * belongs; repairs run alone, so no append is in flight to the same block; a block that is shared with other frames is written only if the device gives it,
 * and then as two reads gave it, or as the worker has it in memory.
 */
import { assert } from '../assert.ts';
import type { CommitIndex } from './commit-index.ts';
import { BLOCK_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { DurabilityWorker } from './durability-worker.ts';
import type { FrameBatch } from './frame-batch.ts';
import { sameHash } from './hash.ts';
import type { IndexRange } from './log-contract.ts';
import type { LogSegments } from './log-segments.ts';
import type { FaultyRange } from './recovery-open.ts';
import { readAgreed } from './salvage.ts';
import type { Segment } from './segment.ts';
import type { DiskError, DiskFile, DiskReadCallback } from './virtual-disk.ts';

/** What a repair needs of the store. */
export interface RepairPort {
  readonly segments: LogSegments;
  poison(error: DiskError): void;
  readonly worker: DurabilityWorker;
}

interface Waiting {
  readonly batch: FrameBatch;
  readonly done: () => void;
}

export class LogRepair {
  private readonly store: RepairPort;
  private ranges: FaultyRange[];
  /** Frames that came before the slots below them were repaired. */
  private waiting: Waiting[] = [];
  /** The segment that a repair reads and writes at this moment. */
  busy: Segment | null = null;

  private readonly onDamaged: (index: number) => void;

  constructor(store: RepairPort, ranges: readonly FaultyRange[], onDamaged: (index: number) => void) {
    this.store = store;
    this.ranges = [...ranges];
    this.onDamaged = onDamaged;
  }

  list(): IndexRange[] {
    return this.ranges.map(({ from, to }) => ({ from, to }));
  }

  isFaulty(index: number): boolean {
    return this.rangeAt(index) !== null;
  }

  /** The damaged range that holds `index`, or null. */
  rangeAt(index: number): IndexRange | null {
    return this.ranges.find((range) => index >= range.from && index <= range.to) ?? null;
  }

  startingAt(index: number): FaultyRange | null {
    return this.ranges.find((range) => range.from === index) ?? null;
  }

  /** A slot turned out to be damaged while it was read. `prevHash`: chain hash of the frame below as it was read there; null when it was not. */
  found(index: number, segment: Segment, offset: number, prevHash: Uint8Array | null = null): void {
    // What compaction freed while it was read is not damaged.
    if (this.isFaulty(index) || this.store.segments.holding(index) !== segment) return;
    const range = { from: index, to: index, segment, offset, prevHash };
    const above = this.ranges.findIndex((other) => other.from > index);
    if (above < 0) this.ranges.push(range);
    else this.ranges.splice(above, 0, range);
  }

  /** Forgets what is above `keep`. */
  truncate(keep: CommitIndex): void {
    this.ranges = this.ranges
      .filter((range) => range.from <= keep)
      .map((range) => ({ ...range, to: Math.min(range.to, keep) }));
    this.waiting = [];
  }

  /** Forgets what is below `first`: compaction freed it. Whoever waited for a repair there has nothing to wait for any more. */
  dropBelow(first: number): void {
    this.ranges = this.ranges.filter((range) => range.to >= first);
    const moot = this.waiting.filter(({ batch }) => batch.last < first);
    this.waiting = this.waiting.filter(({ batch }) => batch.last >= first);
    for (const { done } of moot) done();
  }

  /**
   * Writes the frames of `batch` that are damaged here; `done` once they are durable (at once when none is). `release` lets the next operation
   * begin: a batch whose place is not known yet waits without holding the others up.
   */
  run(batch: FrameBatch, done: () => void, release: () => void): void {
    const range = this.rangeOf(batch);
    if (range !== null && batch.first > range.from) {
      // Asked for again and given again, for ever perhaps: the newest copy is enough.
      this.waiting = this.waiting.filter((other) => other.batch.first !== batch.first);
      this.waiting.push({ batch, done });
      release();
      return;
    }
    if (range !== null && this.isMisplaced(range, batch)) {
      this.widen(range);
      release();
      return;
    }
    this.repairAll(batch, done, release);
  }

  private repairAll(batch: FrameBatch, done: () => void, release: () => void): void {
    const then = (): void => {
      done();
      this.resume(release);
    };
    this.repair(batch, then, () => this.resume(release));
  }

  /** The frame below, as it was read here, is not the one that the repaired frame continues: it is an older one, and the place of this slot is wrong. */
  private isMisplaced(range: FaultyRange, batch: FrameBatch): boolean {
    if (range.prevHash === null || range.segment === null || range.from <= range.segment.base) return false;
    return range.from === batch.first && !sameHash(batch.prevHash, range.prevHash);
  }

  /** Counts the slots below as damaged too, down to one whose place is certain; all are asked for again, in order. */
  private widen(range: FaultyRange): void {
    const mark = range.segment!.marks.find(range.from - 1);
    const from = mark?.index ?? range.segment!.base;
    const whole = { ...range, from, offset: mark?.offset ?? SEGMENT_HEADER_BYTES, prevHash: null };
    const fresh: number[] = [];
    for (let index = from; index < range.from; index++) if (!this.isFaulty(index)) fresh.push(index);
    this.ranges = this.ranges.filter((other) => other.from < from || other.from > range.to);
    const above = this.ranges.findIndex((other) => other.from > from);
    this.ranges.splice(above < 0 ? this.ranges.length : above, 0, whole);
    for (const index of fresh) this.onDamaged(index);
  }

  /** Takes up what was waiting for a slot that is repaired now. */
  private resume(release: () => void): void {
    const ready = this.waiting.findIndex(({ batch }) => batch.first <= (this.rangeOf(batch)?.from ?? batch.first));
    if (ready < 0) {
      release();
      return;
    }
    const [{ batch, done }] = this.waiting.splice(ready, 1) as [Waiting];
    this.repairAll(batch, done, release);
  }

  private rangeOf(batch: FrameBatch): FaultyRange | null {
    return this.ranges.find((range) => batch.first <= range.to && batch.last >= range.from) ?? null;
  }

  /** `undone`: not now; the slots stay damaged, and are asked for again. */
  private repair(batch: FrameBatch, then: () => void, undone: () => void): void {
    const range = this.rangeOf(batch);
    if (range === null) {
      then();
      return;
    }
    const part = batch.slice(range.from, Math.min(batch.last, range.to));
    const chains = range.prevHash === null || sameHash(part.prevHash, range.prevHash);
    assert(chains, `frame ${part.first} chains to the repaired log`);
    this.write(range, part, () => this.repair(batch, then, undone), undone);
  }

  private write(range: FaultyRange, whole: FrameBatch, then: () => void, undone: () => void): void {
    const { segment } = range;
    const fits = segment === null ? 0 : fittingFrames(whole, segment.bytes - range.offset);
    if (segment === null || fits === 0) {
      this.store.segments.rotate(whole.first, whole.prevHash, (made) => {
        range.segment = made;
        range.offset = made.end;
        this.write(range, whole, then, undone);
      });
      return;
    }
    const part = whole.slice(whole.first, whole.first + fits - 1);
    const end = range.offset + part.bytes.length;
    while (this.runsInto(range, segment, part.last, end)) this.widenAbove(range, segment);
    this.busy = segment;
    const { file } = segment;
    const blockStart = range.offset - (range.offset % BLOCK_BYTES);
    const length = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES - blockStart;
    readAround(file, blockStart, range.offset, end, length, (readError, bytes) => {
      if (readError !== null && readError.code === 'EIO') {
        this.busy = null;
        undone();
        return;
      }
      if (readError !== null || bytes === null) {
        this.store.poison(readError ?? { code: 'EIO', message: `${file.path} cannot be read at ${blockStart}` });
        return;
      }
      this.store.worker.overlay(segment, blockStart, bytes);
      bytes.set(part.bytes, range.offset - blockStart);
      file.write(blockStart, bytes, true, (error) => {
        if (error !== null) this.store.poison(error);
        else this.written(range, segment, part, then);
      });
    });
  }

  /** The repaired frames do not end where the frames behind them were found: those are copies in a wrong place (simulator, misdirected-write). */
  private runsInto(range: FaultyRange, segment: Segment, last: number, end: number): boolean {
    const behind = segment.marks.above(range.to);
    if (behind === null) return false;
    return end > behind.offset || (last === range.to && behind.index === last + 1 && end !== behind.offset);
  }

  /** Counts the slots behind as damaged too, through the next damaged range of the segment; all are asked for again. */
  private widenAbove(range: FaultyRange, segment: Segment): void {
    const above = this.ranges.find((other) => other.from > range.to && other.segment === segment);
    const from = range.to + 1;
    range.to = above?.to ?? segment.last;
    this.ranges = this.ranges.filter((other) => other !== above);
    segment.marks.drop(from, range.to);
    for (let index = from; index < (above?.from ?? range.to + 1); index++) this.onDamaged(index);
  }

  private written(range: FaultyRange, segment: Segment, part: FrameBatch, then: () => void): void {
    this.busy = null;
    // Damage may have taken it with the header.
    if (part.first === segment.base) segment.prevHash ??= part.prevHash.slice();
    segment.marks.insert(part.first, range.offset);
    range.offset += part.bytes.length;
    range.from = part.last + 1;
    range.prevHash = part.lastHash.slice();
    if (segment.last < part.last) {
      segment.last = part.last;
      segment.end = range.offset;
    }
    this.ranges = this.ranges.filter((other) => other.from <= other.to);
    then();
  }
}

/** How many frames from the first on take at most `room` bytes. */
function fittingFrames(batch: FrameBatch, room: number): number {
  let count = 0;
  while (count < batch.count && batch.offsets[count + 1]! <= room) count++;
  return count;
}

/**
 * `length` bytes from `start` on, of which only the blocks are read that hold something outside of from..to: what stands there must stay, and what lies within is
 * written anew.
 */
function readAround(
  file: DiskFile,
  start: number,
  from: number,
  to: number,
  length: number,
  callback: DiskReadCallback,
): void {
  const bytes = new Uint8Array(length);
  const last = start + length - BLOCK_BYTES;
  const edges = new Set<number>();
  if (from > start) edges.add(start);
  if (to < start + length) edges.add(last);
  const read = ([at, ...rest]: number[]): void => {
    if (at === undefined) {
      callback(null, bytes);
      return;
    }
    readAgreed(file, at, BLOCK_BYTES, (error, block) => {
      if (error !== null || block === null) {
        callback(error, null);
        return;
      }
      bytes.set(block, at - start);
      read(rest);
    });
  };
  read([...edges]);
}
