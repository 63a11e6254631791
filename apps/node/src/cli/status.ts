/** `chronon status`: the cluster in one look. Exit 0 whenever the supervisor or a replica answered. */
import { Command } from 'commander';
import type { ClusterStatus, ReplicaDetail } from '../api/schema.ts';
import { apiQuery } from '../client/api-call.ts';
import { replicaStatus } from '../client/cluster-status.ts';
import { supervisorStatus, type SupervisorStatus } from '../supervisor/api.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, table } from './output.ts';
import { findTarget, staleFailure, statusOf, withTarget, type Target, type TargetFlags } from './target.ts';

export const statusCommand = withTarget(new Command('status'))
  .description('view, primary, and how far each replica is')
  .addHelpText('after', '\nExit codes: 0 the supervisor or a replica answered, 1 nobody did, 2 wrong use.')
  .action(async (flags: TargetFlags) => {
    const target = findTarget(flags);
    const { status, problem } = await statusOf(target);
    if (status === null) throw target.stale ? staleFailure(target) : (problem ?? staleFailure(target));
    if (flags.json === true) printJson(status);
    else {
      show(status, await processesOf(target));
      const alive = status.replicas.filter((replica) => replica.status !== 'unreachable');
      const details = await Promise.all(alive.map(({ id, url }) => replicaStatus({ id, apiUrl: url }, target.token)));
      for (const detail of details) if (detail !== null) printLine(diskLine(detail));
      for (const detail of details) if (detail !== null) printLine(versionLine(detail));
    }
    process.exitCode = EXIT.ok;
  });

async function processesOf(target: Target): Promise<SupervisorStatus | null> {
  if (target.endpoint === null || target.stale) return null;
  try {
    return await apiQuery(target.api, 'supervisor.status', undefined, supervisorStatus, { timeoutMs: 1000 });
  } catch {
    return null;
  }
}

function show(status: ClusterStatus, supervisor: SupervisorStatus | null): void {
  const lead = status.primary === null ? 'no primary' : `view ${status.view ?? '?'}, primary r${status.primary}`;
  printLine(`cluster ${status.clusterId}: ${lead}`);
  const rows = [['', 'role', 'status', 'view', 'commit', 'applied', 'durable', 'last', 'digest', 'pid', '']];
  for (const replica of status.replicas) {
    const { id, role, view, commit, applied, durable, last, digest, pid } = replica;
    const process = supervisor?.processes.find((one) => one.id === id);
    const note = process === undefined || process.reason === '' ? '' : `(${process.state}: ${process.reason})`;
    const numbers = [view, commit, applied, durable, last].map((value) => value ?? '-');
    rows.push([`r${id}`, role, replica.status, ...numbers, digest.slice(0, 8), pid === null ? '-' : String(pid), note]);
  }
  for (const line of table(rows)) printLine(line);
}

/** One line about the application: the version that commands run as, and those that this replica's program runs. */
function versionLine({ id, app, versions: { active, oldest, newest } }: ReplicaDetail): string {
  const local = oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`;
  const now = active === null ? 'active version not known yet (nothing executed)' : `version ${active} active`;
  return `r${id}  ${app.name}: ${now}, this program runs ${local}`;
}

/** One line about the disk of a replica: which kind and why, whether there is space, what the scrubber found. */
function diskLine(detail: ReplicaDetail): string {
  const { disk, scrub, readOnly } = detail;
  const parts = [`disk ${disk.kind} on ${disk.fileSystem ?? 'an unknown file system'}`];
  if (disk.fallbackReason !== null) parts.push(`not io_uring: ${disk.fallbackReason}`);
  if (readOnly)
    parts.push('NO SPACE for the log: read-only, writes are refused until there is space again (E_NO_SPACE)');
  if (scrub.phase === 'off') parts.push('not scrubbed');
  else {
    const share = scrub.ofBytes === 0 ? 0 : Math.min(100, Math.floor((100 * scrub.bytes) / scrub.ofBytes));
    const last = scrub.msSinceLastPass === null ? '' : `, the last ${Math.round(scrub.msSinceLastPass / 1000)} s ago`;
    const now = scrub.phase === 'rest' ? '' : `, ${share} % of the next`;
    parts.push(
      `scrubbed ${scrub.passes} time${scrub.passes === 1 ? '' : 's'}${last}${now}: ${scrub.damaged} damaged, ${scrub.repaired} repaired`,
    );
  }
  return `r${detail.id}  ${parts.join('; ')}`;
}
