/**
 * View change (docs/protocol.md, "View change"; VR Revisited, 4.2; the canonical suffix by log view and nacks after Protocol-Aware Recovery).
 *
 * Invariants: nobody leaves a view without a quorum of StartViewChanges (or a DoViewChange, which proves one); a vote is durable before it is sent; only votes of
 * the highest log view define the suffix; an index is dropped only when n - quorum + 1 replicas nack it; a StartView whose view is <= log view truncates nothing.
 */
import { assert } from '../assert.ts';
import { at, below, type CommitIndex, isNone, max, min, NONE } from '../engine/commit-index.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { envelope } from '../engine/frame.ts';
import { sameHash, ZERO_HASH } from '../engine/hash.ts';
import { HEADER_RECORD_BYTES, type HeaderSuffix } from '../engine/header-suffix.ts';
import { complete, installSuffix, moveCommit, recordHeaders } from './log.ts';
import type { DoViewChange, RequestStartView, StartView, StartViewChange } from './messages.ts';
import { askStartView, drainStash, restartPromises } from './normal.ts';
import { openView } from './propose.ts';
import { QuorumTracker } from './quorum-tracker.ts';
import { sendHeartbeat } from './reads.ts';
import { catchUp, needsFrames } from './state-transfer.ts';
import { REFUSAL, TO_CLIENT, encodeRedirect, refusal } from './client-protocol.ts';
import { type NodeState, ROUND_RING } from './state.ts';

/** Votes for the next view when the primary has been silent too long (or this replica must not be primary again). */
export function suspect(n: NodeState, why: string): void {
  if (n.policy.noViewChangeTimer) return;
  if (!n.suspecting) n.event({ kind: 'suspect', view: n.view + 1, why });
  n.suspecting = true;
  n.suspectTick = n.tickCount;
  n.broadcast({ type: 'startViewChange', view: ownTarget(n) });
  countStartViewChanges(n);
}

/** max(own view + 1, highest fresh vote seen). */
function ownTarget(n: NodeState): number {
  let target = n.view + 1;
  for (const vote of freshVotes(n)) target = Math.max(target, vote);
  return target;
}

function freshVotes(n: NodeState): number[] {
  const age = n.config.viewChangeTicks;
  return [...n.svcVotes.values()].filter((v) => n.tickCount - v.tick <= age && v.view > n.view).map((v) => v.view);
}

export function onStartViewChange(n: NodeState, from: number, m: StartViewChange): void {
  if (m.view <= n.view) {
    if (n.isPrimary) n.send(from, startView(n, 0));
    return;
  }
  n.svcVotes.set(from, { view: m.view, tick: n.tickCount });
  countStartViewChanges(n);
}

/** Enters the highest view for which a quorum votes (a vote for w is one for every lower view above the receiver's). */
function countStartViewChanges(n: NodeState): void {
  if (n.status === 'recovering-head') return;
  const votes = freshVotes(n);
  if (n.suspecting) votes.push(ownTarget(n));
  if (votes.length < n.quorum) return;
  votes.sort((a, b) => b - a);
  enterViewChange(n, votes[n.quorum - 1]!);
}

/** Leaves the current view for view change `view`; the vote goes out once it is stored. */
export function enterViewChange(n: NodeState, view: number): void {
  assert(view > n.view, 'views only grow');
  leavePrimary(n);
  n.view = view;
  n.viewChanges++;
  n.attempts++;
  n.suspecting = false;
  n.abdicated = false;
  n.enteredTick = n.tickCount;
  n.votes.clear();
  n.chosen = null;
  n.transfer = null;
  n.stash = [];
  n.setStatus('view-change');
  n.drawTimeout();
  n.stored = false;
  n.manifest = { ...n.manifest, view, headers: recordHeaders(n) };
  n.out.push({ type: 'save', manifest: n.manifest, token: ++n.saveToken });
  if (n.policy.voteTwiceAfterRestart) sendVote(n);
}

/** A primary that is none any more answers what it has accepted: outcome unknown, ask the next one. */
export function leavePrimary(n: NodeState): void {
  const primary = n.primary;
  n.primary = null;
  const where = encodeRedirect(n.view, n.primaryOf(n.view + 1));
  n.requests.clear((origin, session, request) => {
    n.out.push({
      type: 'reply',
      origin,
      message: refusal(TO_CLIENT.refusal, REFUSAL.deposed, session, request, where),
    });
  });
  if (primary === null) return;
  for (const { origin, payload } of primary.heldRequests) {
    const session = envelope.client(payload, 0);
    const message = refusal(TO_CLIENT.refusal, REFUSAL.notPrimary, session, envelope.request(payload, 0), where);
    n.out.push({ type: 'reply', origin, message });
  }
  for (const read of [...primary.reads, ...primary.heldReads]) {
    const message = refusal(TO_CLIENT.queryRefusal, REFUSAL.notPrimary, 0, read.nonce, where);
    n.out.push({ type: 'reply', origin: read.origin, message });
  }
}

/** The manifest with this view is durable. */
export function onSaved(n: NodeState, token: number): void {
  if (token !== n.saveToken || n.stored) return;
  n.stored = true;
  if (n.status === 'view-change' && n.logView < n.view) sendVote(n);
  else if (n.status === 'view-change') settle(n);
  else if (n.status === 'normal') beginBackup(n);
}

/** This replica's vote: the log of record as stored. */
function vote(n: NodeState): DoViewChange {
  const floor = n.head - n.config.pipelineMax;
  return {
    type: 'doViewChange',
    view: n.view,
    logView: n.logView,
    head: n.head,
    headHash: n.headHash,
    commit: max(n.commitHeard, floor >= 0 ? at(floor) : NONE),
    present: min(n.durable, n.end),
    promised: n.promised,
    faulty: n.faulty,
    headers: recordHeaders(n),
    generation: n.manifest.generation,
    incarnations: n.manifest.incarnations,
  };
}

function sendVote(n: NodeState): void {
  const own = vote(n);
  n.resendTick = n.tickCount;
  n.votes.set(n.id, own);
  n.broadcast(own);
  choose(n);
}

export function onDoViewChange(n: NodeState, from: number, m: DoViewChange): void {
  if (n.status === 'recovering-head') return;
  if (m.view > n.view) enterViewChange(n, m.view);
  if (m.view < n.view || n.status === 'normal') {
    if (n.isPrimary) n.send(from, startView(n, 0));
    return;
  }
  if (n.primaryOf(m.view) !== n.id) return;
  n.votes.set(from, m);
  choose(n);
}

/** The new primary settles the suffix once a quorum of votes allows it. */
function choose(n: NodeState): void {
  if (n.chosen !== null || n.primaryOf(n.view) !== n.id || !n.stored || n.logView >= n.view) return;
  if (!n.votes.has(n.id) || n.votes.size < n.quorum) return;
  const votes = [...n.votes.values()];
  const logView = n.policy.noLogView ? -1 : Math.max(...votes.map((v) => v.logView));
  const defining = votes.filter((v) => n.policy.noLogView || v.logView === logView);
  const better = (a: DoViewChange, b: DoViewChange): boolean =>
    n.policy.installShorterLog ? a.head < b.head : a.head > b.head;
  let best = defining[0]!;
  for (const candidate of defining) if (better(candidate, best)) best = candidate;
  const own = n.votes.get(n.id)!;
  if (own.logView === best.logView && own.head === best.head) best = own;
  let commit: CommitIndex = NONE;
  for (const v of votes) commit = max(commit, v.commit);
  const headers = withoutGaps(best, votes);
  const head = settledHead(n, votes, best, headers, commit);
  if (head === null) return;
  const hash = isNone(head) ? ZERO_HASH : head === best.head ? best.headHash : hashIn(headers, head);
  if ((hash === null || commit > head) && n.votes.size < n.members.length) return;
  if (hash === null || commit > head) {
    n.halt('E_DATA_LOSS', `view ${n.view}: the votes' log ends at ${head}, below commit ${commit}`);
    return;
  }
  n.chosen = { head, headHash: hash };
  installSuffix(n, n.view, head, hash, headers.slice(0, head));
  n.commitHeard = max(n.commitHeard, commit);
}

/** The headers of `best`; what damage hid there is taken from the votes of the same log view: all of them are of one log. */
function withoutGaps(best: DoViewChange, votes: readonly DoViewChange[]): HeaderSuffix {
  const headers = best.headers.slice(0, best.head);
  for (let index = headers.first; index <= headers.last; index++) {
    if (headers.header(index) !== null) continue;
    const vote = votes.find((v) => v.logView === best.logView && index <= v.head && knows(v.headers, index));
    const from = vote === undefined ? 0 : (index - vote.headers.first) * HEADER_RECORD_BYTES;
    const record = vote?.headers.bytes.subarray(from, from + HEADER_RECORD_BYTES);
    if (record !== undefined) headers.bytes.set(record, (index - headers.first) * HEADER_RECORD_BYTES);
  }
  return headers;
}

function knows(headers: HeaderSuffix, index: number): boolean {
  return headers.contains(index) && headers.header(index) !== null;
}

function hashIn(headers: HeaderSuffix, index: number): Uint8Array | null {
  return headers.contains(index) ? headers.hash(index) : null;
}

/** Head of the suffix after nacks; null while an index is neither present anywhere nor nacked enough. */
function settledHead(
  n: NodeState,
  votes: DoViewChange[],
  best: DoViewChange,
  headers: HeaderSuffix,
  commit: CommitIndex,
): CommitIndex | null {
  for (let index = commit + 1; index <= best.head; index++) {
    const hash = index === best.head ? best.headHash : hashIn(headers, index);
    let present = false;
    let nacks = 0;
    for (const v of votes) {
      const stand = standing(n, v, best, index, hash);
      if (stand === 'present') present = true;
      else if (stand === 'nack') nacks++;
    }
    if (present) continue;
    if (nacks >= n.members.length - n.quorum + 1) return below(index);
    return null;
  }
  return best.head;
}

/** What one vote says of (index, hash). A faulty slot is never a nack. */
function standing(
  n: NodeState,
  v: DoViewChange,
  best: DoViewChange,
  index: number,
  hash: Uint8Array | null,
): 'present' | 'nack' | 'unknown' {
  const faulty = v.faulty.some((r) => index >= r.from && index <= r.to);
  if (v.logView !== best.logView) {
    if (index > v.head) return index > v.promised ? 'nack' : 'unknown';
    const theirs = index === v.head ? v.headHash : hashIn(v.headers, index);
    if (theirs === null || hash === null) return 'unknown';
    if (!sameHash(theirs, hash)) return 'nack';
  }
  if (faulty) return n.policy.nackFaultySlot ? 'nack' : 'unknown';
  if (index <= v.present) return 'present';
  return index > v.promised || n.policy.nackFaultySlot ? 'nack' : 'unknown';
}

/** Goes normal as soon as the adopted log is complete, durable and stored here. */
export function settle(n: NodeState): void {
  if (n.status !== 'view-change' || n.logView !== n.view || !n.stored || n.primaryOf(n.view) !== n.id) return;
  // The newest P + 1 headers go into the StartView, and the last one says what time it was.
  const needed = min(n.commitHeard, (n.end - n.config.pipelineMax - 1) as CommitIndex);
  if (!complete(n) || n.faulty.some((r) => r.to > needed)) {
    catchUp(n);
    return;
  }
  if (n.durable < n.end) return;
  moveCommit(n, n.commitHeard);
  n.chosen = null;
  n.transfer = null;
  n.attempts = 0;
  n.suspecting = false;
  n.primary = {
    tracker: new QuorumTracker(n.members, n.quorum, n.commit),
    inFlight: [],
    noopIndex: n.end + 1,
    rounds: new Map(),
    startedTick: n.tickCount,
    servingSinceMs: null,
    sentMs: new Float64Array(ROUND_RING),
    sentTick: new Float64Array(ROUND_RING),
    heartbeatTick: n.tickCount,
    reads: [],
    heldRequests: [],
    heldReads: [],
    digests: new Map(),
  };
  n.setStatus('normal');
  n.event({ kind: 'view', view: n.view, primary: n.id });
  n.broadcast(startView(n, 0));
  openView(n, n.primary);
  restartPromises(n, n.commit);
  sendHeartbeat(n, n.primary);
}

function startView(n: NodeState, nonce: number): StartView {
  const headers = n.ring.all();
  assert(
    headers.count === 0 || headers.first <= max(n.commit, n.commitHeard) + 1,
    'the headers of a StartView reach down to the commit',
  );
  return { type: 'startView', view: n.view, head: n.end, headHash: n.endHash, commit: n.commit, headers, nonce };
}

export function onRequestStartView(n: NodeState, from: number, m: RequestStartView): void {
  if (n.isPrimary && n.view >= m.view) n.send(from, startView(n, m.nonce));
}

/** A backup adopts the new view's log. */
export function onStartView(n: NodeState, from: number, m: StartView): void {
  if (from !== n.primaryOf(m.view) || m.view < n.view) return;
  const settlesHead = n.status === 'recovering-head' && m.nonce === n.nonce && m.view >= n.logView;
  if (m.view <= n.logView && !settlesHead) return;
  if (m.headHash.length !== HASH_BYTES) return;
  leavePrimary(n);
  const entering = m.view > n.view || n.status !== 'normal';
  const promisesLost = n.status === 'recovering-head';
  n.votes.clear();
  n.chosen = null;
  n.transfer = null;
  n.stash = [];
  n.suspecting = false;
  n.abdicated = false;
  n.attempts = 0;
  if (m.view > n.view) n.viewChanges++;
  installSuffix(n, m.view, m.head, m.headHash, m.headers);
  // What the lost tail record promised is not known: nothing of the settled log may be nacked for its absence.
  if (promisesLost) n.promised = max(n.promised, m.head);
  n.setStatus('normal');
  if (entering) n.event({ kind: 'view', view: m.view, primary: from });
  n.commitHeard = max(n.commitHeard, m.commit);
  n.startCommit = m.commit;
  n.drawTimeout();
}

/** The new view is stored: promises may leave. */
function beginBackup(n: NodeState): void {
  moveCommit(n, n.commitHeard);
  restartPromises(n, min(n.commit, n.startCommit));
  drainStash(n);
  if (needsFrames(n)) catchUp(n);
}

/** Timers of a replica that is no normal primary. */
export function tickWaiting(n: NodeState): void {
  if (n.status === 'recovering-head') {
    if (n.tickCount - n.askedStartViewTick >= n.config.heartbeatTicks * 2) {
      const peers = n.others();
      if (peers.length > 0) askStartView(n, n.prng.pick(peers), n.view);
    }
    return;
  }
  const resend = n.config.heartbeatTicks * 2;
  if (n.status === 'view-change') {
    if (n.stored && n.tickCount - n.resendTick >= resend) {
      n.resendTick = n.tickCount;
      const own = n.votes.get(n.id);
      if (own !== undefined && own.logView < n.view && n.chosen === null) n.broadcast(own);
      settle(n);
    }
  } else if (needsFrames(n) && n.stored) {
    catchUp(n);
  }
  const silent = n.abdicated || n.tickCount - n.lastHeardTick >= n.timeoutTicks;
  if (!silent) return;
  if (!n.suspecting) suspect(n, n.status === 'normal' ? 'the primary is silent' : 'the view change does not finish');
  else if (n.tickCount - n.suspectTick >= resend) suspect(n, '');
}
