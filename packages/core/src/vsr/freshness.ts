/**
 * Freshness: since when the own applied state is known to be complete, so that a stale read can be bounded (docs/protocol.md, "Reads"). No clock of
 * another machine and no assumption about the network is used.
 *
 * The argument, at a backup. Commit(q) says which round each replica had answered when the primary sent it, and which process run of it (the network may
 * deliver Commit(r) to the next run as well). If it names round r for this replica and run, it was sent after CommitOk(r) left here, at local time t. Once a
 * later Commit shows that a quorum answered q, the commit noted in q was complete when q was sent (ReadIndex), so at t or later. A state that has applied that
 * commit lacks nothing that was committed before t. A primary knows when it sent q.
 *
 * Local time (`elapsed`) is the monotonic clock's, which stands still while the machine is suspended, and what the wall clock ran ahead of it meanwhile. A wall clock
 * that is set forward makes a state look older than it is, until the next heartbeats. What neither clock notices (a paused virtual machine whose wall clock nobody has
 * set yet) is not counted.
 *
 * Invariants: `asOfMs` never goes back; what it says stays true in later views; a repeated Commit proves nothing new.
 */
import type { CommitIndex } from '../engine/commit-index.ts';
import type { Commit } from './messages.ts';
import { nthLargest } from './quorum-tracker.ts';

/** Rounds that are remembered. */
export const ROUND_RING = 1024;

/** A state that has applied `commit` lacks nothing committed before `asOfMs` (by `elapsed`). */
interface Evidence {
  readonly commit: CommitIndex;
  readonly asOfMs: number;
}

const PENDING_MAX = 64;
/** The wall clock running ahead of the monotonic one by less is no suspension: both are read, and rounded, one after the other. */
const SUSPENSION_MIN_MS = 10;
const NEVER = Number.NEGATIVE_INFINITY;

export class Freshness {
  private view = -1;
  /** By round modulo ROUND_RING, each with the round it is of: when the first answer left, and what the Commit said. */
  private readonly answered = new Float64Array(ROUND_RING);
  private readonly answeredMs = new Float64Array(ROUND_RING);
  private readonly heard = new Float64Array(ROUND_RING);
  private readonly heardCommit: CommitIndex[] = [];
  private readonly heardMs = new Float64Array(ROUND_RING);
  private pending: Evidence[] = [];
  private asOfMs = NEVER;
  private suspendedMs = 0;
  /** How far the wall clock was ahead of the monotonic one: the least since it was last noted. */
  private aheadMs = Number.POSITIVE_INFINITY;

  /** Local time of now; it never goes back. */
  elapsed(monotonicMs: number, wallMs: number): number {
    const aheadMs = wallMs - monotonicMs;
    if (aheadMs < this.aheadMs) this.aheadMs = aheadMs;
    else if (aheadMs - this.aheadMs >= SUSPENSION_MIN_MS) {
      this.suspendedMs += aheadMs - this.aheadMs;
      this.aheadMs = aheadMs;
    }
    return monotonicMs + this.suspendedMs;
  }

  /** A Commit of the view's primary, about to be answered at `nowMs`. `slot`: place of this replica among the members; `run`: nonce of this process. */
  heardFrom(m: Commit, slot: number, run: number, quorum: number, nowMs: number): void {
    if (m.view !== this.view) {
      this.view = m.view;
      this.answered.fill(0);
      this.heard.fill(0);
    }
    const at = m.round % ROUND_RING;
    if (this.heard[at]! < m.round) {
      const own = m.answered[slot] ?? 0;
      const known = own > 0 && m.runs[slot] === run && this.answered[own % ROUND_RING] === own;
      this.heard[at] = m.round;
      this.heardCommit[at] = m.commit;
      this.heardMs[at] = known ? this.answeredMs[own % ROUND_RING]! : NEVER;
    }
    if (this.answered[at]! < m.round) {
      this.answered[at] = m.round;
      this.answeredMs[at] = nowMs;
    }
    if (m.answered.length === 0) return;
    const confirmed = nthLargest(quorum, m.answered, 0);
    const from = confirmed % ROUND_RING;
    if (confirmed > 0 && this.heard[from] === confirmed) this.note(this.heardCommit[from]!, this.heardMs[from]!);
  }

  note(commit: CommitIndex, asOfMs: number): void {
    const newest = this.pending.at(-1)?.asOfMs ?? this.asOfMs;
    if (asOfMs <= newest) return;
    if (this.pending.length >= PENDING_MAX) this.pending.pop();
    this.pending.push({ commit, asOfMs });
  }

  /** The local time before which nothing committed is missing in the state at `applied`; -Infinity when not known. */
  asOf(applied: CommitIndex): number {
    let done = 0;
    while (done < this.pending.length && this.pending[done]!.commit <= applied)
      this.asOfMs = this.pending[done++]!.asOfMs;
    if (done > 0) this.pending = this.pending.slice(done);
    return this.asOfMs;
  }
}
