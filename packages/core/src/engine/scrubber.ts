/**
 * Scrubber: re-reads everything a replica stores, slowly and for ever, so that rot is found and repaired while other copies exist
 * (docs/log-format.md, "Scrubbing"): both manifest copies, the tail record, each segment's header and frames, the snapshots.
 *
 * Invariants: one read at a time, at most so many bytes a tick, a quarter of that while the log has something to do; a pass is followed by a rest; it
 * promises nothing and changes nothing but copies that it found damaged and can write again from what is known.
 */
import type { CommitIndex } from './commit-index.ts';
import type { LogStore } from './log-store.ts';
import { scrubManifest, scrubTail } from './scrub-copies.ts';
import { LogScrub } from './scrub-log.ts';
import { SnapshotScrub } from './scrub-snapshots.ts';

/** Share of the rate while the log is busy: 1 of so many. */
const BUSY_SHARE = 4;
/** Most found slots whose repair is followed. */
const FOLLOWED_MAX = 4096;

export type ScrubPhase = 'off' | 'rest' | 'manifest' | 'tail' | 'log' | 'snapshots';

/** Something on the medium is not what was written. */
export interface Damage {
  readonly file: string;
  /** The entry, when it is one. */
  readonly index: number | null;
  readonly fault: string;
  /** What is done: asked of the other replicas, written again at once, or (a snapshot) fetched again or superseded by a newer one. */
  readonly remedy: 'peers' | 'rewritten' | 'replaced';
}

export interface ScrubReport {
  readonly phase: ScrubPhase;
  /** Passes finished since start. */
  readonly passes: number;
  /** Last entry that this pass has looked at (while it rests: the pass before). */
  readonly position: CommitIndex;
  /** Bytes read in this pass, of how many there were when it began. */
  readonly bytes: number;
  readonly ofBytes: number;
  /** Monotonic ms of the end of the last pass; null before. */
  readonly lastPassMs: number | null;
  /** Damaged entries and copies found since start, and how many of them are whole again. */
  readonly damaged: number;
  readonly repaired: number;
}

export interface ScrubberOptions {
  readonly store: LogStore;
  /** Bytes read a tick; 0: it does not run. */
  readonly bytesPerTick: number;
  /** Ticks between two passes, and before the first. */
  readonly restTicks: number;
  onDamage(damage: Damage): void;
  readonly snapshots: DamagedSnapshots;
}

/** Who mends snapshots. */
export interface DamagedSnapshots {
  /** The file of the snapshot at `index` is damaged. */
  onDamaged(index: number): void;
  /** True until it is whole again, or superfluous. */
  isDamaged(index: number): boolean;
}

export class Scrubber {
  private readonly options: ScrubberOptions;
  private readonly log: LogScrub;
  private readonly snapshots: SnapshotScrub;
  private phase: ScrubPhase;
  private restLeft: number;
  private budget = 0;
  private reading = false;
  private passes = 0;
  private bytes = 0;
  private ofBytes = 0;
  private lastPassMs: number | null = null;
  private nowMs = 0;
  private damaged = 0;
  private repaired = 0;
  /** Damaged entries that are not repaired yet. */
  private readonly open = new Set<number>();
  /** Damaged snapshots likewise. */
  private readonly openSnapshots = new Set<number>();
  private readonly foundSnapshot = (damage: Damage, index: number): void => {
    const { snapshots } = this.options;
    if (this.openSnapshots.has(index)) {
      // Found by an earlier pass, and not mended yet.
      if (snapshots.isDamaged(index)) return;
      this.repaired++;
    }
    this.openSnapshots.add(index);
    this.damaged++;
    this.options.onDamage(damage);
    snapshots.onDamaged(index);
  };
  private readonly found = (damage: Damage): void => {
    this.damaged++;
    if (damage.remedy === 'rewritten') this.repaired++;
    else if (damage.index !== null && this.open.size < FOLLOWED_MAX) this.open.add(damage.index);
    this.options.onDamage(damage);
  };

  constructor(options: ScrubberOptions) {
    this.options = options;
    this.log = new LogScrub(options.store, this.found);
    this.snapshots = new SnapshotScrub(options.store, this.foundSnapshot);
    this.phase = options.bytesPerTick > 0 ? 'rest' : 'off';
    this.restLeft = options.restTicks;
  }

  report(): ScrubReport {
    const { phase, passes, bytes, ofBytes, lastPassMs, damaged, repaired } = this;
    return { phase, passes, position: this.log.position, bytes, ofBytes, lastPassMs, damaged, repaired };
  }

  /** Call it every tick. */
  tick(nowMs: number): void {
    const { store, bytesPerTick } = this.options;
    this.nowMs = nowMs;
    if (this.phase === 'off' || store.isStopped) return;
    for (const index of this.open) {
      if (store.repairs.isFaulty(index)) continue;
      this.open.delete(index);
      this.repaired++;
    }
    for (const index of this.openSnapshots) {
      if (this.options.snapshots.isDamaged(index)) continue;
      this.openSnapshots.delete(index);
      this.repaired++;
    }
    if (this.phase === 'rest') {
      if (--this.restLeft <= 0) this.begin();
      return;
    }
    const rate = store.idle ? bytesPerTick : bytesPerTick / BUSY_SHARE;
    // What is not used is not saved up: no burst after a wait.
    this.budget = Math.min(this.budget + rate, bytesPerTick);
    if (this.reading || this.budget <= 0) return;
    this.reading = true;
    this.step();
  }

  private begin(): void {
    this.bytes = 0;
    this.log.begin();
    this.ofBytes = this.options.store.report().bytes + this.snapshots.begin();
    this.phase = 'manifest';
  }

  private step(): void {
    const { store } = this.options;
    if (this.phase === 'manifest') scrubManifest(store, this.found, (bytes) => this.stepped(bytes, 'tail'));
    else if (this.phase === 'tail') scrubTail(store, this.found, (bytes) => this.stepped(bytes, 'log'));
    else if (this.phase === 'log') this.log.step((bytes, over) => this.stepped(bytes, over ? 'snapshots' : 'log'));
    else this.snapshots.step((bytes, over) => this.stepped(bytes, over ? 'rest' : 'snapshots'));
  }

  private stepped(bytes: number, next: ScrubPhase): void {
    this.reading = false;
    this.budget -= bytes;
    this.bytes += bytes;
    this.phase = next;
    if (next !== 'rest') return;
    this.passes++;
    this.lastPassMs = this.nowMs;
    this.restLeft = this.options.restTicks;
  }
}
