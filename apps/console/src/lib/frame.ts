/** What the console's server tells browsers: one merged picture of all replicas, each with its own age. Types only. */
import type { Lease, ReplicaDetail } from '@chronon/node/api';
import type { SupervisorStatus } from '@chronon/node/supervisor/api';

export type { Lease, ReplicaDetail };
/** What the supervisor says of one process. */
export type ProcessView = SupervisorStatus['processes'][number];

/** `live`: answered within the last 2 s. `silent`: answered once, not now. `never`: no answer since this console started to look. */
export type Reach = 'live' | 'silent' | 'never';

export interface ReplicaView {
  readonly id: number;
  readonly url: string;
  readonly reach: Reach;
  /** Milliseconds since the answer that `detail` holds arrived, at the moment the frame was made. */
  readonly ageMs: number | null;
  /** Why the last request failed, when it did. */
  readonly error: string | null;
  /** Duration of the last answered request. */
  readonly answeredInMs: number | null;
  readonly detail: ReplicaDetail | null;
  /** Null without a supervisor, or while it does not answer. */
  readonly process: ProcessView | null;
}

/** One active fault, merged over everybody who enforces it. */
export interface Fault {
  /** `cut:1:3`, `pause:2`, `kill:2`. */
  readonly key: string;
  readonly kind: Lease['kind'];
  readonly replica: number;
  readonly to: number | null;
  readonly reason: string;
  readonly remainingMs: number;
  readonly ttlMs: number;
  /** Lease ids: healing the fault heals each. */
  readonly ids: readonly string[];
  /** Who states it: `r1`, `supervisor`. */
  readonly statedBy: readonly string[];
}

export interface ClusterEvent {
  /** Rising per run of the console's server. */
  readonly seq: number;
  readonly atMs: number;
  readonly replica: number | null;
  readonly tone: 'info' | 'ok' | 'warn' | 'bad';
  readonly text: string;
}

/** Two replicas with different execution digests at one index. */
export interface DigestMismatch {
  readonly index: string;
  readonly replicas: readonly { readonly id: number; readonly digest: string }[];
}

export interface ClusterFrame {
  /** Of this run of the console's server; a new epoch means that events and rates start again. */
  readonly epoch: string;
  readonly seq: number;
  readonly atMs: number;
  readonly replicas: readonly ReplicaView[];
  readonly faults: readonly Fault[];
  readonly commitsPerSecond: number | null;
  /** Commits in each of the last 60 s, oldest first; null where nothing was observed. */
  readonly history: readonly (number | null)[];
  /** Greatest index at which each replica was seen with one equal digest, with the ids that were seen there. */
  readonly agreed: { readonly index: string; readonly replicas: readonly number[]; readonly digest: string } | null;
  readonly mismatch: DigestMismatch | null;
  /** Newest last. The first frame of a stream carries all that are kept, later ones only new ones. */
  readonly events: readonly ClusterEvent[];
  /** Events between the last one this browser saw and the first of this frame, which are no longer kept. */
  readonly skippedEvents: number;
}
