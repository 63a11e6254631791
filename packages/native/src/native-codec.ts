/**
 * FrameCodec in C++ (cpp/blake3*.h, cpp/codec.cc): a whole batch sealed or verified in one call, with AVX2 or AVX-512 where the
 * processor has it. Byte-identical to the portable codec of core (property-tested).
 */
import { assert } from '@chronon/core/assert';
import { PAYLOAD_BYTES_MAX } from '@chronon/core/engine/constants';
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
  return {
    backend: 'native',
    hash: (bytes, start, end, out, outOffset) => binding.hash(bytes, start, end, out, outOffset, simd),
    hashChain: (bytes, ends, count, chain, out) => binding.hashChain(bytes, ends, count, chain, out, simd),
    crc32c: (bytes, start, end) => binding.crc32c(bytes, start, end, simd),
    seal(bytes, start, end, chain) {
      const count = binding.seal(bytes, start, end, chain, PAYLOAD_BYTES_MAX, simd);
      assert(count !== -1, 'a payload is above the limit');
      assert(count >= 0, 'frames fill the range exactly');
      return count;
    },
    verify(bytes, start, end, index, chain) {
      const fault = binding.verify(bytes, start, end, index, chain, PAYLOAD_BYTES_MAX, simd, result);
      return { count: result[0]!, end: result[1]!, fault: FAULTS[fault]! };
    },
  };
}
