/**
 * Joining: where the own log leaves the one that a view begins with, before anything of it is cut (docs/protocol.md, "Installing").
 *
 * Usually its headers tell. They reach down P + 1 indexes only, and the log of a replica that was away for longer ends below them. Frames that it promised are never
 * cut on a guess: of a committed entry the copies elsewhere may be damaged. Until the junction is proven nothing is installed; this replica keeps the log view it
 * has, and votes for what it holds.
 *
 * What proves the own log through j to be the canonical one:
 *  1. its chain hash at j, which covers everything below;
 *  2. that j is certainly committed;
 *  3. that the frame at j was proposed in view v, and a canonical one above it too: one primary proposes in v, once in its life (who restarts does not go on) and behind
 *     one log, so whatever log holds a frame of v is, below it, that log;
 *  4. that the own log view is v, and the canonical log is that of view v through j: a log of log view v is a beginning of what v's primary had. What an install leaves
 *     was proven (here) to be the beginning of that view's log, and the log view is stored with it; then only frames of its primary (or, while it completes its choice,
 *     of what it chose) are appended; recovery counts, of a log view, what is at or below its tail record or agrees with the stored headers, and nothing else. "A suffix that
 *     was never installed" is of an older log view therefore. What v's log is through j: the base that the StartView names, and below every canonical frame of view v.
 *    A snapshot of a later view lengthens no log: one that ends above the own log is installed only where it is known committed, so that what it ends with is in the log of
 *    the own log view; and what a peer knows committed is taken, above the own end, only as far as it is known so here.
 * An own frame of a later view than a canonical one above it is in no canonical log: views never fall along a log. What none of these settles is asked for: the frame
 * above states the chain hash below it.
 *
 * All of them take the own log for one chain. So a damaged slot is repaired only with what must be the frame lost there, not with what stands there in another log
 * (`provedThrough`), and the end of a snapshot passes for the own entry only where it is known to be that (`mayInstall`). 4 does not hold of frames that recovery cannot
 * connect, the tail record being lost (`connected`): they are kept, as a chain of no known log view. An install that a crash cuts off is finished by recovery, which keeps
 * the log through the junction stored with it.
 * A snapshot of a later view may tell, though, that an own entry is committed. A log that lacks it is of a view that was given up: it is not installed (`lacksCommitted`), and
 * not chosen (choose.ts: a commit that a vote states is one of its own log, and is not believed of another).
 *
 * Invariant: low <= junction <= high; both only close in, as the log of a view only grows.
 */
import { at, below, type CommitIndex, max, min, next } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { frame } from '../engine/frame.ts';
import { sameHash } from '../engine/hash.ts';
import { certainlyCommitted, knownHash, statedHash } from './log.ts';
import type { NewState, StartView } from './messages.ts';
import type { Joining, Junction, NodeState, Suffix } from './state.ts';
import { chosenThrough, voterWith } from './state-transfer.ts';

/** What is known at once of where the own log leaves the one that ends with `suffix`. */
export function findJunction(n: NodeState, suffix: Suffix): Junction {
  const last = min(n.end, suffix.head);
  const found = { low: min(certainlyCommitted(n), last), high: last };
  const { first } = suffix.headers;
  for (let index: number = last; index > found.low && index >= first - 1; index--) {
    learnHash(n, found, index, statedHash(suffix, index));
  }
  learnLogView(n, found, suffix);
  return found;
}

/** Nothing in low+1..high could be compared: damage hides which frames were there. */
export function isFound(n: NodeState, { low, high }: Junction): boolean {
  for (let index: number = high; index > low; index--) if (knownHash(n, index) !== null) return false;
  return true;
}

function learnHash(n: NodeState, junction: Junction, index: number, canonical: Uint8Array | null): void {
  if (index <= junction.low || index > junction.high || canonical === null) return;
  const own = knownHash(n, index);
  if (own === null) return;
  if (sameHash(own, canonical)) junction.low = at(index);
  else junction.high = below(index);
}

/** The own log is a beginning of that of `view`. */
function isOfView({ connected, logView }: NodeState, view: number): boolean {
  return connected && logView === view;
}

/** The own log is that of the own log view, and the canonical one that of some views through some indexes. */
function learnLogView(n: NodeState, junction: Junction, { view, logView, base, headers }: Suffix): void {
  if (isOfView(n, view)) junction.low = max(junction.low, junction.high);
  if (isOfView(n, logView)) {
    junction.low = max(junction.low, min(junction.high, base));
    junction.high = junction.low;
  }
  for (let index = headers.first; index <= headers.last; index++) {
    const proposed = headers.view(index);
    if (proposed === null) continue;
    learnView(n, junction, index, proposed);
    return;
  }
}

/** The canonical frame at `index` was proposed in `view`. */
function learnView(n: NodeState, junction: Junction, index: number, view: number): void {
  if (isOfView(n, view)) junction.low = max(junction.low, min(junction.high, below(index)));
  for (let own: number = min(junction.high, below(index)); own > junction.low; own--) {
    const header = n.ring.header(own);
    if (header === null || frame.view(header, 0) < view) return;
    if (frame.view(header, 0) > view) junction.high = below(own);
    else junction.low = at(own);
  }
}

/** What the StartView brings, or (null) the own choice, waits for the junction. */
export function beginJoining(n: NodeState, junction: Junction, startView: StartView | null): void {
  const view = startView?.view ?? n.view;
  n.joining = { ...junction, view, startView, ask: junction.high + 1, vain: 0, asked: null, tick: n.tickCount };
  n.event({ kind: 'join', view, from: next(junction.low), to: junction.high });
  askNext(n, n.joining);
}

/** Asks again what was not answered, and in time what nobody could answer. */
export function tickJoining(n: NodeState): void {
  const { joining } = n;
  if (joining === null) return;
  const patience = n.config.heartbeatTicks * (joining.asked === null ? 1 : 4);
  if (n.tickCount - joining.tick >= patience) askNext(n, joining);
}

/** Asks for the first frame that somebody has, from `ask` downwards; each once. */
function askNext(n: NodeState, joining: Joining): void {
  joining.tick = n.tickCount;
  const failed = joining.asked?.source ?? null;
  joining.asked = null;
  const { view, startView } = joining;
  for (let left = joining.high - joining.low + 1; left > 0; left--) {
    const source = startView !== null ? n.primaryOf(view) : voterWith(n, joining.ask, failed);
    if (source === null) {
      askBelow(joining);
      continue;
    }
    joining.asked = { source, nonce: n.nextNonce() };
    const { ask: from, high, asked } = joining;
    n.send(source, { type: 'getState', view, from, to: Math.max(from, high + 1), nonce: asked.nonce });
    return;
  }
}

function askBelow(joining: Joining): void {
  joining.ask = joining.ask > joining.low + 1 ? joining.ask - 1 : joining.high + 1;
}

/** An answer to a question of this file. */
export function isOfJoining(n: NodeState, from: number, m: NewState): boolean {
  const { joining } = n;
  return joining !== null && joining.asked?.nonce === m.nonce && joining.asked.source === from;
}

/** What was asked for. Returns the junction once it is known, else null: the next question is under way. */
export function onFrameToJoin(n: NodeState, joining: Joining, from: number, m: NewState): CommitIndex | null {
  if (m.view !== joining.view) return null;
  const { low, high } = joining;
  if (m.batch !== null) learnBatch(n, joining, from, m.batch);
  if (isFound(n, joining)) return joining.low;
  // A snapshot that a quorum has confirmed holds what the frames down to there did.
  if (m.batch === null && m.first > joining.high + 1) return joining.low;
  if (joining.low > low || joining.high < high) {
    joining.vain = 0;
    joining.ask = joining.low + 1;
  } else {
    askBelow(joining);
    if (++joining.vain > joining.high - joining.low + 1) {
      joining.vain = 0;
      if (isInSnapshot(n, joining.high)) return joining.low;
      joining.tick = n.tickCount;
      joining.asked = null;
      return null;
    }
  }
  askNext(n, joining);
  return null;
}

function learnBatch(n: NodeState, joining: Joining, from: number, batch: FrameBatch): void {
  const trusted = joining.startView === null ? chosenThrough(n, from) : batch.last;
  if (batch.first > 0 && batch.first <= trusted) learnHash(n, joining, batch.first - 1, batch.prevHash);
  for (let index = batch.first; index <= Math.min(batch.last, trusted); index++) {
    learnHash(n, joining, index, batch.hashOf(index));
    learnView(n, joining, index, batch.viewOf(index));
  }
}

/** A snapshot that a quorum has confirmed holds everything through `index`. */
function isInSnapshot(n: NodeState, index: number): boolean {
  return [...n.snapshots.reports.values()].some(({ held }) => held.some((ref) => ref.confirmed && ref.index >= index));
}
