/**
 * Choosing the suffix of a new view from its votes: a pure function (docs/protocol.md, "Choosing"; the nack rule after Protocol-Aware Recovery).
 *
 * Invariants: votes of a superseded incarnation or generation are discarded before the quorum is counted; only votes of the highest log view define the suffix; an
 * index above commit is dropped only when n - quorum + 1 replicas nack it; a damaged slot is no nack.
 */
import { below, type CommitIndex, isNone, max, NONE } from '../engine/commit-index.ts';
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import { sameHash, ZERO_HASH } from '../engine/hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../engine/header-suffix.ts';
import type { Policy } from '../policy.ts';
import { type Identity, isSuperseded, mergeIdentity } from './identity.ts';
import type { DoViewChange } from './messages.ts';

export type Choice =
  /** More votes may settle it. */
  | { readonly kind: 'wait' }
  | {
      readonly kind: 'chosen';
      readonly head: CommitIndex;
      readonly headHash: Uint8Array;
      readonly headers: HeaderSuffix;
      readonly commit: CommitIndex;
    }
  /** Everybody has voted, and still nobody can say what `index` holds or that it may be dropped. */
  | { readonly kind: 'data-loss'; readonly index: number; readonly why: string };

const WAIT: Choice = { kind: 'wait' };

/** Votes that count, with who gave them: the others are of an incarnation or generation that is gone. */
export function countedVotes(
  votes: ReadonlyMap<number, DoViewChange>,
  members: readonly number[],
  own: Identity,
): [number, DoViewChange][] {
  let table: Identity = own;
  for (const vote of votes.values()) table = mergeIdentity(table, vote);
  return [...votes].filter(([id, vote]) => !isSuperseded(table, vote, members.indexOf(id)));
}

/** What the new view begins with. `own` is among `votes`. */
export function chooseSuffix(
  votes: readonly DoViewChange[],
  own: DoViewChange,
  members: number,
  quorum: number,
  policy: Policy,
): Choice {
  if (votes.length < quorum) return WAIT;
  const best = bestVote(votes, own, policy);
  const headers = withoutGaps(best, votes);
  let commit: CommitIndex = NONE;
  for (const vote of votes) {
    const kept = keepsCommitted(vote, best, headers);
    if (kept === 'another')
      return undecided(votes, members, vote.commit, 'what one replica has committed there is not in the newest log');
    if (kept === 'same') commit = max(commit, vote.commit);
  }
  const nacksMin = members - quorum + 1;
  let head: CommitIndex = best.head;
  for (let index = commit + 1; index <= best.head; index++) {
    const hash = index === best.head ? best.headHash : headers.hashIfAny(index);
    const stands = votes.map((vote) => standing(vote, best, index, hash, policy));
    if (stands.includes('present')) continue;
    const nacks = stands.filter((stand) => stand === 'nack').length;
    if (nacks < nacksMin)
      return undecided(
        votes,
        members,
        index,
        `${nacks} replicas never had it, ${nacksMin} must say so, and no copy is readable`,
      );
    head = below(index);
    break;
  }
  if (commit > head)
    return undecided(votes, members, head + 1, `index ${commit} is committed, the newest log ends at ${head}`);
  const headHash = isNone(head) ? ZERO_HASH : head === best.head ? best.headHash : headers.hashIfAny(head);
  if (headHash === null) return undecided(votes, members, head, 'nothing states its chain hash');
  return { kind: 'chosen', head, headHash, headers: headers.slice(0, head), commit };
}

/**
 * Whether the log of `best` has what this voter knows committed. In a view that any quorum may still begin it has; but a voter who has heard of a later view's commit (a
 * snapshot told it) may have lent its vote to one that was left behind, whose newest log is another one there: an index alone says nothing of that.
 */
function keepsCommitted(vote: DoViewChange, best: DoViewChange, headers: HeaderSuffix): 'same' | 'another' | 'unknown' {
  const { commit } = vote;
  if (commit > best.head || vote.logView === best.logView || commit < headers.first) return 'same';
  const [theirs, ours] = [statedIn(vote, vote.headers, commit), statedIn(best, headers, commit)];
  if (theirs === null || ours === null) return sharedThrough(best, headers, vote) >= commit ? 'same' : 'unknown';
  return sameHash(theirs, ours) ? 'same' : 'another';
}

/** Chain hash of `index` in the log that ends with `head` and has these headers, or null. */
function statedIn(
  { head, headHash }: Pick<DoViewChange, 'head' | 'headHash'>,
  headers: HeaderSuffix,
  index: number,
): Uint8Array | null {
  return index === head ? headHash : headers.hashIfAny(index);
}

function undecided(votes: readonly DoViewChange[], members: number, index: number, why: string): Choice {
  return votes.length < members ? WAIT : { kind: 'data-loss', index, why };
}

/** Highest log view, then greatest head; the own vote among equals. */
function bestVote(votes: readonly DoViewChange[], own: DoViewChange, policy: Policy): DoViewChange {
  const logView = policy.noLogView ? -1 : Math.max(...votes.map((vote) => vote.logView));
  const defining = votes.filter((vote) => policy.noLogView || vote.logView === logView);
  let best = defining[0]!;
  for (const vote of defining) {
    const better = policy.installShorterLog ? vote.head < best.head : vote.head > best.head;
    if (better) best = vote;
  }
  return own.logView === best.logView && own.head === best.head ? own : best;
}

/**
 * The headers of `best`; what damage hid there is taken from the votes whose log is the same down from some index: those of its log view, and those whose headers
 * chain to a hash that it states.
 */
function withoutGaps(best: DoViewChange, votes: readonly DoViewChange[]): HeaderSuffix {
  const headers = best.headers.slice(0, best.head);
  for (const vote of votes) {
    if (vote === best) continue;
    const from = vote.logView === best.logView ? vote.head : sharedThrough(best, headers, vote);
    for (let index = Math.min(from, headers.last); index >= headers.first; index--) fill(headers, vote.headers, index);
  }
  return headers;
}

/**
 * Last index at which the log of `vote` states the same frame as the log that ends at `head` and has these headers, and so all below it; -1 when nothing says so.
 */
export function sharedThrough(
  { head, headHash }: Pick<DoViewChange, 'head' | 'headHash'>,
  headers: HeaderSuffix,
  vote: DoViewChange,
): number {
  for (let index = Math.min(vote.head, head); index >= 0; index--) {
    const theirs = statedIn(vote, vote.headers, index);
    const ours = statedIn({ head, headHash }, headers, index);
    if (theirs !== null && ours !== null && sameHash(theirs, ours)) return index;
    if (index < headers.first) break;
  }
  return -1;
}

/** Copies what `from` knows of `index` and `headers` does not. */
function fill(headers: HeaderSuffix, from: HeaderSuffix, index: number): void {
  if (!from.contains(index) || headers.header(index) !== null) return;
  const source = (index - from.first) * HEADER_RECORD_BYTES;
  const target = (index - headers.first) * HEADER_RECORD_BYTES;
  if (from.header(index) !== null) {
    headers.bytes.set(from.bytes.subarray(source, source + HEADER_RECORD_BYTES), target);
  } else if (headers.hash(index) === null) {
    const hash = from.bytes.subarray(source + FRAME_HEADER_BYTES, source + HEADER_RECORD_BYTES);
    headers.bytes.set(hash, target + FRAME_HEADER_BYTES);
  }
}

/** What one vote says of (index, hash). A faulty slot is never a nack. */
function standing(
  vote: DoViewChange,
  best: DoViewChange,
  index: number,
  hash: Uint8Array | null,
  policy: Policy,
): 'present' | 'nack' | 'unknown' {
  const faulty = vote.faulty.some((range) => index >= range.from && index <= range.to);
  if (vote.logView !== best.logView) {
    if (index > vote.head) return index > vote.promised ? 'nack' : 'unknown';
    const theirs = index === vote.head ? vote.headHash : vote.headers.hashIfAny(index);
    if (theirs === null || hash === null) return 'unknown';
    if (!sameHash(theirs, hash)) return 'nack';
  }
  if (faulty) return policy.nackFaultySlot ? 'nack' : 'unknown';
  if (index <= vote.present) return 'present';
  return index > vote.promised || policy.nackFaultySlot ? 'nack' : 'unknown';
}
