/**
 * Repairing damaged slots in place, with the same frames by hash.
 *
 * Invariants: a range is repaired from its first slot up or from its last slot down, because only the offsets of its two ends are known; a frame is written only
 * where the chain says it belongs; what stands intact between two damaged places counts again once it is chained to a hash that something states; repairs run alone,
 * so no append is in flight to the same block; a block that is shared with other frames is written only if the device gives it, and then as two reads gave it, or as
 * the worker has it in memory.
 */
import type { CommitIndex } from './commit-index.ts';
import { BLOCK_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { DurabilityWorker } from './durability-worker.ts';
import { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import type { FoundDamage } from './frame-fetch.ts';
import { sameHash } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import type { IndexRange } from './log-contract.ts';
import type { LogSegments } from './log-segments.ts';
import type { FaultyRange } from './recovery-open.ts';
import { FRAME_BYTES_MIN, type Piece, scanRegion } from './recovery-scan.ts';
import { endingRun, fills, hashBelow, fittingFrames, readAround } from './repair-place.ts';
import { readAgreed, readSalvaging } from './salvage.ts';
import { type HeaderOwner, prevHashAt, restoreHeader, type Segment } from './segment.ts';
import type { TailFile } from './tail-file.ts';
import type { DiskError } from './virtual-disk.ts';

/** Most bytes of a damaged range that are looked through again when a part of it was repaired. */
const RESCAN_BYTES_MAX = 1024 * 1024;

/** Most batches that wait for slots below them. */
const WAITING_MAX = 64;

/** What a repair needs of the store. */
export interface RepairPort {
  readonly segments: LogSegments;
  poison(error: DiskError): void;
  readonly worker: DurabilityWorker;
  readonly codec: FrameCodec;
  readonly tail: TailFile;
  readonly manifest: HeaderOwner;
  /** Whatever the medium does not give is noted as damaged. */
  read(from: number, maxBytes: number, callback: () => void): void;
  /** Runs a task while nothing is written, until it calls `release`. */
  alone(task: (release: () => void) => void): void;
}

/** Hears of a slot that turned out to be damaged, and what is wrong with its frame; null: it is damaged with another one. */
type OnDamaged = (index: number, fault: string | null) => void;

interface Waiting {
  readonly batch: FrameBatch;
  readonly done: () => void;
  readonly found: (batch: FrameBatch) => void;
}

export class LogRepair {
  private readonly store: RepairPort;
  private ranges: FaultyRange[];
  /** Frames whose place is not known before slots below or above them are repaired. */
  private waiting: Waiting[] = [];
  /** Frames that the repair under way found intact. */
  private intact: FrameBatch[] = [];
  /** The segment that a repair reads and writes at this moment. */
  busy: Segment | null = null;

  /** The log begins here; what is below is nobody's concern any more. */
  private first = 0;
  /** The last frame of the log does not end any more where the tail record says. */
  private endMoved = false;
  private readonly onDamaged: OnDamaged;

  constructor(store: RepairPort, ranges: readonly FaultyRange[], onDamaged: OnDamaged) {
    this.store = store;
    this.ranges = [...ranges];
    this.onDamaged = onDamaged;
  }

  list(): IndexRange[] {
    return this.ranges.map(({ from, to }) => ({ from: Math.max(from, this.first), to }));
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

  /**
   * A slot turned out to be damaged while it was read; what stands behind it, through the next frame whose place is known, is looked through as soon as nothing is written.
   * `prevHash`: chain hash of the frame below as it was read there; null when it was not. Whoever read it need not tell anybody: a slot that only this class knew of would be
   * fetched by nobody, and those behind it would wait for it (seed 9100215).
   */
  found({ index, offset, fault }: FoundDamage, segment: Segment, prevHash: Uint8Array | null = null): void {
    // What compaction freed while it was read is not damaged.
    if (this.isFaulty(index) || this.store.segments.holding(index) !== segment) return;
    const range = { from: index, to: index, segment, offset, endOffset: null, prevHash, hash: null, resumes: false };
    this.insert(range);
    this.store.alone((release) => this.lookBehind(range, segment, release));
    this.onDamaged(index, fault);
  }

  private insert(range: FaultyRange): void {
    const above = this.ranges.findIndex((other) => other.from > range.from);
    this.ranges.splice(above < 0 ? this.ranges.length : above, 0, range);
  }

  /**
   * Behind a frame whose size is not known nothing can be found by walking, so that one damaged frame would hide intact ones (seed 1100089): they are found by the hash that the
   * next frame with a known place, or the next segment, states.
   */
  private lookBehind(range: FaultyRange, segment: Segment, release: () => void): void {
    const { segments, worker } = this.store;
    const { offset } = range;
    const above = segment.marks.above(range.from);
    const next = segments.after(segment);
    const length = (above?.offset ?? segment.end) - offset;
    const known = above !== null || (next === null ? segment.last === worker.written : next.base === segment.last + 1);
    if (!this.ranges.includes(range) || !known || length <= 0 || length > RESCAN_BYTES_MAX) {
      release();
      return;
    }
    this.busy = segment;
    // Read twice: one bad read must not make damage of sound frames.
    readAgreed(segment.file, offset, length + (above === null ? 0 : FRAME_HEADER_BYTES), (_, bytes) => {
      this.busy = null;
      const behind = (index: number): Uint8Array | null =>
        bytes === null ? null : prevHashAt(this.store.codec, bytes, length, index);
      const top = next === null ? worker.writtenHash : next.prevHash;
      const stated = above === null ? top : behind(above.index);
      const last = above === null ? segment.last : above.index - 1;
      if (bytes !== null && stated !== null) {
        const { from: first, prevHash: chain } = range;
        const region = { bytes, start: 0, limit: length, first, chain, last, lastHash: stated, exact: above !== null };
        this.split(range, segment, scanRegion(this.store.codec, region, HeaderSuffix.EMPTY));
      }
      release();
    });
  }

  /** Puts what was found from the damaged slot on in its place: the gaps are damaged, the runs between them are found by their first frames. */
  private split(range: FaultyRange, segment: Segment, pieces: readonly Piece[]): void {
    const [first] = pieces;
    const behind = pieces.at(-1);
    // The slot can be read now after all: as before, it is asked for.
    if (first?.kind !== 'gap' || behind === undefined) return;
    const last = behind.kind === 'gap' ? behind.to : behind.last;
    const known = this.ranges.filter((other) => other.from <= last && other.to >= range.from);
    if (known.some((other) => other.segment !== segment)) return;
    this.ranges = this.ranges.filter((other) => !known.includes(other));
    let prevHash = range.prevHash;
    for (const piece of pieces) {
      if (piece.kind === 'run') {
        segment.marks.insert(piece.first, range.offset + piece.start);
        prevHash = piece.lastHash;
        continue;
      }
      const { from, to, hash } = piece;
      const endOffset = piece.endOffset === null ? null : range.offset + piece.endOffset;
      const place = { segment, offset: range.offset + piece.offset, endOffset, resumes: false };
      this.insert({ from, to, ...place, prevHash, hash });
      for (let index = from; index <= to; index++)
        if (!known.some((other) => index >= other.from && index <= other.to)) this.onDamaged(index, null);
      prevHash = hash;
    }
  }

  /** Forgets what is above `keep`. */
  truncate(keep: CommitIndex): void {
    this.ranges = this.ranges
      .filter((range) => range.from <= keep)
      .map((range) => (range.to <= keep ? range : { ...range, to: keep, endOffset: null, hash: null }));
    this.waiting = [];
  }

  /** Forgets what is below `first`: compaction freed it. Whoever waited for a repair there has nothing to wait for any more. */
  dropBelow(first: number): void {
    this.first = first;
    this.ranges = this.ranges.filter((range) => range.to >= first);
    const moot = this.waiting.filter(({ batch }) => batch.last < first);
    this.waiting = this.waiting.filter(({ batch }) => batch.last >= first);
    for (const { done } of moot) done();
  }

  /** A range that no file holds is repaired from where the log begins on; not while a repair is making that file. */
  private trim(): void {
    for (const range of this.ranges) {
      if (range.segment !== null || range.from >= this.first) continue;
      range.from = this.first;
      range.prevHash = null;
    }
  }

  /**
   * Writes the frames of `batch` that are damaged here; `done` once they are durable (at once when none is). `found` gets frames that turned out to be intact with them.
   * `release` lets the next operation begin: a batch whose place is not known yet waits without holding the others up.
   */
  run(batch: FrameBatch, done: () => void, release: () => void, found: (batch: FrameBatch) => void): void {
    this.trim();
    const range = this.rangeOf(batch);
    if (range !== null && !this.hasPlace(range, batch)) {
      // Asked for again and given again, for ever perhaps: the newest copy is enough. What is dropped is asked for again, too.
      this.waiting = this.waiting.filter((other) => other.batch.first !== batch.first);
      this.waiting.push({ batch, done, found });
      if (this.waiting.length > WAITING_MAX) this.waiting.shift();
      // No news, but it is what the batch waits for.
      this.onDamaged((this.gapBelow(range) ?? range).from, null);
      release();
      return;
    }
    this.repairAll({ batch, done, found }, release);
  }

  private repairAll({ batch, done, found }: Waiting, release: () => void): void {
    this.intact = [];
    const resume = (): void => {
      for (const part of this.intact.splice(0)) this.tellIntact(part, found);
      this.restate(() => this.resume(release));
    };
    const then = (): void => {
      done();
      resume();
    };
    this.repair(batch, then, resume);
  }

  /** Tells of the frames of a part that turned out to be intact, but for those that were counted as damaged after all since. */
  private tellIntact(part: FrameBatch, found: (batch: FrameBatch) => void): void {
    for (let from = part.first; from <= part.last; from++) {
      if (this.isFaulty(from)) continue;
      let to = from;
      while (to < part.last && !this.isFaulty(to + 1)) to++;
      found(part.slice(from, to));
      from = to;
    }
  }

  /** The tail record says where the log ends now: the next open would look for the last frames where it said before. */
  private restate(then: () => void): void {
    const { worker, tail, segments } = this.store;
    const segment = segments.holding(worker.written);
    if (!this.endMoved || segment === null || this.isFaulty(worker.written) || tail.held) {
      then();
      return;
    }
    this.endMoved = false;
    tail.put(worker.written, worker.writtenHash, segment.base, segment.end, (error) => {
      if (error === null) then();
      else this.store.poison(error);
    });
  }

  /** The frame below, as it was read here, is not the one that the repaired frame continues: it is an older one, and the place of this slot is wrong. */
  private isMisplaced(range: FaultyRange, batch: FrameBatch): boolean {
    if (range.prevHash === null || range.segment === null || range.from <= range.segment.base) return false;
    return batch.first <= range.from && !sameHash(hashBelow(batch, range.from), range.prevHash);
  }

  /** Counts the slots below as damaged too, down to one whose place is certain; all are asked for again, in order. */
  private widen(range: FaultyRange): void {
    const mark = range.segment!.marks.find(range.from - 1);
    const from = mark?.index ?? range.segment!.base;
    const whole = { ...range, from, offset: mark?.offset ?? SEGMENT_HEADER_BYTES, prevHash: null };
    range.segment!.marks.drop(from + 1, range.to);
    const fresh: number[] = [];
    for (let index = from; index < range.from; index++) if (!this.isFaulty(index)) fresh.push(index);
    this.ranges = this.ranges.filter((other) => other.from < from || other.from > range.to);
    const above = this.ranges.findIndex((other) => other.from > from);
    this.ranges.splice(above < 0 ? this.ranges.length : above, 0, whole);
    for (const index of fresh) this.onDamaged(index, null);
  }

  /** Takes up what was waiting for a slot that is repaired now. */
  private resume(release: () => void): void {
    const ready = this.waiting.findIndex(({ batch }) => {
      const range = this.rangeOf(batch);
      return range === null || this.hasPlace(range, batch);
    });
    if (ready < 0) release();
    else this.repairAll(this.waiting.splice(ready, 1)[0]!, release);
  }

  /** True when it is known where the frames of the batch that belong to the range stand. */
  private hasPlace(range: FaultyRange, batch: FrameBatch): boolean {
    if (batch.first <= range.from) return this.gapBelow(range) === null || fills(range, batch);
    return range.segment === null ? this.endsInNoFile(range, batch) : this.startOf(range, batch) !== null;
  }

  /** The batch ends a range that no file holds, below other segments: one that is made for all of it gets its last frames at its end. */
  private endsInNoFile({ from, to, prevHash, hash }: FaultyRange, batch: FrameBatch): boolean {
    if (prevHash === null || hash === null || batch.last < to || !sameHash(hash, batch.hashOf(to))) return false;
    const room = this.store.segments.bytesEach - SEGMENT_HEADER_BYTES - batch.slice(batch.first, to).bytes.length;
    return this.store.segments.baseAbove(to) !== null && room >= (batch.first - from) * FRAME_BYTES_MIN;
  }

  /** Where the range begins is known by the frames below it, and those may be copies in a wrong place while a gap below them is not repaired (seed 3000736). */
  private gapBelow({ segment, from }: FaultyRange): FaultyRange | null {
    if (segment === null) return null;
    return this.ranges.find((other) => other.resumes && other.segment === segment && other.to < from) ?? null;
  }

  /**
   * Where the frames of a batch stand that end with the last slot of the range; null when they do not, when it is not known, or when the slots below would have no room.
   */
  private startOf({ from, to, segment, offset, endOffset, hash }: FaultyRange, batch: FrameBatch): number | null {
    if (segment === null || batch.last < to || (hash !== null && !sameHash(hash, batch.hashOf(to)))) return null;
    // What stands behind the last frame of a segment that is full matters to nobody: where exactly it ended is shown by the slots below, when they come.
    // While no hash is known for it, it may well be intact.
    const full = hash !== null && to === segment.last && this.store.segments.after(segment) !== null;
    const end = endOffset ?? (full ? segment.end : null);
    if (end === null) return null;
    const start = end - batch.slice(batch.first, to).bytes.length;
    return start - offset >= (batch.first - from) * FRAME_BYTES_MIN ? start : null;
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
    if (batch.first > range.from) {
      if (range.segment === null) {
        this.takeFile(
          range,
          range.prevHash!,
          (made) => {
            // As a segment that is full, and that holds nothing yet.
            made.last = range.to;
            made.end = made.bytes;
            this.repair(batch, then, undone);
          },
          undone,
        );
        return;
      }
      const start = this.startOf(range, batch);
      const last = batch.slice(batch.first, range.to);
      const written = (): void =>
        this.writtenAbove(range, last, start!, () => this.repair(batch, then, undone), undone);
      if (start === null) undone();
      else this.put(range.segment!, start, last, written, undone);
      return;
    }
    if (this.isMisplaced(range, batch)) {
      this.widen(range);
      undone();
      return;
    }
    this.joinAbove(range, batch);
    const part = batch.slice(range.from, Math.min(batch.last, range.to));
    this.write(range, part, () => this.repair(batch, then, undone), undone);
  }

  /** The ranges right above that the batch reaches into are one with this one: blocks that they share are written once, and need not be read where the batch has all of them. */
  private joinAbove(range: FaultyRange, batch: FrameBatch): void {
    for (;;) {
      const next = this.rangeBehind(range);
      if (next === undefined || batch.last < next.from) return;
      this.ranges = this.ranges.filter((other) => other !== next);
      Object.assign(range, {
        to: next.to,
        endOffset: next.endOffset,
        hash: next.hash,
        resumes: range.resumes || next.resumes,
      });
    }
  }

  private write(range: FaultyRange, whole: FrameBatch, then: () => void, undone: () => void): void {
    const { segment } = range;
    const fits = segment === null ? 0 : fittingFrames(whole, segment.bytes - range.offset);
    if (segment === null || fits === 0) {
      if (segment !== null) this.endsBehind(range, segment, range.from - 1, range.offset);
      this.takeFile(range, whole.prevHash, () => this.write(range, whole, then, undone), undone);
      return;
    }
    const part = whole.slice(whole.first, whole.first + fits - 1);
    const end = range.offset + part.bytes.length;
    while (this.runsInto(range, segment, part.last, end)) this.widenAbove(range, segment);
    if (fits < whole.count) this.endsBehind(range, segment, part.last, end);
    this.put(segment, range.offset, part, () => this.written(range, segment, part, then, undone), undone);
  }

  /**
   * The frame behind `last` has no room in the segment: the file behind this one is gone, so that what it held was looked for here; or copies stand here in the place of larger
   * frames.
   */
  private endsBehind(range: FaultyRange, segment: Segment, last: number, end: number): void {
    while (range.to < segment.last) this.widenAbove(range, segment);
    segment.last = last;
    segment.end = end;
  }

  /** The range stands in a new segment from now on; `undone` when none can be made now: nobody else may wait for space behind a repair. */
  private takeFile(range: FaultyRange, prevHash: Uint8Array, taken: (made: Segment) => void, undone: () => void): void {
    const { segments } = this.store;
    if (!segments.ready) {
      segments.prepare();
      undone();
      return;
    }
    segments.rotate(range.from, prevHash, (made) => {
      range.segment = made;
      range.offset = made.end;
      taken(made);
    });
  }

  /** Writes frames at `offset` of the segment, and what shares their blocks as it is; `undone` when the device does not give that. */
  private put(segment: Segment, offset: number, part: FrameBatch, then: () => void, undone: () => void): void {
    this.busy = segment;
    const { file } = segment;
    const end = offset + part.bytes.length;
    const blockStart = offset - (offset % BLOCK_BYTES);
    const length = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES - blockStart;
    const { worker, manifest } = this.store;
    // The header is known, what stands behind the last frame is nothing, and the tail block is in memory.
    const begins = offset === SEGMENT_HEADER_BYTES;
    const from = begins ? 0 : offset;
    const to = part.last === segment.last ? blockStart + length : end;
    const tail = worker.isIn(segment) ? segment.end - (segment.end % BLOCK_BYTES) : Number.POSITIVE_INFINITY;
    readAround(file, { start: blockStart, length, from, to, tail }, (readError, bytes) => {
      if (readError !== null && readError.code === 'EIO') {
        this.busy = null;
        this.lookAround(segment, part.first);
        undone();
        return;
      }
      if (readError !== null || bytes === null) {
        this.store.poison(readError ?? { code: 'EIO', message: `${file.path} cannot be read at ${blockStart}` });
        return;
      }
      worker.overlay(segment, blockStart, bytes);
      if (begins) restoreHeader(bytes, { base: segment.base, prevHash: part.prevHash }, manifest);
      bytes.set(part.bytes, offset - blockStart);
      file.write(blockStart, bytes, true, (error) => {
        this.busy = null;
        if (error !== null) this.store.poison(error);
        else then();
      });
    });
  }

  /** A block that the device does not give is written only as a whole: what shares it with the slot at `index`, and is not known to be lost with it, is looked at. */
  private lookAround(segment: Segment, index: number): void {
    let below = index;
    while (this.isFaulty(below)) below--;
    if (below >= segment.base) this.store.read(below, 1, () => {});
    let top = this.ranges.find((range) => index >= range.from && index <= range.to);
    for (let next = top; next !== undefined; next = this.rangeBehind(next)) top = next;
    if (top === undefined || top.segment !== segment || top.to >= segment.last) return;
    if (top.endOffset === null) this.countBehind(top, segment);
    else this.store.read(top.to + 1, 1, () => {});
  }

  /** The range right above this one in the same segment. */
  private rangeBehind({ to, segment }: FaultyRange): FaultyRange | undefined {
    return this.ranges.find((other) => other.from === to + 1 && other.segment === segment);
  }

  /** Where the range ends is not known, so that what is behind it cannot be read: it is damaged too, through the next place that is known. */
  private countBehind(range: FaultyRange, segment: Segment): void {
    const mark = segment.marks.above(range.to) ?? { index: segment.last + 1, offset: null };
    const next = this.ranges.find((other) => other.from > range.to && other.segment === segment);
    const place = next !== undefined && next.from <= mark.index ? { index: next.from, offset: next.offset } : mark;
    for (let index = range.to + 1; index < place.index; index++) this.onDamaged(index, null);
    Object.assign(range, { to: place.index - 1, endOffset: place.offset, hash: null });
  }

  /** The repaired frames do not end where the frames behind them were found: those are copies in a wrong place (simulator, misdirected-write). */
  private runsInto(range: FaultyRange, segment: Segment, last: number, end: number): boolean {
    const behind = segment.marks.above(range.to);
    if (behind === null) return false;
    return end > behind.offset || (last === range.to && behind.index === last + 1 && end !== behind.offset);
  }

  /**
   * Counts the slots behind as damaged too, through the next place of the segment where the scan found the log again; all are asked for again. What was found damaged
   * in between was looked for where those copies led to.
   */
  private widenAbove(range: FaultyRange, segment: Segment): void {
    const above = this.ranges.filter((other) => other.from > range.to && other.segment === segment);
    const next = above.find(({ resumes }) => resumes);
    const from = range.to + 1;
    const to = next?.to ?? segment.last;
    for (let index = from; index <= to; index++) if (!this.isFaulty(index)) this.onDamaged(index, null);
    this.ranges = this.ranges.filter((other) => !above.includes(other) || other.from > to);
    range.to = to;
    range.resumes ||= next !== undefined;
    range.endOffset = next?.endOffset ?? null;
    range.hash = next?.hash ?? null;
    segment.marks.drop(from, to);
  }

  /** The last slot of the range ends at `end`, and the slots behind do not begin there: they were put where the segment had room. They are asked for again. */
  private displaced({ to, hash }: FaultyRange, segment: Segment, end: number): void {
    const place = { segment, offset: end, endOffset: null, resumes: false };
    const behind = { from: to + 1, to, ...place, prevHash: hash, hash: null };
    this.widenAbove(behind, segment);
    this.insert(behind);
  }

  private written(range: FaultyRange, segment: Segment, part: FrameBatch, then: () => void, undone: () => void): void {
    const below = part.first === segment.base ? this.headed(segment, part.prevHash) : undefined;
    segment.marks.insert(part.first, range.offset);
    range.offset += part.bytes.length;
    range.from = part.last + 1;
    range.prevHash = part.lastHash.slice();
    if (part.last >= segment.last || range.offset > segment.end) this.endsAt(segment, part.last, range.offset);
    this.rescan(range, below === undefined ? then : () => this.rescan(below, then, undone), undone);
  }

  /**
   * The first frame of a segment says again what stands below it, where damage had taken that with the header, or an older frame there had stated something else (the scrubber
   * finds that one). Returns the range that ends there: its last slot has a hash now, so what is intact in it can be told (seed 10000408: the frame was written again at the end
   * of the file, over itself).
   */
  private headed(segment: Segment, prevHash: Uint8Array): FaultyRange | undefined {
    if (segment.prevHash !== null && sameHash(segment.prevHash, prevHash)) return undefined;
    segment.prevHash = prevHash.slice();
    const below = this.ranges.find(({ to, hash }) => to === segment.base - 1 && hash === null);
    if (below !== undefined) below.hash = segment.prevHash;
    return below;
  }

  /** The frame of `index` ends at `end`, and none behind it is known to stand elsewhere. */
  private endsAt(segment: Segment, index: number, end: number): void {
    const { worker } = this.store;
    segment.last = Math.max(segment.last, index);
    if (segment.end === end) return;
    segment.end = end;
    this.endMoved ||= segment.last === worker.written;
    // The tail block is another one: the next frame begins another segment.
    if (worker.isIn(segment)) worker.useSegment(null, new Uint8Array(0));
  }

  private writtenAbove(
    range: FaultyRange,
    part: FrameBatch,
    start: number,
    then: () => void,
    undone: () => void,
  ): void {
    range.segment!.marks.insert(part.first, start);
    range.to = part.first - 1;
    range.endOffset = start;
    range.hash = part.prevHash.slice();
    this.rescan(range, then, undone);
  }

  /**
   * Looks again at what is left of a range: frames that chain to the hash which its last slot must have are intact after all (one damaged place hid them from the scan at
   * open, or another one behind them). They are written again before they count: what is read may only be in a cache.
   */
  private rescan(range: FaultyRange, then: () => void, undone: () => void): void {
    this.ranges = this.ranges.filter((other) => other.from <= other.to);
    const { segment, hash, from, to, offset } = range;
    const length = (range.endOffset ?? segment?.end ?? 0) - offset;
    if (from > to || segment === null || hash === null || length < FRAME_BYTES_MIN || length > RESCAN_BYTES_MAX) {
      then();
      return;
    }
    this.busy = segment;
    readSalvaging(segment.file, offset, length, (_, bytes) => {
      this.busy = null;
      const batch = bytes === null ? null : endingRun(this.store.codec, range, bytes);
      if (batch === null) {
        then();
        return;
      }
      const start = offset + batch.bytes.byteOffset - bytes!.byteOffset;
      const counted = (): void => {
        this.intact.push(batch);
        if (start + batch.bytes.length !== offset + length) this.displaced(range, segment, start + batch.bytes.length);
        this.writtenAbove(range, batch, start, then, undone);
      };
      this.put(segment, start, batch, counted, undone);
    });
  }
}
