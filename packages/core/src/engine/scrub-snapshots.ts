/**
 * SnapshotScrub: one slow pass over the snapshot files, a chunk at a time: header, table of digests, then each chunk against the table; the snapshot that
 * the manifest names also against the digest stored there.
 *
 * Invariants: memory is bounded by the table and a chunk; a file that is removed or replaced meanwhile is not damage, nor is a bad read: what is wrong is
 * read again through the name before it is believed; a damaged one is reported once a pass, at its first fault, and not read further.
 */
import { BLOCK_BYTES, HASH_BYTES } from './constants.ts';
import { sameHash } from './hash.ts';
import type { LogStore } from './log-store.ts';
import type { ScrubStep } from './scrub-log.ts';
import type { Damage } from './scrubber.ts';
import {
  decodeSnapshotHeader,
  isZero,
  layoutOf,
  snapshotDigest,
  type SnapshotHeader,
  type SnapshotLayout,
  wholeBlocks,
} from './snapshot-format.ts';
import { SNAPSHOT_DIRECTORY, snapshotIndexes, snapshotPath } from './snapshot-path.ts';
import { DiskFailure, type DiskFile } from './virtual-disk.ts';

interface Open {
  readonly index: number;
  file: DiskFile;
  header: SnapshotHeader | null;
  layout: SnapshotLayout | null;
  table: Uint8Array;
  nextChunk: number;
}

export class SnapshotScrub {
  private readonly store: LogStore;
  private readonly report: (damage: Damage, index: number) => void;
  private waiting: number[] = [];
  private open: Open | null = null;

  constructor(store: LogStore, report: (damage: Damage, index: number) => void) {
    this.store = store;
    this.report = report;
  }

  /** Begins a pass over what there is now; returns how many bytes that are. */
  begin(): number {
    const { disk } = this.store.options;
    this.leave();
    try {
      this.waiting = snapshotIndexes(disk.list(SNAPSHOT_DIRECTORY));
      return this.waiting.reduce((sum, index) => sum + sizeOf(disk.open(snapshotPath(index))), 0);
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      this.waiting = [];
      return 0;
    }
  }

  step(done: ScrubStep): void {
    const { open } = this;
    if (open !== null) {
      if (open.layout === null) this.readHeader(open, done);
      else if (open.nextChunk < 0) this.readTable(open, open.layout, done);
      else this.readChunk(open, open.layout, done);
      return;
    }
    const index = this.waiting.shift();
    if (index === undefined) {
      done(0, true);
      return;
    }
    try {
      const file = this.store.options.disk.open(snapshotPath(index));
      this.open = { index, file, header: null, layout: null, table: new Uint8Array(0), nextChunk: -1 };
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      // Replaced by a newer one since the pass began.
      if (error.code !== 'ENOENT') this.fault(index, error.message);
    }
    done(0, false);
  }

  private readHeader(open: Open, done: ScrubStep): void {
    this.read(open, 0, BLOCK_BYTES, done, (block) => {
      const { codec } = this.store.options;
      const header = decodeSnapshotHeader(block, codec);
      if (typeof header === 'string') return header;
      const { checkpoint, clusterId } = this.store.manifest;
      if (!sameHash(header.clusterId, clusterId)) return 'of another cluster';
      if (header.index !== open.index) return `states index ${header.index}`;
      if (checkpoint.index === open.index && !sameHash(snapshotDigest(block, codec), checkpoint.digest))
        return 'its digest is not the one in the manifest';
      const layout = layoutOf(header);
      if (open.file.size() !== layout.fileBytes)
        return `it has ${open.file.size()} bytes, its header states ${layout.fileBytes}`;
      open.header = header;
      open.layout = layout;
      return null;
    });
  }

  private readTable(open: Open, layout: SnapshotLayout, done: ScrubStep): void {
    const length = wholeBlocks(layout.tableBytes);
    this.read(open, layout.tableAt, length, done, (table) => {
      if (!sameHash(this.digest(table, layout.tableBytes), open.header!.tableDigest))
        return 'the table of digests is damaged';
      if (!isZero(table, layout.tableBytes)) return 'the padding is not zero';
      open.table = table;
      open.nextChunk = 0;
      return null;
    });
  }

  private readChunk(open: Open, layout: SnapshotLayout, done: ScrubStep): void {
    const chunk = open.nextChunk;
    if (chunk === layout.chunks) {
      this.leave();
      done(0, false);
      return;
    }
    const at = chunk * open.header!.chunkBytes;
    const size = Math.min(open.header!.chunkBytes, layout.dataBytes - at);
    this.read(open, layout.dataAt + at, wholeBlocks(size), done, (bytes) => {
      const stated = open.table.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES);
      if (!sameHash(this.digest(bytes, size), stated) || !isZero(bytes, size)) return `chunk ${chunk} is damaged`;
      open.nextChunk++;
      return null;
    });
  }

  /** Reads a part and judges it; what `judge` says is the fault. */
  private read(
    open: Open,
    at: number,
    length: number,
    done: ScrubStep,
    judge: (bytes: Uint8Array) => string | null,
  ): void {
    const once = (doubted: boolean): void =>
      open.file.read(at, length, (error, bytes) => {
        if (this.store.isStopped) return;
        const short = bytes === null || bytes.length < length;
        const fault = short ? (error?.message ?? 'it is cut off') : judge(bytes);
        if (fault !== null && !doubted && this.reopen(open)) {
          once(true);
          return;
        }
        if (fault !== null) {
          // Gone meanwhile, as a whole: that is no damage.
          if (this.store.options.disk.list(SNAPSHOT_DIRECTORY).includes(nameOf(open.index)))
            this.fault(open.index, fault);
          this.leave();
        }
        done(length, false);
      });
    once(false);
  }

  /** The file that has the name now: a whole one may have replaced the one that was being read. */
  private reopen(open: Open): boolean {
    try {
      const file = this.store.options.disk.open(snapshotPath(open.index));
      open.file.close();
      open.file = file;
      return true;
    } catch (error) {
      if (error instanceof DiskFailure) return false;
      throw error;
    }
  }

  private digest(bytes: Uint8Array, length: number): Uint8Array {
    const digest = new Uint8Array(HASH_BYTES);
    this.store.options.codec.hash(bytes, 0, length, digest, 0);
    return digest;
  }

  private fault(index: number, fault: string): void {
    this.report({ file: snapshotPath(index), index: null, fault, remedy: 'replaced' }, index);
  }

  private leave(): void {
    this.open?.file.close();
    this.open = null;
  }
}

function nameOf(index: number): string {
  return snapshotPath(index).slice(SNAPSHOT_DIRECTORY.length + 1);
}

function sizeOf(file: DiskFile): number {
  const size = file.size();
  file.close();
  return size;
}
