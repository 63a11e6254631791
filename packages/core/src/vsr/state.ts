/**
 * NodeState: everything a replica's protocol knows, and the outputs it has asked for. The parts of the protocol (normal.ts, view-change.ts,
 * state-transfer.ts, reads.ts, clients.ts) are functions over it; `node.ts` is the door.
 *
 * Invariants: logView <= view; commit <= end; durable <= end; end <= head; the ring holds the records of the own log up to `end`;
 * frames 0..end are canonical for logView (faulty slots are known by place); nothing at or below commit is ever truncated.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, max, min, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { ZERO_HASH } from '../engine/hash.ts';
import { HeaderSuffix } from '../engine/header-suffix.ts';
import type { IndexRange, ManifestState, RecoveredLog } from '../engine/log-contract.ts';
import type { Replacement } from '../engine/replace-entry.ts';
import type { VersionRange } from '../engine/version-entry.ts';
import type { Policy } from '../policy.ts';
import { Prng } from '../prng.ts';
import type { Reply } from '../reply.ts';
import type { ClientMessage } from './client-protocol.ts';
import { Freshness } from './freshness.ts';
import { ClusterTime } from './cluster-time.ts';
import { DigestBook } from './divergence.ts';
import { Epochs } from './epochs.ts';
import { FailureDetector } from './failure-detector.ts';
import { HeaderRing } from './header-ring.ts';
import { LogCache } from './log-cache.ts';
import type { DoViewChange, Message, Prepare, StartView } from './messages.ts';
import type { QuorumTracker } from './quorum-tracker.ts';
import { Requests } from './requests.ts';
import { SnapshotBook } from './snapshots.ts';

/** What the protocol is told; the replica's configuration extends it. */
export interface VsrConfig {
  readonly heartbeatTicks: number;
  /** Silence of the primary after which a backup votes for the next view, in ticks; jitter up to as much again is added. */
  readonly viewChangeTicks: number;
  readonly prepareRetryTicks: number;
  /** A primary without quorum contact for so long steps down, in ticks. */
  readonly abdicateTicks: number;
  /** Its own disk not finishing an operation for so long makes a primary step down, in ticks. */
  readonly stallTicks: number;
  readonly pipelineMax: number;
  /** Batches a primary has uncommitted before it lets requests gather. */
  readonly batchesInFlightMax: number;
  readonly batchBytesMax: number;
  readonly batchCountMax: number;
  /** Requests waiting for the pipeline, all clients together. The same bound again for parked copies, for held requests and for reads. */
  readonly queueMax: number;
  /** Their bytes: as for `queueMax`. */
  readonly queueBytesMax: number;
  /** Bytes of frames kept in memory for peers that catch up. */
  readonly cacheBytes: number;
  /** How far a clock is believed to be off at most, in ms; commands wait while no majority of clocks agrees within that. */
  readonly clockToleranceMs: number;
  /** Seed of this process run's jitter. */
  readonly seed: number;
}

/** What the protocol asks the session table and the executor (kernel state), by a port. */
export interface SessionPort {
  lookup(
    session: number,
    request: number,
    payload: Uint8Array,
  ):
    | { readonly kind: 'next' }
    | { readonly kind: 'ahead'; readonly next: number }
    | { readonly kind: 'reply'; readonly reply: Reply }
    | { readonly kind: 'refused'; readonly reply: Reply };
  nextRequest(session: number): number | null;
  digestAt(index: number): Uint8Array | null;
  /** The version that commands run as (0: nothing was executed yet), and those that this program runs. */
  readonly versions: VersionRange & { readonly active: number };
  /** The applied entry that put a new incarnation in the place of this member, or null. */
  replacement(replica: number): (Replacement & { readonly index: CommitIndex }) | null;
}

/** What VsrNode asks its host to do. */
export type Output =
  | { readonly type: 'send'; readonly to: number; readonly message: Message }
  /** `epoch` comes back with the completion. */
  | { readonly type: 'append'; readonly batch: FrameBatch; readonly epoch: number }
  | { readonly type: 'save'; readonly manifest: ManifestState; readonly token: number }
  /** Store the manifest for its new checkpoint; then older snapshots and frames behind them may go. */
  | { readonly type: 'checkpoint'; readonly manifest: ManifestState }
  /** The log begins anew behind the manifest's checkpoint. */
  | {
      readonly type: 'installSnapshot';
      readonly manifest: ManifestState;
      readonly promised: CommitIndex;
      readonly token: number;
    }
  | {
      readonly type: 'install';
      readonly manifest: ManifestState;
      readonly keepThrough: CommitIndex;
      readonly keepHash: Uint8Array;
      readonly promised: CommitIndex;
      readonly token: number;
    }
  /** Rewrite damaged slots; answer with input 'repaired' once durable. */
  | { readonly type: 'repair'; readonly batch: FrameBatch; readonly epoch: number }
  /** Read durable frames for a peer; answer with input 'stateRead'. */
  | {
      readonly type: 'readState';
      readonly to: number;
      readonly from: number;
      readonly through: number;
      readonly nonce: number;
    }
  /** Apply through this index. */
  | { readonly type: 'commit'; readonly commit: CommitIndex }
  | { readonly type: 'reply'; readonly origin: number; readonly message: ClientMessage }
  /** A confirmed read: answer it from the applied state. */
  | { readonly type: 'answer'; readonly read: Read }
  | { readonly type: 'event'; readonly event: VsrEvent }
  | { readonly type: 'halt'; readonly code: string; readonly message: string };

export type VsrEvent =
  | { readonly kind: 'status'; readonly status: Status; readonly view: number }
  | { readonly kind: 'view'; readonly view: number; readonly primary: number }
  | { readonly kind: 'suspect'; readonly view: number; readonly why: string }
  | { readonly kind: 'abdicate'; readonly view: number; readonly why: string }
  | { readonly kind: 'join'; readonly view: number; readonly from: number; readonly to: number }
  | { readonly kind: 'truncate'; readonly from: number; readonly to: number }
  | { readonly kind: 'repair'; readonly from: number; readonly to: number }
  | { readonly kind: 'diverged'; readonly index: number; readonly peer: number }
  | { readonly kind: 'quarantine'; readonly index: number; readonly why: string }
  | { readonly kind: 'install'; readonly index: number }
  | { readonly kind: 'data-loss'; readonly index: number; readonly why: string }
  | { readonly kind: 'identity'; readonly generation: number; readonly incarnations: readonly number[] };

export type Status = 'normal' | 'view-change' | 'recovering' | 'recovering-head';

export interface Read {
  readonly origin: number;
  readonly nonce: number;
  readonly query: number;
  readonly body: Uint8Array;
  /** Commit when the read arrived. */
  commit: CommitIndex;
  /** First round that may confirm it. */
  round: number;
}

/** A proposed batch that is not committed yet. */
export interface InFlight {
  readonly batch: FrameBatch;
  sentTick: number;
  retryTicks: number;
}

/** What only a normal primary has. */
export interface PrimaryState {
  readonly tracker: QuorumTracker;
  inFlight: InFlight[];
  readonly noopIndex: number;
  /** Log view of the log that stands below the no-op. */
  readonly logView: number;
  /** Highest round each backup answered in this view. */
  readonly rounds: Map<number, number>;
  /** The process run of the backup that did. */
  readonly runs: Map<number, number>;
  readonly startedTick: number;
  /** Monotonic ms at which the own no-op was applied; null before. */
  servingSinceMs: number | null;
  /** Round sent when, by round modulo ROUND_RING: monotonic ms, local time as freshness.ts has it, and tick, and the commit noted then (index + 1; 0: not serving yet). */
  readonly sentMs: Float64Array;
  readonly sentElapsedMs: Float64Array;
  readonly sentTick: Float64Array;
  readonly sentCommit: Float64Array;
  heartbeatTick: number;
  reads: Read[];
  heldRequests: { readonly origin: number; readonly payload: Uint8Array }[];
  heldReads: Read[];
  /** Bytes of the held requests; of the reads, held or not. */
  heldBytes: number;
  readBytes: number;
  /** Highest index each backup has promised in this view. */
  readonly acked: Map<number, CommitIndex>;
  /** The replacement that was proposed last in this view, by member. */
  readonly replacing: Map<number, Replacement>;
  /** Index of the entry that replaced a member in this view. */
  readonly replacedAt: Map<number, number>;
  /** The versions of the application that the program of each peer runs, as it said last. */
  readonly versions: Map<number, VersionRange>;
  /** The version that was proposed in this view; 0: none. */
  activating: number;
}

/** The end of a view's log, and what it began with. */
export type Suffix = Pick<StartView, 'view' | 'logView' | 'base' | 'head' | 'headHash' | 'headers'>;

/** The suffix a new primary has chosen and is completing. */
export interface Chosen extends Suffix {
  readonly commit: CommitIndex;
}

/** Bounds of the last index that the own log and a canonical one share (join.ts). */
export interface Junction {
  low: CommitIndex;
  high: CommitIndex;
}

/** A suffix that waits to be installed until the junction of the own log with it is known (join.ts). */
export interface Joining extends Junction {
  readonly view: number;
  /** What brought it; null: it is the own choice. */
  startView: StartView | null;
  /** Frame to ask for. */
  ask: number;
  /** Answers that told nothing since one did. */
  vain: number;
  /** The question under way. */
  asked: { readonly source: number; readonly nonce: number } | null;
  tick: number;
}

/** One catch-up request under way. */
export interface Transfer {
  readonly source: number;
  readonly nonce: number;
  /** First index that was asked for. */
  readonly from: number;
  /** Last slot of the damaged range of the own log that is asked for; NONE: what follows the log. */
  readonly hole: CommitIndex;
}

/** Whose turn it is to be asked for, when holes and the end of the log are missing (state-transfer.ts). */
export interface Turns {
  /** Questions for the present hole that brought nothing. */
  asked: number;
  /** Nobody gave the first slot of the present hole: so many of its last ones are asked for; 0: it is asked for from its first slot on. */
  last: number;
  /** Ends of holes of which nobody gave anything. */
  readonly lost: Set<number>;
  /** Questions for the frame behind the own end, at `unmetAt`, that met damage in its place. */
  unmet: number;
  unmetAt: number;
  /** Holes up to this index have had their turn in this round. */
  passed: number;
  /** First frame handed to the disk last, for a damaged slot; NONE: none since. */
  given: CommitIndex;
  /** The end of the log has its turn until then. */
  endUntilTick: number;
}

export class NodeState {
  readonly id: number;
  readonly members: readonly number[];
  readonly quorum: number;
  readonly config: VsrConfig;
  readonly codec: FrameCodec;
  readonly sessions: SessionPort;
  readonly policy: Policy;
  readonly prng: Prng;
  out: Output[] = [];

  tickCount = 0;
  /** Set by the host before each step. */
  monotonicMs = 0;
  wallMs = 0;

  status: Status;
  view: number;
  logView: number;
  /** Last manifest handed to the log (durable or on its way). */
  manifest: ManifestState;
  /** False while {view, log view, headers} of the current view are still being stored. */
  stored = true;
  readonly epochs = new Epochs();
  /** Token of the newest save or install; only its completion stores the view. */
  saveToken = 0;

  readonly clock: ClusterTime;
  readonly ring: HeaderRing;
  readonly cache: LogCache;
  end: CommitIndex;
  endHash: Uint8Array;
  durable: CommitIndex;
  /** Head of the log of record; above `end` while frames are missing. */
  head: CommitIndex;
  headHash: Uint8Array;
  /** Canonical headers up to `head`, used while frames are missing. */
  canonical: HeaderSuffix;
  promised: CommitIndex;
  /** False: the tail record is lost, and nothing tells yet whether the own log is that of `logView`. */
  connected: boolean;
  faulty: IndexRange[];
  /** Chain hashes of the own log around damaged slots, by index: the ring may have lost them, or not reach so far. */
  readonly joints = new Map<number, Uint8Array>();
  commit: CommitIndex;
  commitHeard: CommitIndex;
  applied: CommitIndex;

  primary: PrimaryState | null = null;
  readonly requests: Requests;
  /** A primary that stepped down, or restarted in its own view: mute until the next view. */
  abdicated = false;
  round = 0;

  /** Backup: acknowledged in this view through here. */
  ackedThrough: CommitIndex = NONE;
  /** Backup: commit of the StartView; what is above it needs a promise in this view. */
  startCommit: CommitIndex = NONE;
  /** Backup: commit in the last heartbeat, to notice that it does not move. */
  heartbeatCommit: CommitIndex = NONE;
  stash: Prepare[] = [];
  lastHeardTick = 0;
  readonly detector = new FailureDetector();
  timeoutTicks = 0;
  /** Consecutive view changes without a normal view: timeouts grow with it. */
  attempts = 0;
  suspecting = false;
  suspectTick = 0;
  enteredTick = 0;
  resendTick = 0;
  readonly svcVotes = new Map<number, { readonly view: number; readonly tick: number }>();
  readonly votes = new Map<number, DoViewChange>();
  chosen: Chosen | null = null;
  joining: Joining | null = null;
  askedStartViewTick = -1_000_000;
  readonly nonce: number;
  transfer: Transfer | null = null;
  readonly turns: Turns = {
    asked: 0,
    last: 0,
    lost: new Set(),
    unmet: 0,
    unmetAt: 0,
    passed: NONE,
    given: NONE,
    endUntilTick: 0,
  };
  /** Tick of the last question that brought nothing (yet). */
  transferTick = -1_000_000;
  nonceCount = 0;
  /** Peers that did not answer the last question for frames. */
  readonly silent = new Set<number>();
  viewChanges = 0;
  /** Why this replica is quarantined; null while its state is what the log says, as far as anybody knows. */
  diverged: string | null = null;
  readonly digests = new DigestBook();
  readonly snapshots = new SnapshotBook();
  /** First index of the own log: what is below comes with a snapshot only. */
  first: number;
  /** Peers that have lost their tail record, by the tick they last said so. */
  readonly headless = new Map<number, number>();
  /** An index that nobody can settle (E_DATA_LOSS); null while nothing of the kind is known. */
  dataLoss: { readonly index: number; readonly why: string } | null = null;
  readonly freshness = new Freshness();

  constructor(
    config: VsrConfig,
    codec: FrameCodec,
    sessions: SessionPort,
    policy: Policy,
    log: RecoveredLog,
    applied: CommitIndex,
  ) {
    this.config = config;
    this.requests = new Requests({ countMax: config.queueMax, bytesMax: config.queueBytesMax });
    this.codec = codec;
    this.sessions = sessions;
    this.policy = policy;
    this.prng = new Prng(config.seed);
    this.nonce = 1 + this.prng.below(0x7fff_ffff);
    this.manifest = log.manifest;
    this.id = log.manifest.replicaId;
    this.members = log.manifest.members;
    this.quorum = Math.floor(this.members.length / 2) + 1;
    this.clock = new ClusterTime(this.others(), this.quorum, config.clockToleranceMs);
    this.view = log.manifest.view;
    this.logView = log.manifest.logView;
    this.status = 'recovering';
    this.ring = new HeaderRing(config.pipelineMax);
    this.ring.load(log.ownHeaders);
    this.cache = new LogCache(config.cacheBytes);
    this.first = log.first;
    this.end = log.end;
    this.endHash = log.end === NONE ? ZERO_HASH : log.endHash.slice();
    this.durable = log.end;
    this.head = log.head;
    this.headHash = log.headHash.slice();
    this.canonical = log.headers;
    this.promised = log.promised;
    this.connected = log.connected;
    this.faulty = [...log.faulty];
    for (const { from, to, hash, before } of log.faulty) {
      if (before !== null && from > 0) this.joints.set(from - 1, before.slice());
      if (hash !== null) this.joints.set(to, hash.slice());
    }
    this.applied = applied;
    this.commit = applied;
    // A snapshot was taken there: committed for certain, even when its file is damaged and an older one was restored.
    this.commitHeard = max(applied, log.manifest.checkpoint.index);
    this.drawTimeout();
  }

  /** Of what is handed to the log now. */
  get epoch(): number {
    return this.epochs.current;
  }

  get last(): CommitIndex {
    return max(this.end, this.head);
  }

  primaryOf(view: number): number {
    return this.members[view % this.members.length]!;
  }

  get isPrimary(): boolean {
    return this.status === 'normal' && this.primary !== null && !this.abdicated;
  }

  /** This replica replaces a wiped one and does not hold the log through its replacement yet: it replicates and never votes. */
  get standby(): boolean {
    return this.manifest.standbyThrough !== NONE;
  }

  /** A primary that has applied its own no-op: may answer from the session table and serve reads. */
  get serving(): boolean {
    return this.isPrimary && this.applied >= this.primary!.noopIndex;
  }

  /** Frames through here are intact and contiguous; what is applied is as good. */
  get intact(): CommitIndex {
    if (this.faulty.length === 0) return this.end;
    const hole = this.faulty.find((range) => range.to > this.applied);
    return hole === undefined
      ? this.end
      : max(min(this.end, (hole.from - 1) as CommitIndex), min(this.end, this.applied));
  }

  others(): number[] {
    return this.members.filter((id) => id !== this.id);
  }

  send(to: number, message: Message): void {
    assert(to !== this.id, 'a replica does not write to itself');
    this.out.push({ type: 'send', to, message });
  }

  broadcast(message: Message): void {
    for (const to of this.members) if (to !== this.id) this.out.push({ type: 'send', to, message });
  }

  event(event: VsrEvent): void {
    this.out.push({ type: 'event', event });
  }

  halt(code: string, message: string): void {
    this.out.push({ type: 'halt', code, message });
  }

  setStatus(status: Status): void {
    if (status === this.status) return;
    this.status = status;
    this.event({ kind: 'status', status, view: this.view });
  }

  /** New patience for this view: base, plus jitter of as much again, plus backoff while view changes fail. */
  drawTimeout(): void {
    const base = this.config.viewChangeTicks * Math.min(1 + this.attempts, 4);
    this.timeoutTicks = base + this.prng.below(base);
    this.detector.restart();
    this.lastHeardTick = this.tickCount;
  }

  nextNonce(): number {
    return ++this.nonceCount;
  }
}
