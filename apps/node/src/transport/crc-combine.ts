/**
 * CRC32C of a concatenation from the CRCs of its parts (zlib's crc32_combine over the Castagnoli polynomial), so that a message that is a
 * list of chunks is checked without copying it into one.
 *
 * Invariant: combine(crc(a), crc(b), b.length) === crc(a ++ b).
 */

/** CRC32C of bytes[start, end). */
export type Crc32c = (bytes: Uint8Array, start: number, end: number) => number;

const POLYNOMIAL = 0x82f63b78;
const ONE = 0x8000_0000;

/** x^(2^n) modulo the polynomial, bits reflected. */
const POWERS: Uint32Array = (() => {
  const table = new Uint32Array(32);
  let power = 0x4000_0000;
  for (let n = 0; n < 32; n++) {
    table[n] = power;
    power = multiply(power, power);
  }
  return table;
})();

/** a * b modulo the polynomial. */
function multiply(a: number, b: number): number {
  let mask = ONE;
  let product = 0;
  for (let bit = 0; bit < 32; bit++) {
    if ((a & mask) !== 0) {
      product ^= b;
      if ((a & (mask - 1)) === 0) break;
    }
    mask >>>= 1;
    b = (b & 1) !== 0 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

/** x^(8 * bytes) modulo the polynomial. */
function shift(bytes: number): number {
  let power = ONE;
  let n = bytes;
  let k = 3;
  while (n > 0) {
    if ((n & 1) !== 0) power = multiply(POWERS[k & 31]!, power);
    n >>>= 1;
    k++;
  }
  return power;
}

/** CRC of `a ++ b`, given the CRC of each and the length of `b` in bytes. */
export function combine(crcA: number, crcB: number, lengthB: number): number {
  return (multiply(shift(lengthB), crcA) ^ crcB) >>> 0;
}

/** CRC of the chunks as if they were one. */
export function crcOfChunks(crc32c: Crc32c, chunks: readonly Uint8Array[]): number {
  let crc = 0;
  let first = true;
  for (const chunk of chunks) {
    const own = crc32c(chunk, 0, chunk.length);
    crc = first ? own : combine(crc, own, chunk.length);
    first = false;
  }
  return crc >>> 0;
}
