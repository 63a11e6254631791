/**
 * UTF-8, strict both ways: lone surrogates, overlong forms, surrogate code points and stray bytes are refused with CodecError. Written out because
 * core has no TextDecoder of its own in every runtime it names, and because short strings are faster this way.
 */
import { CodecError } from './errors.ts';

/** Bytes of `text` in UTF-8; throws when it has a lone surrogate. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 3;
    else {
      const low = unit < 0xdc00 ? text.charCodeAt(i + 1) : Number.NaN;
      if (!(low >= 0xdc00 && low <= 0xdfff)) throw new CodecError('a string has a lone surrogate');
      bytes += 4;
      i++;
    }
  }
  return bytes;
}

/** True when `text` has no lone surrogate. */
export function isWellFormed(text: string): boolean {
  try {
    utf8Length(text);
    return true;
  } catch {
    return false;
  }
}

/** At most `chars` UTF-16 units of a text, with lone surrogates (those that the cut makes included) as '?'. */
export function wellFormed(text: string, chars: number): string {
  return text.slice(0, chars).replace(/\p{Surrogate}/gu, '?');
}

/** Writes a well-formed `text` (utf8Length was called) at `at`; returns the end. */
export function utf8EncodeInto(text: string, out: Uint8Array, at: number): number {
  let o = at;
  for (let i = 0; i < text.length; i++) {
    let point = text.charCodeAt(i);
    if (point < 0x80) {
      out[o++] = point;
      continue;
    }
    if (point < 0x800) {
      out[o++] = 0xc0 | (point >> 6);
      out[o++] = 0x80 | (point & 0x3f);
      continue;
    }
    if (point >= 0xd800 && point <= 0xdfff) {
      point = 0x10000 + ((point & 0x3ff) << 10) + (text.charCodeAt(++i) & 0x3ff);
      out[o++] = 0xf0 | (point >> 18);
      out[o++] = 0x80 | ((point >> 12) & 0x3f);
    } else {
      out[o++] = 0xe0 | (point >> 12);
    }
    out[o++] = 0x80 | ((point >> 6) & 0x3f);
    out[o++] = 0x80 | (point & 0x3f);
  }
  return o;
}

/** The bytes of `text`; throws when it has a lone surrogate. */
export function utf8Encode(text: string): Uint8Array {
  const out = new Uint8Array(utf8Length(text));
  utf8EncodeInto(text, out, 0);
  return out;
}

/** Argument lists by length, reused: one call gives a flat string, where joining units gives a rope that a Map must flatten. */
const UNITS: readonly number[][] = Array.from({ length: 65 }, (_, length) => Array.from<number>({ length }).fill(0));

/** bytes[from, to) as a string of code units 0..255 (latin1). Fast for short runs. */
export function latin1Decode(bytes: Uint8Array, from: number, to: number): string {
  if (to - from > 64) return latin1Decode(bytes, from, from + 64) + latin1Decode(bytes, from + 64, to);
  const units = UNITS[to - from]!;
  for (let i = 0; i < units.length; i++) units[i] = bytes[from + i]!;
  return String.fromCharCode.apply(null, units);
}

/** Decodes bytes[from, to), refusing everything that is not exact UTF-8. */
export function utf8Decode(bytes: Uint8Array, from: number, to: number): string {
  if (to - from <= 64 && isAscii(bytes, from, to)) return latin1Decode(bytes, from, to);
  let text = '';
  let i = from;
  while (i < to) {
    const lead = bytes[i]!;
    if (lead < 0x80) {
      text += String.fromCharCode(lead);
      i++;
      continue;
    }
    const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || i + size > to) throw new CodecError('a string is not UTF-8');
    let point = lead & (0xff >> (size + 1));
    for (let k = 1; k < size; k++) {
      const byte = bytes[i + k]!;
      if ((byte & 0xc0) !== 0x80) throw new CodecError('a string is not UTF-8');
      point = (point << 6) | (byte & 0x3f);
    }
    const overlong = (size === 3 && point < 0x800) || (size === 4 && point < 0x10000);
    if (overlong || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
      throw new CodecError('a string is not UTF-8');
    text += String.fromCodePoint(point);
    i += size;
  }
  return text;
}

function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i]! >= 0x80) return false;
  return true;
}
