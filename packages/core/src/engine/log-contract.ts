/**
 * What the engine promises to the replica: the types of LogStore. The replica never touches a file; it appends batches, installs
 * suffixes, stores its vote, reads frames, and hears what became durable.
 *
 * Invariants (docs/log-format.md):
 *  - onDurable(index, hash) is called only after the frames through `index` AND a tail record that says so are on stable storage;
 *  - operations take effect in the order of their calls: an install waits for the appends before it, appends after it wait for it;
 *  - a failed barrier is fatal: no call succeeds afterwards and the replica stops with the code of `onFatal`.
 */
import type { Policy } from '../policy.ts';
import type { CommitIndex } from './commit-index.ts';
import type { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import type { HeaderSuffix } from './header-suffix.ts';
import type { DiskStats, VirtualDisk } from './virtual-disk.ts';

export type Environment = 'dev' | 'production';

/** Everything in `manifest.a` / `manifest.b` but the bookkeeping (sequence, checksum, version). */
export interface ManifestState {
  readonly clusterId: Uint8Array;
  readonly replicaId: number;
  /** Random 16 bytes, made when the directory was formatted. */
  readonly bootId: Uint8Array;
  /** Boot ids of the members that formatted the cluster, by position: the cluster id is their hash. */
  readonly founders: readonly Uint8Array[];
  /** Incarnation of each member, by position in `members`. */
  readonly incarnations: readonly number[];
  /** A replica that replaced a wiped one votes only once it durably holds the log through here; NONE: it votes. */
  readonly standbyThrough: CommitIndex;
  readonly environment: Environment;
  readonly generation: number;
  readonly epoch: number;
  /** Replica ids of the members, ascending: 1..n. */
  readonly members: readonly number[];
  readonly view: number;
  /** Last view in which this replica was normal. Never above `view`; neither ever goes back. */
  readonly logView: number;
  /** The last P + 1 canonical headers of the suffix of `logView` (fewer while the log is short). */
  readonly headers: HeaderSuffix;
  /** An index through which the own log is that of `logView`, and the chain hash there: what the install of that log kept. NONE: nothing is known. */
  readonly junction: { readonly index: CommitIndex; readonly hash: Uint8Array };
  readonly checkpoint: { readonly index: CommitIndex; readonly hash: Uint8Array; readonly digest: Uint8Array };
}

export interface IndexRange {
  readonly from: number;
  readonly to: number;
}

/** Slots that are damaged, and what the last of them must be. */
export interface FaultySlots extends IndexRange {
  /** Chain hash of the entry `to`, by the tail record, the next entry or the manifest; null when nothing states it any more. */
  readonly hash: Uint8Array | null;
  /** Chain hash of the entry before `from`; null when nothing states it. */
  readonly before: Uint8Array | null;
}

/** The log of record, as recovery found it. */
export interface RecoveredLog {
  readonly outcome: 'empty' | 'clean' | 'torn' | 'faulty';
  readonly manifest: ManifestState;
  /** First index that the log holds: 0, or above it behind a snapshot (then the manifest's checkpoint covers everything below; `end` may be first - 1). */
  readonly first: number;
  /** Last index of the physically contiguous log (faulty slots with a known place included). */
  readonly end: CommitIndex;
  /** Chain hash of `end` (zero hash for NONE). */
  readonly endHash: Uint8Array;
  /** Damaged slots at or below `end`: may have been acknowledged, never nacked, to be repaired. Ascending. */
  readonly faulty: readonly FaultySlots[];
  /** Head of the log of record: `end`, or above it when the manifest or the tail record states more. */
  readonly head: CommitIndex;
  readonly headHash: Uint8Array;
  /** Nothing at or below is ever nacked: the index of the tail record, or above `end` where promised slots are no longer here. */
  readonly promised: CommitIndex;
  /** False when the tail record is lost and the frames through `end` do not chain up to the manifest's first header: which of them count is not known yet. */
  readonly connected: boolean;
  /** The tail record is lost: no vote and no PrepareOk above the manifest's headers until a StartView settles the head. */
  readonly recoveringHead: boolean;
  /** Records of the last P + 1 indexes up to `head`. */
  readonly headers: HeaderSuffix;
  /** Records of the last P + 1 indexes up to `end`: the same unless frames are missing up to `head`. */
  readonly ownHeaders: HeaderSuffix;
  /** Block time of the newest readable frame at or below head, two u32 halves of nanoseconds. */
  readonly timeLow: number;
  readonly timeHigh: number;
  /** What was cut, repaired or found, in words, for the operator. */
  readonly notes: readonly string[];
}

/** Stable codes of a directory that must not be opened. */
export type RefusalCode =
  | 'E_MANIFEST'
  | 'E_MANIFEST_MISSING'
  | 'E_NOT_FORMATTED'
  | 'E_CLUSTER_ID'
  | 'E_REPLICA_ID'
  | 'E_VERSION'
  | 'E_LOG_CORRUPT'
  | 'E_SNAPSHOT'
  | 'E_APP_VERSION'
  | 'E_IO_READ'
  | 'E_IO_WRITE';

export interface Refusal {
  readonly code: RefusalCode;
  /** What is wrong, in which file, and what to do. */
  readonly message: string;
}

export interface LogFatal {
  readonly code: 'E_FSYNC' | 'E_DISK_STALL' | 'E_ASSERT';
  readonly message: string;
}

export interface LogEvents {
  /** Frames through `index` and the tail record are durable; matched by the replica by (index, hash, view). */
  onDurable(index: number, hash: Uint8Array, view: number): void;
  /**
   * A slot of the log turned out to be damaged since it was opened: it is to be asked for. `fault`: what is wrong with the frame that was read; null for the slots that turned
   * out to be damaged with it, or while others were repaired.
   */
  onDamaged(index: number, fault: string | null): void;
  /** The log is poisoned; the replica must stop with this code. Called once. */
  onFatal(fatal: LogFatal): void;
  /** The next segment cannot be made (true) or can again (false). */
  onSpace(full: boolean): void;
}

export interface LogOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly events: LogEvents;
  /** When given, other ids in the files are refused. */
  readonly expect: { readonly clusterId: Uint8Array | null; readonly replicaId: number };
  readonly segmentBytes: number;
  readonly pipelineMax: number;
  /**
   * Chain hash of what the log holds at an index, or null where the owner does not know it any more. A frame read back with another one is what stood there before a
   * write that was lost or went elsewhere: whole in itself, and continuing the frame below.
   */
  readonly stated?: (index: number) => Uint8Array | null;
  /** The operator gives up what is damaged: the only replica is opened in spite of it (`chronon recover --accept-loss`). */
  readonly lossAccepted?: boolean;
  /** Only the simulator gives one; without it everything is sound. */
  readonly policy?: Policy;
}

export type ReadOutcome =
  | { readonly kind: 'frames'; readonly batch: FrameBatch }
  | { readonly kind: 'none' }
  /** Freed by compaction, or below an installed snapshot: the log begins at `first`, offer the snapshot. */
  | { readonly kind: 'compacted'; readonly first: number }
  | { readonly kind: 'faulty'; readonly index: number; readonly fault: string };

export interface LogReport {
  readonly durable: CommitIndex;
  readonly end: CommitIndex;
  /** First index that can be read. */
  readonly first: number;
  readonly segments: number;
  readonly bytes: number;
  /** Manifest updates and tail records written since open. */
  readonly manifestWrites: number;
  readonly tailWrites: number;
  readonly disk: Readonly<DiskStats>;
}

/** Implemented by `LogStore` (log-store.ts). */
export interface LogPort {
  /** Last durable manifest. */
  readonly manifest: ManifestState;
  /** Durable with its tail record. */
  readonly durable: CommitIndex;
  /** Last index handed to append (durable or not). */
  readonly end: CommitIndex;
  /** First index held; what is below can only come from a snapshot. Never goes back. */
  readonly first: number;
  /** True while no further segment can be made. */
  readonly full: boolean;
  /** True while nothing is queued, written or waited for. */
  readonly idle: boolean;
  /** Appends at `end + 1`; the batch's prevHash must be the hash of `end`. `view` is handed back by onDurable. */
  append(batch: FrameBatch, view: number): void;
  /**
   * Stores the manifest in both copies; `done` after the second barrier. One that only moves the checkpoint, to an index that is promised here, holds up no
   * append and waits for none.
   */
  saveManifest(manifest: ManifestState, done: () => void): void;
  /**
   * Installs a suffix: manifest (both copies), then the tail record lowered to `keepThrough`, then the log ends at `keepThrough`. A keepThrough
   * at `end` changes no frame. Frames above are appended afterwards as usual. `promised`: nothing through it may be nacked, however short the log
   * is now; the tail record keeps it, so that later crashes know. keepThrough is not below the checkpoint (unless the log ends there).
   */
  install(
    manifest: ManifestState,
    keepThrough: CommitIndex,
    promised: CommitIndex,
    done: () => void,
    /** Chain hash of `keepThrough`, for when damage hides it in the log. */
    keepHash?: Uint8Array | null,
  ): void;
  /**
   * Installs the snapshot that `manifest.checkpoint` = S states. The snapshot file is durable already; order here: manifest, tail record, segments. Frames
   * through S are discarded (whole segments of them; `first` tells). Frames above S stay unless the frame of S here is proven to be another one than the snapshot's
   * (its chain hash, or prev_hash of S + 1): then, and when the log ends at or below S, it begins at S + 1 with no frame: end = S, endHash = the checkpoint's.
   * A tail record above S stays a promise in any case (`promised`: as for install).
   *
   * When S >= `end`, `end` is S from this call on and frames above S may be appended at once; else `end` is settled when `done(end)` is called, and nothing
   * may be appended, installed or snapshot before that.
   */
  installSnapshot(manifest: ManifestState, promised: CommitIndex, done: (end: CommitIndex) => void): void;
  /**
   * Frees the whole segments whose last frame is at or below `through`, in the background; appends, reads and everything else go on. `through` is at or below
   * the durable manifest's checkpoint. `first` moves at once; damaged slots below it are forgotten (forget them in the protocol too). One freed segment is kept as
   * the next spare, the others are unlinked. `done` when the directory says so durably; a crash before that leaves a log that begins a little earlier.
   */
  compact(through: number, done?: () => void): void;
  /**
   * Rewrites damaged slots in place (same frames by hash); `done` once durable. `found` gets frames that turn out to be intact with them, proved by the hash that the
   * last damaged slot behind them must have, and durable.
   */
  repair(batch: FrameBatch, done: () => void, found?: (batch: FrameBatch) => void): void;
  /** Durable and not yet durable frames from `from` on, up to `maxBytes` (at least one frame). The medium is read, not a cache. */
  read(from: number, maxBytes: number, callback: (outcome: ReadOutcome) => void): void;
  report(): LogReport;
  close(): void;
}
