/**
 * Who executed the log differently (docs/kernel.md, "Determinism"): D[n] covers everything before n, so two replicas that agree at m agree at every n <= m, and two
 * that differ once differ for ever. The majority decides: the odd replica is quarantined; without a majority the replica stops.
 *
 * Invariants: nothing is decided against a replica without the digests of a quorum at one index; a quarantined replica is never primary again in this process run,
 * serves no reads, runs no effects, takes no snapshots; it goes on keeping the log.
 */
import { type CommitIndex, NONE } from '../engine/commit-index.ts';
import { sameHash, toHex } from '../engine/hash.ts';
import type { NodeState } from './state.ts';

/** Indexes at which digests of different replicas are remembered. */
const INDEXES_KEPT = 64;

/** Digests that replicas stated, and what follows from them. */
export class DigestBook {
  /** By index, oldest first: digest (hex) of each replica that stated one there. */
  readonly stated = new Map<number, Map<number, string>>();
  /** Highest index at which each peer agreed with this replica. */
  readonly agreed = new Map<number, CommitIndex>();
  /** Peers whose digest was another one than a quorum's, with the index. */
  readonly odd = new Map<number, number>();
  /** What a quorum has at an index that is not applied here yet. */
  awaited: { readonly index: CommitIndex; readonly digest: Uint8Array } | null = null;

  note(index: number, replica: number, digest: string): Map<number, string> {
    let at = this.stated.get(index);
    if (at === undefined) {
      at = new Map();
      this.stated.set(index, at);
      if (this.stated.size > INDEXES_KEPT) this.stated.delete(this.stated.keys().next().value!);
    }
    at.set(replica, digest);
    return at;
  }
}

/** A peer stated its D at an index; this replica judges when it has one there. */
export function compareDigest(n: NodeState, from: number, index: CommitIndex, digest: Uint8Array): void {
  if (index === NONE || n.diverged !== null) return;
  const own = n.sessions.digestAt(index);
  if (own === null) return;
  const { digests } = n;
  if (sameHash(own, digest)) {
    if (index > (digests.agreed.get(from) ?? NONE)) digests.agreed.set(from, index);
    if (digests.stated.size === 0) return;
  }
  const at = digests.note(index, from, toHex(digest));
  at.set(n.id, toHex(own));
  judge(n, index, at);
}

function judge(n: NodeState, index: CommitIndex, at: Map<number, string>): void {
  const own = at.get(n.id)!;
  for (const [peer, agreed] of n.digests.agreed) if (agreed >= index && !at.has(peer)) at.set(peer, own);
  const counts = new Map<string, number>();
  for (const digest of at.values()) counts.set(digest, (counts.get(digest) ?? 0) + 1);
  const majority = [...counts].find(([, count]) => count >= n.quorum)?.[0];
  if (majority === undefined) {
    if (at.size === n.members.length && counts.size > 1) {
      const all = [...at].map(([id, digest]) => `r${id}: ${digest}`).join(', ');
      n.halt('E_DIVERGED', `no majority of replicas has one execution digest at index ${index} (${all})`);
    }
    return;
  }
  for (const [peer, digest] of at) {
    if (digest === majority || n.digests.odd.has(peer)) continue;
    n.digests.odd.set(peer, index);
    n.event({ kind: 'diverged', index, peer });
  }
  if (own !== majority)
    quarantine(n, index, `its execution digest at index ${index} is ${own}, a quorum has ${majority}`);
}

/** The primary says what a quorum has at an index: who has something else there is the odd one. */
export function heardConfirmed(n: NodeState, index: CommitIndex, digest: Uint8Array): void {
  if (index === NONE || n.diverged !== null) return;
  if (index > n.applied) {
    n.digests.awaited ??= { index, digest };
    return;
  }
  const own = n.sessions.digestAt(index);
  if (own === null || sameHash(own, digest)) return;
  n.event({ kind: 'diverged', index, peer: n.id });
  quarantine(n, index, `its execution digest at index ${index} is ${toHex(own)}, a quorum has ${toHex(digest)}`);
}

/** More was applied: what was awaited can be compared. */
export function compareAwaited(n: NodeState): void {
  const { awaited } = n.digests;
  if (awaited === null || awaited.index > n.applied) return;
  n.digests.awaited = null;
  heardConfirmed(n, awaited.index, awaited.digest);
}

/** This replica's state is not what the log says: it keeps the log, and nothing else of it counts. A primary steps down in the same step (node.ts). */
export function quarantine(n: NodeState, index: number, why: string): void {
  if (n.diverged !== null) return;
  n.diverged = `quarantined: ${why}`;
  n.event({ kind: 'quarantine', index, why });
}
