/**
 * Bytes of the bare pipeline: what replication costs in Node when everything but the replication is left out. Integers little-endian.
 *
 *   put, client to primary:     length u32 (of the payload), slot u32, payload
 *   reply, primary to client:   slot u32
 *   frame, in log and batch:    length u32, index u32, hash of the frame before 16, payload; hash of a frame = BLAKE3-128(hash before ++ payload)
 *   batch, primary to backup:   bytes u32 (of the frames), count u32, sequence u32, 0 u32, hash of the last frame 16, frames
 *   ack, backup to primary:     sequence u32 (of the newest durable batch)
 */
import { createBLAKE3 } from 'hash-wasm';

export const HASH_BYTES = 16;
export const PUT_HEAD_BYTES = 8;
export const FRAME_HEAD_BYTES = 8 + HASH_BYTES;
export const BATCH_HEAD_BYTES = 16 + HASH_BYTES;
/** Where in a frame its hash begins: the hash of the frame before, then the payload. */
export const HASHED_FROM = 8;

/** BLAKE3 with 16 bytes of output. */
export async function createHash(): Promise<(bytes: Uint8Array) => Uint8Array> {
  const hasher = await createBLAKE3(HASH_BYTES * 8);
  return (bytes) => hasher.init().update(bytes).digest('binary');
}

/** Cuts a stream into records: `sizeOf` says how long the one at `at` is, or 0 while its head is not there. */
export class RecordReader {
  private rest: Buffer | null = null;
  private readonly sizeOf: (chunk: Buffer, at: number) => number;
  private readonly onRecord: (chunk: Buffer, at: number, size: number) => void;

  constructor(
    sizeOf: (chunk: Buffer, at: number) => number,
    onRecord: (chunk: Buffer, at: number, size: number) => void,
  ) {
    this.sizeOf = sizeOf;
    this.onRecord = onRecord;
  }

  push(received: Buffer): void {
    const chunk = this.rest === null ? received : Buffer.concat([this.rest, received]);
    let at = 0;
    for (;;) {
      const size = this.sizeOf(chunk, at);
      if (size === 0 || at + size > chunk.length) break;
      this.onRecord(chunk, at, size);
      at += size;
    }
    this.rest = at === chunk.length ? null : chunk.subarray(at);
  }
}
