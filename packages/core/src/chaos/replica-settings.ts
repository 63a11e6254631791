/** Configuration of a simulated replica: small bounds, so that segments rotate, pipelines fill and snapshots come within seconds. */
import { DEFAULT_CONFIG, type ReplicaConfig } from '../replica-contract.ts';
import { BLOCK_BYTES } from '../engine/constants.ts';
import type { Profile } from './profile.ts';

/** So few that commands are applied between the pieces of a snapshot. */
export const SNAPSHOT_PIECE_BYTES = 256;

export function replicaConfig(profile: Profile, replicaId: number, clusterId: Uint8Array, seed: number): ReplicaConfig {
  return {
    ...DEFAULT_CONFIG,
    replicaId,
    clusterId,
    seed,
    tickMs: profile.tickMs,
    viewChangeTicks: profile.viewChangeTicks,
    abdicateTicks: 2 * profile.viewChangeTicks,
    stallTicks: 4 * profile.viewChangeTicks,
    pipelineMax: profile.pipelineMax,
    batchCountMax: profile.batchCountMax,
    batchBytesMax: 4 * 1024,
    queueMax: 256,
    queueBytesMax: 16 * 1024,
    segmentBytes: profile.segmentBytes,
    snapshotEvery: profile.snapshotEvery,
    snapshotChunkBytes: BLOCK_BYTES,
    snapshotPieceBytes: SNAPSHOT_PIECE_BYTES,
    cacheBytes: profile.cacheBytes,
    scrubBytesPerSecond: 128 * 1024,
    scrubRestTicks: 100,
    limits: profile.limits,
    authorityWindowMs: 5 * profile.viewChangeTicks,
  };
}
