/**
 * The cluster as its replicas state it: `chronon status --json` (issue item 11) is made here, from whatever answers.
 *
 * Invariants: a replica that does not answer keeps its id and URL, with pid null, status `unreachable`, role `none`; view and primary are those of the
 * highest view whose primary is normal.
 */
import { mergeStatus, summaryOf, unreachable } from '../api/cluster-status.ts';
import { replicaDetail, type ClusterStatus, type ReplicaDetail } from '../api/schema.ts';
import { apiQuery } from './api-call.ts';

export interface StatusTarget {
  readonly id: number;
  readonly apiUrl: string;
}

/** How long one replica is waited for, in ms. */
export const STATUS_TIMEOUT_MS = 1500;

/** What one replica says of itself, or null. */
export async function replicaStatus(
  target: StatusTarget,
  token: string,
  timeoutMs = STATUS_TIMEOUT_MS,
): Promise<ReplicaDetail | null> {
  try {
    return await apiQuery({ url: target.apiUrl, token }, 'replica.status', undefined, replicaDetail, { timeoutMs });
  } catch {
    return null;
  }
}

export interface ClusterView {
  readonly status: ClusterStatus;
  readonly details: readonly (ReplicaDetail | null)[];
  /** How many replicas answered. */
  readonly answered: number;
}

/** Asks every replica at once. `clusterId` is used when none of them answers. */
export async function clusterView(
  targets: readonly StatusTarget[],
  token: string,
  clusterId: string,
  timeoutMs = STATUS_TIMEOUT_MS,
): Promise<ClusterView> {
  const details = await Promise.all(targets.map((target) => replicaStatus(target, token, timeoutMs)));
  const replicas = targets.map((target, i) => {
    const detail = details[i];
    return detail ? { ...summaryOf(detail), url: target.apiUrl } : unreachable(target.id, target.apiUrl, '0');
  });
  const known = details.find((detail) => detail !== null);
  return {
    status: mergeStatus(known?.clusterId ?? clusterId, replicas),
    details,
    answered: details.filter((detail) => detail !== null).length,
  };
}
