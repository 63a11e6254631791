import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FRAME_HEADER_BYTES } from '../constants.ts';
import { frameBytes, writeHeader } from '../frame.ts';
import { toHex } from '../hash.ts';
import { crc32c } from './crc32c.ts';
import { nobleCodec } from './noble.ts';
import { createWasmCodec } from './wasm.ts';

const wasmCodec = await createWasmCodec();
const codecs = [nobleCodec, wasmCodec];
const RUNS = { numRuns: 60 };

const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 6 });

/** Unsealed frames with these payloads, from index `first` on. */
function unsealed(bodies: readonly Uint8Array[], first: number): Uint8Array {
  const bytes = new Uint8Array(bodies.reduce((sum, body) => sum + frameBytes(body.length), 0));
  let at = 0;
  bodies.forEach((body, i) => {
    writeHeader(bytes, at, body.length, first + i, 3, 17, 5, 0);
    bytes.set(body, at + FRAME_HEADER_BYTES);
    at += frameBytes(body.length);
  });
  return bytes;
}

test('CRC32C gives the check value of the standard, in one piece or several', () => {
  const digits = new TextEncoder().encode('123456789');
  expect(crc32c(digits, 0, 9)).toBe(0xe3069283);
  for (let cut = 0; cut <= 9; cut++) expect(crc32c(digits, cut, 9, crc32c(digits, 0, cut))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32), 0, 32)).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff), 0, 32)).toBe(0x62a8ab43);
});

test('hashes are BLAKE3, first 16 bytes', () => {
  for (const codec of codecs) {
    const out = new Uint8Array(20).fill(1);
    codec.hash(new Uint8Array(0), 0, 0, out, 2);
    expect(toHex(out)).toBe(`0101${'af1349b9f5f9a1a6a0404dea36dcc949'}0101`);
  }
});

test('back ends seal to equal bytes and verify each other', () => {
  fc.assert(
    fc.property(
      payloads,
      fc.nat({ max: 1_000_000 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (bodies, first, before) => {
        const sealed = codecs.map((codec) => {
          const bytes = unsealed(bodies, first);
          const chain = before.slice();
          expect(codec.seal(bytes, 0, bytes.length, chain)).toBe(bodies.length);
          return { bytes, chain };
        });
        expect(toHex(sealed[0]!.bytes)).toBe(toHex(sealed[1]!.bytes));
        for (const codec of codecs) {
          const chain = before.slice();
          const { bytes } = sealed[0]!;
          expect(codec.verify(bytes, 0, bytes.length, first, chain)).toEqual({
            count: bodies.length,
            end: bytes.length,
            fault: null,
          });
          expect(toHex(chain)).toBe(toHex(sealed[1]!.chain));
        }
      },
    ),
    RUNS,
  );
});

test('any changed byte is noticed, by every back end in the same way', () => {
  fc.assert(
    fc.property(payloads, fc.nat(), fc.integer({ min: 1, max: 255 }), (bodies, where, mask) => {
      const bytes = unsealed(bodies, 7);
      nobleCodec.seal(bytes, 0, bytes.length, new Uint8Array(16));
      bytes[where % bytes.length]! ^= mask;
      const results = codecs.map((codec) => {
        const chain = new Uint8Array(16);
        return { ...codec.verify(bytes, 0, bytes.length, 7, chain), chain: toHex(chain) };
      });
      expect(results[0]).toEqual(results[1]);
      expect(results[0]!.fault).not.toBeNull();
      expect(results[0]!.count).toBeLessThan(bodies.length);
    }),
    RUNS,
  );
});

test('noise is refused without a throw, by every back end in the same way', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const [a, b] = codecs.map((codec) => codec.verify(bytes, 0, bytes.length, 0, new Uint8Array(16)));
      expect(a).toEqual(b);
      expect(bytes.length === 0 || a!.fault !== null).toBe(true);
    }),
    RUNS,
  );
});

test('faults have names: empty, incomplete, padding, index-gap, chain', () => {
  const bytes = unsealed([new Uint8Array(3), new Uint8Array(5)], 4);
  nobleCodec.seal(bytes, 0, bytes.length, new Uint8Array(16));
  for (const codec of codecs) {
    const fault = (content: Uint8Array, index = 4, chain = new Uint8Array(16)) =>
      codec.verify(content, 0, content.length, index, chain).fault;
    expect(fault(new Uint8Array(200))).toBe('empty');
    expect(fault(bytes.subarray(0, 85))).toBe('incomplete');
    expect(fault(bytes, 5)).toBe('index-gap');
    expect(fault(bytes, 4, new Uint8Array(16).fill(1))).toBe('chain');
    const padded = bytes.slice();
    padded[84] = 1;
    expect(fault(padded)).toBe('padding');
    expect(fault(new Uint8Array([...bytes, ...new Uint8Array(100)]))).toBe('empty');
  }
});
