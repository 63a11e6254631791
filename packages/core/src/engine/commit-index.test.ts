/** "Nothing committed" and "index 0 committed" are different facts wherever a CommitIndex goes. */
import { expect, test } from 'vitest';
import {
  at,
  below,
  type CommitIndex,
  count,
  fromJson,
  fromWire,
  isNone,
  max,
  min,
  next,
  NONE,
  toJson,
  toWire,
} from './commit-index.ts';

test('none is not index 0, in memory, in JSON and on the wire', () => {
  expect([isNone(NONE), isNone(at(0))]).toEqual([true, false]);
  expect([next(NONE), next(at(0))]).toEqual([0, 1]);
  expect([count(NONE), count(at(0))]).toEqual([0, 1]);
  expect([toJson(NONE), toJson(at(0))]).toEqual([null, '0']);
  expect([toWire(NONE), toWire(at(0))]).toEqual([0, 1]);
  expect(NONE < at(0)).toBe(true);
  expect([max(NONE, at(0)), min(NONE, at(0))]).toEqual([0, NONE]);
  expect(below(0)).toBe(NONE);
});

test('what is written is read back', () => {
  for (const index of [NONE, at(0), at(1), at(Number.MAX_SAFE_INTEGER - 1)]) {
    expect(fromJson(toJson(index))).toBe(index);
    expect(fromWire(toWire(index))).toBe(index);
    expect(below(next(index))).toBe(index);
  }
});

test('what is no index is refused, not taken for 0 or for none', () => {
  for (const number of [-1, 0.5, Number.NaN, Infinity, 2 ** 53]) {
    expect(() => at(number)).toThrow('is not a log index');
    expect(() => fromWire(number)).toThrow('is not a commit index');
  }
  expect(() => below(-1)).toThrow('is not a log index');
  for (const text of ['', ' ', '-1', '1e3', '0x10', '01', '1.0', 'null'])
    expect(() => fromJson(text)).toThrow('is not a log index');
});

test('a number is no CommitIndex', () => {
  // @ts-expect-error A plain number must go through `at`, which knows no none.
  const wrong: CommitIndex = 0;
  // @ts-expect-error Arithmetic leaves the type: use next or below.
  const above: CommitIndex = at(0) + 1;
  expect([wrong, above]).toEqual([0, 1]);
});
