/** Test bytes; apart from the harness, because processes without a test runner use them too. */

/** Bytes that state their own position, so that a misplaced block is seen. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + seed * 131) & 0xff;
  return bytes;
}
