/**
 * FrameCodec: the one contract for hashing and checking frames. Back ends with equal bytes (property-tested): `noble`
 * (reference, browser), `wasm` (hash-wasm) and `native` (addon). Works on whole batches: one call a batch, no allocation a frame.
 */

export type FrameCodecBackend = 'noble' | 'wasm' | 'native';

/** Why verification stopped. `incomplete`: fewer bytes than the frame states; `empty`: zeros where a header should be. */
export type FrameFault =
  | 'header-checksum'
  | 'payload-hash'
  | 'chain'
  | 'index-gap'
  | 'too-large'
  | 'padding'
  | 'incomplete'
  | 'empty';

export interface VerifyResult {
  /** Intact frames from the start. */
  readonly count: number;
  /** Offset just behind the last intact frame. */
  readonly end: number;
  /** Null when every byte up to the end was an intact frame. */
  readonly fault: FrameFault | null;
}

export interface FrameCodec {
  readonly backend: FrameCodecBackend;
  /** BLAKE3 of bytes[start, end), first 16 bytes, into `out` at `outOffset`. A range outside of the bytes is a RangeError. */
  hash(bytes: Uint8Array, start: number, end: number, out: Uint8Array, outOffset: number): void;
  /**
   * A chain over `count` records that stand back to back from bytes[0] on and end at `ends`: for each in turn chain = hash(chain ++ hash(record)), which is
   * also written to out[16 i, 16 i + 16).
   */
  hashChain(bytes: Uint8Array, ends: Uint32Array, count: number, chain: Uint8Array, out: Uint8Array): void;
  /** CRC32C (Castagnoli) of bytes[start, end). */
  crc32c(bytes: Uint8Array, start: number, end: number): number;
  /**
   * Seals the frames that stand back to back in bytes[start, end) with every field but prev_hash, payload_hash and
   * header_checksum set: fills those three. `chain` holds the chain hash of the predecessor (16 zero bytes for index 0) and is
   * overwritten with the chain hash of the last frame. Returns the number of frames.
   */
  seal(bytes: Uint8Array, start: number, end: number, chain: Uint8Array): number;
  /**
   * Verifies frames back to back in bytes[start, end): checksum, size limit, payload hash, zero padding, index (first must be `index`, then
   * +1 each) and chain (first's prev_hash must be `chain`). `chain` is overwritten with the chain hash of the last intact frame.
   */
  verify(bytes: Uint8Array, start: number, end: number, index: number, chain: Uint8Array): VerifyResult;
}
