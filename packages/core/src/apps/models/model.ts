/**
 * Naive models of the reference applications: what a reply must be, worked out in the plainest way, without tables, codecs or undo. The workload
 * checker and the simulator compare every reply with them.
 */
import { REPLY, type ReplyStatus } from '../../reply.ts';

/** What a command must come to. For `ok` the value is the decoded result; for `rejected` it is {code, data}. */
export interface ModelResult {
  readonly status: ReplyStatus;
  readonly value: unknown;
}

/** A sequential specification. `input` is what the call's schema gave (parsed) or what its `decode` gives for a body of the log. */
export interface Model {
  readonly name: string;
  /** Executes the command that was committed at `index`. */
  step(command: number, input: unknown, index: number): ModelResult;
  /** Answers a query in the present state. */
  query(query: number, input: unknown): ModelResult;
  /** An independent copy, for a search that branches. */
  clone(): Model;
  /** A text that is equal exactly for equal states. */
  fingerprint(): string;
}

export function ok(value: unknown): ModelResult {
  return { status: REPLY.ok, value };
}

export function rejected(code: string, data?: unknown): ModelResult {
  return { status: REPLY.rejected, value: data === undefined ? { code } : { code, data } };
}

export function invalid(): ModelResult {
  return { status: REPLY.invalid, value: null };
}
