/**
 * FrameCodec in C++ (cpp/blake3*.h, cpp/codec.cc): a whole batch sealed or verified in one call, with AVX2 or AVX-512 where the
 * processor has it. Byte-identical to the portable codec of core (property-tested).
 */
import { assert } from '@chronon/core/assert';
import { HASH_BYTES, PAYLOAD_BYTES_MAX } from '@chronon/core/engine/constants';
import type { FrameCodec, FrameFault } from '@chronon/core/engine/frame-codec';
import { loadNative, type NativeBinding } from './native-binding.ts';

/** In the order of `enum Fault` in cpp/codec.cc. */
const FAULTS: readonly (FrameFault | null)[] = [
  null,
  'header-checksum',
  'payload-hash',
  'chain',
  'index-gap',
  'too-large',
  'padding',
  'incomplete',
  'empty',
];

/** How much of the processor is used; tests force less than the best. */
export const SIMD = { portable: 0, sse4: 1, avx2: 2, avx512: 3 } as const;

/** The native codec, or the reason why there is none. */
export function openNativeCodec():
  | { readonly codec: FrameCodec; readonly reason: null }
  | { readonly codec: null; readonly reason: string } {
  const { binding, reason } = loadNative();
  return binding === null ? { codec: null, reason } : { codec: createNativeCodec(binding), reason: null };
}

/** The codec of a loaded addon. `simd` may only lower what the processor has. */
export function createNativeCodec(binding: NativeBinding, simd: number = binding.simd()): FrameCodec {
  assert(simd <= binding.simd(), `this processor has no SIMD level ${simd}`);
  const result = new Uint32Array(2);
  // A short array lives in V8's heap until the addon first sees it: then V8 gives it memory of its own, which costs more than hashing a frame. So hashes
  // go by way of one array that has had its own from the start.
  const passed = new Uint8Array(new ArrayBuffer(HASH_BYTES));
  return {
    backend: 'native',
    hash(bytes, start, end, out, outOffset) {
      if (outOffset < 0 || outOffset + HASH_BYTES > out.length)
        throw new RangeError('a hash does not fit where it is to go');
      binding.hash(bytes, start, end, passed, 0, simd);
      for (let i = 0; i < HASH_BYTES; i++) out[outOffset + i] = passed[i]!;
    },
    hashChain: (bytes, ends, count, chain, out) => binding.hashChain(bytes, ends, count, chain, out, simd),
    crc32c: (bytes, start, end) => binding.crc32c(bytes, start, end, simd),
    seal(bytes, start, end, chain) {
      give(chain, passed);
      const count = binding.seal(bytes, start, end, passed, PAYLOAD_BYTES_MAX, simd);
      give(passed, chain);
      assert(count !== -1, 'a payload is above the limit');
      assert(count >= 0, 'frames fill the range exactly');
      return count;
    },
    verify(bytes, start, end, index, chain) {
      give(chain, passed);
      const fault = binding.verify(bytes, start, end, index, passed, PAYLOAD_BYTES_MAX, simd, result);
      give(passed, chain);
      return { count: result[0]!, end: result[1]!, fault: FAULTS[fault]! };
    },
  };
}

/** Copies a chain hash. */
function give(from: Uint8Array, to: Uint8Array): void {
  if (from.length !== HASH_BYTES || to.length !== HASH_BYTES) throw new RangeError('the chain hash has 16 bytes');
  for (let i = 0; i < HASH_BYTES; i++) to[i] = from[i]!;
}
