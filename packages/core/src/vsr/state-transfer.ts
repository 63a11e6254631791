/**
 * Catch-up and repair: a replica that lacks frames of its log of record asks one that has them (GetState / NewState).
 *
 * Invariants: frames above `end` are taken only from the normal primary of this view (where it has damage: from anybody, as far as they are committed), or, while
 * choosing, from a voter, as far as its log is certainly the chosen one, and only if they chain to the own log; frames for a faulty slot are taken from anybody, because
 * their hash is known.
 * One request is under way at a time; each answer is bounded, so catching up cannot flood the normal path. Neither a hole that nobody can repair nor a long way to
 * the end keeps what can be fetched away for good: they take turns. Nor does the part of a hole that nobody has: it is asked for from its last slot down as well.
 */
import { at, max, min, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { frame } from '../engine/frame.ts';
import { sameHash } from '../engine/hash.ts';
import type { IndexRange } from '../engine/log-contract.ts';
import { appendBatch, backlogged, certainlyCommitted, complete, intactRanges, knownHash, moveCommit } from './log.ts';
import { noteGone } from './snapshots.ts';
import { countedVotes, sharedThrough } from './choose.ts';
import type { GetState, NewState } from './messages.ts';
import type { NodeState, Transfer } from './state.ts';

/** Asks for what is missing unless a request is under way. */
export function catchUp(n: NodeState): void {
  const patience = n.transfer === null ? n.config.heartbeatTicks : n.config.heartbeatTicks * 4;
  if (n.tickCount - n.transferTick < patience) return;
  if (n.transfer !== null) {
    n.silent.add(n.transfer.source);
    noteVain(n, n.transfer);
  } else noteUnplaced(n);
  const hole = nextHole(n);
  if (hole === undefined && backlogged(n)) return;
  if (hole === undefined && complete(n) && n.commitHeard <= n.end && n.faulty.length > 0) return;
  const from = hole !== undefined ? firstWanted(n, hole) : n.end + 1;
  const to = hole !== undefined ? hole.to : Number.MAX_SAFE_INTEGER;
  const source = chooseSource(n, from, n.transfer?.source ?? null, hole !== undefined);
  if (source === null) return;
  const nonce = n.nextNonce();
  n.transfer = { source, nonce, from, hole: hole !== undefined ? at(hole.to) : NONE };
  n.transferTick = n.tickCount;
  n.send(source, { type: 'getState', view: n.view, from, to, nonce });
}

/** How many of the last slots of a hole are asked for at first, when nobody gives its first one. */
const LAST_SLOTS = 16;

/** The first slot of a hole to ask for: its own first one, where somebody may have that. */
function firstWanted(n: NodeState, hole: IndexRange): number {
  const { turns } = n;
  const held = Math.min(...n.others().map((id) => n.snapshots.firstOf(id)));
  if (held > hole.from && turns.last === 0) turns.last = LAST_SLOTS;
  return turns.last === 0 ? hole.from : Math.max(hole.from, held, hole.to - turns.last + 1);
}

/** Damaged ranges that some peer still has frames for, in order. While frames are missing, peers that do not answer hold nothing up. */
function repairable(n: NodeState): IndexRange[] {
  const whole = !lacksEnd(n);
  return n.faulty.filter((range) =>
    n.others().some((id) => n.snapshots.firstOf(id) <= range.to && (whole || !n.silent.has(id))),
  );
}

/** Frames are missing behind the own end. */
function lacksEnd(n: NodeState): boolean {
  return !complete(n) || n.commitHeard > n.end || n.stash.length > 0;
}

/** The hole to ask for, the oldest first; undefined: it is the turn of the end, or there is none. */
function nextHole(n: NodeState): IndexRange | undefined {
  const { turns } = n;
  const atEnd = lacksEnd(n);
  if (atEnd && n.tickCount < turns.endUntilTick) return undefined;
  const holes = repairable(n);
  const hole = holes.find((range) => range.from > turns.passed);
  if (hole !== undefined) return hole;
  turns.passed = NONE;
  if (atEnd) turns.endUntilTick = n.tickCount + n.config.viewChangeTicks;
  return atEnd ? undefined : holes[0];
}

/**
 * A question brought nothing: behind as many as there are peers a hole is asked for from its end, and when that brings nothing either it is passed over for this round, and
 * the end of the log has a turn.
 */
function noteVain(n: NodeState, { hole, from }: Transfer): void {
  const { turns } = n;
  if (hole === NONE) return;
  if (turns.last > 1) {
    // What lies lower may be damaged there as well, or was cut off: the last one alone.
    turns.last >>= 1;
    return;
  }
  if (++turns.asked < n.members.length - 1) return;
  turns.asked = 0;
  if (turns.last === 0 && from < hole) {
    turns.last = LAST_SLOTS;
    return;
  }
  turns.last = 0;
  for (const end of turns.lost) if (!n.faulty.some((range) => range.to === end)) turns.lost.delete(end);
  turns.lost.add(hole);
  turns.passed = hole;
  turns.endUntilTick = n.tickCount + n.config.viewChangeTicks;
}

/**
 * What was given for a hole has not got onto the disk: where it belongs may be known only when a hole below is repaired. So the others have their turn; or the lower
 * one, passed over because its only holder did not answer, would never be asked for again (seed 10000801).
 */
function noteUnplaced(n: NodeState): void {
  const { turns } = n;
  const hole = n.faulty.find(({ from, to }) => turns.given >= from && turns.given <= to);
  turns.given = NONE;
  if (hole === undefined) return;
  turns.last = 0;
  turns.passed = at(hole.to);
}

/** Who was asked for the end of the log gave nothing, though its log reaches there: it has damage. Where nobody gives it only a snapshot helps. */
function noteUnmet(n: NodeState, { hole, from }: Transfer, m: NewState): void {
  if (hole !== NONE || from !== n.end + 1 || m.head < from) return;
  n.turns.unmet = unmetAt(n, from) + 1;
  n.turns.unmetAt = from;
  if (n.turns.unmet >= n.members.length) n.snapshots.needed = max(n.snapshots.needed, at(from));
}

function unmetAt({ turns }: NodeState, from: number): number {
  return turns.unmetAt === from ? turns.unmet : 0;
}

/** Who is asked for frames from `from` on; `failed` did not answer last time. */
function chooseSource(n: NodeState, from: number, failed: number | null, byHash: boolean): number | null {
  if (byHash) {
    const others = n.others().filter((id) => n.snapshots.firstOf(id) <= from);
    // Who did not answer may be back, and have what those that answer cannot prove.
    const answer = others.filter((id) => n.turns.asked > 0 || !n.silent.has(id));
    if (answer.length > 0) return n.prng.pick(answer);
    return others.length === 0 ? null : n.prng.pick(others);
  }
  if (n.status === 'normal') {
    const primary = n.primaryOf(n.view);
    if (primary === n.id) return null;
    if (unmetAt(n, from) === 0) return primary;
    return n.prng.pick(n.others().filter((id) => id === primary || n.snapshots.firstOf(id) <= from));
  }
  return voterWith(n, from, failed);
}

/** While choosing: who has voted that it holds frame `from` of the chosen log; `failed` did not answer last time. */
export function voterWith(n: NodeState, from: number, failed: number | null): number | null {
  const able = n.others().filter((id) => chosenThrough(n, id) >= from && n.votes.get(id)!.present >= from);
  if (able.length === 0) return null;
  const fresh = able.filter((id) => id !== failed);
  return n.prng.pick(fresh.length > 0 ? fresh : able);
}

/** While choosing: last index through which the log of this voter is the chosen one; -1: nothing of it for certain. A late vote may be of a higher log view. */
export function chosenThrough(n: NodeState, voter: number): number {
  const { chosen } = n;
  const [, vote] = countedVotes(n.votes, n.members, n.manifest).find(([id]) => id === voter) ?? [];
  if (chosen === null || vote === undefined) return -1;
  return vote.logView === chosen.logView ? chosen.head : sharedThrough(chosen, chosen.headers, vote);
}

/** A peer asks for frames: from memory at once, from the disk by an output. */
export function onGetState(n: NodeState, from: number, m: GetState): void {
  if (m.view !== n.view || n.status === 'recovering' || n.status === 'recovering-head') return;
  const through = intactFrom(n, m.from, m.to);
  if (m.from > through) {
    n.send(from, newState(n, m.nonce, null));
    return;
  }
  const cached = n.cache.find(m.from);
  if (cached !== null) n.send(from, newState(n, m.nonce, cached.slice(m.from, Math.min(cached.last, through))));
  else n.out.push({ type: 'readState', to: from, from: m.from, through, nonce: m.nonce });
}

/** The disk gave (or did not give) what a peer had asked for. */
export function onStateRead(n: NodeState, to: number, nonce: number, through: number, batch: FrameBatch | null): void {
  const last = batch === null ? NONE : intactFrom(n, batch.first, Math.min(batch.last, through));
  n.send(to, newState(n, nonce, batch === null || last < batch.first ? null : batch.slice(batch.first, last)));
}

/** Last index of the intact run that begins at `from`, at most `to`; below `from` when that slot is not intact. */
function intactFrom(n: NodeState, from: number, to: number): number {
  const [range] = intactRanges(n, from, Math.min(to, n.end));
  return range !== undefined && range.first === from ? range.last : from - 1;
}

function newState(n: NodeState, nonce: number, batch: FrameBatch | null): NewState {
  const canonical = n.isPrimary;
  return { type: 'newState', view: n.view, nonce, canonical, commit: n.commit, head: n.end, first: n.first, batch };
}

/** Frames that were asked for. Returns true when the log grew or is being repaired. */
export function onNewState(n: NodeState, from: number, m: NewState): boolean {
  const transfer = n.transfer;
  n.silent.delete(from);
  if (transfer === null || transfer.nonce !== m.nonce || transfer.source !== from || m.view !== n.view) return false;
  n.transfer = null;
  if (m.batch === null) {
    noteGone(n, transfer.from, m);
    noteUnmet(n, transfer, m);
    noteVain(n, transfer);
    return false;
  }
  const { batch: given } = m;
  const part = partOfHole(n, given);
  if (part !== null) {
    const proved = repair(n, m, part);
    if (proved) proceedIn(n, part);
    else noteVain(n, transfer);
    return proved;
  }
  if (transfer.hole !== NONE) noteVain(n, transfer);
  const fromPrimary = m.canonical && from === n.primaryOf(n.view);
  const trusted =
    n.status !== 'normal' ? chosenThrough(n, from) : fromPrimary ? given.last : min(m.commit, n.commitHeard);
  if (!given.contains(n.end + 1) || backlogged(n)) return false;
  const last = lastOfRecord(n, given, Math.min(given.last, trusted));
  if (last <= n.end) return false;
  const batch = given.slice(n.end + 1, last);
  if (!sameHash(batch.prevHash, n.endHash)) return false;
  n.transferTick = -1_000_000;
  appendBatch(n, batch);
  // Of another log than the own one it says nothing.
  if (n.status === 'normal' && fromPrimary) moveCommit(n, m.commit);
  return true;
}

/** The frames of a batch that begin, or else end, a damaged range; null: there are none, and the place of others would not be known. */
function partOfHole(n: NodeState, given: FrameBatch): FrameBatch | null {
  const low = n.faulty.find((range) => given.contains(range.from));
  if (low !== undefined) return given.slice(low.from, Math.min(low.to, given.last));
  const high = n.faulty.find((range) => given.contains(range.to));
  return high === undefined ? null : given.slice(given.first, high.to);
}

/** A part of a hole is being repaired: what is asked for next. */
function proceedIn(n: NodeState, part: FrameBatch): void {
  const { turns } = n;
  turns.asked = 0;
  turns.given = at(part.first);
  turns.lost.delete(part.last);
  turns.last = n.faulty.some((range) => range.from === part.first) ? 0 : Math.min(LAST_SLOTS, turns.last * 2);
}

/** Last index up to `last` at which the batch does not contradict a hash that the canonical headers state. */
function lastOfRecord(n: NodeState, batch: FrameBatch, last: number): number {
  for (let index = n.end + 1; index <= Math.min(last, n.head); index++) {
    const known = index === n.head ? n.headHash : n.canonical.contains(index) ? n.canonical.hash(index) : null;
    if (known !== null && !sameHash(known, batch.hashOf(index))) return index - 1;
  }
  return last;
}

/** Rewrites damaged slots, as far as something proves their frames: from the first slot of a hole up, or all of them through its last one. */
function repair(n: NodeState, m: NewState, whole: FrameBatch): boolean {
  const below = whole.first - 1;
  const before = whole.first === 0 ? null : knownHash(n, below);
  if (before !== null && !sameHash(before, whole.prevHash)) return false;
  const last = provedThrough(n, m, whole);
  const begins = n.faulty.some((range) => range.from === whole.first);
  if (last < whole.first || (!begins && last < whole.last)) return false;
  const batch = whole.slice(whole.first, last);
  n.ring.fill(batch);
  noteJoint(n, batch.last, batch.lastHash);
  if (!begins) noteJoint(n, below, batch.prevHash);
  n.transferTick = n.tickCount;
  n.out.push({ type: 'repair', batch, epoch: n.epoch });
  return true;
}

/**
 * Last frame of the batch that is certainly the one lost here: its hash is stated here, the own log has a frame of its view above it (join.ts says why that proves
 * it), the own log is a beginning of that of the primary who gives it, or both the sender and this replica know what they hold there as committed. What the sender alone
 * knows proves nothing: it may be of a later view, of whose log the own one is none. (A frame that only continues the frame below may be of a view that was given up.)
 */
function provedThrough(n: NodeState, m: NewState, batch: FrameBatch): number {
  const beginsIt = m.canonical && n.logView === n.view;
  const committed = min(m.commit, certainlyCommitted(n));
  for (let index = batch.last; index >= batch.first; index--) {
    const after = n.ring.has(index + 1) ? n.ring.header(index + 1) : null;
    const canonical = n.canonical.contains(index) ? n.canonical.hash(index) : null;
    const stated = knownHash(n, index) ?? (after === null ? canonical : frame.prevHash(after, 0));
    if (stated !== null) return sameHash(stated, batch.hashOf(index)) ? index : batch.first - 1;
    if (beginsIt || index <= committed || viewAbove(n, index) === batch.viewOf(index)) return index;
  }
  return batch.first - 1;
}

/** View of the first own frame above `index` whose header is in memory; null: none is. */
function viewAbove(n: NodeState, index: number): number | null {
  for (let above = Math.max(index, n.ring.first - 1) + 1; above <= n.ring.last; above++) {
    const header = n.ring.header(above);
    if (header !== null) return frame.view(header, 0);
  }
  return null;
}

/** Remembers a chain hash of the own log; what lies below the commit is asked for only at the edges of a damaged range. */
function noteJoint(n: NodeState, index: number, hash: Uint8Array): void {
  const holds = (known: number): boolean => n.faulty.some(({ from, to }) => known >= from - 1 && known <= to);
  for (const known of n.joints.keys()) if (known < n.commit && !holds(known)) n.joints.delete(known);
  n.joints.set(index, hash.slice());
}

/** The frames of a repair are durable: only now are the slots intact. False when an install came between: they are asked for again. */
export function onRepaired(n: NodeState, batch: FrameBatch, epoch: number): boolean {
  if (epoch !== n.epoch) return false;
  const { first: from, last: to } = batch;
  n.ring.fill(batch);
  n.faulty = withoutSlots(n.faulty, from, to);
  n.event({ kind: 'repair', from, to });
  n.transferTick = -1_000_000;
  moveCommit(n, n.commitHeard);
  return true;
}

/** The ranges without the slots from..to. */
export function withoutSlots(ranges: readonly IndexRange[], from: number, to: number): IndexRange[] {
  return ranges.flatMap((r) => [
    ...(r.from < from ? [{ from: r.from, to: Math.min(r.to, from - 1) }] : []),
    ...(r.to > to ? [{ from: Math.max(r.from, to + 1), to: r.to }] : []),
  ]);
}

/** Adds a damaged slot of the own log. */
export function noteDamage(n: NodeState, index: number): void {
  if (index < n.first || index > n.end || n.faulty.some((r) => index >= r.from && index <= r.to)) return;
  // One with its neighbours: they are asked for together, and a block that is lost is written as a whole.
  const below = n.faulty.find((r) => r.to === index - 1);
  const above = n.faulty.find((r) => r.from === index + 1);
  n.faulty = n.faulty.filter((r) => r !== below && r !== above);
  n.faulty.push({ from: below?.from ?? index, to: above?.to ?? index });
  n.faulty.sort((a, b) => a.from - b.from);
}

/** Where catching up stands, for ticks: asks again when something is missing. */
export function needsFrames(n: NodeState): boolean {
  return n.faulty.length > 0 || !complete(n);
}
