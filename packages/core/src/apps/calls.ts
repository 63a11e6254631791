/** Call specs whose bodies and results are canonical values. */
import type { CallSpec, InputSchema } from '../kernel/types.ts';
import { decodeValue, encodeValue } from '../kernel/values.ts';

/** A call whose parsed input and whose result are values. */
export function valueCall(number: number, input: InputSchema): CallSpec {
  return { number, input, encode: encodeValue, decode: decodeValue, decodeResult: decodeValue };
}
