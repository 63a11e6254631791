/** FrameCodec over @noble/hashes: the reference, the browser's verifier and the fallback. Audited, portable, slow (60 MB/s). */
import { blake3 } from '@noble/hashes/blake3.js';
import { HASH_BYTES } from '../constants.ts';
import type { FrameCodec } from '../frame-codec.ts';
import { portableCodec } from './portable.ts';

const LENGTH = { dkLen: HASH_BYTES };

export const nobleCodec: FrameCodec = portableCodec('noble', (bytes, start, end, out, outOffset) => {
  out.set(blake3(bytes.subarray(start, end), LENGTH), outOffset);
});
