/**
 * What hosts a replica and what it shows: ports, configuration, status, events. The daemon, the simulator and the browser give the same
 * `Replica` (replica.ts) other ports; there is no second implementation of the node.
 */
import type { CommitIndex } from './engine/commit-index.ts';
import { BATCH_BYTES_MAX, PIPELINE_MAX, SEGMENT_BYTES } from './engine/constants.ts';
import type { FrameCodec, FrameCodecBackend } from './engine/frame-codec.ts';
import type { LogReport } from './engine/log-contract.ts';
import type { Damage, ScrubReport } from './engine/scrubber.ts';
import { SNAPSHOT_CHUNK_BYTES } from './engine/snapshot-format.ts';
import type { DiskKind, VirtualDisk } from './engine/virtual-disk.ts';
import type { EffectRun, EffectSink } from './kernel/effect-sink.ts';
import { PIECE_BYTES } from './kernel/snapshot-stream.ts';
import type { ReplicatedLimits } from './kernel/executor-options.ts';
import type { ApplicationModule, OutboxCounts } from './kernel/types.ts';
import type { Policy } from './policy.ts';
import type { ClientMessage } from './vsr/client-protocol.ts';
import type { Message } from './vsr/messages.ts';
import type { Status, VsrConfig, VsrEvent } from './vsr/state.ts';

export type { EffectSink, EffectRun as EffectCall };

export interface ReplicaPorts {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly app: ApplicationModule;
  /** Monotone clock, milliseconds. */
  monotonicMs(): number;
  /** Wall clock, milliseconds since the epoch (fractions welcome); used by a primary to stamp, nothing else. */
  wallMs(): number;
  /** Sends to a peer; may drop, never throws, never delivers synchronously. */
  send(to: number, message: Message): void;
  /** Sends to a client connection (`origin` as given to request/query). */
  reply(origin: number, message: ClientMessage): void;
  /** Runs `task` once soon, after what is at hand (setImmediate; simulator: same tick). */
  defer(task: () => void): void;
  /** Chooses the sink of a channel; null: no sink, the effect is acknowledged unrun and counted. */
  sink(channel: string): EffectSink | null;
  /** The replica must stop now: exit code and one line. Nothing may be called afterwards. */
  halt(code: string, message: string): void;
  onEvent(event: ReplicaEvent): void;
  readonly policy: Policy;
}

export interface ReplicaConfig extends VsrConfig {
  readonly replicaId: number;
  /** Null: take the cluster id of the manifest. */
  readonly clusterId: Uint8Array | null;
  readonly tickMs: number;
  readonly segmentBytes: number;
  /** A snapshot at every multiple of this index; 0: none. */
  readonly snapshotEvery: number;
  /** Unit in which a snapshot is hashed and sent: equal on all replicas. */
  readonly snapshotChunkBytes: number;
  /** Bytes of a snapshot that are encoded before other work gets its turn. */
  readonly snapshotPieceBytes: number;
  /** The log made no progress for so long although it had to: the process ends with E_DISK_STALL. A primary steps down long before (stallTicks). */
  readonly diskStallTicks: number;
  readonly authorityWindowMs: number;
  readonly effectConcurrency: number;
  /** Most bytes the scrubber reads a second; 0: it does not run. */
  readonly scrubBytesPerSecond: number;
  /** Rest between two passes of the scrubber, ticks. */
  readonly scrubRestTicks: number;
  /** Other than the defaults; the simulator's are small. */
  readonly limits?: ReplicatedLimits;
}

export const DEFAULT_CONFIG: Omit<ReplicaConfig, 'replicaId' | 'clusterId' | 'seed'> = {
  tickMs: 10,
  heartbeatTicks: 5,
  viewChangeTicks: 50,
  prepareRetryTicks: 10,
  abdicateTicks: 100,
  stallTicks: 500,
  pipelineMax: PIPELINE_MAX,
  batchesInFlightMax: 3,
  batchBytesMax: BATCH_BYTES_MAX,
  batchCountMax: 1024,
  queueMax: 16_384,
  queueBytesMax: 64 * 1024 * 1024,
  segmentBytes: SEGMENT_BYTES,
  snapshotEvery: 100_000,
  snapshotChunkBytes: SNAPSHOT_CHUNK_BYTES,
  snapshotPieceBytes: PIECE_BYTES,
  cacheBytes: 16 * 1024 * 1024,
  diskStallTicks: 2000,
  authorityWindowMs: 500,
  clockToleranceMs: 500,
  effectConcurrency: 16,
  scrubBytesPerSecond: 4 * 1024 * 1024,
  scrubRestTicks: 6000,
};

export type ReplicaStatusName = Status;

export interface ReplicaStatus {
  readonly id: number;
  readonly clusterId: string;
  readonly role: 'primary' | 'backup' | 'standby' | 'none';
  readonly status: ReplicaStatusName;
  readonly view: number;
  readonly logView: number;
  readonly primary: number;
  /** True for a primary that has applied its own no-op and serves clients. */
  readonly serving: boolean;
  readonly abdicated: boolean;
  readonly commit: CommitIndex;
  readonly applied: CommitIndex;
  readonly durable: CommitIndex;
  readonly last: CommitIndex;
  readonly checkpoint: CommitIndex;
  /** First index that the log holds; what is below is in the checkpoint. */
  readonly first: number;
  /** The snapshot being fetched from another replica. */
  readonly fetching: { readonly index: number; readonly source: number; readonly chunks: number } | null;
  /** D[applied], hex. */
  readonly digest: string;
  /** Chain hash of `last`, hex. */
  readonly headHash: string;
  readonly confirmedDigest: CommitIndex;
  readonly diverged: string | null;
  readonly faulty: readonly { readonly from: number; readonly to: number }[];
  readonly readOnly: boolean;
  readonly sessions: number;
  readonly queue: number;
  readonly outbox: OutboxCounts;
  readonly viewChanges: number;
  readonly lastViewChangeMs: number | null;
  readonly disk: { readonly kind: DiskKind; readonly fallbackReason: string | null };
  readonly codec: FrameCodecBackend;
  readonly log: LogReport;
  readonly scrub: ScrubReport;
  readonly notes: readonly string[];
  readonly app: string;
  /** The version that commands run as (0: nothing was executed yet), and those that this program runs. */
  readonly versions: { readonly active: number; readonly oldest: number; readonly newest: number };
}

export type ReplicaEvent =
  | VsrEvent
  /** A snapshot is durable; `file`: its digest, hex. */
  | { readonly kind: 'snapshot'; readonly index: number; readonly file: string }
  /** A damaged snapshot is no trouble any more: its bytes were fetched, or newer ones are there. */
  | { readonly kind: 'mended'; readonly index: number; readonly how: 'fetched' | 'superseded' }
  /** The log begins at `first` now. */
  | { readonly kind: 'compact'; readonly first: number }
  | { readonly kind: 'restart'; readonly snapshot: CommitIndex; readonly end: CommitIndex }
  | {
      readonly kind: 'effect';
      readonly id: string;
      readonly state: 'started' | 'ran' | 'failed' | 'acknowledged' | 'dead';
    }
  | { readonly kind: 'space'; readonly full: boolean }
  /** The entry at `index` activated this version of the application; `ran` false: its migration threw, the old one stays. */
  | { readonly kind: 'version'; readonly index: number; readonly version: number; readonly ran: boolean }
  | ({ readonly kind: 'damage' } & Damage);

/** A snapshot on this replica's disk. */
export interface SnapshotInfo {
  readonly index: number;
  /** Execution digest D[index]. */
  readonly state: Uint8Array;
  /** Digest of the file. */
  readonly file: Uint8Array;
  /** A quorum has reported the same. */
  readonly confirmed: boolean;
}

/** What an operator asks about snapshots. */
export interface SnapshotPort {
  /** Newest last. */
  list(): SnapshotInfo[];
  /** Proposes a checkpoint entry, behind which every replica takes a snapshot. False unless this is a serving primary. */
  create(): boolean;
  /** Reads every snapshot and checks every byte, a chunk at a time; `callback` gets what is wrong, by file. */
  verify(callback: (damage: { readonly file: string; readonly fault: string }[]) => void): void;
}

/** `Replica` of replica.ts, as its hosts use it. */
export interface ReplicaHandle {
  /** Every `tickMs`. */
  tick(): void;
  receive(from: number, message: Message): void;
  /** One request record of a client; `payload` (envelope ++ body) may be kept: it must not change. */
  request(origin: number, payload: Uint8Array): void;
  /** `maxLagMs`: how much a stale answer may lack; Infinity: any amount. */
  query(origin: number, nonce: number, query: number, body: Uint8Array, consistency: number, maxLagMs: number): void;
  /** The connection is gone; its requests go on, replies go nowhere. */
  disconnect(origin: number): void;
  readonly snapshots: SnapshotPort;
  status(): ReplicaStatus;
  /** Frames as they are on the medium, from `from` on (at least one when there is one). */
  readLog(
    from: number,
    maxBytes: number,
    callback: (
      result:
        | { readonly kind: 'frames'; readonly bytes: Uint8Array; readonly count: number }
        | { readonly kind: 'none' }
        /** The log begins at `first`. */
        | { readonly kind: 'compacted'; readonly first: number }
        | { readonly kind: 'faulty'; readonly index: number; readonly fault: string },
    ) => void,
  ): void;
  close(): void;
}
