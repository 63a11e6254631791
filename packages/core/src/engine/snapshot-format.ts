/**
 * Bytes of a snapshot file (docs/log-format.md, "Snapshot"): one header block, the sections back to back, the table of their chunks' digests. Canonical: two
 * replicas at one index have identical files.
 *
 * Header (little-endian): `53 4E 41 50` ("SNAP"), version u32 = 2, cluster id [16], last index u64, header of its frame [80], its chain hash [16],
 * execution digest [16], section count u32, chunk bytes u32, size of all sections u64, digest of the table [16], 16 section sizes u64; CRC32C u32 of all that, u32 0.
 *
 * Invariants: the file's digest is the hash of its header, which holds the table's, which holds each chunk's: who knows the digest can check every part by
 * itself. Data and table are filled with zeros to whole blocks; nothing else is in the file.
 */
import { assert } from '../assert.ts';
import { BLOCK_BYTES, FRAME_HEADER_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame, readU32, readU64, writeU32, writeU64 } from './frame.ts';

export const SECTIONS_MAX = 16;
/** The data is hashed, and sent to others, in chunks of so many bytes. */
export const SNAPSHOT_CHUNK_BYTES = 128 * 1024;
/** Largest chunk that a header may state, in bytes. */
const CHUNK_BYTES_MAX = 1024 * 1024;
const MAGIC = 0x50414e53;
const VERSION = 2;
const AT = {
  cluster: 8,
  index: 24,
  frame: 32,
  chainHash: 112,
  digest: 128,
  count: 144,
  chunk: 148,
  size: 152,
  table: 160,
  sizes: 176,
  checksum: 304,
  end: 312,
} as const;
/** Bytes of the header that mean something. */
export const SNAPSHOT_HEADER_BYTES = AT.end;

export interface SnapshotMeta {
  readonly clusterId: Uint8Array;
  readonly index: number;
  /** Header of the frame at `index`: view, block time, hashes. */
  readonly frameHeader: Uint8Array;
  readonly chainHash: Uint8Array;
  /** Execution digest D[index]. */
  readonly digest: Uint8Array;
}

export interface SnapshotHeader extends SnapshotMeta {
  readonly sectionSizes: readonly number[];
  readonly chunkBytes: number;
  readonly tableDigest: Uint8Array;
}

/** Where things are in the file of a header, in bytes. */
export interface SnapshotLayout {
  readonly dataAt: number;
  readonly dataBytes: number;
  readonly chunks: number;
  readonly tableAt: number;
  readonly tableBytes: number;
  readonly fileBytes: number;
}

export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

export function layoutOf(header: Pick<SnapshotHeader, 'sectionSizes' | 'chunkBytes'>): SnapshotLayout {
  const dataBytes = header.sectionSizes.reduce((sum, size) => sum + size, 0);
  const chunks = Math.ceil(dataBytes / header.chunkBytes);
  const tableAt = BLOCK_BYTES + wholeBlocks(dataBytes);
  const tableBytes = chunks * HASH_BYTES;
  return {
    dataAt: BLOCK_BYTES,
    dataBytes,
    chunks,
    tableAt,
    tableBytes,
    fileBytes: tableAt + wholeBlocks(tableBytes),
  };
}

/** The header block. */
export function encodeSnapshotHeader(header: SnapshotHeader, codec: FrameCodec): Uint8Array {
  const { sectionSizes, chunkBytes } = header;
  assert(sectionSizes.length <= SECTIONS_MAX, 'a snapshot has few sections');
  assert(chunkBytes % BLOCK_BYTES === 0 && chunkBytes <= CHUNK_BYTES_MAX, 'a chunk is whole blocks');
  const out = new Uint8Array(BLOCK_BYTES);
  writeU32(out, 0, MAGIC);
  writeU32(out, 4, VERSION);
  assert(header.frameHeader.length === FRAME_HEADER_BYTES, 'a frame header is whole');
  out.set(header.clusterId, AT.cluster);
  writeU64(out, AT.index, header.index);
  out.set(header.frameHeader, AT.frame);
  out.set(header.chainHash, AT.chainHash);
  out.set(header.digest, AT.digest);
  writeU32(out, AT.count, sectionSizes.length);
  writeU32(out, AT.chunk, chunkBytes);
  writeU64(out, AT.size, layoutOf(header).dataBytes);
  out.set(header.tableDigest, AT.table);
  sectionSizes.forEach((size, i) => writeU64(out, AT.sizes + 8 * i, size));
  writeU32(out, AT.checksum, codec.crc32c(out, 0, AT.checksum));
  return out;
}

/** A header, or in words why this block is none. */
export function decodeSnapshotHeader(block: Uint8Array, codec: FrameCodec): SnapshotHeader | string {
  if (block.length < BLOCK_BYTES || readU32(block, 0) !== MAGIC) return 'no snapshot header';
  if (readU32(block, 4) !== VERSION) return `snapshot version ${readU32(block, 4)}, this program reads ${VERSION}`;
  if (readU32(block, AT.checksum) !== codec.crc32c(block, 0, AT.checksum)) return 'header checksum';
  for (let i = AT.checksum + 4; i < BLOCK_BYTES; i++) if (block[i] !== 0) return 'the padding is not zero';
  const count = readU32(block, AT.count);
  const chunkBytes = readU32(block, AT.chunk);
  if (count > SECTIONS_MAX) return 'section count out of range';
  if (chunkBytes === 0 || chunkBytes % BLOCK_BYTES !== 0 || chunkBytes > CHUNK_BYTES_MAX)
    return 'chunk size out of range';
  const sizes = Array.from({ length: SECTIONS_MAX }, (_, i) => readU64(block, AT.sizes + 8 * i));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const index = readU64(block, AT.index);
  if (!Number.isSafeInteger(total) || Number.isNaN(index)) return 'a number out of range';
  if (frame.index(block, AT.frame) !== index) return 'the frame header is of another index';
  if (total !== readU64(block, AT.size) || sizes.slice(count).some((size) => size !== 0)) return 'sizes do not add up';
  return {
    clusterId: block.slice(AT.cluster, AT.cluster + HASH_BYTES),
    index,
    frameHeader: block.slice(AT.frame, AT.frame + FRAME_HEADER_BYTES),
    chainHash: block.slice(AT.chainHash, AT.chainHash + HASH_BYTES),
    digest: block.slice(AT.digest, AT.digest + HASH_BYTES),
    sectionSizes: sizes.slice(0, count),
    chunkBytes,
    tableDigest: block.slice(AT.table, AT.table + HASH_BYTES),
  };
}

/** Digest of the file that begins with this block: what replicas compare and the manifest remembers. */
export function snapshotDigest(block: Uint8Array, codec: FrameCodec): Uint8Array {
  const digest = new Uint8Array(HASH_BYTES);
  codec.hash(block, 0, SNAPSHOT_HEADER_BYTES, digest, 0);
  return digest;
}

/** The sections of a snapshot's data: views. */
export function sectionsOf(header: SnapshotHeader, data: Uint8Array): Uint8Array[] {
  const sections: Uint8Array[] = [];
  let at = 0;
  for (const size of header.sectionSizes) {
    sections.push(data.subarray(at, at + size));
    at += size;
  }
  return sections;
}

/** True when nothing but zeros stands from `from` on. */
export function isZero(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
