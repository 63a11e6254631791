/**
 * VsrNode: a replica's protocol as a pure state machine. `step(input)` changes memory and appends to `outputs`; it never awaits, reads a clock, draws an
 * ambient random number, or touches a socket or a disk. The daemon, the simulator and the browser run this class.
 *
 * Where things are: normal.ts (Prepare, PrepareOk, Commit), propose.ts (the primary's batches), reads.ts (ReadIndex), view-change.ts, state-transfer.ts
 * (catch-up, repair), clients.ts (sessions at the edge), log.ts (the own log), state.ts (the state and its invariants).
 */
import { type CommitIndex, max, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { EntryKind } from '../engine/frame.ts';
import type { RecoveredLog } from '../engine/log-contract.ts';
import type { Policy } from '../policy.ts';
import type { Reply } from '../reply.ts';
import { onDisconnect, onQuery, onReply, onRequest, releaseHeld, sweepParked } from './clients.ts';
import { isOfJoining } from './join.ts';
import { moveCommit } from './log.ts';
import type { Message } from './messages.ts';
import {
  drainStash,
  onCommit,
  onDurable,
  onPrepare,
  onPrepareOk,
  promiseRepaired,
  restartPromises,
  tickPrimary,
} from './normal.ts';
import { compareAwaited } from './divergence.ts';
import { noteReplacedInState, onBoot, promoteStandby } from './members.ts';
import { internalPayload } from './payload.ts';
import { flush } from './propose.ts';
import {
  type HeldSnapshot,
  holdSnapshot,
  installSnapshot,
  type InstalledSnapshot,
  keepSnapshots,
  lackSnapshot,
  loseSnapshot,
  noteCompacted,
  onSnapshotReport,
  tickSnapshots,
} from './snapshots.ts';
import { answerReads, confirmedDigest, onCommitOk, quorumContactMs } from './reads.ts';
import { catchUp, needsFrames, noteDamage, onGetState, onNewState, onRepaired, onStateRead } from './state-transfer.ts';
import { NodeState, type Output, type SessionPort, type VsrConfig } from './state.ts';
import {
  onDoViewChange,
  onJoinState,
  onRequestStartView,
  onSaved,
  onStartView,
  onStartViewChange,
  remindOfPromise,
  settle,
  stepDown,
  suspect,
  tickWaiting,
} from './view-change.ts';

/** How often parked requests of evicted sessions are looked for. */
const SWEEP_TICKS = 100;

export type Input =
  | { readonly type: 'message'; readonly from: number; readonly message: Message }
  /** Every tick. `stalledTicks`: how long the log has not finished its oldest operation. */
  | { readonly type: 'tick'; readonly stalledTicks: number }
  | { readonly type: 'durable'; readonly index: number; readonly hash: Uint8Array; readonly epoch: number }
  /** A save or install output is durable. */
  | { readonly type: 'stored'; readonly token: number }
  | {
      readonly type: 'stateRead';
      readonly to: number;
      readonly nonce: number;
      readonly through: number;
      readonly batch: FrameBatch | null;
    }
  | { readonly type: 'applied'; readonly index: CommitIndex; readonly full: boolean }
  | { readonly type: 'request'; readonly origin: number; readonly payload: Uint8Array; readonly full: boolean }
  | {
      readonly type: 'query';
      readonly origin: number;
      readonly nonce: number;
      readonly query: number;
      readonly body: Uint8Array;
    }
  /** An entry of the replica itself (effect acknowledgements, checkpoints); dropped unless this is a serving primary. */
  | { readonly type: 'propose'; readonly kind: EntryKind; readonly body: Uint8Array }
  /** The medium did not give this frame: it is to be repaired from a peer. */
  | { readonly type: 'damaged'; readonly index: number }
  /** Frames of a damaged range are durable: those of a repair output, or what turned out to be intact with them. */
  | { readonly type: 'repaired'; readonly batch: FrameBatch; readonly epoch: number }
  /** A snapshot is durable here. */
  | { readonly type: 'snapshot'; readonly snapshot: HeldSnapshot }
  /** The file of a snapshot is damaged on the medium. */
  | { readonly type: 'snapshotDamaged'; readonly index: number }
  /** Nobody gives the damaged snapshot at `index`; NONE: none. */
  | { readonly type: 'snapshotLacks'; readonly index: CommitIndex }
  /** These snapshots are left, and the log begins at `first`. */
  | { readonly type: 'snapshotsKept'; readonly indexes: readonly number[]; readonly first: number }
  /** The executor stands at a snapshot whose file is durable (allowed by mayInstall in the same step). */
  | { readonly type: 'installed'; readonly snapshot: InstalledSnapshot }
  /** End of a burst of input: make batches. */
  | { readonly type: 'flush' };

interface Facts {
  normalPrimary: boolean;
  view: number;
  generation: number;
  nowMs: number;
  quorumContactAtMs: number | null;
  viewStartedAtMs: number | null;
  confirmedDigestIndex: CommitIndex;
  quarantined: boolean;
}

export class VsrNode {
  readonly state: NodeState;
  private readonly facts: Facts = {
    normalPrimary: false,
    view: 0,
    generation: 0,
    nowMs: 0,
    quorumContactAtMs: null,
    viewStartedAtMs: null,
    confirmedDigestIndex: NONE,
    quarantined: false,
  };
  private readonly payloadMax: number;

  /**
   * A replica that (re)starts from what recovery found. `applied`: index of the snapshot the executor was restored from.
   * A replica that is the primary of its manifest view never acts in that view again.
   */
  constructor(options: {
    readonly config: VsrConfig;
    readonly codec: FrameCodec;
    readonly sessions: SessionPort;
    readonly policy: Policy;
    readonly log: RecoveredLog;
    readonly applied: CommitIndex;
    /** Chain hash of `applied`; zero for none. */
    readonly appliedHash: Uint8Array;
    /** Frame header of `applied` as the snapshot has it; null for none. */
    readonly appliedHeader: Uint8Array | null;
    readonly payloadMax: number;
  }) {
    this.state = new NodeState(
      options.config,
      options.codec,
      options.sessions,
      options.policy,
      options.log,
      options.applied,
    );
    const { applied, appliedHash, appliedHeader } = options;
    if (applied !== NONE) this.state.joints.set(applied, appliedHash.slice());
    // Where the log ends with the snapshot, and the frame itself is damaged or gone, it alone says what time it was.
    if (appliedHeader !== null) this.state.ring.know(applied, appliedHeader, appliedHash);
    this.payloadMax = options.payloadMax;
  }

  /** What has been asked of the host since it last took them. */
  takeOutputs(): Output[] {
    const taken = this.state.out;
    this.state.out = [];
    return taken;
  }

  get hasOutputs(): boolean {
    return this.state.out.length > 0;
  }

  /** First step: takes up the role that the recovered state allows. */
  start(log: RecoveredLog): void {
    const n = this.state;
    if (!noteReplacedInState(n)) return;
    if (log.recoveringHead) {
      n.setStatus('recovering-head');
      return;
    }
    if (n.logView < n.view) {
      n.setStatus('view-change');
      n.stored = false;
      n.out.push({ type: 'save', manifest: n.manifest, token: ++n.saveToken });
      return;
    }
    n.setStatus('normal');
    const floor = n.head - n.config.pipelineMax;
    if (floor > n.commit) moveCommit(n, floor as CommitIndex);
    n.startCommit = n.commit;
    if (n.primaryOf(n.view) !== n.id) {
      restartPromises(n, n.commit);
      return;
    }
    if (n.policy.restartAsPrimary) {
      this.resumeMutated();
      return;
    }
    n.abdicated = true;
    suspect(n, 'restarted: the primary of a view never acts in it again');
  }

  /** The restart-as-primary mutation: goes on in the manifest's view as if nothing had happened. */
  private resumeMutated(): void {
    const n = this.state;
    n.setStatus('view-change');
    n.head = n.end;
    settle(n);
  }

  /** Handles one input. `monotonicMs` and `wallMs` are the host's clocks at this moment. */
  step(input: Input, monotonicMs: number, wallMs: number): void {
    const n = this.state;
    n.monotonicMs = monotonicMs;
    n.wallMs = wallMs;
    this.handle(input);
    if (n.diverged !== null && n.isPrimary) this.abdicate(n.diverged);
  }

  private handle(input: Input): void {
    const n = this.state;
    switch (input.type) {
      case 'message':
        this.onMessage(input.from, input.message);
        break;
      case 'tick':
        this.onTick(input.stalledTicks);
        break;
      case 'durable':
        onDurable(n, input.index, input.hash, input.epoch);
        settle(n);
        break;
      case 'stored':
        onSaved(n, input.token);
        break;
      case 'stateRead':
        onStateRead(n, input.to, input.nonce, input.through, input.batch);
        break;
      case 'applied':
        this.onApplied(input.index, input.full);
        break;
      case 'request':
        onRequest(n, input.origin, input.payload, this.payloadMax, input.full);
        break;
      case 'query': {
        const { origin, nonce, query, body } = input;
        onQuery(n, { origin, nonce, query, body, commit: NONE, round: 0 });
        break;
      }
      case 'propose':
        if (n.serving) n.requests.internal(internalPayload(input.kind, input.body));
        break;
      case 'damaged':
        noteDamage(n, input.index);
        break;
      case 'repaired':
        if (onRepaired(n, input.batch, input.epoch)) promiseRepaired(n, input.batch.first, input.batch.last);
        this.onGrown(n.end);
        break;
      case 'snapshot':
        holdSnapshot(n, input.snapshot);
        break;
      case 'snapshotDamaged':
        loseSnapshot(n, input.index);
        break;
      case 'snapshotLacks':
        lackSnapshot(n, input.index);
        break;
      case 'snapshotsKept':
        keepSnapshots(n, input.indexes);
        noteCompacted(n, input.first);
        break;
      case 'installed':
        installSnapshot(n, input.snapshot);
        this.onGrown(n.end);
        break;
      case 'flush':
        flush(n);
        break;
    }
  }

  /** The client connection is gone. */
  disconnect(origin: number): void {
    onDisconnect(this.state, origin);
  }

  /** A client's entry was applied: called by the host for each, between 'applied' inputs. */
  reply(reply: Reply): void {
    onReply(this.state, reply);
  }

  private onMessage(from: number, m: Message): void {
    const n = this.state;
    switch (m.type) {
      case 'prepare':
        onPrepare(n, from, m);
        break;
      case 'prepareOk':
        onPrepareOk(n, from, m);
        break;
      case 'commit':
        onCommit(n, from, m);
        break;
      case 'commitOk':
        onCommitOk(n, from, m);
        remindOfPromise(n, from, m);
        break;
      case 'startViewChange':
        onStartViewChange(n, from, m);
        break;
      case 'doViewChange':
        onDoViewChange(n, from, m);
        break;
      case 'startView':
        onStartView(n, from, m);
        break;
      case 'requestStartView':
        onRequestStartView(n, from, m);
        break;
      case 'getState':
        onGetState(n, from, m);
        break;
      case 'boot':
        onBoot(n, from, m);
        break;
      case 'newState':
        if (isOfJoining(n, from, m)) onJoinState(n, from, m);
        else if (onNewState(n, from, m)) this.onGrown(m.head);
        break;
      case 'snapshotReport':
        onSnapshotReport(n, from, m);
        break;
      case 'getSnapshot':
      case 'snapshotPart':
        // The host's: replica-transfer.ts.
        break;
    }
  }

  private onGrown(peerHead: CommitIndex): void {
    const n = this.state;
    if (n.status === 'normal') drainStash(n);
    settle(n);
    const more = needsFrames(n) || max(peerHead, n.commitHeard) > n.end;
    if (more && n.primary === null) catchUp(n);
  }

  private onTick(stalledTicks: number): void {
    const n = this.state;
    n.tickCount++;
    tickSnapshots(n);
    if (!n.isPrimary) {
      promoteStandby(n);
      tickWaiting(n);
      return;
    }
    const why = tickPrimary(n, stalledTicks);
    if (why !== null) this.abdicate(why);
    else flush(n);
    n.requests.measure(n.monotonicMs);
    if (n.serving && n.tickCount % SWEEP_TICKS === 0) sweepParked(n);
  }

  /** Steps down: no heartbeat, no Prepare, no client until the next view. */
  abdicate(why: string): void {
    const n = this.state;
    stepDown(n, why);
  }

  private onApplied(index: CommitIndex, full: boolean): void {
    const n = this.state;
    n.applied = index;
    compareAwaited(n);
    n.cache.trim(n.applied < n.durable ? n.applied : n.durable);
    const primary = n.primary;
    if (primary === null) return;
    if (n.serving) {
      primary.servingSinceMs ??= n.monotonicMs;
      releaseHeld(n, primary, full);
    }
    answerReads(n, primary);
    flush(n);
  }

  /** Facts for VsrAuthority (kernel/authority.ts), by the host's clocks of this moment. One object, refreshed by each call: asked after every step. */
  authorityFacts(monotonicMs: number, wallMs: number): Readonly<Facts> {
    const { state: n, facts } = this;
    n.monotonicMs = monotonicMs;
    n.wallMs = wallMs;
    const contact = quorumContactMs(n);
    facts.normalPrimary = n.serving && n.stored && n.logView === n.view;
    facts.view = n.view;
    facts.generation = n.manifest.generation;
    facts.nowMs = monotonicMs;
    facts.quorumContactAtMs = Number.isFinite(contact) ? contact : null;
    facts.viewStartedAtMs = n.primary?.servingSinceMs ?? null;
    facts.confirmedDigestIndex = confirmedDigest(n);
    facts.quarantined = n.diverged !== null;
    return facts;
  }
}
