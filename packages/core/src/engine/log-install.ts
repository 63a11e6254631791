/**
 * Installing a suffix (docs/log-format.md, "Who wins"): the manifest first, then the tail record lowered to what is kept, then the log. And installing a
 * snapshot ("Snapshot"): the manifest's checkpoint first, then the tail record moved to it, then the segments removed.
 *
 * Invariants: no frame changes before the lowered tail record is durable; after a lost tail record both of its slots are written; segments above are
 * gone before anything new is appended.
 */
import { at, type CommitIndex, next, NONE } from './commit-index.ts';
import { SEGMENT_HEADER_BYTES } from './constants.ts';
import { frame } from './frame.ts';
import { sameHash, ZERO_HASH } from './hash.ts';
import type { LogFatal, ManifestState } from './log-contract.ts';
import type { DurabilityWorker } from './durability-worker.ts';
import type { FrameFetch } from './frame-fetch.ts';
import type { LogRepair } from './log-repair.ts';
import type { LogSegments } from './log-segments.ts';
import type { Segment } from './segment.ts';
import type { TailFile } from './tail-file.ts';
import type { DiskError } from './virtual-disk.ts';

/** What an install needs of the store. */
export interface InstallPort {
  readonly tail: TailFile;
  readonly worker: DurabilityWorker;
  readonly segments: LogSegments;
  readonly fetch: FrameFetch;
  readonly repairs: LogRepair;
  unsettled: boolean;
  /** The durable one. */
  readonly manifest: ManifestState;
  storeManifest(manifest: ManifestState, then: () => void): void;
  /** The next frame goes behind the last one of `segment`. */
  goOnIn(segment: Segment, then: () => void): void;
  poison(error: DiskError): void;
  fail(fatal: LogFatal): void;
}

/** Where the log will end. */
interface Place {
  readonly segment: Segment | null;
  /** First index of the segment; of the slots that are in no file, when there is none. */
  readonly base: number;
  readonly offset: number;
  readonly hash: Uint8Array;
}

export class LogInstall {
  private readonly store: InstallPort;

  constructor(store: InstallPort) {
    this.store = store;
  }

  run(
    manifest: ManifestState,
    keep: CommitIndex,
    promised: CommitIndex,
    done: () => void,
    keepHash: Uint8Array | null = null,
  ): void {
    const { store } = this;
    store.storeManifest(manifest, () => {
      store.tail.logView = manifest.logView;
      store.tail.promised = promised;
      this.locate(manifest, keep, keepHash, (place) => {
        if (place === null) {
          const message = `the log cannot be cut at index ${keep}: nothing states its chain hash`;
          store.fail({ code: 'E_ASSERT', message });
        } else this.lower(keep, place, done);
      });
    });
  }

  /** Everything here makes way for the snapshot of `manifest.checkpoint`: the log begins behind it, without a frame. */
  reset(manifest: ManifestState, promised: CommitIndex, done: () => void): void {
    const { store } = this;
    const { index, hash } = manifest.checkpoint;
    store.storeManifest(manifest, () => {
      store.tail.logView = manifest.logView;
      store.tail.promised = promised;
      store.tail.put(index, hash, 0, 0, (error) => {
        if (error !== null) {
          store.poison(error);
          return;
        }
        store.segments.removeAbove(NONE, () => {
          store.repairs.truncate(NONE);
          store.worker.reset(index, hash);
          store.worker.useSegment(null, new Uint8Array(0));
          done();
        });
      });
    });
  }

  /** False only when the log certainly holds another entry at `index` than the one with this chain hash. */
  mayConnect(index: CommitIndex, hash: Uint8Array, callback: (connects: boolean) => void): void {
    this.locate(this.store.manifest, index, null, (place) => callback(place === null || sameHash(place.hash, hash)));
  }

  private lower(keep: CommitIndex, place: Place, done: () => void): void {
    const { store } = this;
    const put = (then: () => void): void => {
      store.tail.put(keep, place.hash, place.base, place.offset, (error) => {
        if (error === null) then();
        else store.poison(error);
      });
    };
    const lowered = (): void => {
      store.unsettled = false;
      store.tail.held = false;
      this.cut(keep, place, done);
    };
    put(store.unsettled ? () => put(lowered) : lowered);
  }

  private cut(keep: CommitIndex, place: Place, done: () => void): void {
    const { store } = this;
    const changes = keep !== store.worker.written;
    // With nothing to cut, an empty segment right behind `keep` is the one being written: it stays (simulator seed 47).
    store.segments.removeAbove(changes ? keep : at(next(keep)), () => {
      if (!changes) {
        done();
        return;
      }
      const { segment, offset } = place;
      store.repairs.truncate(keep);
      store.worker.reset(keep, place.hash);
      if (segment === null) {
        store.worker.useSegment(null, new Uint8Array(0));
        done();
        return;
      }
      segment.last = keep;
      segment.marks.truncate(keep);
      segment.end = offset;
      store.goOnIn(segment, done);
    });
  }

  /** Where a log ends whose last slot no file holds: behind a snapshot, or a file is gone and its slots are not repaired yet. */
  private outsideFiles(keep: CommitIndex, hash: Uint8Array): Place {
    const lost = this.store.repairs.rangeAt(keep);
    if (lost === null) return { segment: null, base: 0, offset: 0, hash };
    return { segment: null, base: lost.from, offset: SEGMENT_HEADER_BYTES, hash };
  }

  /** Finds the offset just behind `keep` and its chain hash; null when nothing states the hash. */
  private locate(
    manifest: ManifestState,
    keep: CommitIndex,
    keepHash: Uint8Array | null,
    callback: (place: Place | null) => void,
  ): void {
    const { worker, segments, repairs } = this.store;
    if (keep === worker.written) {
      const segment = keep === NONE ? null : segments.holding(keep);
      callback(
        segment === null
          ? this.outsideFiles(keep, worker.writtenHash)
          : within(segment, segment.end, worker.writtenHash),
      );
      return;
    }
    const segment = keep === NONE ? null : segments.holding(keep);
    if (segment === null) {
      const hash = keep === NONE ? ZERO_HASH : (keepHash ?? statedHash(manifest, keep));
      callback(hash === null ? null : this.outsideFiles(keep, hash));
      return;
    }
    if (keep === segment.last) {
      const hash = segments.after(segment)?.prevHash ?? keepHash ?? statedHash(manifest, keep);
      callback(hash === null ? null : within(segment, segment.end, hash));
      return;
    }
    const known = keepHash ?? statedHash(manifest, keep);
    const damaged = (): void => {
      const range = repairs.startingAt(keep + 1);
      const hash = known ?? range?.prevHash ?? null;
      // Inside a damaged range nobody knows where a slot begins: the rest of the segment is left to it, the next frame begins another one.
      callback(hash === null ? null : within(segment, range?.offset ?? segment.bytes, hash));
    };
    if (repairs.isFaulty(keep + 1)) {
      damaged();
      return;
    }
    this.store.fetch.locate(segment, keep + 1, 0, (located) => {
      if (located.kind === 'damaged') {
        repairs.found(located, segment);
        damaged();
        return;
      }
      const { offset, chunk, at } = located;
      const hash = frame.prevHash(chunk, at).slice();
      if (known !== null && !sameHash(hash, known)) {
        // An older frame, whole in itself: it tells where the one below ends, not what that is.
        repairs.found({ index: keep + 1, offset, fault: 'chain' }, segment);
        damaged();
      } else callback(within(segment, Math.max(offset, SEGMENT_HEADER_BYTES), hash));
    });
  }
}

function within(segment: Segment, offset: number, hash: Uint8Array): Place {
  return { segment, base: segment.base, offset, hash };
}

/** Chain hash of `index` as the manifest states it. */
function statedHash(manifest: ManifestState, index: number): Uint8Array | null {
  const { headers, checkpoint } = manifest;
  if (index === checkpoint.index) return checkpoint.hash;
  if (headers.contains(index)) {
    const hash = headers.hash(index);
    if (hash !== null) return hash;
  }
  const above = headers.contains(index + 1) ? headers.header(index + 1) : null;
  return above === null ? null : frame.prevHash(above, 0).slice();
}
