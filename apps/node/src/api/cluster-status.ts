/**
 * `cluster.status`: asks every other replica and merges. A replica that does not answer keeps its id: pid null, unreachable, role none,
 * the view it was last seen in.
 */
import { apiUrl } from '../replica/config.ts';
import type { ApiHost } from './host.ts';
import { replicaDetail, type ClusterStatus, type ReplicaDetail, type ReplicaSummary } from './schema.ts';

export const PEER_STATUS_TIMEOUT_MS = 700;

/** `view` and `primary`: of the highest view whose primary is normal. */
export function mergeStatus(clusterId: string, replicas: readonly ReplicaSummary[]): ClusterStatus {
  let best: ReplicaSummary | null = null;
  for (const replica of replicas) {
    if (replica.role !== 'primary' || replica.status !== 'normal') continue;
    if (best === null || BigInt(replica.view) > BigInt(best.view)) best = replica;
  }
  return { clusterId, view: best?.view ?? null, primary: best?.id ?? null, replicas: [...replicas] };
}

/** What is known of a replica that does not answer. */
export function unreachable(id: number, url: string, lastView: string): ReplicaSummary {
  return {
    id,
    pid: null,
    url,
    role: 'none',
    status: 'unreachable',
    view: lastView,
    commit: null,
    applied: null,
    durable: null,
    last: null,
    digest: '',
  };
}

/** The fields of the summary, in their documented order. */
export function summaryOf(detail: ReplicaDetail): ReplicaSummary {
  const { id, pid, url, role, status, view, commit, applied, durable, last, digest } = detail;
  return { id, pid, url, role, status, view, commit, applied, durable, last, digest };
}

export class ClusterView {
  private readonly host: ApiHost;
  private readonly lastViews = new Map<number, string>();
  private running: Promise<ClusterStatus> | null = null;

  constructor(host: ApiHost) {
    this.host = host;
  }

  /** Calls that come while one is under way share its answer. */
  status(): Promise<ClusterStatus> {
    this.running ??= this.ask().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async ask(): Promise<ClusterStatus> {
    const { host } = this;
    const replicas = await Promise.all(
      host.members.map(async (member) => {
        if (member.id === host.id) return summaryOf(host.detail());
        const answer = await host.peers.query(member, 'replica.status', replicaDetail, PEER_STATUS_TIMEOUT_MS);
        if (!answer.ok || answer.value.id !== member.id) {
          return unreachable(member.id, apiUrl(member), this.lastViews.get(member.id) ?? '0');
        }
        this.lastViews.set(member.id, answer.value.view);
        return summaryOf(answer.value);
      }),
    );
    return mergeStatus(host.detail().clusterId, replicas);
  }
}
