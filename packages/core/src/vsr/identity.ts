/**
 * Identity: which incarnation of each member counts, and in which generation (docs/protocol.md, "A wiped disk").
 *
 * Invariants: entries only grow, and the higher one wins wherever two tables meet; whoever has put a replacement into its log has stored the raised table before
 * that frame, so every quorum of a later view holds somebody who discards what the old incarnation said.
 */
import { assert } from '../assert.ts';
import { sameHash } from '../engine/hash.ts';
import type { Policy } from '../policy.ts';

/** Generation, and the incarnation of each member by position. */
export interface Identity {
  readonly generation: number;
  readonly incarnations: readonly number[];
}

/** The higher entry of both; `a` itself when `b` has nothing higher. */
export function mergeIdentity<T extends Identity>(a: T, b: Identity): T {
  assert(a.incarnations.length === b.incarnations.length, 'tables are of the same members');
  const higher = b.generation > a.generation || b.incarnations.some((value, i) => value > a.incarnations[i]!);
  if (!higher) return a;
  return {
    ...a,
    generation: Math.max(a.generation, b.generation),
    incarnations: a.incarnations.map((value, i) => Math.max(value, b.incarnations[i]!)),
  };
}

/** True when what the member at `position` says as `said` counts no more by `table`. */
export function isSuperseded(table: Identity, said: Identity, position: number): boolean {
  return said.generation < table.generation || said.incarnations[position]! < table.incarnations[position]!;
}

/** True when a peer that says it is of cluster `theirs` may talk to a replica of `own`. */
export function isOfCluster(theirs: Uint8Array, own: Uint8Array, policy: Policy): boolean {
  return policy.acceptWrongCluster || sameHash(theirs, own);
}
