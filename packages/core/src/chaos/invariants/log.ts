/**
 * Log invariants: no two frames with equal (view, index) differ; what is committed was durable on a quorum and is never contradicted; commit only grows
 * within a process run; applied <= commit <= last.
 */
import type { FrameBatch } from '../../engine/frame-batch.ts';
import { frame } from '../../engine/frame.ts';
import { copyHash, sameHash, toHex } from '../../engine/hash.ts';
import type { CanonicalLog } from '../canonical.ts';
import type { DurableFrame, DurableLog } from '../durable-log.ts';
import type { Observation, Observed } from '../observation.ts';
import type { PromiseInvariants } from './promise.ts';
import { mustHold, Violation } from '../violation.ts';

interface Progress {
  run: number;
  commit: number;
  applied: number;
}

export class LogInvariants {
  private readonly canonical: CanonicalLog;
  private readonly logs: readonly DurableLog[];
  private readonly quorum: number;
  /** Chain hash of each frame ever seen, by index, then view. */
  private readonly proposed: Map<number, Uint8Array>[] = [];
  /** A batch goes to several replicas, one after the other: the same object, which does not change. */
  private lastBatch: FrameBatch | null = null;
  private readonly progress = new Map<number, Progress>();
  /** Chain hashes that a disk held above what was committed when it was wiped, by replica, then index: its promises may still be on their way. */
  private readonly lost = new Map<number, Map<number, Uint8Array>>();

  private readonly promises: PromiseInvariants | null;

  constructor(canonical: CanonicalLog, logs: readonly DurableLog[], promises: PromiseInvariants | null = null) {
    this.promises = promises;
    this.canonical = canonical;
    this.logs = logs;
    this.quorum = Math.floor(logs.length / 2) + 1;
  }

  /** A frame was seen, on a medium or in a message. */
  frameSeen(index: number, view: number, hash: Uint8Array, where: string): void {
    const views = (this.proposed[index] ??= new Map<number, Uint8Array>());
    const known = views.get(view);
    if (known === undefined) views.set(view, copyHash(hash));
    else if (!sameHash(known, hash)) {
      throw new Violation(
        'log',
        'one-frame-a-view-and-index',
        `${where} there is a frame of index ${index} and view ${view} with chain hash ${toHex(hash)}, elsewhere one with ${toHex(known)}`,
      );
    }
  }

  batchSeen(batch: FrameBatch, where: string): void {
    if (batch === this.lastBatch) return;
    this.lastBatch = batch;
    for (let index = batch.first; index <= batch.last; index++) {
      this.frameSeen(index, batch.viewOf(index), batch.hashOf(index), where);
    }
  }

  /** Looked at after each step. Returns true when the canonical log grew. */
  step(replica: Observed, seen: Observation): boolean {
    const progress = this.progressOf(replica);
    if (seen.commit === progress.commit && seen.applied === progress.applied) return false;
    mustHold(seen.commit >= progress.commit, 'log', 'commit-only-grows', () => {
      return `r${replica.id} went from commit ${progress.commit} back to ${seen.commit} while it ran`;
    });
    mustHold(seen.applied <= seen.commit, 'log', 'applied-is-committed', () => {
      return `r${replica.id} has applied ${seen.applied} but knows only ${seen.commit} as committed`;
    });
    mustHold(seen.commit <= seen.last, 'log', 'committed-is-in-the-log', () => {
      return `r${replica.id} says ${seen.commit} is committed, its log ends at ${seen.last}`;
    });
    progress.commit = seen.commit;
    progress.applied = seen.applied;
    const before = this.canonical.last;
    for (let index = before + 1; index <= seen.commit; index++) {
      this.canonical.append(this.durableOnQuorum(replica, index));
      if (seen.acting) this.promises?.commits(replica, seen, index);
    }
    return this.canonical.last > before;
  }

  /**
   * A disk is about to be lost. A promise that left it counts when it arrives: that is no other case than a commit just before the disk was lost, and its successor
   * does not vote before it holds the entry that replaces it.
   */
  losesDisk(id: number): void {
    const held = new Map<number, Uint8Array>();
    const log = this.logs[id - 1]!;
    for (let index = this.canonical.last + 1; ; index++) {
      const hash = log.hashAt(index);
      if (hash === null) break;
      held.set(index, hash);
    }
    this.lost.set(id, held);
  }

  /** A truncation a replica reports: from..to are dropped. */
  truncated(replica: Observed, from: number): void {
    const { commit } = this.progressOf(replica);
    mustHold(from > commit, 'log', 'nothing-committed-is-truncated', () => {
      return `r${replica.id} truncates from ${from}, it had committed ${commit}`;
    });
  }

  /** At rest: every replica's medium holds every committed entry that its log should have, and what it has not is covered by a snapshot there. */
  atRest(replica: Observed): void {
    const log = this.logs[replica.id - 1]!;
    const snapshots = log.storage
      .durableFiles('snapshots/')
      .map(([path]) => Number(/(\d{20})\.snap$/.exec(path)?.[1] ?? -1));
    // A log without a frame begins behind the snapshot that was installed.
    const first = log.first ?? Math.max(-1, ...snapshots) + 1;
    mustHold(
      first === 0 || snapshots.some((index) => index >= first - 1),
      'log',
      'log-dropped-only-behind-a-snapshot',
      () => {
        return `the log of r${replica.id} begins at ${first}; its snapshots are at ${snapshots.join(', ') || 'none'}`;
      },
    );
    for (let index = first; index <= this.canonical.last; index++) {
      const entry = this.canonical.entries[index]!;
      mustHold(log.has(index, entry.hash), 'log', 'the-log-is-the-canonical-one', () => {
        const found = log.hashAt(index);
        return `r${replica.id} came to rest without committed entry ${index} (${toHex(entry.hash)}) on its medium; there is ${found === null ? 'nothing' : toHex(found)}`;
      });
    }
  }

  /** The entry that became committed: on the medium of a quorum, with one chain hash. */
  private durableOnQuorum(replica: Observed, index: number): DurableFrame {
    // The own log first.
    for (let k = 0; k < this.logs.length; k++) {
      const log = this.logs[k === 0 ? replica.id - 1 : k < replica.id ? k - 1 : k]!;
      const hash = log.hashAt(index);
      if (hash === null || this.copies(index, hash) < this.quorum) continue;
      const found = log.frameOf(index, hash)!;
      if (this.continues(found)) return found;
    }
    const counts = new Map<string, number>();
    for (const log of this.logs) {
      const hash = log.hashAt(index);
      if (hash !== null) counts.set(toHex(hash), (counts.get(toHex(hash)) ?? 0) + 1);
    }
    const copies = [...counts].map(([hash, count]) => `${count} of ${hash.slice(0, 8)}`).join(', ') || 'none';
    throw new Violation(
      'durability',
      'commit-implies-a-quorum-of-durable-copies',
      `r${replica.id} says ${index} is committed; durable copies: ${copies}; a quorum is ${this.quorum}`,
    );
  }

  /** On how many media the frame is, or was when the disk was lost. */
  private copies(index: number, hash: Uint8Array): number {
    let count = 0;
    for (let i = 0; i < this.logs.length; i++)
      if (this.logs[i]!.has(index, hash) || this.hadLost(i + 1, index, hash)) count++;
    if (count >= this.quorum) return count;
    // Looked for last: it costs a walk through a segment.
    for (let i = 0; i < this.logs.length; i++)
      if (!this.hadLost(i + 1, index, hash) && this.logs[i]!.standsBehindGap(index, index, hash)) count++;
    return count;
  }

  /** The frame chains to the newest committed entry. */
  private continues(found: DurableFrame): boolean {
    const before = this.canonical.entries[found.index - 1];
    return before === undefined || frame.chainsTo(found.bytes, 0, before.hash);
  }

  private hadLost(id: number, index: number, hash: Uint8Array): boolean {
    if (this.lost.size === 0) return false;
    const held = this.lost.get(id)?.get(index);
    return held !== undefined && sameHash(held, hash);
  }

  private progressOf(replica: Observed): Progress {
    let progress = this.progress.get(replica.id);
    if (progress === undefined || progress.run !== replica.run) {
      progress = { run: replica.run, commit: -1, applied: -1 };
      this.progress.set(replica.id, progress);
    }
    return progress;
  }
}
