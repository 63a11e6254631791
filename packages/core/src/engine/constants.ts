/**
 * Sizes and limits of the log format (docs/log-format.md). One place for each constant; relations between them are asserted
 * at load time.
 */
import { assert } from '../assert.ts';

/** Unit of every device write, in bytes: offset and length of a write are multiples of it. */
export const BLOCK_BYTES = 4096;
/** Tear unit of the crash model, in bytes. */
export const SECTOR_BYTES = 512;
/** Fixed part of a frame, in bytes. */
export const FRAME_HEADER_BYTES = 80;
/** Frames start at multiples of this, in bytes. */
export const FRAME_ALIGN_BYTES = 8;
/** Schema 2 payloads begin with an envelope of this many bytes. */
export const ENVELOPE_BYTES = 32;
/** Truncated BLAKE3 everywhere, in bytes. */
export const HASH_BYTES = 16;
/** Largest payload the format can state, in bytes. */
export const FORMAT_PAYLOAD_BYTES_MAX = 64 * 1024 * 1024;
/** Largest payload (envelope + body) this system accepts, in bytes. */
export const PAYLOAD_BYTES_MAX = 1024 * 1024;
/** Largest batch of frames encoded, sent and written as one, in bytes (a single frame may exceed it). */
export const BATCH_BYTES_MAX = 512 * 1024;
/** Segment size, in bytes (the last frame of a segment may leave a rest). */
export const SEGMENT_BYTES = 64 * 1024 * 1024;
/** Segment header, in bytes. */
export const SEGMENT_HEADER_BYTES = 64;
/** Most entries between commit and head (P of the protocol). */
export const PIPELINE_MAX = 4096;

assert(SEGMENT_BYTES > 4 * (PAYLOAD_BYTES_MAX + FRAME_HEADER_BYTES), 'a segment holds several of the largest frames');
assert(
  SEGMENT_BYTES % BLOCK_BYTES === 0 && BLOCK_BYTES % SECTOR_BYTES === 0,
  'segments are whole blocks of whole sectors',
);
assert(PAYLOAD_BYTES_MAX <= FORMAT_PAYLOAD_BYTES_MAX, 'the limit is within the format');
