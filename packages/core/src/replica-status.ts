/** What a replica shows of itself (replica-contract.ts, ReplicaStatus). */
import { max } from './engine/commit-index.ts';
import { toHex } from './engine/hash.ts';
import type { Replica } from './replica.ts';
import type { ReplicaStatus } from './replica-contract.ts';
import { confirmedDigest } from './vsr/reads.ts';
import type { NodeState } from './vsr/state.ts';
import { versionProblem } from './vsr/versions.ts';

export function replicaStatus(replica: Replica): ReplicaStatus {
  const { executor, store, ports } = replica;
  const n = replica.node.state;
  const role = n.standby
    ? 'standby'
    : n.isPrimary
      ? 'primary'
      : n.status === 'normal' && !n.abdicated
        ? 'backup'
        : 'none';
  return {
    id: n.id,
    clusterId: toHex(n.manifest.clusterId),
    role,
    status: n.status,
    view: n.view,
    logView: n.logView,
    primary: n.primaryOf(n.view),
    serving: n.serving,
    abdicated: n.abdicated,
    commit: n.commit,
    applied: executor.applied,
    durable: n.durable,
    last: max(n.end, n.head),
    checkpoint: n.manifest.checkpoint.index,
    first: store.first,
    fetching: replica.snapshots.transfer.fetching,
    digest: toHex(executor.digest),
    headHash: toHex(n.headHash),
    confirmedDigest: confirmedDigest(n),
    diverged: n.diverged,
    faulty: [...n.faulty],
    readOnly: store.full,
    sessions: executor.sessionCount,
    queue: n.requests.waiting,
    outbox: executor.outbox.counts,
    viewChanges: n.viewChanges,
    lastViewChangeMs: replica.viewChangedMs,
    disk: { kind: ports.disk.kind, fallbackReason: ports.disk.fallbackReason },
    codec: ports.codec.backend,
    log: store.report(),
    scrub: replica.scrubber.report(),
    notes: [...replica.notes, ...waits(n)],
    app: ports.app.name,
    versions: executor.versions,
  };
}

/** Why this replica cannot go on, or what it has to mend, in words. */
function waits(n: NodeState): string[] {
  const why: string[] = [];
  if (n.dataLoss !== null) why.push(`E_DATA_LOSS: index ${n.dataLoss.index}: ${n.dataLoss.why}`);
  if (n.standby) why.push(`standby: votes once it durably holds the log through index ${n.manifest.standbyThrough}`);
  const clocks = n.serving && n.requests.waiting > 0 ? n.clock.problem(n.wallMs, n.monotonicMs) : null;
  if (clocks !== null) why.push(`commands wait: ${clocks}`);
  for (const { index } of n.snapshots.damaged) {
    const remedy = n.snapshots.lacks >= index ? 'no other replica gives it, new ones are taken' : 'it is fetched again';
    why.push(`snapshot ${index} is damaged on the disk: ${remedy}`);
  }
  const version = versionProblem(n);
  if (version !== null) why.push(version);
  return why;
}
