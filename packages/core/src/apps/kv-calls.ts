/**
 * The edge of kv: inputs as people and programs write them, and the hand-made bodies of kv.ts. Keys and values are bytes, or text that stands for its
 * UTF-8; what comes back is text where it is UTF-8, else bytes.
 */
import { z } from 'zod';
import { readU16, readU32, writeU16, writeU32 } from '../engine/frame.ts';
import { CodecError } from '../kernel/errors.ts';
import type { CallSpec } from '../kernel/types.ts';
import { isWellFormed, utf8Decode, utf8Encode } from '../kernel/utf8.ts';

export const KEY_BYTES_MAX = 1024;
export const VALUE_BYTES_MAX = 128 * 1024;

type Text = string | Uint8Array;

const text = z.union([
  z.instanceof(Uint8Array),
  z.string().refine(isWellFormed, { message: 'not well-formed Unicode' }).transform(utf8Encode),
]);
const key = text.refine((bytes) => bytes.length > 0 && bytes.length <= KEY_BYTES_MAX, {
  message: `a key has 1 to ${KEY_BYTES_MAX} bytes`,
});
const value = text.refine((bytes) => bytes.length <= VALUE_BYTES_MAX, {
  message: `a value has at most ${VALUE_BYTES_MAX} bytes`,
});

const putInput = z.strictObject({ key, value });
const keyInput = z.union([z.strictObject({ key }), key.transform((bytes) => ({ key: bytes }))]);
const casInput = z.strictObject({ key, expected: value.nullable(), value });
const noInput = z.union([z.strictObject({}), z.null(), z.undefined()]).transform(() => null);

type Put = z.output<typeof putInput>;
type Cas = z.output<typeof casInput>;
type Key = z.output<typeof keyInput>;

/** Body of command put. */
export function encodePut(input: Put): Uint8Array {
  const body = new Uint8Array(2 + input.key.length + input.value.length);
  writeU16(body, 0, input.key.length);
  body.set(input.key, 2);
  body.set(input.value, 2 + input.key.length);
  return body;
}

/** Body of command cas. */
export function encodeCas(input: Cas): Uint8Array {
  const expected = input.expected ?? new Uint8Array(0);
  const at = 2 + input.key.length;
  const body = new Uint8Array(at + 5 + expected.length + input.value.length);
  writeU16(body, 0, input.key.length);
  body.set(input.key, 2);
  body[at] = input.expected === null ? 0 : 1;
  writeU32(body, at + 1, expected.length);
  body.set(expected, at + 5);
  body.set(input.value, at + 5 + expected.length);
  return body;
}

function decodePut(body: Uint8Array): { key: Text; value: Text } {
  const at = keyEnd(body);
  return { key: readable(body.subarray(2, at)), value: readable(body.subarray(at)) };
}

function decodeCas(body: Uint8Array): { key: Text; expected: Text | null; value: Text } {
  const at = keyEnd(body);
  if (body.length < at + 5) throw new CodecError('a cas is too short');
  const end = at + 5 + readU32(body, at + 1);
  if (end > body.length) throw new CodecError('a cas states more than it has');
  const expected = body[at] === 0 ? null : readable(body.subarray(at + 5, end));
  return { key: readable(body.subarray(2, at)), expected, value: readable(body.subarray(end)) };
}

function keyEnd(body: Uint8Array): number {
  if (body.length < 2 || 2 + readU16(body, 0) > body.length) throw new CodecError('a key is cut off');
  return 2 + readU16(body, 0);
}

function readable(bytes: Uint8Array): Text {
  try {
    return utf8Decode(bytes, 0, bytes.length);
  } catch {
    return bytes.slice();
  }
}

/** Result of get: the value, or null. */
export function decodeFound(result: Uint8Array): Text | null {
  if (result.length === 0 || result[0]! > 1) throw new CodecError('no result of a get');
  return result[0] === 0 ? null : readable(result.subarray(1));
}

function decodeFlag(result: Uint8Array): boolean {
  if (result.length !== 1 || result[0]! > 1) throw new CodecError('no result of yes or no');
  return result[0] === 1;
}

const byKey = (number: number, decodeResult: CallSpec['decodeResult']): CallSpec => ({
  number,
  input: keyInput,
  encode: (input) => (input as Key).key,
  decode: (body) => ({ key: readable(body) }),
  decodeResult,
});

export const kvCommands = {
  put: {
    number: 1,
    input: putInput,
    encode: (input: unknown) => encodePut(input as Put),
    decode: decodePut,
    decodeResult: () => null,
  },
  delete: byKey(2, decodeFlag),
  cas: {
    number: 3,
    input: casInput,
    encode: (input: unknown) => encodeCas(input as Cas),
    decode: decodeCas,
    decodeResult: decodeFlag,
  },
  get: byKey(4, decodeFound),
} satisfies Record<string, CallSpec>;

export const kvQueries = {
  get: byKey(1, decodeFound),
  size: {
    number: 2,
    input: noInput,
    encode: () => new Uint8Array(0),
    decode: () => null,
    decodeResult: (bytes: Uint8Array) => readU32(bytes, 0),
  },
} satisfies Record<string, CallSpec>;
