/** What a replica says of itself, as JSON: the part of the live subscription that needs no process (the daemon adds its own, the simulator its). */
import { toJson } from './engine/commit-index.ts';
import type { ReplicaStatus } from './replica-contract.ts';

/** `nowMs`: the clock that the status was taken by. */
export function statusDetail(status: ReplicaStatus, nowMs: number) {
  const { lastPassMs, ...scrubbed } = status.scrub;
  return {
    id: status.id,
    role: status.role,
    status: status.status,
    view: String(status.view),
    commit: toJson(status.commit),
    applied: toJson(status.applied),
    durable: toJson(status.durable),
    last: toJson(status.last),
    digest: status.digest,
    logView: String(status.logView),
    clusterId: status.clusterId,
    primary: status.primary,
    serving: status.serving,
    abdicated: status.abdicated,
    checkpoint: toJson(status.checkpoint),
    first: String(status.first),
    fetching: status.fetching === null ? null : { ...status.fetching, index: String(status.fetching.index) },
    headHash: status.headHash,
    confirmedDigest: toJson(status.confirmedDigest),
    diverged: status.diverged,
    faulty: status.faulty.map(({ from, to }) => ({ from: String(from), to: String(to) })),
    readOnly: status.readOnly,
    versions: { ...status.versions, active: status.versions.active === 0 ? null : status.versions.active },
    sessions: status.sessions,
    queue: status.queue,
    outbox: { ...status.outbox },
    viewChanges: status.viewChanges,
    msSinceViewChange: status.lastViewChangeMs === null ? null : Math.max(0, nowMs - status.lastViewChangeMs),
    scrub: {
      ...scrubbed,
      position: toJson(scrubbed.position),
      msSinceLastPass: lastPassMs === null ? null : Math.max(0, nowMs - lastPassMs),
    },
    codec: status.codec,
  };
}
