/** Checks: every invariant of a simulation, called at the moments that matter. */
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { EffectCall, ReplicaStatusName } from '../replica-contract.ts';
import type { Message } from '../vsr/messages.ts';
import { CanonicalLog } from './canonical.ts';
import { DurableLog } from './durable-log.ts';
import { DurableManifest } from './durable-manifest.ts';
import { DurableTail } from './durable-tail.ts';
import { ClientInvariants } from './invariants/client.ts';
import { EffectInvariants } from './invariants/effect.ts';
import { snapshotPath } from '../engine/snapshot-path.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { PromiseInvariants } from './invariants/promise.ts';
import { checkReplay, type ReplaySettings, type Resting } from './invariants/replay.ts';
import { ResourceInvariants } from './invariants/resource.ts';
import { LogInvariants } from './invariants/log.ts';
import { StateInvariants } from './invariants/state.ts';
import { ViewInvariants } from './invariants/view.ts';
import type { Observation, Observed } from './observation.ts';
import type { Profile } from './profile.ts';
import type { SimStorage } from './sim-storage.ts';

/** The observation of a replica that was judged last. */
class Judged {
  private run = 0;
  private status: ReplicaStatusName = 'normal';
  private view = -1;
  private logView = -1;
  private acting = false;
  private commit = -1;
  private applied = -1;
  private last = -1;

  equals(run: number, seen: Observation): boolean {
    return (
      this.applied === seen.applied &&
      this.commit === seen.commit &&
      this.last === seen.last &&
      this.run === run &&
      this.view === seen.view &&
      this.logView === seen.logView &&
      this.acting === seen.acting &&
      this.status === seen.status
    );
  }

  take(run: number, seen: Observation): void {
    this.run = run;
    this.status = seen.status;
    this.view = seen.view;
    this.logView = seen.logView;
    this.acting = seen.acting;
    this.commit = seen.commit;
    this.applied = seen.applied;
    this.last = seen.last;
  }
}

export class Checks {
  readonly canonical: CanonicalLog;
  readonly log: LogInvariants;
  readonly view: ViewInvariants;
  readonly state: StateInvariants;
  readonly client: ClientInvariants;
  readonly effect: EffectInvariants;
  readonly resource: ResourceInvariants;
  readonly promise: PromiseInvariants;
  private readonly codec: FrameCodec;
  private readonly tails: readonly DurableTail[];
  private readonly replaySettings: ReplaySettings;
  /** By replica id. */
  private readonly judged: (Judged | undefined)[] = [];
  /** What is durable on each machine. */
  readonly logs: readonly DurableLog[];

  constructor(codec: FrameCodec, clusterId: Uint8Array, storages: readonly SimStorage[], limits: Profile['limits']) {
    this.codec = codec;
    this.replaySettings = { codec, clusterId, limits };
    this.canonical = new CanonicalLog(codec, clusterId, limits);
    const logs = storages.map(
      (storage) =>
        new DurableLog(storage, codec, (index, view, hash) => {
          this.log.frameSeen(index, view, hash, `on the medium of r${storage.id}`);
        }),
    );
    this.logs = logs;
    this.promise = new PromiseInvariants(storages.length);
    this.log = new LogInvariants(this.canonical, logs, this.promise);
    this.tails = storages.map((storage) => new DurableTail(storage));
    this.view = new ViewInvariants(
      logs,
      storages.map((storage) => new DurableManifest(storage, codec)),
      this.tails,
    );
    this.state = new StateInvariants(this.canonical);
    this.client = new ClientInvariants(this.canonical);
    this.effect = new EffectInvariants(this.canonical);
    this.resource = new ResourceInvariants(limits);
  }

  /** After each step of a replica. What these checks look at is all in the observation: an equal one has been judged already. */
  step(replica: Observed): void {
    const seen = replica.observe();
    const last = (this.judged[replica.id] ??= new Judged());
    if (last.equals(replica.run, seen) && !this.state.waiting && !this.effect.waiting) return;
    last.take(replica.run, seen);
    this.log.step(replica, seen);
    this.view.step(replica, seen);
    this.state.step(replica, seen);
    this.effect.step(replica, seen);
  }

  sends(replica: Observed, message: Message): void {
    if (message.type === 'prepare') this.log.batchSeen(message.batch, `in a Prepare of r${replica.id}`);
    if (message.type === 'doViewChange') this.promise.votes(replica.id, message, this.canonical.last);
    this.view.sends(replica, message);
    this.resource.sends(replica.id, message);
  }

  /** What the tail record on a machine states. */
  promised(id: number): number {
    return this.tails[id - 1]!.promised();
  }

  /** A snapshot is durable on a machine: written there, or fetched. */
  snapshot(replica: Observed, index: number): void {
    const file = this.logs[replica.id - 1]!.storage.durableFile(snapshotPath(index));
    if (file === undefined) return;
    const hash = new Uint8Array(HASH_BYTES);
    this.codec.hash(file.intended, 0, file.intended.length, hash, 0);
    this.state.snapshot(replica, index, hash);
  }

  startsEffect(replica: Observed, effect: EffectCall): void {
    this.effect.starts(replica, effect);
  }

  /** When the cluster has come to rest. */
  atRest(replicas: readonly (Observed & { readonly resting: Resting })[]): void {
    checkReplay(
      this.canonical,
      this.logs,
      replicas.map(({ resting }) => resting),
      this.replaySettings,
    );
    for (const replica of replicas) {
      this.step(replica);
      this.log.atRest(replica);
    }
    this.client.atRest();
    this.effect.atRest();
  }
}
