/**
 * The canonical value codec: one sequence of bytes a value, one value a sequence of bytes. Everything an application says in values (inputs,
 * results, rejections, receipts) and everything that is hashed as a value goes through it.
 *
 * | tag | value | bytes behind the tag |
 * |---|---|---|
 * | 0, 1, 2 | null, false, true | |
 * | 3 | safe integer >= 0 | varint |
 * | 4 | safe integer < 0 | varint of -value - 1 |
 * | 5 | any other number | f64; NaN in one form only |
 * | 6, 7 | bigint >= 0, < 0 | blob: magnitude (of -value - 1), little-endian, no leading zero |
 * | 8 | string | varint length ++ UTF-8 |
 * | 9 | Uint8Array | varint length ++ bytes |
 * | 10, 11 | Date from, before the epoch | as 3, 4, milliseconds |
 * | 12 | array | varint count ++ values |
 * | 13 | plain object | varint count ++ (key, value), keys in ascending order of UTF-16 units |
 * | 14 | Map | varint count ++ (value, value), insertion order |
 *
 * Invariants: decode(bytes) is a value or a CodecError, whatever the bytes; encode(decode(bytes)) is `bytes`; no decode touches a prototype.
 * A property that is `undefined` is left out, as JSON does; `undefined` anywhere else, functions, symbols and class instances are refused.
 */
import { PAYLOAD_BYTES_MAX } from '../engine/constants.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';
import { PureDate } from './guard.ts';

/** Deepest nesting of arrays, objects and Maps. */
export const VALUE_DEPTH_MAX = 32;
/** Largest encoding, in bytes. */
export const VALUE_BYTES_MAX = PAYLOAD_BYTES_MAX;

const TAG = {
  null: 0,
  false: 1,
  true: 2,
  int: 3,
  negativeInt: 4,
  float: 5,
  bigint: 6,
  negativeBigint: 7,
  string: 8,
  bytes: 9,
  date: 10,
  earlyDate: 11,
  array: 12,
  object: 13,
  map: 14,
} as const;

/** A spare writer, so that a call allocates its answer only. Taken out while in use: a getter may encode inside an encode. */
let spare: ByteWriter | null = new ByteWriter();

/** The canonical bytes of a value; throws CodecError for what has none. */
export function encodeValue(value: unknown): Uint8Array {
  const writer = spare ?? new ByteWriter();
  spare = null;
  try {
    writer.reset();
    encodeInto(writer, value);
    return writer.copy();
  } finally {
    spare = writer;
  }
}

/** Appends the canonical bytes of a value. */
export function encodeInto(writer: ByteWriter, value: unknown): void {
  const start = writer.length;
  encodeAny(writer, value, 0);
  if (writer.length - start > VALUE_BYTES_MAX) throw new CodecError(`a value is larger than ${VALUE_BYTES_MAX} bytes`);
}

/** The value whose canonical bytes these are; throws CodecError for anything else. */
export function decodeValue(bytes: Uint8Array): unknown {
  const reader = new ByteReader(bytes);
  const value = decodeFrom(reader);
  reader.end();
  return value;
}

/** Reads one value and leaves what follows. */
export function decodeFrom(reader: ByteReader): unknown {
  if (reader.remaining > VALUE_BYTES_MAX) throw new CodecError(`a value is larger than ${VALUE_BYTES_MAX} bytes`);
  return decodeAny(reader, 0);
}

/** For rows of tables, whose total is not bounded by one payload. */
export function decodeUnbounded(reader: ByteReader): unknown {
  return decodeAny(reader, 0);
}

function encodeAny(w: ByteWriter, value: unknown, depth: number): void {
  switch (typeof value) {
    case 'boolean':
      return w.u8(value ? TAG.true : TAG.false);
    case 'number':
      return encodeNumber(w, value);
    case 'bigint':
      return encodeBigint(w, value);
    case 'string':
      w.u8(TAG.string);
      return w.text(value);
    case 'object':
      return value === null ? w.u8(TAG.null) : encodeObject(w, value, depth);
    default:
      throw new CodecError(`a ${typeof value} has no encoding`);
  }
}

function encodeNumber(w: ByteWriter, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    w.u8(value >= 0 ? TAG.int : TAG.negativeInt);
    w.varint(value >= 0 ? value : -value - 1);
    return;
  }
  w.u8(TAG.float);
  w.f64(Number.isNaN(value) ? Number.NaN : value);
}

function encodeBigint(w: ByteWriter, value: bigint): void {
  w.u8(value >= 0n ? TAG.bigint : TAG.negativeBigint);
  let hex = (value >= 0n ? value : -value - 1n).toString(16);
  if (hex === '0') return w.varint(0);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  if (hex.length > 2 * VALUE_BYTES_MAX) throw new CodecError('a bigint is too large');
  w.varint(hex.length / 2);
  for (let i = hex.length - 2; i >= 0; i -= 2) w.u8(Number.parseInt(hex.slice(i, i + 2), 16));
}

function encodeObject(w: ByteWriter, value: object, depth: number): void {
  if (value instanceof Uint8Array) {
    w.u8(TAG.bytes);
    return w.blob(value);
  }
  if (value instanceof PureDate) {
    const ms = value.getTime();
    if (Number.isNaN(ms)) throw new CodecError('an invalid Date has no encoding');
    w.u8(ms >= 0 ? TAG.date : TAG.earlyDate);
    return w.varint(ms >= 0 ? ms : -ms - 1);
  }
  if (depth >= VALUE_DEPTH_MAX) throw new CodecError(`a value is nested deeper than ${VALUE_DEPTH_MAX}`);
  if (w.length > VALUE_BYTES_MAX * 2) throw new CodecError(`a value is larger than ${VALUE_BYTES_MAX} bytes`);
  if (Array.isArray(value)) {
    w.u8(TAG.array);
    w.varint(value.length);
    for (let i = 0; i < value.length; i++) encodeAny(w, value[i], depth + 1);
  } else if (value instanceof Map) {
    w.u8(TAG.map);
    w.varint(value.size);
    for (const [key, item] of value) {
      encodeAny(w, key, depth + 1);
      encodeAny(w, item, depth + 1);
    }
  } else {
    encodePlain(w, value, depth);
  }
}

function encodePlain(w: ByteWriter, value: object, depth: number): void {
  const prototype: unknown = Object.getPrototypeOf(value);
  const plain = prototype === null || Object.getPrototypeOf(prototype) === null;
  if (!plain) throw new CodecError('an instance of a class has no encoding');
  if (Object.getOwnPropertySymbols(value).length > 0) throw new CodecError('a symbol key has no encoding');
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record);
  if (keys.length > FEW_KEYS) keys.sort();
  else sortFew(keys);
  let count = 0;
  for (const key of keys) if (record[key] !== undefined) count++;
  w.u8(TAG.object);
  w.varint(count);
  for (const key of keys) {
    if (record[key] === undefined) continue;
    if (key === '__proto__') throw new CodecError('a key named __proto__ is refused');
    w.text(key);
    encodeAny(w, record[key], depth + 1);
  }
}

/** So many keys are sorted in place: the general sort makes several arrays. */
const FEW_KEYS = 8;

function sortFew(keys: string[]): void {
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i]!;
    let at = i;
    for (; at > 0 && keys[at - 1]! > key; at--) keys[at] = keys[at - 1]!;
    keys[at] = key;
  }
}

function decodeAny(r: ByteReader, depth: number): unknown {
  const tag = r.u8();
  switch (tag) {
    case TAG.null:
      return null;
    case TAG.false:
      return false;
    case TAG.true:
      return true;
    case TAG.int:
      return r.varint();
    case TAG.negativeInt:
      return negative(r.varint());
    case TAG.float:
      return decodeFloat(r);
    case TAG.bigint:
      return decodeMagnitude(r);
    case TAG.negativeBigint:
      return -decodeMagnitude(r) - 1n;
    case TAG.string:
      return r.text();
    case TAG.bytes:
      return r.blob();
    case TAG.date:
      return decodeDate(r.varint());
    case TAG.earlyDate:
      return decodeDate(negative(r.varint()));
    case TAG.array:
    case TAG.object:
    case TAG.map:
      if (depth >= VALUE_DEPTH_MAX) throw new CodecError(`a value is nested deeper than ${VALUE_DEPTH_MAX}`);
      return tag === TAG.array
        ? decodeArray(r, depth)
        : tag === TAG.object
          ? decodePlain(r, depth)
          : decodeMap(r, depth);
    default:
      throw new CodecError(`${tag} is no tag of a value`);
  }
}

function negative(magnitude: number): number {
  if (magnitude >= Number.MAX_SAFE_INTEGER) throw new CodecError('an integer is below -(2^53 - 1)');
  return -magnitude - 1;
}

function decodeFloat(r: ByteReader): number {
  const at = r.bytes(8);
  const value = new ByteReader(at).f64();
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) throw new CodecError('an integer is encoded as a float');
  if (Number.isNaN(value)) {
    const canonical = new ByteWriter(8);
    canonical.f64(Number.NaN);
    if (canonical.view().some((byte, i) => byte !== at[i])) throw new CodecError('a NaN is not in its canonical form');
  }
  return value;
}

function decodeMagnitude(r: ByteReader): bigint {
  const bytes = r.bytes(r.count());
  if (bytes.length === 0) return 0n;
  if (bytes[bytes.length - 1] === 0) throw new CodecError('a bigint is not in its shortest form');
  const digits: string[] = [];
  for (let i = bytes.length - 1; i >= 0; i--) digits.push(bytes[i]!.toString(16).padStart(2, '0'));
  return BigInt(`0x${digits.join('')}`);
}

function decodeDate(ms: number): Date {
  const date = new PureDate(ms);
  if (Number.isNaN(date.getTime())) throw new CodecError('a Date is out of range');
  return date;
}

function decodeArray(r: ByteReader, depth: number): unknown[] {
  const count = r.count();
  const items: unknown[] = [];
  for (let i = 0; i < count; i++) items.push(decodeAny(r, depth + 1));
  return items;
}

function decodePlain(r: ByteReader, depth: number): Record<string, unknown> {
  const count = r.count(2);
  const record: Record<string, unknown> = {};
  let previous: string | null = null;
  for (let i = 0; i < count; i++) {
    const key = r.text();
    if (key === '__proto__') throw new CodecError('a key named __proto__ is refused');
    if (previous !== null && key <= previous) throw new CodecError('the keys of an object are not in order');
    previous = key;
    const value = decodeAny(r, depth + 1);
    // A key that Object.prototype also has ("constructor") must become an own property even where the prototype is frozen.
    if (key in record)
      Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true });
    else record[key] = value;
  }
  return record;
}

function decodeMap(r: ByteReader, depth: number): Map<unknown, unknown> {
  const count = r.count(2);
  const map = new Map<unknown, unknown>();
  for (let i = 0; i < count; i++) {
    const key = decodeAny(r, depth + 1);
    if (Object.is(key, -0) || map.has(key)) throw new CodecError('a Map has a key that cannot stand in it');
    map.set(key, decodeAny(r, depth + 1));
  }
  return map;
}
