/**
 * QuorumTracker: which replicas have acknowledged which indexes above the commit, in this view.
 *
 * Invariants: an acknowledgement counts for exactly its range (docs/protocol.md: nothing is inferred about an index below first); the commit
 * moves over an index only when a quorum acknowledged it and everything before it is committed.
 */
import { assert } from '../assert.ts';
import { at, type CommitIndex, max, next } from '../engine/commit-index.ts';
import type { IndexRange } from '../engine/log-contract.ts';

export class QuorumTracker {
  private readonly quorum: number;
  private readonly members: readonly number[];
  /** Disjoint ascending ranges above the commit, in the order of the members. */
  private readonly lists: IndexRange[][];
  private committed: CommitIndex;
  /** Scratch of `advance`. */
  private readonly covers: number[] = [];

  constructor(members: readonly number[], quorum: number, commit: CommitIndex) {
    this.quorum = quorum;
    this.committed = commit;
    this.members = members;
    this.lists = members.map(() => []);
  }

  /** Notes that `replica` holds first..last durably. */
  ack(replica: number, first: number, last: number): void {
    assert(first <= last, 'an acknowledged range is not empty');
    const slot = this.slotOf(replica);
    const list = this.lists[slot]!;
    let from = Math.max(first, next(this.committed));
    let to = last;
    if (from > to) return;
    // Nearly always: nothing above the commit was acknowledged before.
    if (list.length === 0 || (list.length === 1 && list[0]!.to <= this.committed)) {
      list[0] = { from, to };
      return;
    }
    const kept: IndexRange[] = [];
    for (const range of list) {
      if (range.to < from - 1 || range.from > to + 1) {
        if (range.to > this.committed) kept.push(range);
      } else {
        from = Math.min(from, range.from);
        to = Math.max(to, range.to);
      }
    }
    kept.push({ from, to });
    kept.sort((a, b) => a.from - b.from);
    this.lists[slot] = kept;
  }

  /** True when `replica` acknowledged every index of first..last that is above the commit. */
  has(replica: number, first: number, last: number): boolean {
    const from = Math.max(first, next(this.committed));
    if (from > last) return true;
    return this.lists[this.slotOf(replica)]!.some((range) => range.from <= from && range.to >= last);
  }

  private slotOf(replica: number): number {
    const slot = this.members.indexOf(replica);
    if (slot < 0) assert(false, `replica ${replica} is a member`);
    return slot;
  }

  /** What is known to be committed through `commit` by other means needs no acknowledgement in this view. */
  raise(commit: CommitIndex): void {
    this.committed = max(this.committed, commit);
  }

  /** Moves the commit as far as the acknowledgements allow; returns it. */
  advance(): CommitIndex {
    for (;;) {
      const start = next(this.committed);
      const { covers } = this;
      for (let i = 0; i < this.lists.length; i++) covers[i] = coverOf(this.lists[i]!, start);
      const through = nthLargest(this.quorum, covers, -1);
      if (through < start) return this.committed;
      this.committed = at(through);
    }
  }
}

/** Through where a replica covers the log from `start` on; -1 when it does not. */
function coverOf(list: readonly IndexRange[], start: number): number {
  for (const range of list) if (range.from <= start && range.to >= start) return range.to;
  return -1;
}

/**
 * The `n`-th largest (from 1) of the first `of` values, none of which is below `lowest`; `lowest` when there are fewer. Allocates nothing: asked after
 * every message.
 */
export function nthLargest<T extends number>(n: number, values: readonly T[], lowest: T, of = values.length): T {
  let best = lowest;
  for (let i = 0; i < of; i++) {
    const value = values[i]!;
    if (value <= best) continue;
    let count = 0;
    for (let j = 0; j < of; j++) if (values[j]! >= value) count++;
    if (count >= n) best = value;
  }
  return best;
}
