/**
 * The normal path (docs/protocol.md, "Normal path"): Prepare, PrepareOk, Commit, and the promises that hang off durable writes.
 *
 * Invariants: a PrepareOk is sent only from status normal, only in its view, for frames that are intact and durable here; a different frame with
 * the same view and index is a fatal protocol error, never a suffix to replace.
 */
import { assert } from '../assert.ts';
import { at, type CommitIndex, isNone, max, min, next, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { copyHash, sameHash } from '../engine/hash.ts';
import { heardConfirmed } from './divergence.ts';
import { appendBatch, backlogged, intactRanges, moveCommit } from './log.ts';
import type { Commit, Prepare, PrepareOk } from './messages.ts';
import { isOfOldIncarnation } from './members.ts';
import { acknowledge, retransmit } from './propose.ts';
import { commitOk, elapsedMs, quorumContactTick, sendHeartbeat } from './reads.ts';
import { catchUp, needsFrames } from './state-transfer.ts';
import type { NodeState } from './state.ts';
import { proposeVersion } from './versions.ts';

/** Prepares kept while they are ahead of the own log or a view is being installed. */
export const STASH_MAX = 64;

/** A Prepare or Commit of another view: older ones are dropped, newer ones make this replica ask for that view's StartView. */
function otherView(n: NodeState, from: number, view: number): boolean {
  if (view === n.view && n.status === 'normal') return false;
  const newer = view > n.view || (view === n.view && n.status !== 'normal');
  if (newer && from === n.primaryOf(view)) askStartView(n, from, view);
  return true;
}

/** Asks for the StartView of `view`, at most once a heartbeat. */
export function askStartView(n: NodeState, from: number, view: number): void {
  if (n.tickCount - n.askedStartViewTick < n.config.heartbeatTicks) return;
  n.askedStartViewTick = n.tickCount;
  n.send(from, { type: 'requestStartView', view, nonce: n.status === 'recovering-head' ? n.nonce : 0 });
}

export function onPrepare(n: NodeState, from: number, m: Prepare): void {
  if (m.view === n.view && n.status === 'normal' && !n.stored && from === n.primaryOf(m.view)) {
    stash(n, m);
    return;
  }
  if (otherView(n, from, m.view) || from !== n.primaryOf(m.view) || from === n.id) return;
  n.lastHeardTick = n.tickCount;
  n.suspecting = false;
  accept(n, m);
  if (m.batch.first > n.end + 1) {
    stash(n, m);
    catchUp(n);
  } else {
    drainStash(n);
  }
  moveCommit(n, m.commit);
}

function stash(n: NodeState, m: Prepare): void {
  if (n.stash.length < STASH_MAX) n.stash.push(m);
}

/** Takes stashed Prepares that now continue the log. */
export function drainStash(n: NodeState): void {
  if (n.stash.length === 0 || !n.stored) return;
  const stashed = n.stash.filter((m) => m.view === n.view).sort((a, b) => a.batch.first - b.batch.first);
  n.stash = [];
  for (const m of stashed) {
    if (m.batch.first <= n.end + 1) accept(n, m);
    else n.stash.push(m);
  }
}

/** Appends what is new in a Prepare, acknowledges what is durable already. */
function accept(n: NodeState, m: Prepare): void {
  const { batch } = m;
  if (batch.first > n.end + 1) return;
  if (!consistent(n, batch)) return;
  if (batch.last > n.end && !backlogged(n)) appendBatch(n, batch.slice(n.end + 1, batch.last));
  const durable = Math.min(n.durable, batch.last);
  if (durable >= batch.first) sendPrepareOk(n, batch.first, durable);
}

/** What the batch and the own log have in common is equal; otherwise the protocol is broken and this replica stops. */
function consistent(n: NodeState, batch: FrameBatch): boolean {
  if (batch.first === n.end + 1) {
    if (sameHash(batch.prevHash, n.endHash)) return true;
    n.halt('E_PROTOCOL', `frame ${batch.first} of view ${n.view} does not chain to this replica's log`);
    return false;
  }
  const common = Math.min(n.end, batch.last);
  if (n.ring.agrees(common, batch.hashOf(common))) return true;
  n.halt('E_PROTOCOL', `index ${common} of view ${n.view} exists with two different hashes`);
  return false;
}

/** Promises first..last to the primary, faulty slots left out. */
export function sendPrepareOk(n: NodeState, first: number, last: number): void {
  if (n.standby) return;
  const primary = n.primaryOf(n.view);
  for (const range of intactRanges(n, first, last)) {
    const hash = n.ring.hash(range.last);
    if (hash === null) continue;
    n.send(primary, { type: 'prepareOk', view: n.view, first: range.first, last: range.last, hash: copyHash(hash) });
  }
}

export function onPrepareOk(n: NodeState, from: number, m: PrepareOk): void {
  const primary = n.primary;
  if (primary === null || !n.isPrimary) return;
  if (m.view !== n.view && !n.policy.ackWithoutView) return;
  if (m.first > m.last || m.last > n.end) return;
  const own = n.ring.hash(m.last);
  if (own === null || !sameHash(own, m.hash) || isOfOldIncarnation(primary, from, m.last)) return;
  primary.acked.set(from, max(primary.acked.get(from) ?? NONE, at(m.last)));
  acknowledge(n, primary, from, m.first, m.last);
}

export function onCommit(n: NodeState, from: number, m: Commit): void {
  if (m.view === n.view && n.status === 'normal' && from === n.primaryOf(m.view)) {
    n.lastHeardTick = n.tickCount;
    n.detector.heard(n.tickCount);
  }
  if (m.view === n.view && n.status === 'normal' && !n.stored) return;
  if (otherView(n, from, m.view) || from !== n.primaryOf(m.view) || from === n.id) return;
  n.suspecting = false;
  n.dataLoss = null;
  n.attempts = 0;
  moveCommit(n, m.commit);
  n.freshness.heardFrom(m, n.members.indexOf(n.id), n.nonce, n.quorum, elapsedMs(n));
  heardConfirmed(n, m.confirmed, m.confirmedDigest);
  if (!n.standby) n.send(from, commitOk(n, m));
  repeatPromise(n, m.commit);
  if (m.commit > n.end || needsFrames(n)) catchUp(n);
}

/** The primary's commit did not move since its last heartbeat: a promise may have been lost, so it is made again. */
function repeatPromise(n: NodeState, commit: CommitIndex): void {
  const stuck = commit === n.heartbeatCommit;
  n.heartbeatCommit = commit;
  if (stuck && n.ackedThrough > commit) sendPrepareOk(n, next(commit), min(n.ackedThrough, n.durable));
}

/**
 * Frames through `index` are durable with their tail record. `epoch`: when they were handed to the log. What an install has cut since is not durable any
 * more, even if equal frames were appended again: their own write will say so.
 */
export function onDurable(n: NodeState, index: number, hash: Uint8Array, epoch: number): void {
  const through = n.epochs.through(index, epoch);
  if (through === null || through > n.end || through <= n.durable) return;
  if (through === index && !n.ring.agrees(index, hash))
    assert(false, `the durable frame ${index} is the one in the log`);
  n.durable = through;
  n.epochs.settle(through);
  n.promised = max(n.promised, n.durable);
  if (n.status === 'normal' && n.stored) promise(n);
}

/** Sends (or counts) the promise for everything durable that this view has not acknowledged. */
export function promise(n: NodeState): void {
  const first = next(n.ackedThrough);
  if (n.abdicated || n.standby || n.durable < first) return;
  const last = n.durable;
  n.ackedThrough = last;
  if (n.primary === null) {
    sendPrepareOk(n, first, last);
    return;
  }
  for (const range of intactRanges(n, first, last)) acknowledge(n, n.primary, n.id, range.first, range.last);
}

/** Makes good the promise that `promise` left out for damaged slots, repaired now. */
export function promiseRepaired(n: NodeState, first: number, through: number): void {
  const last = Math.min(through, n.ackedThrough);
  if (n.status !== 'normal' || !n.stored || n.abdicated || last < first) return;
  if (n.primary === null) sendPrepareOk(n, first, last);
  else for (const range of intactRanges(n, first, last)) acknowledge(n, n.primary, n.id, range.first, range.last);
}

/** A view begins here: what is uncommitted needs fresh promises. */
export function restartPromises(n: NodeState, commit: CommitIndex): void {
  n.ackedThrough = isNone(commit) ? commit : commit < n.end ? commit : n.end;
  promise(n);
}

/** Timers of a normal primary. Returns why it must step down, or null. */
export function tickPrimary(n: NodeState, stalledTicks: number): string | null {
  const primary = n.primary!;
  if (n.tickCount - primary.heartbeatTick >= n.config.heartbeatTicks) sendHeartbeat(n, primary);
  retransmit(n, primary);
  proposeVersion(n, primary);
  if (n.faulty.length > 0) catchUp(n);
  if (n.tickCount - quorumContactTick(n, primary) > n.config.abdicateTicks) return 'no quorum answers';
  if (stalledTicks > n.config.stallTicks) return 'its own disk does not finish a write';
  return null;
}
