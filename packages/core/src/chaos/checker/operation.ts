/**
 * Operation: one call of a client as a history tells it. Positions are places in the history's order of events; an interval is closed: two
 * operations that touch overlap.
 *
 * Invariants: `invoked < returned`; an operation whose outcome is unknown never returns (Infinity) and has no output; what failed for certain is not
 * among the operations.
 */

/** What a call came to. A rejection was executed and refused: it says something about the state. */
export interface Output {
  readonly rejected: boolean;
  readonly value: unknown;
}

export interface Operation {
  /** Place among the operations, in the order of invocation. */
  readonly id: number;
  readonly client: string;
  readonly f: string;
  /** What it is about; null: everything. */
  readonly key: string | null;
  readonly input: unknown;
  /** Null: not known. */
  readonly output: Output | null;
  readonly invoked: number;
  readonly returned: number;
  /** Commit index that the cluster told for it; null: not told. */
  readonly index: number | null;
}

/** A history that cannot be read, or that asks for what the model does not know. */
export class HistoryError extends Error {
  override readonly name = 'HistoryError';
}

/** Puts operations into the order of their invocation, and numbers them. */
export function numbered(operations: readonly Omit<Operation, 'id'>[]): Operation[] {
  return [...operations].sort((a, b) => a.invoked - b.invoked).map((operation, id) => ({ ...operation, id }));
}
