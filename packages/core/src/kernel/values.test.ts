/** Canonical values: identity both ways, refusal of everything else, no way to a prototype. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodecError } from './errors.ts';
import { decodeValue, encodeValue, VALUE_DEPTH_MAX } from './values.ts';

const leaf = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.bigInt(),
  fc.string({ unit: 'grapheme' }),
  fc.uint8Array({ maxLength: 40 }),
  fc.date({ noInvalidDate: true }),
);
const key = fc.string({ maxLength: 6 }).filter((name) => name !== '__proto__');
const value = fc.letrec((tie) => ({
  any: fc.oneof({ depthSize: 'small', maxDepth: 5 }, leaf, tie('list'), tie('record'), tie('map')),
  list: fc.array(tie('any'), { maxLength: 5 }),
  record: fc.dictionary(key, tie('any'), { maxKeys: 5, noNullPrototype: true }),
  map: fc
    .uniqueArray(fc.tuple(fc.oneof(fc.string(), fc.integer(), fc.bigInt(), fc.boolean()), tie('any')), {
      selector: (entry) => entry[0],
      maxLength: 4,
    })
    .map((entries) => new Map(entries)),
})).any;

describe('encode and decode', () => {
  it('gives back every value', () => {
    fc.assert(
      fc.property(value, (v) => {
        expect(decodeValue(encodeValue(v))).toStrictEqual(v);
      }),
      { numRuns: 500 },
    );
  });

  it('turns any bytes into a value with exactly these bytes, or a CodecError', () => {
    const mutated = fc.tuple(value, fc.nat(), fc.nat({ max: 255 })).map(([v, at, byte]) => {
      const bytes = encodeValue(v);
      bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 60 })), (bytes) => {
        let decoded: unknown;
        try {
          decoded = decodeValue(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError);
          return;
        }
        expect(encodeValue(decoded)).toEqual(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  it('is independent of the order in which keys were set, and keeps that of a Map', () => {
    expect(encodeValue({ b: 1, a: 2 })).toEqual(encodeValue({ a: 2, b: 1 }));
    const one = new Map([
      ['b', 1],
      ['a', 2],
    ]);
    const two = new Map([
      ['a', 2],
      ['b', 1],
    ]);
    expect(encodeValue(one)).not.toEqual(encodeValue(two));
  });

  it('leaves out undefined properties, as JSON does', () => {
    expect(decodeValue(encodeValue({ a: undefined, b: 1 }))).toStrictEqual({ b: 1 });
  });

  it.each([
    ['-0', -0],
    ['NaN', Number.NaN],
    ['2^53', 2 ** 53],
    ['a huge bigint', -(7n ** 900n)],
    ['-1n', -1n],
    ['the last date', new Date(8.64e15)],
    ['a key of Object.prototype', { constructor: 1, toString: 'x', hasOwnProperty: null }],
  ])('keeps %s', (_name, v) => {
    expect(decodeValue(encodeValue(v))).toStrictEqual(v);
  });
});

describe('refusals', () => {
  it.each([
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['an undefined element', [undefined]],
    ['an instance', new (class Account {})()],
    ['a RegExp', /x/],
    ['a Set', new Set([1])],
    ['an invalid Date', new Date(Number.NaN)],
    ['a lone surrogate', 'a\ud800'],
    ['a swapped pair', '\udc00\ud800'],
    ['an own __proto__', JSON.parse('{"__proto__": {"admin": true}}') as unknown],
    ['a symbol key', { [Symbol('s')]: 1 }],
  ])('refuses to encode %s', (_name, v) => {
    expect(() => encodeValue(v)).toThrow(CodecError);
  });

  it('refuses what is too deep, too large, or goes round', () => {
    const nest = (depth: number): unknown => (depth === 0 ? 1 : [nest(depth - 1)]);
    expect(decodeValue(encodeValue(nest(VALUE_DEPTH_MAX)))).toEqual(nest(VALUE_DEPTH_MAX));
    expect(() => encodeValue(nest(VALUE_DEPTH_MAX + 1))).toThrow(CodecError);
    const round: unknown[] = [];
    round.push(round);
    expect(() => encodeValue(round)).toThrow(CodecError);
    expect(() => encodeValue(new Uint8Array(1024 * 1024))).toThrow(CodecError);
    const deep = new Uint8Array(2 * VALUE_DEPTH_MAX + 4).map((_, i) => (i % 2 === 0 ? 12 : 1));
    expect(() => decodeValue(deep)).toThrow(CodecError);
  });

  it.each([
    ['nothing', []],
    ['an unknown tag', [99]],
    ['a byte too many', [0, 0]],
    ['a count above the bytes', [12, 0xff, 0xff, 0xff, 0x7f]],
    ['a long varint', [3, 0x81, 0x00]],
    ['an integer as float', [5, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]],
    ['another NaN', [5, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f]],
    ['a bigint with a leading zero', [6, 2, 1, 0]],
    ['keys out of order', [13, 2, 1, 0x62, 0, 1, 0x61, 0]],
    ['a key twice', [13, 2, 1, 0x61, 0, 1, 0x61, 0]],
    ['a key named __proto__', [13, 1, 9, ...new TextEncoder().encode('__proto__'), 0]],
    ['a Map key twice', [14, 2, 3, 1, 0, 3, 1, 0]],
    ['bad UTF-8', [8, 1, 0xff]],
    ['an overlong form', [8, 2, 0xc0, 0x80]],
    ['a surrogate in UTF-8', [8, 3, 0xed, 0xa0, 0x80]],
    ['a code point above the last', [8, 4, 0xf4, 0x90, 0x80, 0x80]],
  ])('refuses to decode %s', (_name, bytes) => {
    expect(() => decodeValue(Uint8Array.from(bytes))).toThrow(CodecError);
  });

  it('leaves Object.prototype alone, even frozen', () => {
    const decoded = decodeValue(encodeValue({ constructor: { prototype: { polluted: 1 } } })) as object;
    expect(Object.hasOwn(decoded, 'constructor')).toBe(true);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
