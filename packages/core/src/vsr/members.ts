/**
 * The members as this replica knows them: which incarnation of each counts (identity.ts), learnt from whoever knows more.
 *
 * Invariant: a replica that was replaced, or is of a generation whose loss was accepted without it, stops: nothing it says counts any more.
 */
import { isSuperseded, mergeIdentity, type Identity } from './identity.ts';
import type { NodeState } from './state.ts';

/** Takes over what `said` knows more; false when the sender does not count, or this replica does not any more. */
export function learnIdentity(n: NodeState, from: number, said: Identity): boolean {
  if (said.incarnations.length !== n.members.length) return false;
  if (said.generation > n.manifest.generation) {
    const generations = `generation ${n.manifest.generation}, r${from} of generation ${said.generation}`;
    n.halt(
      'E_GENERATION',
      `this replica is of ${generations}: a loss was accepted without it, and its log may hold what is gone`,
    );
    return false;
  }
  const position = n.members.indexOf(n.id);
  if (said.incarnations[position]! > n.manifest.incarnations[position]!) {
    const numbers = `incarnation ${n.manifest.incarnations[position]}, r${from} knows incarnation ${said.incarnations[position]}`;
    n.halt('E_DUP_NODE', `this directory is r${n.id} of ${numbers}: it was replaced`);
    return false;
  }
  raiseIdentity(n, said);
  return !isSuperseded(n.manifest, said, n.members.indexOf(from));
}

/** Stores the higher entries; what is handed to the log afterwards is written after them. */
export function raiseIdentity(n: NodeState, table: Identity): void {
  const merged = mergeIdentity(n.manifest, table);
  if (merged === n.manifest) return;
  for (const [i, id] of n.members.entries())
    if (merged.incarnations[i] !== n.manifest.incarnations[i]) n.primary?.acked.delete(id);
  n.manifest = merged;
  n.out.push({ type: 'save', manifest: n.manifest, token: 0 });
  n.event({ kind: 'identity', generation: merged.generation, incarnations: merged.incarnations });
}
