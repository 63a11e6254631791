/**
 * QuorumTracker: which replicas have acknowledged which indexes above the commit, in this view.
 *
 * Invariants: an acknowledgement counts for exactly its range (docs/protocol.md: nothing is inferred about an index below first); the commit
 * moves over an index only when a quorum acknowledged it and everything before it is committed.
 */
import { assert } from '../assert.ts';
import { at, type CommitIndex, next } from '../engine/commit-index.ts';
import type { IndexRange } from '../engine/log-contract.ts';

export class QuorumTracker {
  private readonly quorum: number;
  /** Disjoint ascending ranges above the commit, by replica id. */
  private readonly ranges: Map<number, IndexRange[]>;
  private committed: CommitIndex;

  constructor(members: readonly number[], quorum: number, commit: CommitIndex) {
    this.quorum = quorum;
    this.committed = commit;
    this.ranges = new Map(members.map((id) => [id, []]));
  }

  /** Notes that `replica` holds first..last durably. */
  ack(replica: number, first: number, last: number): void {
    assert(first <= last, 'an acknowledged range is not empty');
    const list = this.ranges.get(replica);
    assert(list !== undefined, `replica ${replica} is a member`);
    let from = Math.max(first, next(this.committed));
    let to = last;
    if (from > to) return;
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
    this.ranges.set(replica, kept);
  }

  /** True when `replica` acknowledged every index of first..last that is above the commit. */
  has(replica: number, first: number, last: number): boolean {
    const from = Math.max(first, next(this.committed));
    if (from > last) return true;
    return this.ranges.get(replica)!.some((range) => range.from <= from && range.to >= last);
  }

  /** Moves the commit as far as the acknowledgements allow; returns it. */
  advance(): CommitIndex {
    for (;;) {
      const start = next(this.committed);
      const covers: number[] = [];
      for (const list of this.ranges.values()) {
        const range = list.find((r) => r.from <= start && r.to >= start);
        if (range !== undefined) covers.push(range.to);
      }
      if (covers.length < this.quorum) return this.committed;
      covers.sort((a, b) => b - a);
      this.committed = at(covers[this.quorum - 1]!);
    }
  }
}
