/** The codec of kernel tests. */
import { blake3 } from '@noble/hashes/blake3.js';
import { FRAME_HEADER_BYTES, HASH_BYTES } from '../../engine/constants.ts';
import { frame, OFFSET } from '../../engine/frame.ts';
import type { FrameCodec } from '../../engine/frame-codec.ts';

const short = (bytes: Uint8Array): Uint8Array => blake3(bytes, { dkLen: HASH_BYTES });

export const testCodec: FrameCodec = {
  backend: 'noble',
  hash: (bytes, start, end, out, outOffset) => out.set(short(bytes.subarray(start, end)), outOffset),
  crc32c: () => 0,
  seal(bytes, start, end, chain) {
    let count = 0;
    for (let at = start; at < end; at += frame.size(bytes, at), count++) {
      const size = frame.payloadSize(bytes, at);
      bytes.set(chain, at + OFFSET.prevHash);
      const payloadAt = at + FRAME_HEADER_BYTES;
      bytes.set(short(bytes.subarray(payloadAt, payloadAt + size)), at + OFFSET.payloadHash);
      chain.set(short(bytes.subarray(at + 4, payloadAt + size)));
    }
    return count;
  },
  verify: () => ({ count: 0, end: 0, fault: null }),
};
