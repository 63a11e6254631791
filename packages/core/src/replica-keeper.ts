/**
 * SnapshotKeeper: everything a replica does about snapshots: takes them (replica-snapshots.ts), reports them to the protocol, gives and fetches them
 * (replica-transfer.ts), mends damaged ones (replica-mend.ts), keeps two confirmed ones, and frees the log behind the older.
 *
 * Invariants: nothing goes away before the manifest states a checkpoint that makes it superfluous, but of snapshots that nobody confirms only the newest
 * stay; a snapshot being sent, and the log behind it, stay; a quarantined replica keeps everything.
 */
import { at } from './engine/commit-index.ts';
import type { FrameBatch } from './engine/frame-batch.ts';
import { KIND } from './engine/frame.ts';
import { sameHash, toHex } from './engine/hash.ts';
import { SnapshotScrub } from './engine/scrub-snapshots.ts';
import type { Snapshot, SnapshotStore } from './engine/snapshot-file.ts';
import { Halt } from './kernel/errors.ts';
import type { Replica } from './replica.ts';
import type { SnapshotInfo, SnapshotPort } from './replica-contract.ts';
import { SnapshotMender } from './replica-mend.ts';
import { SnapshotTaker } from './replica-snapshots.ts';
import { SnapshotTransfer } from './replica-transfer.ts';
import { type HeldSnapshot, unconfirmedSurplus } from './vsr/snapshots.ts';

/** How often it is looked whether something may go that was pinned, in ticks. */
const RETAIN_TICKS = 100;
/** Remarks kept for the operator. */
const NOTES_MAX = 100;

export class SnapshotKeeper implements SnapshotPort {
  readonly transfer: SnapshotTransfer;
  readonly mender: SnapshotMender;
  private readonly replica: Replica;
  private readonly files: SnapshotStore;
  private readonly taker: SnapshotTaker;
  private ticks = 0;

  constructor(replica: Replica, files: SnapshotStore) {
    const { ports, config, executor } = replica;
    const { clusterId } = replica.store.manifest;
    this.replica = replica;
    this.files = files;
    this.taker = new SnapshotTaker({
      files,
      executor,
      every: config.snapshotEvery,
      clusterId,
      defer: (task) => ports.defer(() => replica.guarded(task)),
      skip: (index) => this.skips(index),
      onTaken: (snapshot) => this.onTaken(snapshot),
      onFailed: (why) => this.note(why),
    });
    this.transfer = new SnapshotTransfer({
      disk: ports.disk,
      codec: ports.codec,
      clusterId,
      node: () => replica.node.state,
      send: (to, message) => ports.send(to, message),
      guarded: (task) => replica.guarded(task),
      install: (snapshot) => this.install(snapshot),
      mended: (index) => this.mender.fetched(index),
      note: (text) => this.note(text),
    });
    this.mender = new SnapshotMender({
      replica,
      files,
      transfer: this.transfer,
      take: () => this.create(),
      changed: () => this.retain(),
    });
  }

  /** What is on the disk at start, through the checkpoint (the rest was swept). Only of the checkpoint itself the manifest says that it was confirmed. */
  found(): HeldSnapshot[] {
    const held: HeldSnapshot[] = [];
    const { checkpoint } = this.replica.store.manifest;
    for (const index of this.files.list()) {
      const read = this.files.header(index);
      if (typeof read === 'string' || read.header.index !== index || index > checkpoint.index) continue;
      const confirmed = index === checkpoint.index && sameHash(read.fileDigest, checkpoint.digest);
      held.push({ index, state: read.header.digest, file: read.fileDigest, hash: read.header.chainHash, confirmed });
    }
    return held;
  }

  tick(): void {
    this.transfer.tick();
    this.mender.tick();
    this.ticks++;
    if (this.ticks % RETAIN_TICKS === 0) this.retain();
  }

  /** First snapshot point at or above `from`: applying pauses behind it. */
  nextPoint(from: number): number {
    return this.taker.nextPoint(from);
  }

  /** Entries through `index` of `batch` were applied: takes a snapshot if that is a snapshot point. */
  onApplied(batch: FrameBatch, index: number): void {
    if (this.taker.isDue(index, this.replica.executor.atCheckpoint)) this.taker.take(batch, index);
  }

  /** The manifest states a new checkpoint durably. */
  onCheckpoint(): void {
    this.retain();
  }

  /** Newest last. */
  list(): SnapshotInfo[] {
    const { snapshots } = this.replica.node.state;
    return snapshots.held.map(({ index, state, file, confirmed }) => ({ index, state, file, confirmed }));
  }

  create(): boolean {
    return this.replica.propose(KIND.checkpoint, new Uint8Array(0));
  }

  verify(callback: (damage: { readonly file: string; readonly fault: string }[]) => void): void {
    const damage: { readonly file: string; readonly fault: string }[] = [];
    const scrub = new SnapshotScrub(this.replica.store, ({ file, fault }, index) => {
      damage.push({ file, fault });
      this.mender.onDamaged(index);
    });
    scrub.begin();
    const step = (): void =>
      scrub.step((_bytes, over) => {
        if (over) callback(damage);
        else this.replica.ports.defer(() => this.replica.guarded(step));
      });
    step();
  }

  private skips(index: number): boolean {
    const n = this.replica.node.state;
    return n.diverged !== null || n.snapshots.held.some((held) => held.index === index);
  }

  private onTaken(snapshot: HeldSnapshot): void {
    this.replica.ports.onEvent({ kind: 'snapshot', index: snapshot.index, file: toHex(snapshot.file) });
    this.replica.guarded(() => {
      this.replica.step({ type: 'snapshot', snapshot });
      // A replica that catches up passes many points before anybody confirms one.
      if (unconfirmedSurplus(this.replica.node.state).length > 0) this.retain();
    });
  }

  private note(text: string): void {
    const { notes } = this.replica;
    if (notes.length < NOTES_MAX) notes.push(text);
  }

  /** Lets go what two confirmed snapshots make superfluous. */
  private retain(): void {
    const { store, node } = this.replica;
    const n = node.state;
    if (n.diverged !== null) return;
    const { index: confirmed } = store.manifest.checkpoint;
    // The snapshot of the checkpoint itself may be lost.
    const newest = n.snapshots.held.findLast((held) => held.index <= confirmed)?.index ?? confirmed;
    const surplus = unconfirmedSurplus(n);
    const older = n.snapshots.held.findLast((held) => held.index < newest && held.confirmed)?.index ?? null;
    const { pinned } = this.transfer;
    const damaged = n.snapshots.damaged.map((lost) => lost.index);
    const keep = (index: number): boolean => {
      if (pinned.includes(index)) return true;
      if (index === newest) return true;
      if (surplus.includes(index)) return false;
      if (index > newest) return true;
      // A damaged one is better than none, but not than two intact ones.
      return index >= (older ?? 0) && (older === null || !damaged.includes(index));
    };
    this.files.retain(keep);
    const { first } = n;
    if (older !== null) {
      const through = Math.min(older, ...pinned);
      if (through >= first) store.compact(through);
    }
    if (store.first > first) this.replica.ports.onEvent({ kind: 'compact', first: store.first });
    const indexes = [...n.snapshots.held.map((held) => held.index), ...damaged].filter(keep);
    for (const index of damaged)
      if (!keep(index)) this.replica.ports.onEvent({ kind: 'mended', index, how: 'superseded' });
    this.replica.step({ type: 'snapshotsKept', indexes, first: store.first });
  }

  /** The snapshot is durable and confirmed: the executor goes on from it. */
  private install(snapshot: Snapshot): boolean {
    const { executor } = this.replica;
    this.taker.abort('a snapshot was installed');
    try {
      executor.restore(snapshot, snapshot.sections);
    } catch (error) {
      // A newer program is needed to go on: fetching it again would not help.
      if (!(error instanceof Halt) || error.code === 'E_APP_VERSION') throw error;
      this.note(error.message);
      return false;
    }
    const { index, chainHash: hash, fileDigest: digest, digest: state, frameHeader } = snapshot;
    const checkpoint = { index: at(index), hash, digest };
    this.replica.step({ type: 'installed', snapshot: { checkpoint, state, frameHeader } });
    return true;
  }
}
