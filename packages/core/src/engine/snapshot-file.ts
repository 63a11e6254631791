/**
 * Snapshot files (docs/log-format.md, "Snapshot"): a header and sections, canonical, so that two replicas at one index have identical files.
 *
 * Layout (little-endian): `53 4E 41 50` ("SNAP"), version u32 = 1, cluster id [16], last index u64, view of its frame u64, chain hash [16], block time u64,
 * execution digest [16], section count u64, each section: size u64, digest [16]; CRC32C u32 of all that, u32 0; the sections back to back; zeros to a whole block.
 */
import { assert } from '../assert.ts';
import { BLOCK_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { readU32, readU64, writeU32, writeU64 } from './frame.ts';
import { sameHash } from './hash.ts';
import { DiskFailure, type DiskFile, type VirtualDisk } from './virtual-disk.ts';

export const SNAPSHOT_DIRECTORY = 'snapshots';
const MAGIC = 0x50414e53;
const VERSION = 1;
const FIXED_BYTES = 96;
const SECTION_BYTES = 24;
const SECTIONS_MAX = 16;

export interface SnapshotMeta {
  readonly clusterId: Uint8Array;
  readonly index: number;
  readonly view: number;
  readonly chainHash: Uint8Array;
  readonly timeLow: number;
  readonly timeHigh: number;
  /** Execution digest D[index]. */
  readonly digest: Uint8Array;
}

export interface Snapshot extends SnapshotMeta {
  readonly sections: readonly Uint8Array[];
}

export function snapshotPath(index: number): string {
  return `${SNAPSHOT_DIRECTORY}/${String(index).padStart(20, '0')}.snap`;
}

export function encodeSnapshot(meta: SnapshotMeta, sections: readonly Uint8Array[], codec: FrameCodec): Uint8Array {
  assert(sections.length <= SECTIONS_MAX, 'a snapshot has few sections');
  const head = FIXED_BYTES + sections.length * SECTION_BYTES + 8;
  const total = head + sections.reduce((sum, section) => sum + section.length, 0);
  const out = new Uint8Array(Math.ceil(total / BLOCK_BYTES) * BLOCK_BYTES);
  writeU32(out, 0, MAGIC);
  writeU32(out, 4, VERSION);
  out.set(meta.clusterId, 8);
  writeU64(out, 24, meta.index);
  writeU64(out, 32, meta.view);
  out.set(meta.chainHash, 40);
  writeU32(out, 56, meta.timeLow);
  writeU32(out, 60, meta.timeHigh);
  out.set(meta.digest, 64);
  writeU64(out, 80, sections.length);
  let at = head;
  sections.forEach((section, i) => {
    const entry = FIXED_BYTES + i * SECTION_BYTES;
    writeU64(out, entry, section.length);
    out.set(section, at);
    codec.hash(out, at, at + section.length, out, entry + 8);
    at += section.length;
  });
  writeU32(out, head - 8, codec.crc32c(out, 0, head - 8));
  return out;
}

/** A snapshot, or in words why these bytes are none. Sections are views. */
export function decodeSnapshot(bytes: Uint8Array, codec: FrameCodec): Snapshot | string {
  if (bytes.length < FIXED_BYTES + 8 || readU32(bytes, 0) !== MAGIC) return 'no snapshot header';
  if (readU32(bytes, 4) !== VERSION) return `snapshot version ${readU32(bytes, 4)}, this program reads ${VERSION}`;
  const count = readU64(bytes, 80);
  if (!(count <= SECTIONS_MAX)) return 'section count out of range';
  const head = FIXED_BYTES + count * SECTION_BYTES + 8;
  if (head > bytes.length || readU32(bytes, head - 8) !== codec.crc32c(bytes, 0, head - 8)) return 'header checksum';
  if (readU32(bytes, head - 4) !== 0) return 'the padding is not zero';
  const sections: Uint8Array[] = [];
  const digest = new Uint8Array(HASH_BYTES);
  let at = head;
  for (let i = 0; i < count; i++) {
    const entry = FIXED_BYTES + i * SECTION_BYTES;
    const size = readU64(bytes, entry);
    if (!(size <= bytes.length - at)) return `section ${i} is cut off`;
    codec.hash(bytes, at, at + size, digest, 0);
    if (!sameHash(digest, bytes.subarray(entry + 8, entry + 24))) return `section ${i} is damaged`;
    sections.push(bytes.subarray(at, at + size));
    at += size;
  }
  if (bytes.length % BLOCK_BYTES !== 0) return 'the file is not whole blocks';
  for (let i = at; i < bytes.length; i++) if (bytes[i] !== 0) return 'the padding is not zero';
  const [index, view] = [readU64(bytes, 24), readU64(bytes, 32)];
  if (Number.isNaN(index + view)) return 'an index or view out of range';
  return {
    clusterId: bytes.slice(8, 24),
    index,
    view,
    chainHash: bytes.slice(40, 56),
    timeLow: readU32(bytes, 56),
    timeHigh: readU32(bytes, 60),
    digest: bytes.slice(64, 80),
    sections,
  };
}

export interface SnapshotStoreOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
}

/** The snapshots of one replica: written tmp -> barrier -> rename -> directory barrier; the newest two are kept. */
export class SnapshotStore {
  private readonly options: SnapshotStoreOptions;
  private busy = false;

  constructor(options: SnapshotStoreOptions) {
    this.options = options;
  }

  /** Indexes of the snapshots there are, ascending. Blocking. */
  list(): number[] {
    return this.options.disk
      .list(SNAPSHOT_DIRECTORY)
      .filter((name) => /^\d{20}\.snap$/.test(name))
      .map((name) => Number(name.slice(0, 20)))
      .sort((a, b) => a - b);
  }

  /** The newest intact snapshot at or below `limit`; `note` hears why others were passed over. Blocking. */
  newest(limit: number, note: (text: string) => void): Snapshot | null {
    for (const index of this.list().reverse()) {
      if (index > limit) continue;
      const read = this.read(index);
      if (typeof read !== 'string') return read;
      note(`${snapshotPath(index)}: ${read}; an older snapshot or the log from its start is used`);
    }
    return null;
  }

  private read(index: number): Snapshot | string {
    try {
      const file = this.options.disk.open(snapshotPath(index));
      const bytes = new Uint8Array(file.size());
      file.readSync(0, bytes);
      file.close();
      const snapshot = decodeSnapshot(bytes, this.options.codec);
      if (typeof snapshot === 'string') return snapshot;
      if (!sameHash(snapshot.clusterId, this.options.clusterId)) return 'of another cluster';
      return snapshot.index === index ? snapshot : `states index ${snapshot.index}`;
    } catch (error) {
      if (error instanceof DiskFailure) return error.message;
      throw error;
    }
  }

  /** Writes a snapshot in the background; `done(null)` once it is durable under its name, else what failed. One at a time. */
  write(index: number, bytes: Uint8Array, done: (problem: string | null) => void): void {
    if (this.busy) {
      done('another snapshot is being written');
      return;
    }
    this.busy = true;
    const { disk } = this.options;
    const end = (problem: string | null): void => {
      this.busy = false;
      if (problem === null) this.dropOld();
      done(problem);
    };
    const tmp = `${snapshotPath(index)}.tmp`;
    const name = tmp.slice(SNAPSHOT_DIRECTORY.length + 1, -'.tmp'.length);
    let file: DiskFile;
    try {
      disk.mkdirSync(SNAPSHOT_DIRECTORY);
      // What an earlier attempt left may be longer than this one.
      if (disk.list(SNAPSHOT_DIRECTORY).includes(`${name}.tmp`)) disk.unlinkSync(tmp);
      file = disk.open(tmp, { create: true });
    } catch (error) {
      end(error instanceof Error ? error.message : String(error));
      return;
    }
    const steps: ((next: (error: { readonly message: string } | null) => void) => void)[] = [
      (next) => file.write(0, bytes, false, next),
      (next) => file.barrier(next),
      (next) => disk.rename(tmp, snapshotPath(index), next),
      (next) => disk.syncDirectory(SNAPSHOT_DIRECTORY, next),
    ];
    const run = (i: number): void => {
      const step = steps[i];
      if (step === undefined) {
        file.close();
        end(null);
        return;
      }
      step((error) => {
        if (error === null) {
          run(i + 1);
          return;
        }
        file.close();
        end(error.message);
      });
    };
    run(0);
  }

  private dropOld(): void {
    for (const index of this.list().slice(0, -2)) this.options.disk.unlink(snapshotPath(index), () => {});
  }
}
