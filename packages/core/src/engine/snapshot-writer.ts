/**
 * SnapshotWriter: writes a snapshot file while its bytes are still being made: chunk by chunk, hashed as they go, at most two chunks in memory; then the table,
 * the header, a barrier, the rename and the directory's barrier.
 *
 * Invariants: the file has its name only when it is whole and durable; memory is bounded (two chunks and the table); nothing is called after the end.
 */
import { assert } from '../assert.ts';
import { HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { encodeSnapshotHeader, layoutOf, type SnapshotMeta, snapshotDigest, wholeBlocks } from './snapshot-format.ts';
import { snapshotPath, SNAPSHOT_DIRECTORY } from './snapshot-path.ts';
import type { DiskError, DiskFile, VirtualDisk } from './virtual-disk.ts';

/** Chunks that are being written or filled. */
const BUFFERS = 2;

export interface SnapshotWriterOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly meta: SnapshotMeta;
  readonly sections: number;
  readonly chunkBytes: number;
  /** There is room again. */
  readonly onReady: () => void;
  /** Durable under its name, with this digest; or what failed. Called once, never from inside the constructor. */
  readonly onEnd: (result: { readonly digest: Uint8Array } | { readonly problem: string }) => void;
}

export class SnapshotWriter {
  private readonly options: SnapshotWriterOptions;
  private readonly tmp: string;
  private readonly file: DiskFile;
  private readonly sizes: number[];
  private readonly spare: Uint8Array[] = [];
  private filling: Uint8Array;
  private filled = 0;
  private chunks = 0;
  private table: Uint8Array;
  private writing = 0;
  private finishing = false;
  private ended = false;

  /** Opens the temporary file. Throws DiskFailure. */
  constructor(options: SnapshotWriterOptions) {
    this.options = options;
    const { disk, chunkBytes, sections, meta } = options;
    this.sizes = Array.from<number>({ length: sections }).fill(0);
    this.tmp = `${snapshotPath(meta.index)}.tmp`;
    disk.mkdirSync(SNAPSHOT_DIRECTORY);
    // What an earlier attempt left may be longer than this one.
    const name = this.tmp.slice(SNAPSHOT_DIRECTORY.length + 1);
    if (disk.list(SNAPSHOT_DIRECTORY).includes(name)) disk.unlinkSync(this.tmp);
    this.file = disk.open(this.tmp, { create: true });
    this.filling = new Uint8Array(chunkBytes);
    for (let i = 1; i < BUFFERS; i++) this.spare.push(new Uint8Array(chunkBytes));
    this.table = new Uint8Array(64 * HASH_BYTES);
  }

  /** True while bytes can be taken. */
  get ready(): boolean {
    return !this.ended && !this.finishing && this.filled < this.options.chunkBytes;
  }

  /** Takes what fits of bytes[from..] as the next bytes of a section; returns how many it took. At most one chunk is hashed in a call. */
  append(section: number, bytes: Uint8Array, from: number): number {
    assert(this.ready, 'there is room');
    const taken = Math.min(bytes.length - from, this.options.chunkBytes - this.filled);
    this.filling.set(from === 0 && taken === bytes.length ? bytes : bytes.subarray(from, from + taken), this.filled);
    this.filled += taken;
    this.sizes[section]! += taken;
    if (this.filled === this.options.chunkBytes) this.writeChunk();
    return taken;
  }

  /** All bytes were given: the rest is written and the file gets its name. */
  finish(): void {
    assert(!this.finishing && !this.ended, 'a snapshot is finished once');
    this.finishing = true;
    if (this.filled > 0 && this.filled < this.options.chunkBytes) this.writeChunk();
    this.afterWrites();
  }

  /** Gives it up; what is on the disk counts for nothing and goes away when the next one is taken. */
  abort(why: string): void {
    if (this.ended) return;
    this.ended = true;
    this.file.close();
    // Half a snapshot is of no use, and on a full disk its space is needed.
    this.options.disk.unlink(this.tmp, () => {});
    this.options.onEnd({ problem: why });
  }

  /** Hashes and writes the chunk that was filled, when a buffer is free to go on with. */
  private writeChunk(): void {
    const { chunkBytes, codec } = this.options;
    const { filling, filled } = this;
    if (this.table.length < (this.chunks + 1) * HASH_BYTES) {
      const wider = new Uint8Array(2 * this.table.length);
      wider.set(this.table);
      this.table = wider;
    }
    codec.hash(filling, 0, filled, this.table, this.chunks * HASH_BYTES);
    const end = wholeBlocks(filled);
    filling.fill(0, filled, end);
    const offset = layoutOf({ sectionSizes: [], chunkBytes }).dataAt + this.chunks * chunkBytes;
    this.chunks++;
    this.write(offset, filling.subarray(0, end), () => {
      this.spare.push(filling);
      this.next();
    });
    const free = this.spare.pop();
    if (free !== undefined) {
      this.filling = free;
      this.filled = 0;
    }
  }

  /** A buffer came back. */
  private next(): void {
    if (this.finishing) {
      this.afterWrites();
      return;
    }
    if (this.filled < this.options.chunkBytes) return;
    this.filling = this.spare.pop()!;
    this.filled = 0;
    this.options.onReady();
  }

  private write(offset: number, bytes: Uint8Array, done: () => void): void {
    this.writing++;
    this.file.write(offset, bytes, false, (error) => {
      this.writing--;
      if (error !== null) this.fail(error);
      else if (!this.ended) done();
    });
  }

  private fail(error: DiskError): void {
    this.abort(error.message);
  }

  /** Table and header, once the data is written; then the steps that make it count. */
  private afterWrites(): void {
    if (this.writing > 0 || this.ended) return;
    const { codec, meta, chunkBytes, disk } = this.options;
    const digest = new Uint8Array(HASH_BYTES);
    const layout = layoutOf({ sectionSizes: this.sizes, chunkBytes });
    codec.hash(this.table, 0, layout.tableBytes, digest, 0);
    const header = encodeSnapshotHeader({ ...meta, sectionSizes: this.sizes, chunkBytes, tableDigest: digest }, codec);
    const table = new Uint8Array(wholeBlocks(layout.tableBytes));
    table.set(this.table.subarray(0, layout.tableBytes));
    const { file, tmp } = this;
    const steps: ((next: (error: DiskError | null) => void) => void)[] = [
      (next) => (table.length === 0 ? next(null) : file.write(layout.tableAt, table, false, next)),
      (next) => file.write(0, header, false, next),
      (next) => file.barrier(next),
      (next) => disk.rename(tmp, snapshotPath(meta.index), next),
      (next) => disk.syncDirectory(SNAPSHOT_DIRECTORY, next),
    ];
    const run = (i: number): void => {
      const step = steps[i];
      if (this.ended) return;
      if (step === undefined) {
        this.ended = true;
        file.close();
        this.options.onEnd({ digest: snapshotDigest(header, codec) });
        return;
      }
      step((error) => (error === null ? run(i + 1) : this.fail(error)));
    };
    run(0);
  }
}
