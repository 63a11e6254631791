/**
 * SnapshotPart: a snapshot file that comes from others, chunk by chunk (docs/protocol.md, state transfer). It knows what is to be asked for next, checks what
 * comes, and makes a snapshot of it.
 *
 * Invariants: nothing is believed that does not lead to the digest a quorum reported: the header by it, the table by the header, each chunk by the table; a chunk of
 * an earlier attempt that is on the disk already is read and checked, not fetched again; the file has its name only when it is whole and durable.
 */
import { BLOCK_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { sameHash } from './hash.ts';
import type { Snapshot } from './snapshot-file.ts';
import {
  decodeSnapshotHeader,
  isZero,
  layoutOf,
  sectionsOf,
  type SnapshotHeader,
  type SnapshotLayout,
  snapshotDigest,
  wholeBlocks,
} from './snapshot-format.ts';
import { SNAPSHOT_DIRECTORY, snapshotPartPath, snapshotPath } from './snapshot-path.ts';
import { type DiskError, DiskFailure, type DiskFile, type VirtualDisk } from './virtual-disk.ts';

/** What to do next. */
export type PartStep =
  /** Ask a peer for these bytes of the file. */
  | { readonly kind: 'ask'; readonly offset: number; readonly length: number }
  /** The disk is busy: `onStep` will be called. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'ready'; readonly snapshot: Snapshot }
  | { readonly kind: 'failed'; readonly why: string };

export interface SnapshotPartOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  readonly index: number;
  /** Digest of the whole file. */
  readonly file: Uint8Array;
  /** False: the file alone is wanted, `ready` comes without sections. */
  readonly restore: boolean;
  /** After the disk did what was waited for. */
  readonly onStep: () => void;
}

export class SnapshotPart {
  readonly index: number;
  readonly digest: Uint8Array;
  private readonly options: SnapshotPartOptions;
  private file: DiskFile;
  private sizeAtStart: number;
  private block: Uint8Array | null = null;
  private header: SnapshotHeader | null = null;
  private layout: SnapshotLayout | null = null;
  private table = new Uint8Array(0);
  private tableGot = 0;
  private tableGood = false;
  /** First chunk that is not durable-to-be here. */
  private chunk = 0;
  /** Chunks of an earlier attempt that need not be looked at again. */
  private lookedAt = 0;
  private busy = false;
  private finishing = false;
  private failure: string | null = null;
  private ready: Snapshot | null = null;
  private closed = false;
  /** Chunks that came from peers, and those found on the disk. */
  fetched = 0;
  found = 0;

  /** Opens the file of an earlier attempt or a new one. Throws DiskFailure. */
  constructor(options: SnapshotPartOptions) {
    this.options = options;
    this.index = options.index;
    this.digest = options.file;
    const { disk } = options;
    disk.mkdirSync(SNAPSHOT_DIRECTORY);
    const own = snapshotPartPath(options.index);
    for (const name of disk.list(SNAPSHOT_DIRECTORY)) {
      const path = `${SNAPSHOT_DIRECTORY}/${name}`;
      if (name.endsWith('.part') && path !== own) disk.unlinkSync(path);
    }
    this.file = disk.open(own, { create: true });
    this.sizeAtStart = this.file.size();
  }

  next(): PartStep {
    if (this.failure !== null) return { kind: 'failed', why: this.failure };
    if (this.ready !== null) return { kind: 'ready', snapshot: this.ready };
    if (this.busy || this.closed) return { kind: 'wait' };
    const { header, layout } = this;
    if (header === null || layout === null) return { kind: 'ask', offset: 0, length: BLOCK_BYTES };
    if (!this.tableGood) {
      const length = Math.min(header.chunkBytes, this.table.length - this.tableGot);
      return { kind: 'ask', offset: layout.tableAt + this.tableGot, length };
    }
    if (this.chunk === layout.chunks) {
      this.finish(header, layout);
      return { kind: 'wait' };
    }
    const at = this.chunkAt(this.chunk, header, layout);
    if (this.lookedAt <= this.chunk && at.offset + at.blocks <= this.sizeAtStart) {
      this.lookAt(at);
      return { kind: 'wait' };
    }
    return { kind: 'ask', offset: at.offset, length: at.blocks };
  }

  /** Bytes that were asked for at `offset`. False when they are not what they must be: ask somebody else. */
  take(offset: number, bytes: Uint8Array): boolean {
    const { header, layout } = this;
    if (header === null || layout === null) return this.takeHeader(bytes);
    if (!this.tableGood) return this.takeTable(offset, bytes, header, layout);
    const at = this.chunkAt(this.chunk, header, layout);
    if (offset !== at.offset || bytes.length !== at.blocks || !this.isChunk(this.chunk, bytes, at.bytes)) return false;
    this.busy = true;
    this.file.write(offset, bytes, false, (error) => {
      this.busy = false;
      this.fetched++;
      this.chunk++;
      this.stepped(error);
    });
    return true;
  }

  /** Gives up; what is on the disk helps a later attempt. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.ready === null) this.file.close();
  }

  private takeHeader(bytes: Uint8Array): boolean {
    const { codec, clusterId, index, file } = this.options;
    const header = decodeSnapshotHeader(bytes, codec);
    if (typeof header === 'string' || !sameHash(snapshotDigest(bytes, codec), file)) return false;
    if (header.index !== index || !sameHash(header.clusterId, clusterId)) return false;
    const layout = layoutOf(header);
    if (this.sizeAtStart > layout.fileBytes && !this.beginAnew()) return true;
    this.block = bytes.slice();
    this.header = header;
    this.layout = layout;
    this.table = new Uint8Array(wholeBlocks(this.layout.tableBytes));
    this.tableGood = this.table.length === 0;
    return true;
  }

  /** An earlier attempt left a longer file, of other bytes: what is behind the end would be part of the snapshot. */
  private beginAnew(): boolean {
    const { disk } = this.options;
    const path = snapshotPartPath(this.index);
    this.file.close();
    try {
      disk.unlinkSync(path);
      this.file = disk.open(path, { create: true });
      this.sizeAtStart = 0;
      return true;
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      this.failure = error.message;
      return false;
    }
  }

  private takeTable(offset: number, bytes: Uint8Array, header: SnapshotHeader, layout: SnapshotLayout): boolean {
    if (offset !== layout.tableAt + this.tableGot || bytes.length > this.table.length - this.tableGot) return false;
    this.table.set(bytes, this.tableGot);
    this.tableGot += bytes.length;
    if (this.tableGot < this.table.length) return true;
    const digest = new Uint8Array(HASH_BYTES);
    this.options.codec.hash(this.table, 0, layout.tableBytes, digest, 0);
    this.tableGood = sameHash(digest, header.tableDigest) && isZero(this.table, layout.tableBytes);
    if (!this.tableGood) this.tableGot = 0;
    return this.tableGood;
  }

  private chunkAt(
    chunk: number,
    header: SnapshotHeader,
    layout: SnapshotLayout,
  ): { readonly offset: number; readonly bytes: number; readonly blocks: number } {
    const from = chunk * header.chunkBytes;
    const bytes = Math.min(header.chunkBytes, layout.dataBytes - from);
    return { offset: layout.dataAt + from, bytes, blocks: wholeBlocks(bytes) };
  }

  /** True when these are the bytes of a chunk, zeros behind them. */
  private isChunk(chunk: number, bytes: Uint8Array, length: number): boolean {
    // A disk may give back less than was written (simulator seed 3001556).
    if (bytes.length < length) return false;
    const digest = new Uint8Array(HASH_BYTES);
    this.options.codec.hash(bytes, 0, length, digest, 0);
    return sameHash(digest, this.table.subarray(chunk * HASH_BYTES)) && isZero(bytes, length);
  }

  /** Looks whether an earlier attempt left the present chunk. */
  private lookAt(at: { readonly offset: number; readonly bytes: number; readonly blocks: number }): void {
    this.busy = true;
    this.lookedAt = this.chunk + 1;
    this.file.read(at.offset, at.blocks, (error, bytes) => {
      this.busy = false;
      if (error === null && bytes !== null && bytes.length === at.blocks && this.isChunk(this.chunk, bytes, at.bytes)) {
        this.found++;
        this.chunk++;
      }
      this.stepped(null);
    });
  }

  private stepped(error: DiskError | null): void {
    if (this.closed) return;
    if (error !== null) this.failure = error.message;
    this.options.onStep();
  }

  /** Everything is written: makes it durable, reads it back (for the executor as well), then gives it its name. */
  private finish(header: SnapshotHeader, layout: SnapshotLayout): void {
    if (this.finishing) return;
    this.finishing = true;
    this.busy = true;
    const { disk, index } = this.options;
    const { file, table, block } = this;
    const data = new Uint8Array(this.options.restore ? wholeBlocks(layout.dataBytes) : 0);
    const steps: ((next: (error: DiskError | null) => void) => void)[] = [
      (next) => (table.length === 0 ? next(null) : file.write(layout.tableAt, table, false, next)),
      (next) => file.write(0, block!, false, next),
      (next) => file.barrier(next),
    ];
    for (let chunk = 0; chunk < layout.chunks; chunk++) {
      const { offset, bytes: length, blocks } = this.chunkAt(chunk, header, layout);
      steps.push((next) => {
        file.read(offset, blocks, (error, bytes) => {
          if (error !== null || bytes === null || !this.isChunk(chunk, bytes, length)) {
            next(error ?? { code: 'EIO', message: `chunk ${chunk} of ${snapshotPath(index)} does not read back` });
            return;
          }
          if (this.options.restore) data.set(bytes, offset - layout.dataAt);
          next(null);
        });
      });
    }
    steps.push(
      (next) => disk.rename(snapshotPartPath(index), snapshotPath(index), next),
      (next) => disk.syncDirectory(SNAPSHOT_DIRECTORY, next),
    );
    const run = (i: number): void => {
      const step = steps[i];
      if (this.closed) return;
      if (step !== undefined) {
        step((error) => {
          if (error === null) run(i + 1);
          else this.stepped(error);
        });
        return;
      }
      file.close();
      this.busy = false;
      const sections = this.options.restore ? sectionsOf(header, data) : [];
      this.ready = { ...header, sections, fileDigest: this.digest };
      this.stepped(null);
    };
    run(0);
  }
}
