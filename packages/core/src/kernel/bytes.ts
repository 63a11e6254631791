/**
 * ByteWriter and ByteReader: little-endian fields, minimal varints and length-prefixed strings, for every canonical encoding of the kernel.
 *
 * Invariants: a reader never reads past its end and never allocates more than it holds: it throws CodecError; equal calls give equal bytes.
 */
import { CodecError } from './errors.ts';
import { utf8Decode, utf8EncodeInto, utf8Length } from './utf8.ts';

const TWO_32 = 0x1_0000_0000;
const INITIAL_BYTES = 256;

const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);

/** A growing buffer. `view()` is valid until the next write; `copy()` is yours. */
export class ByteWriter {
  private buffer: Uint8Array;
  private size = 0;

  constructor(initialBytes: number = INITIAL_BYTES) {
    this.buffer = new Uint8Array(initialBytes);
  }

  get length(): number {
    return this.size;
  }

  reset(): void {
    this.size = 0;
  }

  /** Shortens to `length`, which must not be above the present one. */
  truncate(length: number): void {
    if (length < this.size) this.size = length;
  }

  private room(bytes: number): number {
    const at = this.size;
    const need = at + bytes;
    if (need > this.buffer.length) {
      const grown = new Uint8Array(Math.max(need, 2 * this.buffer.length));
      grown.set(this.buffer.subarray(0, at));
      this.buffer = grown;
    }
    this.size = need;
    return at;
  }

  u8(value: number): void {
    const at = this.room(1);
    this.buffer[at] = value;
  }

  u32(value: number): void {
    const at = this.room(4);
    const b = this.buffer;
    b[at] = value;
    b[at + 1] = value >>> 8;
    b[at + 2] = value >>> 16;
    b[at + 3] = value >>> 24;
  }

  /** A safe integer from 0, as u64. */
  u64(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new CodecError('a u64 field takes a safe integer from 0');
    this.u32(value % TWO_32);
    this.u32(Math.floor(value / TWO_32));
  }

  f64(value: number): void {
    scratchView.setFloat64(0, value, true);
    this.bytes(scratch);
  }

  /** A safe integer from 0 in 7-bit groups, lowest first, shortest form. */
  varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.u8(rest);
  }

  bytes(source: Uint8Array): void {
    const at = this.room(source.length);
    this.buffer.set(source, at);
  }

  /** Bytes [from, to) of a source, without a view of it. */
  range(source: Uint8Array, from: number, to: number): void {
    const at = this.room(to - from);
    const b = this.buffer;
    if (from === 0 && to === source.length) b.set(source, at);
    else if (to - from > 64) b.set(source.subarray(from, to), at);
    else for (let i = from, j = at; i < to; i++, j++) b[j] = source[i]!;
  }

  /** varint length ++ bytes. */
  blob(source: Uint8Array): void {
    this.varint(source.length);
    this.bytes(source);
  }

  /** varint length ++ UTF-8. Lone surrogates are refused. */
  text(value: string): void {
    if (value.length < 0x80 && this.ascii(value)) return;
    const length = utf8Length(value);
    this.varint(length);
    const at = this.room(length);
    utf8EncodeInto(value, this.buffer, at);
  }

  /** The usual short text in one pass; false, and nothing written, when it is not ASCII. */
  private ascii(value: string): boolean {
    const at = this.room(1 + value.length);
    const b = this.buffer;
    b[at] = value.length;
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if (unit >= 0x80) {
        this.size = at;
        return false;
      }
      b[at + 1 + i] = unit;
    }
    return true;
  }

  /** varint length ++ the code units of a string of bytes (0..255). */
  latin1(value: string): void {
    this.varint(value.length);
    let at = this.room(value.length);
    for (let i = 0; i < value.length; i++) this.buffer[at++] = value.charCodeAt(i);
  }

  view(): Uint8Array {
    return this.buffer.subarray(0, this.size);
  }

  /** The memory itself: bytes [0, length) count. For hashing without a view. */
  raw(): Uint8Array {
    return this.buffer;
  }

  copy(): Uint8Array {
    return this.buffer.slice(0, this.size);
  }
}

export class ByteReader {
  private readonly source: Uint8Array;
  private at = 0;

  constructor(source: Uint8Array) {
    this.source = source;
  }

  get remaining(): number {
    return this.source.length - this.at;
  }

  private take(bytes: number): number {
    const at = this.at;
    if (bytes > this.source.length - at) throw new CodecError('the bytes end too early');
    this.at = at + bytes;
    return at;
  }

  u8(): number {
    const at = this.take(1);
    return this.source[at]!;
  }

  u32(): number {
    const at = this.take(4);
    const b = this.source;
    return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;
  }

  u64(): number {
    const low = this.u32();
    const high = this.u32();
    if (high >= 0x20_0000) throw new CodecError('a u64 field is above 2^53 - 1');
    return high * TWO_32 + low;
  }

  f64(): number {
    const at = this.take(8);
    for (let i = 0; i < 8; i++) scratch[i] = this.source[at + i]!;
    return scratchView.getFloat64(0, true);
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) throw new CodecError('a varint is not in its shortest form');
        if (value > Number.MAX_SAFE_INTEGER) throw new CodecError('a varint is above 2^53 - 1');
        return value;
      }
      factor *= 0x80;
    }
    throw new CodecError('a varint is too long');
  }

  /** A count of things that take at least `unit` bytes each: bounded by what is left, so it may size an allocation. */
  count(unit = 1): number {
    const value = this.varint();
    if (value * unit > this.remaining) throw new CodecError('a count is above what the bytes can hold');
    return value;
  }

  /** A view of the next bytes. */
  bytes(length: number): Uint8Array {
    const at = this.take(length);
    return this.source.subarray(at, at + length);
  }

  /** A copy of a length-prefixed run. */
  blob(): Uint8Array {
    return this.bytes(this.count()).slice();
  }

  text(): string {
    const length = this.count();
    const at = this.take(length);
    return utf8Decode(this.source, at, at + length);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.remaining !== 0) throw new CodecError(`${this.remaining} bytes too many`);
  }
}
