/**
 * The log as witness: when the cluster says at which index each operation took effect, there is nothing to search. Replaying the operations in that
 * order shows whether the model allows it, and one sweep whether real time does. O(n) but for the sort, for runs of any size.
 *
 * A history that passes is linearizable: the order is the proof. One that fails may be linearizable in another order, but then not as the log says.
 */
import type { CheckModel } from './model.ts';
import type { Operation } from './operation.ts';

export interface WitnessResult {
  readonly ok: boolean;
  /** Operations placed. */
  readonly placed: number;
  /** Operations without an index whose outcome is known: nothing can be said about them. */
  readonly unplaced: number;
  /** What does not fit, in words; null when all does. */
  readonly problem: string | null;
}

/** `operations` with their indexes; those without index and of unknown outcome did not happen, as far as the log knows. */
export function checkWitness(operations: readonly Operation[], model: CheckModel): WitnessResult {
  const order = operations
    .filter(({ index }) => index !== null)
    // At one index the command comes first, then the reads of the state behind it, in any order real time allows.
    .sort((a, b) => a.index! - b.index! || Number(model.isRead(a)) - Number(model.isRead(b)) || a.invoked - b.invoked);
  const unplaced = operations.filter(({ index, output }) => index === null && output !== null).length;
  const result = (problem: string | null): WitnessResult => {
    return { ok: problem === null && unplaced === 0, placed: order.length, unplaced, problem };
  };
  let newest: Operation | null = null;
  const states = new Map<string, string>();
  for (const operation of order) {
    if (newest !== null && operation.returned < newest.invoked)
      return result(`${name(operation)} returned before ${name(newest)} was invoked, which the log has before it`);
    if (newest === null || operation.invoked > newest.invoked) newest = operation;
    const key = model.keyOf(operation);
    const state = states.get(key) ?? model.initial;
    const after = model.step(state, operation);
    if (after === null) return result(`${name(operation)} cannot have come to its result in the state ${state}`);
    states.set(key, after);
  }
  return result(null);
}

function name({ id, client, f, key, index }: Operation): string {
  return `operation ${id} (client ${client}: ${f}${key === null ? '' : ` ${key}`}, index ${index ?? 'none'})`;
}
