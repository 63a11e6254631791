/**
 * SnapshotStore: the snapshot files of one replica: what there is, reading one whole at start, writing one piece by piece.
 *
 * Invariants: a file counts only under its name, which it gets when it is durable; one is written at a time; reading checks every byte and costs one pass.
 */
import { BLOCK_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { sameHash } from './hash.ts';
import {
  decodeSnapshotHeader,
  isZero,
  layoutOf,
  sectionsOf,
  SNAPSHOT_CHUNK_BYTES,
  type SnapshotHeader,
  type SnapshotMeta,
  snapshotDigest,
  wholeBlocks,
} from './snapshot-format.ts';
import { SNAPSHOT_DIRECTORY, snapshotIndexes, snapshotPartIndex, snapshotPath } from './snapshot-path.ts';
import { SnapshotWriter } from './snapshot-writer.ts';
import { DiskFailure, type DiskFile, type VirtualDisk } from './virtual-disk.ts';

export interface Snapshot extends SnapshotHeader {
  readonly sections: readonly Uint8Array[];
  /** Digest of the file. */
  readonly fileDigest: Uint8Array;
}

export interface SnapshotStoreOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  /** Equal on all replicas: part of the canonical bytes. */
  readonly chunkBytes?: number;
}

/** The snapshots of one replica. Which of them are kept is the replica's business. */
export class SnapshotStore {
  private readonly options: SnapshotStoreOptions;
  private writer: SnapshotWriter | null = null;

  constructor(options: SnapshotStoreOptions) {
    this.options = options;
  }

  /** Indexes of the snapshots there are, ascending. Blocking. */
  list(): number[] {
    return snapshotIndexes(this.options.disk.list(SNAPSHOT_DIRECTORY));
  }

  /** The newest intact snapshot at or below `limit`; `note` hears why others were passed over. Blocking. */
  newest(limit: number, note: (text: string, index: number) => void): Snapshot | null {
    for (const index of this.list().reverse()) {
      if (index > limit) continue;
      const read = this.read(index);
      if (typeof read !== 'string') return read;
      note(`${snapshotPath(index)}: ${read}; an older snapshot or the log from its start is used`, index);
    }
    return null;
  }

  /** The snapshot at `index`, every byte checked, or in words why it is none. Blocking. */
  read(index: number): Snapshot | string {
    const { codec, clusterId } = this.options;
    return this.look(index, (file) => {
      const snapshot = readSnapshot(file, codec);
      if (typeof snapshot === 'string') return snapshot;
      if (!sameHash(snapshot.clusterId, clusterId)) return 'of another cluster';
      return snapshot.index === index ? snapshot : `states index ${snapshot.index}`;
    });
  }

  /** What `look` makes of the file at `index`; a second time before it is believed that something is wrong: the file may go for it. */
  private look<T extends object>(index: number, look: (file: DiskFile) => T | string): T | string {
    const once = (): T | string => {
      try {
        const file = this.options.disk.open(snapshotPath(index));
        try {
          return look(file);
        } finally {
          file.close();
        }
      } catch (error) {
        if (error instanceof DiskFailure) return error.message;
        throw error;
      }
    };
    const first = once();
    return typeof first === 'string' ? once() : first;
  }

  /** True while a snapshot is being written. */
  get busy(): boolean {
    return this.writer !== null;
  }

  /**
   * Begins to write a snapshot; the caller appends to the writer and finishes it. `onEnd` is called once: with the digest when the file is durable under its name,
   * or with what failed (later even when opening the file fails).
   */
  write(
    meta: SnapshotMeta,
    sections: number,
    onReady: () => void,
    onEnd: (result: { readonly digest: Uint8Array } | { readonly problem: string }) => void,
  ): SnapshotWriter | string {
    if (this.writer !== null) return 'another snapshot is being written';
    const { disk, codec, chunkBytes = SNAPSHOT_CHUNK_BYTES } = this.options;
    try {
      this.writer = new SnapshotWriter({
        disk,
        codec,
        meta,
        sections,
        chunkBytes,
        onReady,
        onEnd: (result) => {
          this.writer = null;
          onEnd(result);
        },
      });
      return this.writer;
    } catch (error) {
      if (error instanceof DiskFailure) return error.message;
      throw error;
    }
  }

  /** Header and digest of a file, by its first block alone; what is wrong in words. Blocking. */
  header(index: number): { readonly header: SnapshotHeader; readonly fileDigest: Uint8Array } | string {
    const { codec } = this.options;
    return this.look(index, (file) => {
      const block = new Uint8Array(BLOCK_BYTES);
      if (file.readSync(0, block) < BLOCK_BYTES) return 'no snapshot header';
      const header = decodeSnapshotHeader(block, codec);
      return typeof header === 'string' ? header : { header, fileDigest: snapshotDigest(block, codec) };
    });
  }

  /**
   * Removes what a process run that ended left: files that were being written, snapshots above `limit`, and what was fetched of one at or below `restored`, which nobody
   * needs any more. Blocking.
   */
  sweep(limit: number, restored: number): void {
    const { disk } = this.options;
    for (const name of disk.list(SNAPSHOT_DIRECTORY)) {
      const [index] = snapshotIndexes([name]);
      const part = snapshotPartIndex(name);
      const unfinished = name.endsWith('.tmp') || (part !== null && part <= restored);
      if (unfinished || (index !== undefined && index > limit)) disk.unlinkSync(`${SNAPSHOT_DIRECTORY}/${name}`);
    }
  }

  /** Removes every snapshot that `keep` refuses, in the background. A crash may leave some. */
  retain(keep: (index: number) => boolean): void {
    for (const index of this.list()) if (!keep(index)) this.options.disk.unlink(snapshotPath(index), () => {});
  }

  /** Removes one file; blocking. */
  remove(index: number): void {
    this.options.disk.unlinkSync(snapshotPath(index));
  }
}

/** Reads and checks a whole file. Throws DiskFailure. */
function readSnapshot(file: DiskFile, codec: FrameCodec): Snapshot | string {
  const block = new Uint8Array(BLOCK_BYTES);
  const size = file.size();
  if (file.readSync(0, block) < BLOCK_BYTES) return 'no snapshot header';
  const header = decodeSnapshotHeader(block, codec);
  if (typeof header === 'string') return header;
  const layout = layoutOf(header);
  if (size !== layout.fileBytes) return `it has ${size} bytes, its header states ${layout.fileBytes}`;
  const table = new Uint8Array(wholeBlocks(layout.tableBytes));
  if (file.readSync(layout.tableAt, table) < table.length) return 'the table is cut off';
  const digest = new Uint8Array(HASH_BYTES);
  codec.hash(table, 0, layout.tableBytes, digest, 0);
  if (!sameHash(digest, header.tableDigest)) return 'the table of digests is damaged';
  const data = new Uint8Array(wholeBlocks(layout.dataBytes));
  if (file.readSync(layout.dataAt, data) < data.length) return 'the data is cut off';
  if (!isZero(table, layout.tableBytes) || !isZero(data, layout.dataBytes)) return 'the padding is not zero';
  for (let chunk = 0; chunk < layout.chunks; chunk++) {
    const at = chunk * header.chunkBytes;
    codec.hash(data, at, Math.min(at + header.chunkBytes, layout.dataBytes), digest, 0);
    if (!sameHash(digest, table.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES)))
      return `chunk ${chunk} is damaged`;
  }
  const sections = sectionsOf(header, data);
  return { ...header, sections, fileDigest: snapshotDigest(block, codec) };
}
