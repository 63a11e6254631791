/**
 * The messages replicas exchange (docs/protocol.md). Names are VSR's. A message is a plain object; `codec.ts` gives it bytes. Who sent it is
 * known from the link (handshake), never from the message.
 *
 * Invariants: every message carries the view it belongs to; indexes that may be absent are CommitIndexes.
 */
import type { CommitIndex } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import type { HeaderSuffix } from '../engine/header-suffix.ts';
import type { Environment, IndexRange } from '../engine/log-contract.ts';

/** Primary to backups: frames to write, and how far the primary has committed. */
export interface Prepare {
  readonly type: 'prepare';
  readonly view: number;
  readonly commit: CommitIndex;
  readonly batch: FrameBatch;
}

/** Backup to primary: every frame of first..last is intact and durable here; `hash` is the chain hash of `last`. Counts for exactly this range. */
export interface PrepareOk {
  readonly type: 'prepareOk';
  readonly view: number;
  readonly first: number;
  readonly last: number;
  readonly hash: Uint8Array;
}

/**
 * Heartbeat of a normal primary. `round` numbers ReadIndex rounds; `answered`: the highest one that each member has answered, and `runs`: which
 * process run of it did (CommitOk); both empty until the primary serves; digest is D at `applied` (all zero when none).
 */
export interface Commit {
  readonly type: 'commit';
  readonly view: number;
  readonly commit: CommitIndex;
  readonly head: CommitIndex;
  readonly round: number;
  readonly answered: readonly number[];
  readonly runs: readonly number[];
  readonly applied: CommitIndex;
  readonly digest: Uint8Array;
  /** Highest index at which a quorum has the same execution digest, and that digest: who has another one there is the odd one. */
  readonly confirmed: CommitIndex;
  readonly confirmedDigest: Uint8Array;
}

/** Answer to Commit, from status normal only. The digest is D at `digestIndex` of this replica. */
export interface CommitOk {
  readonly type: 'commitOk';
  readonly view: number;
  readonly round: number;
  /** Nonce of the sender's process run: what the run before answered says nothing of this one (freshness.ts). */
  readonly run: number;
  readonly durable: CommitIndex;
  readonly applied: CommitIndex;
  readonly digestIndex: CommitIndex;
  readonly digest: Uint8Array;
  /** The sender's wall clock, whole microseconds since the epoch (cluster-time.ts). */
  readonly wallUs: number;
  /** The versions of the application that its program runs (versions.ts). */
  readonly oldest: number;
  readonly newest: number;
}

/** "I have not heard the primary": a vote for every view up to `view` above the receiver's. Changes nothing durable. */
export interface StartViewChange {
  readonly type: 'startViewChange';
  readonly view: number;
}

/** A vote: what this replica's log of record is, stored before it is sent. */
export interface DoViewChange {
  readonly type: 'doViewChange';
  readonly view: number;
  readonly logView: number;
  readonly head: CommitIndex;
  readonly headHash: Uint8Array;
  /** Commit hint: known commit, checkpoint, or head - P. */
  readonly commit: CommitIndex;
  /** Durable and connected through here (faulty slots apart). */
  readonly present: CommitIndex;
  /** Everything at or below was once promised: an unreadable slot there is never nacked. */
  readonly promised: CommitIndex;
  readonly faulty: readonly IndexRange[];
  readonly headers: HeaderSuffix;
  readonly generation: number;
  readonly incarnations: readonly number[];
}

/** The new primary's settled log. `nonce` echoes RequestStartView (0 for none). */
export interface StartView {
  readonly type: 'startView';
  readonly view: number;
  /** The view began with the log of this log view, through `base`; what is above was proposed in the view. */
  readonly logView: number;
  readonly base: CommitIndex;
  readonly head: CommitIndex;
  readonly headHash: Uint8Array;
  readonly commit: CommitIndex;
  readonly headers: HeaderSuffix;
  readonly nonce: number;
  /** Highest index the receiver has promised in this view: one that does not know of it has lost what it promised. */
  readonly acked: CommitIndex;
  readonly generation: number;
  readonly incarnations: readonly number[];
}

/** "Send me the StartView of `view`" (or of any later one). */
export interface RequestStartView {
  readonly type: 'requestStartView';
  readonly view: number;
  /** Not 0: the sender has lost its tail record and waits for an answer to this process run's nonce. */
  readonly nonce: number;
}

/** Asks for frames from `from` to at most `to` of the receiver's log. */
export interface GetState {
  readonly type: 'getState';
  readonly view: number;
  readonly from: number;
  readonly to: number;
  /** Echoed; pairs the answer with the question. */
  readonly nonce: number;
}

/** Frames of the sender's log; null when it has none there that it may offer. */
export interface NewState {
  readonly type: 'newState';
  readonly view: number;
  readonly nonce: number;
  /** True when the sender is the normal primary of `view`: its log is the canonical one. */
  readonly canonical: boolean;
  readonly commit: CommitIndex;
  readonly head: CommitIndex;
  /** First index that the sender holds: what is below comes with a snapshot only. */
  readonly first: number;
  readonly batch: FrameBatch | null;
}

/** What a `Boot` message says of its sender. */
export const BOOT = { blank: 0, join: 1, formatted: 2, admitted: 3 } as const;
export type BootKind = (typeof BOOT)[keyof typeof BOOT];

/**
 * Before a replica has a log (first-boot.ts): what a blank one says of itself, and what a formatted one answers. `founders`: of a blank one those it has heard of
 * (zeros: not yet), else those of the cluster.
 */
export interface Boot {
  readonly type: 'boot';
  readonly view: 0;
  readonly kind: BootKind;
  readonly environment: Environment;
  readonly bootId: Uint8Array;
  readonly clusterId: Uint8Array;
  readonly founders: readonly Uint8Array[];
  readonly generation: number;
  readonly incarnations: readonly number[];
  /** Of `admitted`: the receiver votes once it durably holds the log through here. */
  readonly through: CommitIndex;
}

/** A snapshot that a replica has: equal in all four where it is the same one. */
export interface SnapshotRef {
  readonly index: number;
  /** Execution digest D[index]. */
  readonly state: Uint8Array;
  /** Digest of the file. */
  readonly file: Uint8Array;
}

/** A snapshot as its holder reports it. `confirmed`: it has seen a quorum report the same. */
export interface ReportedSnapshot extends SnapshotRef {
  readonly confirmed: boolean;
}

/** Snapshots that one report lists at most. */
export const SNAPSHOTS_REPORTED_MAX = 16;

/** The snapshots that a replica holds. */
export interface SnapshotReport {
  readonly type: 'snapshotReport';
  readonly view: number;
  readonly first: number;
  /** The sender's snapshot at this index is damaged and nobody gives it the bytes: a newer one is asked for. */
  readonly lacks: CommitIndex;
  readonly held: readonly ReportedSnapshot[];
}

/** Asks for `length` bytes at `offset` of the snapshot file with this digest. */
export interface GetSnapshot {
  readonly type: 'getSnapshot';
  readonly view: number;
  readonly index: number;
  readonly file: Uint8Array;
  readonly offset: number;
  readonly length: number;
  readonly nonce: number;
}

/** Bytes of a snapshot file; none when the sender does not have it (any more). */
export interface SnapshotPart {
  readonly type: 'snapshotPart';
  readonly view: number;
  readonly index: number;
  readonly offset: number;
  readonly nonce: number;
  readonly bytes: Uint8Array;
}

export type Message =
  | Prepare
  | PrepareOk
  | Commit
  | CommitOk
  | StartViewChange
  | DoViewChange
  | StartView
  | RequestStartView
  | GetState
  | NewState
  | Boot
  | SnapshotReport
  | GetSnapshot
  | SnapshotPart;

export type MessageType = Message['type'];
