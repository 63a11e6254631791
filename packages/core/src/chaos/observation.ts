/**
 * Observation: the facts of one replica that the invariants look at, read after each of its steps. Read only: looking changes nothing.
 */
import type { ReplicaStatusName } from '../replica-contract.ts';

export interface Observation {
  readonly status: ReplicaStatusName;
  readonly view: number;
  readonly logView: number;
  /** Acts as primary of `view`. */
  readonly acting: boolean;
  /** A primary that serves clients. */
  readonly serving: boolean;
  /** -1 for none, as for the next ones. */
  readonly commit: number;
  readonly applied: number;
  readonly durable: number;
  readonly last: number;
  /** D at `applied`, 16 bytes, for the caller to keep. */
  digest(): Uint8Array;
}

/** Which process run of which replica is looked at. */
export interface Observed {
  readonly id: number;
  /** Process run, from 1. */
  readonly run: number;
  observe(): Observation;
}
