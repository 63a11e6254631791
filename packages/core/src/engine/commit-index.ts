/**
 * CommitIndex: an index that may not exist yet. "Nothing committed" and "index 0 committed" are different facts; the Rust
 * implementation once confused them and executed index 0 without a quorum. -1 never leaves this file as a number.
 */
import { assert } from '../assert.ts';

declare const brand: unique symbol;

/** `NONE` or a log index. Ordered: NONE is below 0. Compare only with the functions here, or `<`/`>` between CommitIndexes. */
export type CommitIndex = number & { readonly [brand]: 'CommitIndex' };

/** No index. */
export const NONE = -1 as CommitIndex;

/** The index `index` (a safe integer from 0). */
export function at(index: number): CommitIndex {
  assert(Number.isSafeInteger(index) && index >= 0, `commit index ${index} is not a log index`);
  return index as CommitIndex;
}

export function isNone(index: CommitIndex): boolean {
  return index === NONE;
}

/** The first index above: 0 for NONE. */
export function next(index: CommitIndex): number {
  return index + 1;
}

/** How many entries there are up to and including `index`: 0 for NONE. */
export function count(index: CommitIndex): number {
  return index + 1;
}

/** The index just below `index`: NONE for 0. */
export function below(index: number): CommitIndex {
  assert(Number.isSafeInteger(index) && index >= 0, `${index} is not a log index`);
  return (index - 1) as CommitIndex;
}

export function max(a: CommitIndex, b: CommitIndex): CommitIndex {
  return a > b ? a : b;
}

export function min(a: CommitIndex, b: CommitIndex): CommitIndex {
  return a < b ? a : b;
}

/** JSON form: decimal string, or null for none. */
export function toJson(index: CommitIndex): string | null {
  return index === NONE ? null : String(index);
}

/** The inverse of toJson; any other text ('' is not 0) is an error. */
export function fromJson(value: string | null): CommitIndex {
  if (value === null) return NONE;
  assert(/^(0|[1-9]\d*)$/.test(value), `'${value}' is not a log index`);
  return at(Number(value));
}

/** Wire form of two u32 halves is index + 1, so 0 means none. */
export function toWire(index: CommitIndex): number {
  return index + 1;
}

export function fromWire(value: number): CommitIndex {
  assert(Number.isSafeInteger(value) && value >= 0, `${value} is not a commit index on the wire`);
  return (value - 1) as CommitIndex;
}
