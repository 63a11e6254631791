import { Prng } from '@chronon/core/prng';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../testing/crc32c.ts';
import { combine, crcOfChunks } from './crc-combine.ts';
import { BODY_BYTES_MAX, BODY_BYTES_MAX_UNPROVEN, encodeFrame, FrameReader, LINK } from './framing.ts';

describe('crc of a list of chunks', () => {
  it('equals the crc of the whole', () => {
    expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }), (chunks) => {
        const whole = Buffer.concat(chunks);
        expect(crcOfChunks(crc32c, chunks)).toBe(crc32c(whole, 0, whole.length));
      }),
    );
    const [a, b] = [Buffer.alloc(3, 7), Buffer.alloc(1 << 20, 9)];
    const both = Buffer.concat([a, b]);
    expect(combine(crc32c(a, 0, a.length), crc32c(b, 0, b.length), b.length)).toBe(crc32c(both, 0, both.length));
  });
});

describe('FrameReader', () => {
  it('gives back what was framed, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 3 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 20_000 }),
        (messages, cut) => {
          const got: Buffer[] = [];
          const reader = new FrameReader(crc32c, (kind, content) => {
            expect(kind).toBe(LINK.message);
            got.push(Buffer.from(content));
          });
          reader.limit = BODY_BYTES_MAX;
          const stream = Buffer.concat(messages.flatMap((chunks) => encodeFrame(LINK.message, chunks, crc32c).chunks));
          for (let at = 0; at < stream.length; at += cut) expect(reader.push(stream.subarray(at, at + cut))).toBeNull();
          expect(got).toEqual(messages.map((chunks) => Buffer.concat(chunks)));
          expect(reader.partial).toBe(false);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('never throws on garbage and never takes more than the limit', () => {
    const prng = new Prng(11);
    for (let round = 0; round < 500; round++) {
      const reader = new FrameReader(crc32c, () => {
        throw new Error('garbage has no valid checksum');
      });
      let problem: string | null = null;
      for (let i = 0; i < 20 && problem === null; i++) problem = reader.push(prng.bytes(prng.range(1, 5000)));
      expect(problem).toMatch(/limit|checksum|no kind/);
    }
  });

  it('refuses a length above the limit before the body arrives', () => {
    const reader = new FrameReader(crc32c, () => undefined);
    const head = new Uint8Array(8);
    new DataView(head.buffer).setUint32(0, BODY_BYTES_MAX_UNPROVEN + 1, true);
    expect(reader.push(head)).toContain('the limit is 4096');
  });

  it('notices every flipped bit', () => {
    const wire = Buffer.concat(encodeFrame(LINK.message, [Buffer.from('hello, replica')], crc32c).chunks);
    for (let bit = 32; bit < wire.length * 8; bit++) {
      const broken = Buffer.from(wire);
      broken[bit >> 3]! ^= 1 << (bit & 7);
      const reader = new FrameReader(crc32c, () => {
        throw new Error('a broken frame was delivered');
      });
      expect(reader.push(broken)).toBe('frame checksum is wrong');
    }
  });

  it('delivers plain bytes: small ones as copies, so that they do not keep a whole read alive', () => {
    const got: Uint8Array[] = [];
    const reader = new FrameReader(crc32c, (_, content) => got.push(content));
    const one = Buffer.concat(encodeFrame(LINK.message, [Buffer.alloc(100, 1)], crc32c).chunks);
    const read = Buffer.concat(Array.from({ length: 50 }, () => one));
    reader.push(read);
    expect(got.length).toBe(50);
    for (const content of got) {
      expect(Buffer.isBuffer(content)).toBe(false);
      expect(content.buffer.byteLength).toBeLessThan(200);
    }
  });

  it('delivers nothing after stop', () => {
    let count = 0;
    const reader = new FrameReader(crc32c, () => {
      count++;
      reader.stop();
    });
    const one = Buffer.concat(encodeFrame(LINK.ping, [Buffer.alloc(8)], crc32c).chunks);
    reader.push(Buffer.concat([one, one, one]));
    expect(count).toBe(1);
  });
});
