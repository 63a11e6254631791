/**
 * Promise invariants: what a primary commits first of all, a quorum has promised to it, in its view, for exactly that index (docs/protocol.md, "Normal path": nothing is
 * inferred about an index below the first one of a PrepareOk, nothing from a promise of another view). Seen from outside: by the messages that arrive.
 */
import type { PrepareOk } from '../../vsr/messages.ts';
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
}

export class PromiseInvariants {
  private readonly quorum: number;
  private readonly arrived: Arrived[];

  constructor(replicas: number) {
    this.quorum = Math.floor(replicas / 2) + 1;
    this.arrived = Array.from({ length: replicas }, () => ({ view: -1, by: new Map<number, Range[]>() }));
  }

  /** A PrepareOk reaches a replica. */
  arrives(to: number, from: number, { view, first, last }: PrepareOk): void {
    const arrived = this.arrived[to - 1]!;
    if (view < arrived.view) return;
    if (view > arrived.view) arrived.by.clear();
    arrived.view = view;
    let ranges = arrived.by.get(from);
    if (ranges === undefined) {
      ranges = [];
      arrived.by.set(from, ranges);
    }
    const newest = ranges.at(-1);
    if (newest !== undefined && first >= newest.from && first <= newest.to + 1) newest.to = Math.max(newest.to, last);
    else ranges.push({ from: first, to: last });
  }

  /** An acting primary is the first to say that `index` is committed; it has its own copy. */
  commits(replica: Observed, { view }: Observation, index: number): void {
    const { by, view: arrivedIn } = this.arrived[replica.id - 1]!;
    let promised = 0;
    if (arrivedIn === view) {
      for (const ranges of by.values()) if (ranges.some(({ from, to }) => index >= from && index <= to)) promised++;
    }
    if (promised >= this.quorum - 1) return;
    mustHold(false, 'durability', 'commit-implies-a-quorum-of-promises', () => {
      return `r${replica.id} commits ${index} in view ${view}; of others ${promised} have promised it there, a quorum is ${this.quorum}`;
    });
  }
}
