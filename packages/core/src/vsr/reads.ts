/**
 * Linearizable reads by ReadIndex, and heartbeats, which are the same rounds (docs/protocol.md, "Reads"; Raft dissertation, 6.4).
 *
 * Invariants: a read uses only a round sent after it arrived; a round is confirmed by replicas that are normal in the same view; the primary has
 * applied its own no-op; a read is answered from a state at or above the commit noted when it arrived.
 */
import { type CommitIndex, fromWire, NONE, toWire } from '../engine/commit-index.ts';
import { ZERO_HASH } from '../engine/hash.ts';
import { type ClientMessage, REFUSAL, refusal, type RefusalStatus, TO_CLIENT } from './client-protocol.ts';
import { compareDigest } from './divergence.ts';
import { ROUND_RING } from './freshness.ts';
import { isOfOldIncarnation } from './members.ts';
import type { Commit, CommitOk } from './messages.ts';
import { nthLargest } from './quorum-tracker.ts';
import type { NodeState, PrimaryState, Read } from './state.ts';
import { noteVersions } from './versions.ts';

/** Sends a heartbeat, which is a new round. */
export function sendHeartbeat(n: NodeState, primary: PrimaryState): void {
  n.round++;
  primary.sentMs[n.round % ROUND_RING] = n.monotonicMs;
  primary.sentElapsedMs[n.round % ROUND_RING] = elapsedMs(n);
  primary.sentTick[n.round % ROUND_RING] = n.tickCount;
  primary.sentCommit[n.round % ROUND_RING] = n.serving ? toWire(n.commit) : 0;
  primary.heartbeatTick = n.tickCount;
  const commit = n.policy.commitZeroHeartbeat && n.commit === NONE ? (0 as CommitIndex) : n.commit;
  const confirmed = confirmedDigest(n);
  const confirmedHash = confirmed === NONE ? null : n.sessions.digestAt(confirmed);
  n.broadcast({
    type: 'commit',
    view: n.view,
    commit,
    head: n.end,
    round: n.round,
    answered: n.serving ? answeredRounds(n, primary) : [],
    runs: n.serving ? n.members.map((id) => (id === n.id ? n.nonce : (primary.runs.get(id) ?? 0))) : [],
    applied: n.applied,
    digest: n.sessions.digestAt(n.applied) ?? ZERO_HASH,
    confirmed: confirmedHash === null ? NONE : confirmed,
    confirmedDigest: confirmedHash ?? ZERO_HASH,
  });
}

/** Highest round each member has answered, in the order of the members; the own one is the newest. */
function answeredRounds(n: NodeState, primary: PrimaryState): number[] {
  return n.members.map((id) => (id === n.id ? n.round : (primary.rounds.get(id) ?? 0)));
}

/** True while there is room for another read, held or not. */
export function hasRoomForRead(n: NodeState, primary: PrimaryState, read: Read): boolean {
  const count = primary.reads.length + primary.heldReads.length;
  return count < n.config.queueMax && primary.readBytes + read.body.length <= n.config.queueBytesMax;
}

/** A linearizable read at a serving primary; its bytes are counted already. */
export function addRead(n: NodeState, primary: PrimaryState, read: Read): void {
  if (n.quorum === 1 || n.policy.staleReadFromPausedPrimary) {
    read.commit = n.commit;
    read.round = 0;
    primary.reads.push(read);
    answerReads(n, primary);
    return;
  }
  read.commit = n.commit;
  read.round = n.policy.readJoinsOldRound ? n.round : n.round + 1;
  const idle = confirmedRound(n, primary) >= n.round;
  primary.reads.push(read);
  if (idle) sendHeartbeat(n, primary);
  if (n.policy.readJoinsOldRound) answerReads(n, primary);
}

/** A backup's answer to a heartbeat: quorum contact, read rounds, digests. */
export function onCommitOk(n: NodeState, from: number, m: CommitOk): void {
  const primary = n.primary;
  if (primary === null || !n.isPrimary || m.view !== n.view || m.round > n.round) return;
  if (isOfOldIncarnation(primary, from, m.durable)) return;
  if (m.round > (primary.rounds.get(from) ?? 0)) {
    primary.rounds.set(from, m.round);
    primary.runs.set(from, m.run);
    noteVersions(primary, from, m);
  }
  compareDigest(n, from, m.digestIndex, m.digest);
  // It steps down in this step: what it has applied is not what the log says.
  if (n.diverged !== null) return;
  if (n.round - m.round < ROUND_RING)
    n.clock.sample(from, m.wallUs / 1000, primary.sentMs[m.round % ROUND_RING]!, n.monotonicMs);
  answerReads(n, primary);
  const waiting = primary.reads.length > 0 && primary.reads[primary.reads.length - 1]!.round > n.round;
  if (waiting && confirmedRound(n, primary) >= n.round) sendHeartbeat(n, primary);
}

/** What a backup says to a heartbeat: its D at the primary's applied index when it has it, else at its own. */
export function commitOk(n: NodeState, m: Commit): CommitOk {
  const shared = m.applied <= n.applied ? m.applied : n.applied;
  const digest = shared === NONE ? null : n.sessions.digestAt(shared);
  const { oldest, newest } = n.sessions.versions;
  return {
    type: 'commitOk',
    view: n.view,
    round: m.round,
    run: n.nonce,
    durable: n.durable,
    applied: n.applied,
    digestIndex: digest === null ? NONE : shared,
    digest: digest ?? ZERO_HASH,
    wallUs: Math.max(0, Math.floor(n.wallMs * 1000)),
    oldest,
    newest,
  };
}

const scratch: number[] = [];

/** What a quorum, this replica included, has reached at least; `lowest` stands for those that said nothing. */
function nthOfOthers<T extends number>(n: NodeState, values: ReadonlyMap<number, T>, lowest: T): T {
  // Never shortened: an array that is emptied gives its memory back.
  const others = scratch as T[];
  let count = 0;
  for (let i = 0; i < n.members.length; i++) {
    const id = n.members[i]!;
    if (id !== n.id) others[count++] = values.get(id) ?? lowest;
  }
  return nthLargest(n.quorum - 1, others, lowest, count);
}

/** Highest round that a quorum (this primary included) has answered. */
export function confirmedRound(n: NodeState, primary: PrimaryState): number {
  if (n.quorum === 1) return n.round;
  return nthOfOthers(n, primary.rounds, 0);
}

/** Local time as maxLag measures it. */
export function elapsedMs(n: NodeState): number {
  return n.freshness.elapsed(n.monotonicMs, n.wallMs);
}

/** How much the applied state may lack, in ms; Infinity when that is not known. */
export function lagMs(n: NodeState): number {
  const { primary, freshness } = n;
  const nowMs = elapsedMs(n);
  if (primary !== null && n.serving) {
    if (n.quorum === 1) freshness.note(n.commit, nowMs);
    else {
      const round = confirmedRound(n, primary);
      const at = round % ROUND_RING;
      const known = round > 0 && n.round - round < ROUND_RING && primary.sentCommit[at]! > 0;
      if (known) freshness.note(fromWire(primary.sentCommit[at]!), primary.sentElapsedMs[at]!);
    }
  }
  return Math.max(0, nowMs - freshness.asOf(n.applied));
}

/** Why this replica must not answer a stale read that may lack `maxLagMs` (Infinity: any amount), or null. */
export function staleRefusal(n: NodeState, nonce: number, maxLagMs: number): ClientMessage | null {
  const refuse = (status: RefusalStatus): ClientMessage =>
    refusal(TO_CLIENT.queryRefusal, status, 0, nonce, new Uint8Array(0));
  if (n.diverged !== null) return refuse(REFUSAL.unavailable);
  return maxLagMs === Number.POSITIVE_INFINITY || lagMs(n) <= maxLagMs ? null : refuse(REFUSAL.lag);
}

/**
 * When the newest quorum-confirmed round was sent, monotonic ms; -Infinity when none in this view. For as long as the machine was suspended since, it is longer ago
 * than its monotonic clock says.
 */
export function quorumContactMs(n: NodeState): number {
  const primary = n.primary;
  if (primary === null) return Number.NEGATIVE_INFINITY;
  if (n.quorum === 1) return n.monotonicMs;
  const round = confirmedRound(n, primary);
  if (round === 0 || n.round - round >= ROUND_RING) return Number.NEGATIVE_INFINITY;
  return n.monotonicMs - (elapsedMs(n) - primary.sentElapsedMs[round % ROUND_RING]!);
}

/** Tick at which the newest quorum-confirmed round was sent; the view's start when none yet. */
export function quorumContactTick(n: NodeState, primary: PrimaryState): number {
  if (n.quorum === 1) return n.tickCount;
  const round = confirmedRound(n, primary);
  return round === 0 || n.round - round >= ROUND_RING ? primary.startedTick : primary.sentTick[round % ROUND_RING]!;
}

/** Answers every read whose round is confirmed and whose commit is applied, in order. */
export function answerReads(n: NodeState, primary: PrimaryState): void {
  if (primary.reads.length === 0) return;
  const confirmed = confirmedRound(n, primary);
  let done = 0;
  for (const read of primary.reads) {
    const ready = read.round === 0 || read.round <= confirmed;
    if (!ready || n.applied < read.commit) break;
    n.out.push({ type: 'answer', read });
    primary.readBytes -= read.body.length;
    done++;
  }
  if (done > 0) primary.reads = primary.reads.slice(done);
}

/** Highest index at which a quorum has the same execution digest as this primary. */
export function confirmedDigest(n: NodeState): CommitIndex {
  const primary = n.primary;
  if (primary === null) return NONE;
  if (n.quorum === 1) return n.applied;
  return nthOfOthers(n, n.digests.agreed, NONE);
}
