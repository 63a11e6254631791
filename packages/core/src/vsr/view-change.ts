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
import { sameHash } from '../engine/hash.ts';
import type { IndexRange } from '../engine/log-contract.ts';
import { ROUND_RING } from './freshness.ts';
import { beginJoining, findJunction, isFound, onFrameToJoin, tickJoining } from './join.ts';
import { complete, installSuffix, lacksCommitted, moveCommit, recordHeaders } from './log.ts';
import type { CommitOk, DoViewChange, NewState, RequestStartView, StartView, StartViewChange } from './messages.ts';
import { chooseSuffix, countedVotes } from './choose.ts';
import { learnIdentity } from './members.ts';
import { drainStash, restartPromises } from './normal.ts';
import { openView } from './propose.ts';
import { QuorumTracker } from './quorum-tracker.ts';
import { sendHeartbeat } from './reads.ts';
import { snapshotStored } from './snapshots.ts';
import { catchUp, needsFrames } from './state-transfer.ts';
import { REFUSAL, TO_CLIENT, encodeRedirect, refusal } from './client-protocol.ts';
import type { Chosen, NodeState } from './state.ts';

/** Votes for the next view when the primary has been silent too long (or this replica must not be primary again). */
export function suspect(n: NodeState, why: string): void {
  if (n.policy.noViewChangeTimer || n.standby) return;
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
    if (n.isPrimary) n.send(from, startView(n, from, 0));
    return;
  }
  n.svcVotes.set(from, { view: m.view, tick: n.tickCount });
  // Who would be primary of this view says that it will not: nothing is to be waited for.
  if (from === n.primaryOf(n.view) && n.status !== 'recovering-head' && !n.suspecting) {
    suspect(n, `r${from} gives up view ${n.view}`);
    return;
  }
  countStartViewChanges(n);
}

/** Enters the highest view for which a quorum votes (a vote for w is one for every lower view above the receiver's). */
function countStartViewChanges(n: NodeState): void {
  if (n.status === 'recovering-head' || n.standby) return;
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
  n.joining = null;
  n.transfer = null;
  n.stash = [];
  n.setStatus('view-change');
  n.drawTimeout();
  n.stored = false;
  n.manifest = { ...n.manifest, view, headers: recordHeaders(n) };
  n.out.push({ type: 'save', manifest: n.manifest, token: ++n.saveToken });
  if (n.policy.voteTwiceAfterRestart) sendVote(n);
}

/** A primary that is none any more answers what it has accepted: of what it proposed the outcome is unknown; all ask the next one. */
export function leavePrimary(n: NodeState): void {
  const primary = n.primary;
  n.primary = null;
  const where = encodeRedirect(n.view, n.primaryOf(n.view + 1));
  n.requests.clear((origin, session, request, proposed) => {
    const status = proposed ? REFUSAL.deposed : REFUSAL.notPrimary;
    n.out.push({ type: 'reply', origin, message: refusal(TO_CLIENT.refusal, status, session, request, where) });
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
  snapshotStored(n);
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
    commit: max(max(n.commitHeard, n.manifest.checkpoint.index), floor >= 0 ? at(floor) : NONE),
    present: min(n.durable, n.end),
    // Frames still being written (a full disk holds them back) are left out, not nacked: after a crash they may be read back.
    promised: max(n.promised, n.end),
    // A copy: what is found damaged later is not what was said.
    faulty: n.faulty.slice(),
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
  if (!learnIdentity(n, from, m) || n.status === 'recovering-head' || n.standby) return;
  if (m.view > n.view) enterViewChange(n, m.view);
  if (m.view < n.view || n.status === 'normal') {
    if (n.isPrimary) n.send(from, startView(n, from, 0));
    return;
  }
  n.votes.set(from, m);
  choose(n);
}

/** A quarantined replica is never primary: it votes for the view behind the one that would be its own. */
function forfeits(n: NodeState): boolean {
  if (n.diverged === null || n.primaryOf(n.view) !== n.id) return false;
  if (!n.suspecting) suspect(n, n.diverged);
  return true;
}

/** A primary steps down: no heartbeat, no Prepare, no client until the next view. */
export function stepDown(n: NodeState, why: string): void {
  n.event({ kind: 'abdicate', view: n.view, why });
  leavePrimary(n);
  n.abdicated = true;
  suspect(n, why);
}

/** The new primary settles the suffix once a quorum of votes allows it; everybody notices when not even all votes do. */
function choose(n: NodeState): void {
  if (n.chosen !== null || !n.stored || n.logView >= n.view || forfeits(n)) return;
  const own = n.votes.get(n.id);
  if (own === undefined) return;
  const votes = countedVotes(n.votes, n.members, n.manifest).map(([, vote]) => vote);
  const choice = chooseSuffix(votes, own, n.members.length, n.quorum, n.policy);
  if (choice.kind === 'data-loss') reportLoss(n, choice.index, choice.why);
  if (choice.kind !== 'chosen' || n.primaryOf(n.view) !== n.id) return;
  const { head, headHash, headers, commit } = choice;
  const logView = Math.max(...votes.map((vote) => vote.logView));
  const chosen = { view: n.view, logView, base: head, head, headHash, headers, commit };
  if (lacksCommitted(n, chosen)) return;
  n.chosen = chosen;
  const junction = findJunction(n, n.chosen);
  if (isFound(n, junction)) installChosen(n, n.chosen, junction.low);
  else beginJoining(n, junction, null);
}

function installChosen(n: NodeState, chosen: Chosen, junction: CommitIndex): void {
  n.joining = null;
  installSuffix(n, chosen, junction);
  n.commitHeard = max(n.commitHeard, chosen.commit);
}

/** A frame that may tell where the own log leaves the one to be installed. */
export function onJoinState(n: NodeState, from: number, m: NewState): void {
  const joining = n.joining!;
  if (joining.startView !== null) n.lastHeardTick = n.tickCount;
  const junction = onFrameToJoin(n, joining, from, m);
  if (junction === null) return;
  if (joining.startView !== null) adopt(n, joining.startView, junction);
  else installChosen(n, n.chosen!, junction);
}

/** Says once what cannot be settled; the replica goes on trying. */
function reportLoss(n: NodeState, index: number, why: string): void {
  if (n.dataLoss?.index === index) return;
  n.dataLoss = { index, why };
  n.event({ kind: 'data-loss', index, why });
}

/** Goes normal as soon as the adopted log is complete, durable and stored here. */
export function settle(n: NodeState): void {
  if (n.status !== 'view-change' || n.logView !== n.view || !n.stored || n.primaryOf(n.view) !== n.id) return;
  if (forfeits(n)) return;
  if (!complete(n) || n.faulty.some((hole) => !isBearable(n, hole))) {
    catchUp(n);
    return;
  }
  if (n.durable < n.end) return;
  moveCommit(n, n.commitHeard);
  n.dataLoss = null;
  const { chosen } = n;
  n.chosen = null;
  n.transfer = null;
  n.attempts = 0;
  n.suspecting = false;
  n.primary = {
    tracker: new QuorumTracker(n.members, n.quorum, n.commitHeard),
    inFlight: [],
    noopIndex: n.end + 1,
    // Nobody has chosen anything for a primary that goes on in its view (mutation restart-as-primary).
    logView: chosen?.logView ?? 0,
    rounds: new Map(),
    runs: new Map(),
    startedTick: n.tickCount,
    servingSinceMs: null,
    sentMs: new Float64Array(ROUND_RING),
    sentElapsedMs: new Float64Array(ROUND_RING),
    sentTick: new Float64Array(ROUND_RING),
    sentCommit: new Float64Array(ROUND_RING),
    heartbeatTick: n.tickCount,
    reads: [],
    heldRequests: [],
    heldReads: [],
    heldBytes: 0,
    readBytes: 0,
    acked: new Map(),
    replacing: new Map(),
    replacedAt: new Map(),
    versions: new Map(),
    activating: 0,
  };
  n.setStatus('normal');
  n.event({ kind: 'view', view: n.view, primary: n.id });
  for (const id of n.others()) n.send(id, startView(n, id, 0));
  openView(n, n.primary);
  restartPromises(n, n.commit);
  sendHeartbeat(n, n.primary);
}

/**
 * A damaged range that keeps a new primary from nothing: it is applied, or committed and below them, and the newest P + 1 headers are known all the same. They go into
 * the StartView, and the last one says what time it was.
 */
function isBearable(n: NodeState, hole: IndexRange): boolean {
  const needed = min(n.commitHeard, (n.end - n.config.pipelineMax - 1) as CommitIndex);
  if (hole.to <= needed) return true;
  if (hole.to > n.applied) return false;
  // Alone there is nobody to send a StartView to, nor to repair from.
  if (n.members.length === 1) return true;
  learnFromCanonical(n, hole);
  for (let index = Math.max(hole.from, needed + 1); index <= hole.to; index++)
    if (n.ring.header(index) === null) return false;
  return true;
}

/** The canonical headers tell what stood in damaged slots: through the own end its log is the canonical one. */
function learnFromCanonical({ canonical, ring }: NodeState, { from, to }: IndexRange): void {
  for (let index = Math.max(from, canonical.first); index <= Math.min(to, canonical.last); index++) {
    const [header, hash, own] = [canonical.header(index), canonical.hash(index), ring.hash(index)];
    if (header !== null && hash !== null && (own === null || sameHash(own, hash))) ring.know(index, header, hash);
  }
}

function startView(n: NodeState, to: number, nonce: number): StartView {
  const headers = n.ring.all();
  assert(
    headers.count === 0 || headers.first <= max(n.commit, n.commitHeard) + 1,
    'the headers of a StartView reach down to the commit',
  );
  const { generation, incarnations } = n.manifest;
  return {
    type: 'startView',
    view: n.view,
    logView: n.primary!.logView,
    base: below(n.primary!.noopIndex),
    head: n.end,
    headHash: n.endHash,
    commit: n.commit,
    headers,
    nonce,
    acked: n.primary!.acked.get(to) ?? NONE,
    generation,
    incarnations,
  };
}

export function onRequestStartView(n: NodeState, from: number, m: RequestStartView): void {
  if (m.nonce !== 0) n.headless.set(from, n.tickCount);
  if (!n.isPrimary) return;
  if (n.view >= m.view) {
    n.send(from, startView(n, from, m.nonce));
    return;
  }
  // It has stored a view that never began, and lost its tail record: it may not vote, and only a view as high as that one brings it back.
  if (m.nonce === 0) return;
  n.svcVotes.set(from, { view: m.view, tick: n.tickCount });
  stepDown(n, `r${from} has to settle its head in view ${m.view} or above`);
}

/** A backup whose durable end is below what it promised in this view does not know it: it is told, now and then. */
export function remindOfPromise(n: NodeState, from: number, m: CommitOk): void {
  const acked = n.primary?.acked.get(from) ?? NONE;
  if (m.view !== n.view || m.durable >= acked || m.round % n.config.viewChangeTicks !== 0) return;
  n.send(from, startView(n, from, 0));
}

/** A backup adopts the new view's log. */
export function onStartView(n: NodeState, from: number, m: StartView): void {
  if (from !== n.primaryOf(m.view) || m.view < n.view || !learnIdentity(n, from, m)) return;
  if (forgotPromise(n, m)) return;
  const settlesHead = n.status === 'recovering-head' && m.nonce === n.nonce && m.view >= n.logView;
  if (m.view <= n.logView && !settlesHead) return;
  if (m.headHash.length !== HASH_BYTES || lacksCommitted(n, m)) return;
  const { joining } = n;
  if (joining !== null && joining.view >= m.view) {
    // A newer one of the same view: its log has only grown.
    const { startView, view } = joining;
    if (startView !== null && view === m.view && m.head >= startView.head) joining.startView = m;
    return;
  }
  const junction = findJunction(n, m);
  // A standby has promised nothing.
  if (isFound(n, junction) || n.standby) {
    adopt(n, m, junction.low);
    return;
  }
  if (m.view > n.view && n.status !== 'recovering-head') enterViewChange(n, m.view);
  beginJoining(n, junction, m);
}

/** The junction with the log of a StartView is known: this replica is a backup of its view. */
function adopt(n: NodeState, m: StartView, junction: CommitIndex): void {
  leavePrimary(n);
  const entering = m.view > n.view || n.status !== 'normal';
  const promisesLost = n.status === 'recovering-head';
  n.votes.clear();
  n.chosen = null;
  n.joining = null;
  n.transfer = null;
  n.stash = [];
  n.suspecting = false;
  n.abdicated = false;
  n.attempts = 0;
  if (m.view > n.view) n.viewChanges++;
  // What the lost tail record promised is not known: nothing of the settled log may be nacked for its absence.
  const lost = promisesLost ? max(m.head, m.acked) : NONE;
  installSuffix(n, m, junction, lost);
  n.dataLoss = null;
  n.setStatus('normal');
  if (entering) n.event({ kind: 'view', view: m.view, primary: n.primaryOf(m.view) });
  n.commitHeard = max(n.commitHeard, m.commit);
  n.startCommit = m.commit;
  n.drawTimeout();
}

/**
 * True when the primary knows of a promise that this directory does not: it is an old copy, or its disk lost what it said was durable. Such a replica may have
 * forgotten anything, so it stops; a lost tail record is no such case, that one knows that it forgot.
 */
function forgotPromise(n: NodeState, m: StartView): boolean {
  if (isNone(m.acked) || (n.status === 'recovering-head' && n.logView === m.view)) return false;
  if (m.view === n.logView && m.acked <= max(n.promised, n.end)) return false;
  const own = m.view === n.logView ? `its log ends at ${n.end}` : `its log view is ${n.logView}`;
  n.halt(
    'E_AMNESIA',
    `this replica promised index ${m.acked} in view ${m.view}, and ${own}: an old copy of the directory?`,
  );
  return true;
}

/** The new view is stored: promises may leave. */
function beginBackup(n: NodeState): void {
  moveCommit(n, n.commitHeard);
  restartPromises(n, min(n.commit, n.startCommit));
  drainStash(n);
  if (needsFrames(n)) catchUp(n);
}

/** With a majority recovering head and no normal primary there is nobody who could settle it. */
function watchHeadless(n: NodeState): void {
  const age = n.config.viewChangeTicks;
  const lost = n.others().filter((id) => n.tickCount - (n.headless.get(id) ?? -1_000_000) <= age);
  if (n.status === 'recovering-head') lost.push(n.id);
  if (n.members.length - lost.length >= n.quorum) return;
  const who = lost.sort((a, b) => a - b).map((id) => `r${id}`);
  const index = max(n.end, n.head);
  reportLoss(
    n,
    index,
    `${who.join(', ')} have lost their tail records: nobody can say what was promised above index ${index}`,
  );
}

/** Timers of a replica that is no normal primary. */
export function tickWaiting(n: NodeState): void {
  const resend = n.config.heartbeatTicks * 2;
  tickJoining(n);
  if (n.status !== 'normal' || n.suspecting) watchHeadless(n);
  if (n.status === 'recovering-head') {
    if (n.tickCount - n.askedStartViewTick < resend) return;
    n.askedStartViewTick = n.tickCount;
    n.broadcast({ type: 'requestStartView', view: n.view, nonce: n.nonce });
    return;
  }
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
  const patience =
    n.status === 'normal' ? Math.max(n.timeoutTicks, n.detector.patience(n.config.viewChangeTicks)) : n.timeoutTicks;
  const silent = n.abdicated || n.tickCount - n.lastHeardTick >= patience;
  if (!silent) return;
  if (!n.suspecting) suspect(n, n.status === 'normal' ? 'the primary is silent' : 'the view change does not finish');
  else if (n.tickCount - n.suspectTick >= resend) suspect(n, '');
}
