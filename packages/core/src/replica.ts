/**
 * Replica: VsrNode + LogStore + Executor + snapshots + side effects, joined by outputs and callbacks. The daemon, the simulator and the browser
 * run this very class with other ports (replica-contract.ts).
 *
 * Invariants: outputs are carried out in order; `apply` runs in slices, so heartbeats never wait for it; whatever must not happen halts the
 * replica once and for all (fail-stop beats wrong).
 */
import { AssertionFailure } from './assert.ts';
import { type CommitIndex, NONE } from './engine/commit-index.ts';
import { PAYLOAD_BYTES_MAX } from './engine/constants.ts';
import type { RecoveredLog, Refusal } from './engine/log-contract.ts';
import { LogStore } from './engine/log-store.ts';
import { Scrubber } from './engine/scrubber.ts';
import type { FrameBatch } from './engine/frame-batch.ts';
import type { EntryKind } from './engine/frame.ts';
import { LOG_DIRECTORY, segmentPath } from './engine/segment.ts';
import { SnapshotStore } from './engine/snapshot-file.ts';
import { Executor } from './kernel/executor.ts';
import { Halt } from './kernel/errors.ts';
import type { Reply } from './reply.ts';
import { ReplicaEffects } from './replica-effects.ts';
import { SnapshotKeeper } from './replica-keeper.ts';
import { restoreNewest } from './replica-snapshots.ts';
import { replicaStatus } from './replica-status.ts';
import type { ReplicaConfig, ReplicaHandle, ReplicaPorts, ReplicaStatus } from './replica-contract.ts';
import { CONSISTENCY, TO_CLIENT } from './vsr/client-protocol.ts';
import type { Identity } from './vsr/identity.ts';
import { learnIdentity } from './vsr/members.ts';
import type { Message } from './vsr/messages.ts';
import { type Input, VsrNode } from './vsr/node.ts';
import { staleRefusal } from './vsr/reads.ts';
import { OWN_ENTRIES_MAX } from './vsr/requests.ts';
import type { Output, Read } from './vsr/state.ts';

/** Entries applied before other work gets its turn. */
const APPLY_SLICE = 512;

/** Opens the replica's directory and starts it, or says why it must not be opened. Blocking. */
export function openReplica(
  config: ReplicaConfig,
  ports: ReplicaPorts,
): { readonly replica: Replica } | { readonly refusal: Refusal } {
  let replica: Replica | null = null;
  const opened = LogStore.open({
    disk: ports.disk,
    codec: ports.codec,
    events: {
      onDurable: (index, hash, epoch) => replica?.onDurable(index, hash, epoch),
      onDamaged: (index, fault) => replica?.onDamaged(index, fault),
      onFatal: (fatal) => replica?.halt(fatal.code, fatal.message),
      onSpace: (full) => replica?.onSpace(full),
    },
    expect: { clusterId: config.clusterId, replicaId: config.replicaId },
    segmentBytes: config.segmentBytes,
    pipelineMax: config.pipelineMax,
    stated: (index) => replica?.node.state.ring.hash(index) ?? null,
    policy: ports.policy,
  });
  if ('refusal' in opened) return opened;
  const { store, recovered } = opened;
  replica = new Replica(config, ports, store, recovered);
  if (replica.refusal !== null) {
    replica.close();
    return { refusal: replica.refusal };
  }
  replica.start();
  return { replica };
}

export class Replica implements ReplicaHandle {
  readonly config: ReplicaConfig;
  readonly ports: ReplicaPorts;
  readonly store: LogStore;
  readonly node: VsrNode;
  readonly executor: Executor;
  readonly effects: ReplicaEffects;
  readonly scrubber: Scrubber;
  readonly notes: string[];
  /** Why it must not start, found while its state was restored. */
  readonly refusal: Refusal | null;
  private readonly recovered: RecoveredLog;
  readonly snapshots: SnapshotKeeper;
  private readonly clientOrigins = new Set<number>();
  private applyTarget: CommitIndex = NONE;
  private reading = false;
  private sliceDeferred = false;
  private flushDeferred = false;
  private draining = false;
  private stopped = false;
  private progressMark = -1;
  private stalledTicks = 0;
  /** Ticks since the disk became full under this primary; -1: it did not. */
  private fullTicks = -1;
  /** Monotonic ms of the last time a view began or ended here; null before the first. */
  viewChangedMs: number | null = null;
  private readonly onReply = (reply: Reply): void => this.node.reply(reply);

  constructor(config: ReplicaConfig, ports: ReplicaPorts, store: LogStore, recovered: RecoveredLog) {
    this.config = config;
    this.ports = ports;
    this.store = store;
    this.recovered = recovered;
    this.notes = [...recovered.notes];
    this.executor = new Executor({
      ...config.limits,
      module: ports.app,
      codec: ports.codec,
      clusterId: recovered.manifest.clusterId,
      policy: ports.policy,
      snapshotPieceBytes: config.snapshotPieceBytes,
      reportVersion: (index, version, ran) => ports.onEvent({ kind: 'version', index, version, ran }),
    });
    const files = new SnapshotStore({
      disk: ports.disk,
      codec: ports.codec,
      clusterId: recovered.manifest.clusterId,
      chunkBytes: config.snapshotChunkBytes,
    });
    const restored = restoreNewest(files, this.executor, recovered, this.notes);
    this.refusal = 'refusal' in restored ? restored.refusal : null;
    this.node = new VsrNode({
      config,
      codec: ports.codec,
      sessions: this.executor,
      policy: ports.policy,
      log: recovered,
      applied: this.executor.applied,
      appliedHash: this.executor.appliedHash,
      appliedHeader: 'refusal' in restored ? null : restored.frameHeader,
      payloadMax: Math.min(PAYLOAD_BYTES_MAX, Math.floor(config.segmentBytes / 4)),
    });
    this.snapshots = new SnapshotKeeper(this, files);
    this.effects = new ReplicaEffects(this);
    this.scrubber = new Scrubber({
      store,
      bytesPerTick: (config.scrubBytesPerSecond * config.tickMs) / 1000,
      restTicks: config.scrubRestTicks,
      onDamage: ({ file, index, fault, remedy }) => {
        // The store tells of entries itself.
        if (index === null) ports.onEvent({ kind: 'damage', file, index, fault, remedy });
      },
      snapshots: this.snapshots.mender,
    });
  }

  start(): void {
    this.ports.onEvent({ kind: 'restart', snapshot: this.executor.applied, end: this.recovered.end });
    this.guarded(() => {
      this.node.state.monotonicMs = this.ports.monotonicMs();
      this.node.start(this.recovered);
      for (const snapshot of this.snapshots.found())
        this.node.step({ type: 'snapshot', snapshot }, this.ports.monotonicMs(), this.ports.wallMs());
      this.drain();
    });
  }

  tick(): void {
    this.guarded(() => {
      this.store.tick();
      this.scrubber.tick(this.ports.monotonicMs());
      this.watchStall();
      if (this.stopped) return;
      this.watchSpace();
      this.step({ type: 'tick', stalledTicks: this.stalledTicks });
      this.snapshots.tick();
      this.effects.tick();
    });
  }

  /** Ticks since the log last made progress with something to do. A full disk is no stall: it has its own alarm. */
  private watchStall(): void {
    const { store, config } = this;
    const mark = store.mark;
    const moved = mark !== this.progressMark || store.idle || store.full;
    this.progressMark = mark;
    this.stalledTicks = moved ? 0 : this.stalledTicks + 1;
    if (this.stalledTicks <= config.diskStallTicks) return;
    const seconds = Math.round((this.stalledTicks * config.tickMs) / 1000);
    this.halt('E_DISK_STALL', `the disk has not finished an operation of the log for ${seconds} s`);
  }

  /** The disk filled up under a primary: another replica may have space, so it hands over once. Who becomes primary with a full disk stays it. */
  private watchSpace(): void {
    const { isPrimary, config } = this.node.state;
    if (this.fullTicks < 0 || !isPrimary || this.node.state.others().length === 0) return;
    if (++this.fullTicks <= config.stallTicks) return;
    this.fullTicks = -1;
    this.node.abdicate('no space left for its log');
    this.drain();
  }

  onSpace(full: boolean): void {
    this.fullTicks = full && this.node.state.isPrimary ? 0 : -1;
    this.ports.onEvent({ kind: 'space', full });
  }

  receive(from: number, message: Message): void {
    this.guarded(() => {
      if (message.type === 'getSnapshot') this.snapshots.transfer.onGetSnapshot(from, message);
      else if (message.type === 'snapshotPart') this.snapshots.transfer.onSnapshotPart(from, message);
      else this.step({ type: 'message', from, message });
    });
  }

  /** The table of incarnations of a peer that shook hands. */
  learnIdentity(from: number, table: Identity): void {
    this.guarded(() => {
      learnIdentity(this.node.state, from, table);
      this.drain();
    });
  }

  request(origin: number, payload: Uint8Array): void {
    if (this.stopped) return;
    this.clientOrigins.add(origin);
    this.guarded(() => {
      const { monotonicMs, wallMs } = this.node.state;
      this.node.step({ type: 'request', origin, payload, full: this.store.full }, monotonicMs, wallMs);
      if (this.node.hasOutputs) this.drain();
      this.flushSoon();
    });
  }

  query(origin: number, nonce: number, query: number, body: Uint8Array, consistency: number, maxLagMs: number): void {
    if (this.stopped) return;
    this.clientOrigins.add(origin);
    this.guarded(() => {
      if (consistency !== CONSISTENCY.stale) {
        this.step({ type: 'query', origin, nonce, query, body });
        return;
      }
      this.node.state.monotonicMs = this.ports.monotonicMs();
      this.node.state.wallMs = this.ports.wallMs();
      const refused = staleRefusal(this.node.state, nonce, maxLagMs);
      if (refused === null) this.answer({ origin, nonce, query, body, commit: NONE, round: 0 });
      else this.ports.reply(origin, refused);
    });
  }

  disconnect(origin: number): void {
    this.clientOrigins.delete(origin);
    this.node.disconnect(origin);
  }

  status(): ReplicaStatus {
    return replicaStatus(this);
  }

  readLog: ReplicaHandle['readLog'] = (from, maxBytes, callback) => {
    if (this.stopped) {
      callback({ kind: 'none' });
      return;
    }
    this.store.read(from, maxBytes, (outcome) => {
      if (outcome.kind === 'faulty') this.onDamaged(outcome.index, null);
      if (outcome.kind !== 'frames') callback(outcome);
      else callback({ kind: 'frames', bytes: outcome.batch.bytes, count: outcome.batch.count });
    });
  };

  /** Stops at once (crash-only: nothing needs to be finished). */
  close(): void {
    this.stopped = true;
    this.store.close();
  }

  /** An entry of the replica itself. False: not taken, because this is no serving primary or too many of them wait. */
  propose(kind: EntryKind, body: Uint8Array): boolean {
    const { serving, requests } = this.node.state;
    if (!serving || requests.own >= OWN_ENTRIES_MAX) return false;
    this.step({ type: 'propose', kind, body });
    this.flushSoon();
    return true;
  }

  onDurable(index: number, hash: Uint8Array, epoch: number): void {
    this.guarded(() => this.step({ type: 'durable', index, hash, epoch }));
  }

  /** The medium does not give this frame any more: it is repaired from a peer. `fault`: what is wrong with it; null: it is damaged with another one, or known to be. */
  onDamaged(index: number, fault: string | null): void {
    this.guarded(() => {
      const segment = this.store.segments.holding(index);
      const file = segment === null ? LOG_DIRECTORY : segmentPath(segment.base);
      if (fault !== null) this.ports.onEvent({ kind: 'damage', file, index, fault, remedy: 'peers' });
      this.step({ type: 'damaged', index });
    });
  }

  halt(code: string, message: string): void {
    if (this.stopped) return;
    this.stopped = true;
    this.ports.halt(code, message);
  }

  /** Runs `task`; whatever it throws stops the replica. */
  guarded(task: () => void): void {
    if (this.stopped) return;
    try {
      task();
    } catch (error) {
      if (error instanceof Halt || error instanceof AssertionFailure) this.halt(error.code, error.message);
      else throw error;
    }
  }

  step(input: Input): void {
    this.node.step(input, this.ports.monotonicMs(), this.ports.wallMs());
    this.drain();
  }

  private flushSoon(): void {
    if (this.flushDeferred) return;
    this.flushDeferred = true;
    this.ports.defer(() => {
      this.flushDeferred = false;
      this.guarded(() => this.step({ type: 'flush' }));
    });
  }

  /** Carries out what the node asked for, then applies a slice of what is committed. */
  private drain(): void {
    if (this.draining) return;
    this.draining = true;
    try {
      do {
        while (this.node.hasOutputs && !this.stopped)
          for (const output of this.node.takeOutputs()) this.carryOut(output);
      } while (!this.stopped && !this.sliceDeferred && this.applySlice());
    } finally {
      this.draining = false;
    }
  }

  private carryOut(output: Output): void {
    if (this.stopped) return;
    switch (output.type) {
      case 'send':
        this.ports.send(output.to, output.message);
        break;
      case 'append':
        this.store.append(output.batch, output.epoch);
        break;
      case 'save':
        this.store.saveManifest(output.manifest, () => this.onStored(output.token));
        break;
      case 'checkpoint':
        this.store.saveManifest(output.manifest, () => this.guarded(() => this.snapshots.onCheckpoint()));
        break;
      case 'installSnapshot':
        this.store.installSnapshot(output.manifest, output.promised, () => this.onStored(output.token));
        break;
      case 'install':
        this.store.install(
          output.manifest,
          output.keepThrough,
          output.promised,
          () => this.onStored(output.token),
          output.keepHash,
        );
        break;
      case 'repair':
        this.repair(output);
        break;
      case 'readState':
        this.readState(output);
        break;
      case 'commit':
        this.applyTarget = output.commit;
        break;
      case 'reply':
        if (this.clientOrigins.has(output.origin)) this.ports.reply(output.origin, output.message);
        break;
      case 'answer':
        this.answer(output.read);
        break;
      case 'event':
        if (output.event.kind === 'view' || output.event.kind === 'status')
          this.viewChangedMs = this.ports.monotonicMs();
        this.ports.onEvent(output.event);
        break;
      case 'halt':
        this.halt(output.code, output.message);
        break;
    }
  }

  private repair(output: Output & { readonly type: 'repair' }): void {
    const { batch, epoch } = output;
    const repaired = (part: FrameBatch): void => {
      this.guarded(() => this.step({ type: 'repaired', batch: part, epoch }));
    };
    this.store.repair(batch, () => repaired(batch), repaired);
  }

  private onStored(token: number): void {
    this.guarded(() => this.step({ type: 'stored', token }));
  }

  private readState(output: Output & { readonly type: 'readState' }): void {
    const { to, from, through, nonce } = output;
    this.store.read(from, this.config.batchBytesMax, (outcome) => {
      this.guarded(() => {
        if (outcome.kind === 'faulty') this.onDamaged(outcome.index, null);
        const batch: FrameBatch | null = outcome.kind === 'frames' ? outcome.batch : null;
        this.step({ type: 'stateRead', to, nonce, through, batch });
      });
    });
  }

  private answer(read: Read): void {
    const { ok, body } = this.executor.query(read.query, read.body);
    this.ports.reply(read.origin, {
      type: TO_CLIENT.answer,
      status: ok ? 0 : 1,
      session: 0,
      request: read.nonce,
      index: this.executor.applied,
      body,
    });
  }

  /** Applies up to a slice; returns true when it did something and there may be more to do at once. */
  private applySlice(): boolean {
    const from = this.executor.applied + 1;
    if (this.reading || from > this.applyTarget || from > this.node.state.intact) return false;
    const batch = this.node.state.cache.find(from);
    if (batch === null) {
      this.readForApply(from);
      return false;
    }
    this.applyFrom(batch, from);
    if (this.executor.applied < this.applyTarget) this.deferSlice();
    return true;
  }

  private applyFrom(batch: FrameBatch, from: number): void {
    let to = Math.min(batch.last, this.applyTarget, from + APPLY_SLICE - 1);
    to = Math.min(to, this.snapshots.nextPoint(from));
    this.executor.apply(batch, from, to, this.onReply);
    this.snapshots.onApplied(batch, this.executor.applied);
    const input: Input = { type: 'applied', index: this.executor.applied, full: this.store.full };
    this.node.step(input, this.ports.monotonicMs(), this.ports.wallMs());
    this.effects.onApplied();
  }

  private deferSlice(): void {
    this.sliceDeferred = true;
    this.ports.defer(() => {
      this.sliceDeferred = false;
      this.guarded(() => this.drain());
    });
  }

  private readForApply(from: number): void {
    this.reading = true;
    this.store.read(from, this.config.batchBytesMax, (outcome) => {
      this.reading = false;
      this.guarded(() => {
        if (outcome.kind === 'faulty') this.onDamaged(outcome.index, null);
        if (outcome.kind !== 'frames' || outcome.batch.first !== this.executor.applied + 1) return;
        if (outcome.batch.first > this.applyTarget) return;
        this.applyFrom(outcome.batch, outcome.batch.first);
        this.drain();
      });
    });
  }
}
