/** `chronon status`: the cluster in one look. Exit 0 whenever the supervisor or a replica answered. */
import { Command } from 'commander';
import type { ClusterStatus } from '../api/schema.ts';
import { apiQuery } from '../client/api-call.ts';
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
    else show(status, await processesOf(target));
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
