/**
 * SnapshotMender: what becomes of a snapshot whose file was found damaged (by the scrubber, or because an operator had it looked at). It is not held any more
 * at once (vsr/snapshots.ts, loseSnapshot); then it is fetched again, byte for byte, from another replica, without touching the state; where nobody
 * gives it, new snapshots are asked for (a checkpoint entry: snapshot points are log positions), until two intact ones are above it.
 *
 * Invariants: a damaged file stays until its bytes are replaced or two intact confirmed snapshots are there; only a serving primary asks for new ones, one
 * at a time and seldom, also for a replica that says it lacks one.
 */
import { at, type CommitIndex, max, NONE } from './engine/commit-index.ts';
import type { DamagedSnapshots } from './engine/scrubber.ts';
import type { SnapshotStore } from './engine/snapshot-file.ts';
import type { Replica } from './replica.ts';
import type { SnapshotTransfer } from './replica-transfer.ts';
import type { NodeState } from './vsr/state.ts';

/** How long somebody may take to offer, or to give the next part of, a damaged snapshot, in ticks. */
const PATIENCE_TICKS = 300;
/** Least time between two snapshots that are asked for, in ticks. */
const ASK_TICKS = 500;
/** Intact snapshots above a damaged one that make it superfluous: as many as are kept. */
const ENOUGH = 2;

export interface MenderPort {
  readonly replica: Replica;
  readonly files: SnapshotStore;
  readonly transfer: SnapshotTransfer;
  /** Proposes a checkpoint entry. */
  readonly take: () => boolean;
  /** A snapshot is not held any more, or held again: what may go has changed. */
  readonly changed: () => void;
}

export class SnapshotMender implements DamagedSnapshots {
  private readonly port: MenderPort;
  private ticks = 0;
  /** Tick of the last sign that a damaged one is being fetched. */
  private movedTick = 0;
  private progress = '';
  private askAfter = 0;

  constructor(port: MenderPort) {
    this.port = port;
  }

  isDamaged(index: number): boolean {
    return this.node.snapshots.damaged.some((lost) => lost.index === index);
  }

  onDamaged(index: number): void {
    const { replica, transfer, files, changed } = this.port;
    replica.guarded(() => {
      const { held } = this.node.snapshots;
      if (held.some((snapshot) => snapshot.index === index)) {
        transfer.unpin(index);
        this.movedTick = this.ticks;
        replica.step({ type: 'snapshotDamaged', index });
        changed();
        return;
      }
      // Its header could not be read at start: nobody counts on it, and what it was is not known.
      if (this.isDamaged(index) || !held.some((snapshot) => snapshot.index > index)) return;
      files.retain((other) => other !== index);
      replica.ports.onEvent({ kind: 'mended', index, how: 'superseded' });
    });
  }

  /** The file at `index` has its bytes again, durable under its name. */
  fetched(index: number): void {
    const { replica, changed } = this.port;
    const lost = this.node.snapshots.damaged.find((snapshot) => snapshot.index === index);
    if (lost === undefined) return;
    replica.ports.onEvent({ kind: 'mended', index, how: 'fetched' });
    replica.step({ type: 'snapshot', snapshot: lost });
    changed();
  }

  tick(): void {
    this.ticks++;
    const { node: n } = this;
    const lacks = n.diverged === null ? this.lacks(n) : NONE;
    if (lacks !== n.snapshots.lacks) this.port.replica.step({ type: 'snapshotLacks', index: lacks });
    if (n.serving && this.ticks >= this.askAfter && this.isAskedFor(n) && this.port.take())
      this.askAfter = this.ticks + ASK_TICKS;
  }

  private get node(): NodeState {
    return this.port.replica.node.state;
  }

  /** The newest damaged snapshot that nobody gives. */
  private lacks(n: NodeState): CommitIndex {
    const { damaged } = n.snapshots;
    if (damaged.length === 0) return NONE;
    const { fetching } = this.port.transfer;
    const progress = fetching === null ? '' : `${fetching.index}/${fetching.chunks}`;
    if (progress !== '' && progress !== this.progress) this.movedTick = this.ticks;
    this.progress = progress;
    const alone = n.members.length === 1;
    if (!alone && this.ticks - this.movedTick < PATIENCE_TICKS) return NONE;
    return at(damaged.at(-1)!.index);
  }

  /** True when a new snapshot would help this replica or another one, and none is under way. */
  private isAskedFor(n: NodeState): boolean {
    const { held, reports } = n.snapshots;
    let lacks = n.snapshots.lacks;
    for (const report of reports.values()) lacks = max(lacks, report.lacks);
    if (lacks === NONE || this.port.files.busy) return false;
    const waits = held.some((snapshot) => !snapshot.confirmed && snapshot.index > n.manifest.checkpoint.index);
    return !waits && held.filter((snapshot) => snapshot.confirmed && snapshot.index > lacks).length < ENOUGH;
  }
}
