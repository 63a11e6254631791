/**
 * Epochs of the own log: each install begins one, and cuts the log. A write that was handed over in an older epoch says of its frames only what no later install
 * has cut.
 *
 * Invariants: the kept cuts grow in epoch and in end, and each is above what is durable, so that there are never more than frames wait for the disk.
 */
import { at, type CommitIndex } from '../engine/commit-index.ts';

interface Cut {
  readonly epoch: number;
  /** End of the log behind the install that began the epoch. */
  readonly end: CommitIndex;
}

export class Epochs {
  /** Counts installs: writes of different epochs at one index are different writes, even of equal frames. */
  current = 0;
  /** What matters of the installs, oldest first. A later one with a lower end says all that an earlier one did. */
  private cuts: Cut[] = [];
  /** Completions of older epochs say nothing that is not known: a later install cut the log to what was durable. */
  private spent = 0;

  /** An install cuts the log to `end`. */
  begin(end: CommitIndex): void {
    this.current++;
    while (this.cuts.length > 0 && this.cuts.at(-1)!.end >= end) this.cuts.pop();
    this.cuts.push({ epoch: this.current, end });
  }

  /** Through where the completion of a write of `epoch`, which says `index`, tells of the log as it is now; null: nothing new. */
  through(index: number, epoch: number): CommitIndex | null {
    if (epoch < this.spent) return null;
    const cut = this.cuts.find((later) => later.epoch > epoch);
    return at(cut === undefined ? index : Math.min(index, cut.end));
  }

  /** Frames through `durable` are: what was cut to there or below tells no completion anything any more. */
  settle(durable: CommitIndex): void {
    while (this.cuts.length > 0 && this.cuts[0]!.end <= durable) this.spent = this.cuts.shift()!.epoch;
  }

  /** Cuts remembered. */
  get kept(): number {
    return this.cuts.length;
  }
}
