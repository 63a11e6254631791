/**
 * The replica's own log: appending frames, moving the commit, installing a suffix (docs/protocol.md, "Installing").
 *
 * Invariants: a suffix is stored in the manifest before a frame is changed (the log port keeps that order); frames are cut only from the first
 * index whose chain hash differs, and never at or below the commit.
 */
import { assert } from '../assert.ts';
import { at, type CommitIndex, isNone, max, min, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { frame } from '../engine/frame.ts';
import { sameHash, ZERO_HASH } from '../engine/hash.ts';
import type { HeaderSuffix } from '../engine/header-suffix.ts';
import type { IndexRange } from '../engine/log-contract.ts';
import { noteReplacements } from './members.ts';
import type { NodeState, Suffix } from './state.ts';

/** Appends frames that continue the own log: to memory at once, to the disk by an output. */
export function appendBatch(n: NodeState, batch: FrameBatch): void {
  assert(batch.first === n.end + 1, `append at ${batch.first} behind ${n.end}`);
  assert(sameHash(batch.prevHash, n.endHash), `frame ${batch.first} does not chain to the log`);
  if (!noteReplacements(n, batch)) return;
  n.cache.append(batch);
  n.ring.append(batch);
  n.end = at(batch.last);
  n.endHash = batch.lastHash;
  if (n.end > n.head) {
    n.head = n.end;
    n.headHash = n.endHash;
  }
  n.out.push({ type: 'append', batch, epoch: n.epoch });
}

/** Of the cache's size: how much may wait for the own disk, in bytes. */
const BACKLOG_CACHES = 4;

/**
 * The own disk is so far behind (it is stalled or full) that nothing more is taken from others: what is missed is fetched once it has caught up. Without
 * this the frames of a replica that cannot write would grow in memory without bound.
 */
export function backlogged(n: NodeState): boolean {
  if (n.end <= n.durable) return false;
  return n.end - n.durable > n.config.pipelineMax || n.cache.size > BACKLOG_CACHES * n.config.cacheBytes;
}

/** Moves the known commit to min(heard, intact end) and asks for it to be applied. */
export function moveCommit(n: NodeState, heard: CommitIndex): void {
  n.commitHeard = max(n.commitHeard, heard);
  // Backups that enter the view later promise only what is above the commit they are told.
  n.primary?.tracker.raise(n.commitHeard);
  const commit = min(n.commitHeard, n.intact);
  if (commit <= n.commit) return;
  n.commit = commit;
  n.out.push({ type: 'commit', commit });
}

/** True when no frame of the log of record is missing. */
export function complete(n: NodeState): boolean {
  return n.end >= n.head;
}

/**
 * Adopts the canonical suffix of `view`: {view, log view, headers} in one atomic manifest update, then the own log above `junction`, the last index that the two
 * share (join.ts): nothing that may be canonical is cut.
 *
 * `promisesLost`: through here this replica may have promised what it does not know any more. What stays promised goes into the tail record with the install, so
 * that no crash forgets it.
 */
export function installSuffix(n: NodeState, suffix: Suffix, junction: CommitIndex, promisesLost = NONE): void {
  const { view, head, headHash, headers } = suffix;
  assert(view >= n.view && view >= n.logView, 'views never go back');
  const certain = certainlyCommitted(n);
  const committed = min(n.commit, n.end);
  assert(
    committed <= head && !differs(n, committed, headers),
    `installing view ${view} would cut committed index ${n.commit} to ${junction}`,
  );
  const keep = lastKnown(n, suffix, junction, committed);
  const twice = twoFrames(n, min(n.end, head), keep, headers);
  if (twice !== null) {
    n.halt('E_PROTOCOL', `index ${twice} exists with two different frames of one view`);
    return;
  }
  if (keep < n.end) n.event({ kind: 'truncate', from: keep + 1, to: n.end });
  // What P told of the longer log is remembered: the ring reaches down to it, and a second install from far behind keeps as much. What was heard of entries that are not
  // here says nothing of the log that comes now: who brings it says what of it is committed.
  n.commitHeard = min(certain, keep);
  n.promised = promisesLost === NONE ? stillPromised(n, keep, head) : max(n.promised, promisesLost);
  n.view = view;
  n.logView = view;
  const endHash = isNone(keep) ? ZERO_HASH : (knownHash(n, keep) ?? statedHash(suffix, keep));
  assert(endHash !== null, `the chain hash of ${keep} is known`);
  n.endHash = endHash.slice();
  n.ring.truncate(keep);
  for (const index of n.joints.keys()) if (index > keep) n.joints.delete(index);
  n.cache.truncate(keep);
  n.end = keep;
  learnHeaders(n, headers);
  n.durable = min(n.durable, keep);
  n.faulty = damagedThrough(n, keep);
  n.head = head;
  n.headHash = headHash.slice();
  n.canonical = headers;
  n.epochs.begin(keep);
  n.epochs.settle(n.durable);
  n.stored = false;
  n.connected = true;
  n.manifest = { ...n.manifest, view, logView: view, headers, junction: { index: keep, hash: n.endHash } };
  const { manifest, promised } = n;
  n.out.push({ type: 'install', manifest, keepThrough: keep, keepHash: n.endHash, promised, token: ++n.saveToken });
}

/** Damaged slots of a log that is cut to `keep`. */
export function damagedThrough(n: NodeState, keep: CommitIndex): IndexRange[] {
  return n.faulty.filter((r) => r.from <= keep).map((r) => ({ from: r.from, to: Math.min(r.to, keep) }));
}

/** Where the ring reaches down no more to the end of the own log, the canonical headers tell of it: votes and the next block time need them. */
function learnHeaders(n: NodeState, headers: HeaderSuffix): void {
  if (isNone(n.end) || n.ring.has(n.end)) return;
  const hash = headers.contains(n.end) ? headers.hash(n.end) : null;
  if (hash !== null && sameHash(hash, n.endHash)) n.ring.load(headers.slice(headers.first, n.end));
}

/** An index above `keep` of which the own log and the headers have different frames of one view: the protocol is broken. */
function twoFrames(n: NodeState, from: number, keep: number, headers: HeaderSuffix): number | null {
  for (let index = from; index > keep; index--) {
    const own = n.ring.header(index);
    const other = headers.contains(index) ? headers.header(index) : null;
    if (own === null || other === null || frame.view(own, 0) !== frame.view(other, 0)) continue;
    if (differs(n, index, headers)) return index;
  }
  return null;
}

/** What stays promised when the log is cut to `keep`: a slot whose own hash nobody knows may have held the canonical frame, so it is not nacked. */
function stillPromised(n: NodeState, keep: CommitIndex, head: CommitIndex): CommitIndex {
  for (let index: number = min(n.promised, head); index > keep; index--) {
    if (n.ring.hash(index) === null) return at(index);
  }
  return min(n.promised, keep);
}

/** True when the headers state another hash for `index` than the own log. */
function differs(n: NodeState, index: number, headers: HeaderSuffix): boolean {
  const own = n.ring.hash(index);
  const other = headers.contains(index) ? headers.hash(index) : null;
  return own !== null && other !== null && !sameHash(own, other);
}

/** True when the log that ends with `suffix` lacks what is committed here, or has another entry in its place: its view was given up, and a snapshot of a later one has told of the commit. */
export function lacksCommitted(n: NodeState, suffix: Suffix): boolean {
  return suffix.head < n.commit || differs(n, n.commit, suffix.headers);
}

/** The own log through here is committed: what was heard, or what must be, as no index above commit + P is ever assigned. */
export function certainlyCommitted(n: NodeState): CommitIndex {
  const floor = n.end - n.config.pipelineMax;
  return min(n.end, floor > n.commitHeard ? at(floor) : n.commitHeard);
}

/** Chain hash of an index of the own log by whatever states it, or null. */
export function knownHash(n: NodeState, index: number): Uint8Array | null {
  const { checkpoint } = n.manifest;
  if (index === n.end) return n.endHash;
  return n.ring.hash(index) ?? n.joints.get(index) ?? (index === checkpoint.index ? checkpoint.hash : null);
}

/** Greatest index through `junction`, at or above `committed`, whose chain hash is known: damage may have taken that of `junction` itself. */
function lastKnown(n: NodeState, suffix: Suffix, junction: CommitIndex, committed: CommitIndex): CommitIndex {
  for (let index: number = junction; index > committed; index--)
    if (knownHash(n, index) !== null || statedHash(suffix, index) !== null) return at(index);
  return committed;
}

/** Chain hash of `index` in the log that ends with these headers, or null. */
export function statedHash({ head, headHash, headers }: Suffix, index: number): Uint8Array | null {
  if (index === head) return headHash;
  if (headers.contains(index)) return headers.hash(index);
  const above = headers.contains(index + 1) ? headers.header(index + 1) : null;
  return above === null ? null : frame.prevHash(above, 0);
}

/** Canonical headers of the log of record, for votes and StartView. */
export function recordHeaders(n: NodeState): HeaderSuffix {
  return complete(n) ? n.ring.all() : n.canonical;
}

/** Splits first..last around faulty slots. */
export function intactRanges(n: NodeState, first: number, last: number): { first: number; last: number }[] {
  const ranges: { first: number; last: number }[] = [];
  let from = first;
  for (const hole of n.faulty) {
    if (hole.to < from || hole.from > last) continue;
    if (hole.from > from) ranges.push({ first: from, last: hole.from - 1 });
    from = hole.to + 1;
  }
  if (from <= last) ranges.push({ first: from, last });
  return ranges;
}
