/**
 * LogScrub: one slow pass over the frames and segment headers of a running log, a read at a time.
 *
 * Invariants:
 *  - only what is durable is judged, and nothing that an install changed while it was read: there the medium may hold older frames;
 *  - a frame is intact when its checksum, payload hash, index and chain hold, the chain from the segment before and up to the tail too: older frames that
 *    are whole in themselves (a lost write) are found;
 *  - whatever is damaged is noted in the store's repairs and reported once; the pass goes on behind it.
 */
import { type CommitIndex, min, NONE } from './commit-index.ts';
import { SEGMENT_HEADER_BYTES } from './constants.ts';
import type { Fetched } from './frame-fetch.ts';
import { sameHash } from './hash.ts';
import type { LogStore } from './log-store.ts';
import type { Damage } from './scrubber.ts';
import { beginsWithHeader, rewriteSegmentHeader, type Segment, segmentPath } from './segment.ts';

/** Bytes of one read; a frame that is larger is read whole. */
const READ_BYTES = 128 * 1024;

/** What a step came to: how many bytes it read, and whether the pass over the log is over. */
export type ScrubStep = (bytes: number, over: boolean) => void;

export class LogScrub {
  private readonly store: LogStore;
  private readonly report: (damage: Damage) => void;
  /** Everything through here has been looked at in this pass. */
  position: CommitIndex = NONE;
  private through: CommitIndex = NONE;
  private segment: Segment | null = null;
  /** Chain hash of `position`; null when it is not known. */
  private chain: Uint8Array | null = null;

  constructor(store: LogStore, report: (damage: Damage) => void) {
    this.store = store;
    this.report = report;
  }

  /** Begins a pass over what is durable now. */
  begin(): void {
    this.position = (this.store.segments.firstBase - 1) as CommitIndex;
    this.through = this.store.durable;
    this.segment = null;
    this.chain = null;
  }

  step(done: ScrubStep): void {
    const { segments, repairs, durable } = this.store;
    const from = this.position + 1;
    if (from > min(this.through, durable)) {
      done(0, true);
      return;
    }
    const segment = segments.holding(from);
    const faulty = repairs.rangeAt(from);
    if (segment === null || faulty !== null) {
      // A slot without a place, or compacted meanwhile, or known to be damaged: go on behind it.
      const behind = segment === null ? segments.baseAbove(from) : faulty!.to + 1;
      if (behind === null) done(0, true);
      else this.skipTo(behind, done);
    } else if (segment !== this.segment) this.enter(segment, from, done);
    else this.readFrames(segment, from, done);
  }

  private skipTo(index: number, done: ScrubStep): void {
    this.position = (index - 1) as CommitIndex;
    this.chain = null;
    done(0, false);
  }

  /** Takes up a segment: its header, and that the one before ends with the hash it states. */
  private enter(segment: Segment, from: number, done: ScrubStep): void {
    const before = this.chain;
    this.segment = segment;
    const stated = segment.prevHash;
    this.chain = from === segment.base ? stated : null;
    if (before !== null && this.chain !== null && !sameHash(before, this.chain)) this.isStale(this.position);
    // A header whose prev_hash nobody knows is left to the next open.
    if (stated === null) done(0, false);
    else this.checkHeader(segment, stated, done);
  }

  /** The frame of `index` is whole, but not the one whose hash is stated behind it. */
  private isStale(index: CommitIndex): void {
    const holder = this.store.segments.holding(index);
    if (holder === null) return;
    const { installs } = this.store;
    this.store.fetch.locate(holder, index, 0, (located) => {
      // Cut or compacted while it was looked for.
      if (this.store.isStopped || installs !== this.store.installs) return;
      if (this.store.segments.holding(index) !== holder) return;
      this.found(holder, located.kind === 'damaged' ? located.index : index, located.offset, 'chain', null);
    });
  }

  private checkHeader(segment: Segment, prevHash: Uint8Array, done: ScrubStep): void {
    const { store } = this;
    const { base } = segment;
    store.alone((release) => {
      segment.file.read(0, SEGMENT_HEADER_BYTES, (error, bytes) => {
        const right = bytes !== null && beginsWithHeader(bytes, { base, prevHash }, store.manifest.clusterId);
        const gone = store.segments.holding(base) !== segment;
        // A block that the device does not give is not overwritten unseen: its frames are reported, and a later pass looks at the header again.
        if (right || gone || error?.code === 'ECLOSED' || error?.code === 'EIO') {
          release();
          done(SEGMENT_HEADER_BYTES, false);
          return;
        }
        const { codec, manifest: owner, segments, worker } = store;
        const atEnd = segment.last === worker.written ? worker.writtenHash : null;
        const lastHash = segments.after(segment)?.prevHash ?? atEnd;
        rewriteSegmentHeader({ codec, segment, prevHash, lastHash, owner }, (failure, written) => {
          if (failure !== null) {
            store.poison(failure);
            return;
          }
          const fault = error?.message ?? 'its header is damaged';
          if (written) this.report({ file: segmentPath(segment.base), index: null, fault, remedy: 'rewritten' });
          release();
          done(SEGMENT_HEADER_BYTES, false);
        });
      });
    });
  }

  private readFrames(segment: Segment, from: number, done: ScrubStep): void {
    const { store } = this;
    const { installs } = store;
    store.fetch.read(segment, from, store.durable, READ_BYTES, (fetched) => {
      if (store.isStopped) return;
      if (installs !== store.installs || store.segments.holding(from) !== segment) {
        // What was read may not be what counts any more.
        this.chain = null;
        done(READ_BYTES, false);
      } else if (fetched.kind === 'frames') this.judge(segment, fetched, done);
      else this.onDamaged(segment, from, fetched, done);
    });
  }

  private judge(segment: Segment, fetched: Fetched & { readonly kind: 'frames' }, done: ScrubStep): void {
    const { batch, offset } = fetched;
    const { worker } = this.store;
    const before = this.position;
    const stale = this.chain !== null && !sameHash(this.chain, batch.prevHash);
    if (stale) {
      // One of the two is not the frame that belongs here, and nothing here tells which: both are asked for.
      this.found(segment, batch.first, offset, 'chain', null);
      if (before >= segment.base) this.isStale(before);
      this.position = batch.first as CommitIndex;
      this.chain = null;
    } else {
      this.position = batch.last as CommitIndex;
      this.chain = batch.lastHash.slice();
      if (batch.last === worker.written && !sameHash(batch.lastHash, worker.writtenHash)) this.isStale(this.position);
    }
    done(batch.bytes.length, false);
  }

  private onDamaged(
    segment: Segment,
    from: number,
    fetched: Fetched & { readonly kind: 'damaged' },
    done: ScrubStep,
  ): void {
    const { index, offset, fault } = fetched;
    const { repairs } = this.store;
    if (!repairs.isFaulty(index)) this.found(segment, index, offset, fault, index === from ? this.chain : null);
    // Behind a frame whose size is not known the next mark is the next place that is.
    const behind = index >= from ? index + 1 : (segment.marks.above(from)?.index ?? segment.last + 1);
    this.position = (behind - 1) as CommitIndex;
    this.chain = null;
    done(READ_BYTES, false);
  }

  private found(segment: Segment, index: number, offset: number, fault: string, prevHash: Uint8Array | null): void {
    const { repairs } = this.store;
    if (repairs.isFaulty(index)) return;
    repairs.found({ index, offset, fault }, segment, prevHash);
    this.report({ file: segmentPath(segment.base), index, fault, remedy: 'peers' });
  }
}
