/**
 * The frame algorithm over any hash function: what the portable back ends share. Each back end gives BLAKE3 only; everything else, and
 * therefore every byte, is the same.
 *
 * Invariants: no allocation a frame but what the hash function itself makes; checks come in the order that FrameCodec states.
 */
import { assert } from '../../assert.ts';
import { FRAME_HEADER_BYTES, HASH_BYTES, PAYLOAD_BYTES_MAX } from '../constants.ts';
import type { FrameCodec, FrameCodecBackend, FrameFault, VerifyResult } from '../frame-codec.ts';
import { frameBytes, OFFSET, readU32, readU64, writeU32 } from '../frame.ts';
import { crc32c } from './crc32c.ts';

/** BLAKE3 of bytes[start, end), first 16 bytes, into `out` at `outOffset`. */
export type HashInto = (bytes: Uint8Array, start: number, end: number, out: Uint8Array, outOffset: number) => void;

/** Bytes 4..80 of the header are under its checksum and in the chain hash. */
const CHECKED_FROM = OFFSET.payloadSize;

/** A FrameCodec that hashes with `hash`. */
export function portableCodec(backend: FrameCodecBackend, hash: HashInto): FrameCodec {
  const scratch = new Uint8Array(HASH_BYTES);

  const link = new Uint8Array(2 * HASH_BYTES);

  function hashChain(bytes: Uint8Array, ends: Uint32Array, count: number, chain: Uint8Array, out: Uint8Array): void {
    for (let i = 0, at = 0; i < count; i++) {
      link.set(chain);
      hash(bytes, at, ends[i]!, link, HASH_BYTES);
      hash(link, 0, link.length, chain, 0);
      out.set(chain, i * HASH_BYTES);
      at = ends[i]!;
    }
  }

  function seal(bytes: Uint8Array, start: number, end: number, chain: Uint8Array): number {
    assert(chain.length === HASH_BYTES, 'the chain hash has 16 bytes');
    let count = 0;
    let at = start;
    while (at < end) {
      const size = readU32(bytes, at + OFFSET.payloadSize);
      assert(size <= PAYLOAD_BYTES_MAX, `a payload of ${size} bytes is above the limit`);
      const payload = at + FRAME_HEADER_BYTES;
      const next = at + frameBytes(size);
      assert(next <= end, 'frames fill the range exactly');
      bytes.set(chain, at + OFFSET.prevHash);
      hash(bytes, payload, payload + size, bytes, at + OFFSET.payloadHash);
      writeU32(bytes, at, crc32c(bytes, at + CHECKED_FROM, payload));
      hash(bytes, at + CHECKED_FROM, payload + size, chain, 0);
      at = next;
      count++;
    }
    return count;
  }

  /** Null when the frame at `at` is intact in itself; its chain hash is not computed here. */
  function faultOf(bytes: Uint8Array, at: number, end: number): FrameFault | null {
    const payload = at + FRAME_HEADER_BYTES;
    if (payload > end) return isZero(bytes, at, end) ? 'empty' : 'incomplete';
    const checksum = readU32(bytes, at);
    if (checksum !== crc32c(bytes, at + CHECKED_FROM, payload))
      return isZero(bytes, at, payload) ? 'empty' : 'header-checksum';
    const size = readU32(bytes, at + OFFSET.payloadSize);
    if (size > PAYLOAD_BYTES_MAX) return 'too-large';
    const next = at + frameBytes(size);
    if (next > end) return 'incomplete';
    hash(bytes, payload, payload + size, scratch, 0);
    if (!equalAt(bytes, at + OFFSET.payloadHash, scratch)) return 'payload-hash';
    return isZero(bytes, payload + size, next) ? null : 'padding';
  }

  function verify(bytes: Uint8Array, start: number, end: number, index: number, chain: Uint8Array): VerifyResult {
    assert(chain.length === HASH_BYTES, 'the chain hash has 16 bytes');
    let at = start;
    let count = 0;
    while (at < end) {
      let fault = faultOf(bytes, at, end);
      if (fault === null && readU64(bytes, at + OFFSET.index) !== index + count) fault = 'index-gap';
      if (fault === null && !equalAt(bytes, at + OFFSET.prevHash, chain)) fault = 'chain';
      if (fault !== null) return { count, end: at, fault };
      const size = readU32(bytes, at + OFFSET.payloadSize);
      hash(bytes, at + CHECKED_FROM, at + FRAME_HEADER_BYTES + size, chain, 0);
      at += frameBytes(size);
      count++;
    }
    return { count, end: at, fault: null };
  }

  function hashWithin(bytes: Uint8Array, start: number, end: number, out: Uint8Array, outOffset: number): void {
    if (start < 0 || start > end || end > bytes.length) throw new RangeError('the range is outside the bytes');
    hash(bytes, start, end, out, outOffset);
  }

  return { backend, hash: hashWithin, crc32c, hashChain, seal, verify };
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}

function equalAt(bytes: Uint8Array, at: number, hash: Uint8Array): boolean {
  for (let i = 0; i < HASH_BYTES; i++) if (bytes[at + i] !== hash[i]) return false;
  return true;
}
