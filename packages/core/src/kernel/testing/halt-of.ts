/** The code by which something halts, for tests. */
import { expect } from 'vitest';
import { Halt } from '../errors.ts';

export function haltOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(Halt);
    return (error as Halt).code;
  }
  throw new Error('it did not halt');
}
