/**
 * The manifest of a replica that has promised nothing yet (docs/protocol.md, "First boot").
 *
 * Invariant: the cluster id is the hash of the founders' boot ids, in the order of the members.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE } from './commit-index.ts';
import { HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { ZERO_HASH } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import type { Environment, ManifestState } from './log-contract.ts';

/** Nothing is known of where the own log meets that of the log view. */
export const NO_JUNCTION: ManifestState['junction'] = { index: NONE, hash: ZERO_HASH };

export interface BlankFacts {
  readonly clusterId: Uint8Array;
  readonly replicaId: number;
  readonly bootId: Uint8Array;
  readonly founders: readonly Uint8Array[];
  readonly environment: Environment;
  /** Only for a replica that takes the place of another: the table of the cluster it joins, and where it may vote. */
  readonly joins?: {
    readonly generation: number;
    readonly incarnations: readonly number[];
    readonly standbyThrough: CommitIndex;
  };
}

/** Cluster id of these founders. */
export function clusterIdOf(founders: readonly Uint8Array[], codec: FrameCodec): Uint8Array {
  const bytes = new Uint8Array(founders.length * HASH_BYTES);
  for (const [i, id] of founders.entries()) {
    assert(id.length === HASH_BYTES, 'a boot id has 16 bytes');
    bytes.set(id, i * HASH_BYTES);
  }
  const out = new Uint8Array(HASH_BYTES);
  codec.hash(bytes, 0, bytes.length, out, 0);
  return out;
}

export function blankManifest(facts: BlankFacts): ManifestState {
  const { clusterId, replicaId, bootId, founders, environment, joins } = facts;
  return {
    clusterId,
    replicaId,
    bootId,
    founders,
    incarnations: joins?.incarnations ?? founders.map(() => 1),
    standbyThrough: joins?.standbyThrough ?? NONE,
    environment,
    generation: joins?.generation ?? 0,
    epoch: 0,
    members: founders.map((_, i) => i + 1),
    view: 0,
    logView: 0,
    headers: HeaderSuffix.EMPTY,
    junction: NO_JUNCTION,
    checkpoint: { index: NONE, hash: ZERO_HASH, digest: ZERO_HASH },
  };
}
