/** The native codec gives the very bytes and verdicts of the portable one, at every SIMD level of this processor. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX } from '@chronon/core/engine/constants';
import { frameBytes, writeHeader, writeU32 } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { loadNative } from './native-binding.ts';
import { createNativeCodec, SIMD } from './native-codec.ts';
import { pattern } from './testing/pattern.ts';

const { binding, reason } = loadNative();

function unsealed(payloads: readonly number[], index: number): Uint8Array {
  const bytes = new Uint8Array(payloads.reduce((sum, size) => sum + frameBytes(size), 0));
  let at = 0;
  for (const [i, size] of payloads.entries()) {
    writeHeader(bytes, at, size, index + i, 3, i, 7, 0);
    bytes.set(pattern(size, i), at + FRAME_HEADER_BYTES);
    at += frameBytes(size);
  }
  return bytes;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
// Lengths around every boundary of BLAKE3: block, chunk, tree.
const lengths = fc.oneof(
  fc.nat(3000),
  fc.constantFrom(0, 1, 63, 64, 65, 127, 128, 948, 949, 1023, 1024, 1025, 2048, 2049, 8192, 8193, 16384, 31744, 65537),
);
const start = fc.uint8Array({ minLength: 16, maxLength: 16 });

describe.skipIf(binding === null)(`native codec${binding === null ? ` (skipped: ${reason})` : ''}`, () => {
  const levels = Object.entries(SIMD).filter(([, level]) => binding !== null && level <= binding.simd());
  for (const [name, level] of levels) {
    describe(`with ${name}`, () => {
      const codec: FrameCodec = createNativeCodec(binding!, level);

      it('hashes and checksums like the reference', () => {
        fc.assert(
          fc.property(lengths, fc.nat(9), (length, from) => {
            const bytes = pattern(from + length, length);
            const [a, b] = [new Uint8Array(20), new Uint8Array(20)];
            nobleCodec.hash(bytes, from, from + length, a, 3);
            codec.hash(bytes, from, from + length, b, 3);
            expect(hex(b)).toBe(hex(a));
            expect(codec.crc32c(bytes, from, from + length)).toBe(nobleCodec.crc32c(bytes, from, from + length));
          }),
          { numRuns: 150 },
        );
      });

      it('hashes chains of records like the reference', () => {
        fc.assert(
          fc.property(fc.array(lengths, { maxLength: 150 }), start, (sizes, chain) => {
            const ends = new Uint32Array(sizes.length + 1);
            let end = 0;
            for (const [i, size] of sizes.entries()) ends[i] = end += size;
            const bytes = pattern(end, sizes.length);
            const [a, b] = [new Uint8Array(16 * sizes.length), new Uint8Array(16 * sizes.length)];
            const [chainA, chainB] = [chain.slice(), chain.slice()];
            nobleCodec.hashChain(bytes, ends, sizes.length, chainA, a);
            codec.hashChain(bytes, ends, sizes.length, chainB, b);
            expect(hex(b)).toBe(hex(a));
            expect(hex(chainB)).toBe(hex(chainA));
            expect(() => codec.hashChain(bytes, ends, sizes.length + 2, chainB, b)).toThrow(RangeError);
          }),
          { numRuns: 20 },
        );
      });

      it('seals like the reference', () => {
        fc.assert(
          fc.property(fc.array(lengths, { maxLength: 20 }), start, fc.nat(3), (sizes, chain, lead) => {
            const bytes = unsealed(sizes, 5);
            const [a, b] = [new Uint8Array(lead + bytes.length), new Uint8Array(lead + bytes.length)];
            a.set(bytes, lead);
            b.set(bytes, lead);
            const [chainA, chainB] = [chain.slice(), chain.slice()];
            expect(codec.seal(b, lead, b.length, chainB)).toBe(nobleCodec.seal(a, lead, a.length, chainA));
            expect(hex(chainB)).toBe(hex(chainA));
            expect(Buffer.compare(a, b)).toBe(0);
            const result = codec.verify(b, lead, b.length, 5, chain);
            expect(result).toEqual({ count: sizes.length, end: b.length, fault: null });
            expect(hex(chain)).toBe(hex(chainA));
          }),
          { numRuns: 40 },
        );
      });

      it('judges damage like the reference', () => {
        const sizes = fc.array(fc.oneof(fc.nat(200), fc.constantFrom(0, 32, 1100)), { minLength: 1, maxLength: 80 });
        const damage = fc.array(fc.record({ where: fc.nat(), xor: fc.integer({ min: 1, max: 255 }) }), {
          maxLength: 2,
        });
        fc.assert(
          fc.property(sizes, damage, fc.nat(200), fc.nat(200), fc.nat(2), (payloads, flips, cut, zeros, gap) => {
            const whole = unsealed(payloads, 9);
            nobleCodec.seal(whole, 0, whole.length, new Uint8Array(16));
            const bytes = new Uint8Array(Math.max(0, whole.length - cut) + zeros);
            bytes.set(whole.subarray(0, Math.max(0, whole.length - cut)));
            for (const { where, xor } of flips) if (bytes.length > 0) bytes[where % bytes.length]! ^= xor;
            const [a, b] = [new Uint8Array(16), new Uint8Array(16)];
            const wanted = nobleCodec.verify(bytes, 0, bytes.length, 9 + (gap === 2 ? 1 : 0), a);
            expect(codec.verify(bytes, 0, bytes.length, 9 + (gap === 2 ? 1 : 0), b)).toEqual(wanted);
            expect(hex(b)).toBe(hex(a));
          }),
          { numRuns: 150 },
        );
      });

      it('finds each fault that a checksum does not hide', () => {
        const verdict = (change: (bytes: Uint8Array) => void): unknown => {
          const bytes = unsealed([33, 40, 50], 0);
          change(bytes);
          codec.seal(bytes, 0, bytes.length, new Uint8Array(16));
          return codec.verify(bytes, 0, bytes.length, 0, new Uint8Array(16)).fault;
        };
        expect(verdict((bytes) => bytes.fill(1, FRAME_HEADER_BYTES + 33, frameBytes(33)))).toBe('padding');
        expect(verdict((bytes) => writeU32(bytes, frameBytes(33) + 8, 7))).toBe('index-gap');
      });

      it('refuses what does not fit', () => {
        const bytes = unsealed([40], 0);
        expect(() => codec.seal(bytes, 0, bytes.length - 8, new Uint8Array(16))).toThrow(/fill the range/);
        writeU32(bytes, 4, PAYLOAD_BYTES_MAX + 1);
        expect(() => codec.seal(bytes, 0, bytes.length, new Uint8Array(16))).toThrow(/limit/);
        expect(() => codec.seal(bytes, 0, bytes.length + 1, new Uint8Array(16))).toThrow(RangeError);
        expect(() => codec.verify(bytes, 0, bytes.length, 0, new Uint8Array(15))).toThrow(RangeError);
      });
    });
  }
});
