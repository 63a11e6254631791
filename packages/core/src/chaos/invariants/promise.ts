/**
 * Promise invariants: what a primary commits first of all, a quorum has promised to it, in its view, for exactly that index (docs/protocol.md, "Normal path": nothing is
 * inferred about an index below the first one of a PrepareOk, nothing from a promise of another view). Seen from outside: by the messages that arrive.
 */
import type { DoViewChange, PrepareOk } from '../../vsr/messages.ts';
import type { Observation, Observed } from '../observation.ts';
import { mustHold } from '../violation.ts';

interface Range {
  readonly from: number;
  to: number;
}

/** What has arrived at one replica, of the highest view that anything was promised to it in. */
interface Arrived {
  view: number;
  readonly by: Map<number, Range[]>;
  /** Highest index that a quorum had promised in an earlier view; -1 for none. */
  before: number;
}

export class PromiseInvariants {
  private readonly quorum: number;
  private readonly arrived: Arrived[];
  /** Highest commit that a vote for the view states. */
  private readonly stated = new Map<number, number>();

  constructor(replicas: number) {
    this.quorum = Math.floor(replicas / 2) + 1;
    this.arrived = Array.from({ length: replicas }, () => ({ view: -1, by: new Map<number, Range[]>(), before: -1 }));
  }

  /** A PrepareOk reaches a replica. */
  arrives(to: number, from: number, { view, first, last }: PrepareOk): void {
    const arrived = this.arrived[to - 1]!;
    if (view < arrived.view) return;
    if (view > arrived.view) this.begins(arrived, view);
    let ranges = arrived.by.get(from);
    if (ranges === undefined) {
      ranges = [];
      arrived.by.set(from, ranges);
    }
    const newest = ranges.at(-1);
    if (newest !== undefined && first >= newest.from && first <= newest.to + 1) newest.to = Math.max(newest.to, last);
    else ranges.push({ from: first, to: last });
  }

  /**
   * A vote states what is committed: nobody may have observed it yet, as a primary that lacks a frame below cannot say so at home; but some primary of an earlier
   * view has got the promises.
   */
  votes(id: number, { view, commit }: DoViewChange, observed: number): void {
    if (commit > observed && !this.arrived.some((at) => at.view < view && this.proves(at, commit))) {
      mustHold(false, 'durability', 'commit-implies-a-quorum-of-promises', () => {
        return `r${id} votes in view ${view} that ${commit} is committed; in no view before have ${this.quorum - 1} others promised it`;
      });
    }
    if (commit > (this.stated.get(view) ?? -1)) this.stated.set(view, commit);
  }

  /** An acting primary is the first to say that `index` is committed; it has its own copy. */
  commits(replica: Observed, { view }: Observation, index: number): void {
    const own = this.arrived[replica.id - 1]!;
    const promised = own.view === view ? promises(own, index) : 0;
    if (promised >= this.quorum - 1 || index <= (this.stated.get(view) ?? -1)) return;
    mustHold(false, 'durability', 'commit-implies-a-quorum-of-promises', () => {
      return `r${replica.id} commits ${index} in view ${view}; of others ${promised} have promised it there, a quorum is ${this.quorum}`;
    });
  }

  private proves(arrived: Arrived, index: number): boolean {
    return index <= arrived.before || promises(arrived, index) >= this.quorum - 1;
  }

  private begins(arrived: Arrived, view: number): void {
    for (const ranges of arrived.by.values())
      for (const { to } of ranges)
        for (let index = to; index > arrived.before; index--)
          if (promises(arrived, index) >= this.quorum - 1) arrived.before = index;
    arrived.by.clear();
    arrived.view = view;
  }
}

/** How many replicas have promised exactly this index. */
function promises({ by }: Arrived, index: number): number {
  let count = 0;
  for (const ranges of by.values()) if (ranges.some(({ from, to }) => index >= from && index <= to)) count++;
  return count;
}
