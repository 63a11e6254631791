/** `chronon replica`: orders to the supervisor about one replica's process. */
import { Command } from 'commander';
import { apiMutate } from '../client/api-call.ts';
import { processes } from '../supervisor/api.ts';
import { usage } from '../supervisor/failure.ts';
import { printJson, printLine, table } from './output.ts';
import { leaseDuration, replicaArgument } from './parse.ts';
import { liveTarget, withTarget, type TargetFlags } from './target.ts';

interface LeaseFlags extends TargetFlags {
  readonly for?: number;
}

async function order(path: string, input: object, flags: TargetFlags): Promise<void> {
  const target = liveTarget(flags);
  if (target.endpoint === null && flags.url === undefined)
    throw usage('replica orders go to the supervisor: name it by --data or --url');
  const reports = await apiMutate(target.api, `replica.${path}`, input, processes);
  if (flags.json === true) return printJson({ processes: reports });
  const rows = reports.map(({ id, state, pid, reason }) => [`r${id}`, state, pid === null ? '-' : String(pid), reason]);
  for (const line of table(rows)) printLine(line);
}

function simple(name: string, description: string): Command {
  return withTarget(new Command(name))
    .description(description)
    .argument('<id>', 'replica, 1 or r1', replicaArgument)
    .action(async (replica: number, flags: TargetFlags) => {
      await order(name, { replica }, flags);
    });
}

function leased(name: string, description: string, ttlOf: (flags: LeaseFlags) => number | null): Command {
  return withTarget(new Command(name))
    .description(description)
    .argument('<id>', 'replica, 1 or r1', replicaArgument)
    .option('--for <duration>', 'started or continued again after so long (at most 10m)', leaseDuration)
    .action(async (replica: number, flags: LeaseFlags) => {
      await order(name, { replica, ttlMs: ttlOf(flags) }, flags);
    });
}

export const replicaCommand = new Command('replica')
  .description('start, stop, kill or pause the process of a replica')
  .addCommand(simple('start', 'start it, continue it when paused, end its lease'))
  .addCommand(simple('stop', 'end it; it stays down until it is started'))
  .addCommand(
    leased('kill', 'kill -9; it stays down until it is started, or --for so long', (flags) => flags.for ?? null),
  )
  .addCommand(leased('pause', 'SIGSTOP, for 30 s by default', (flags) => flags.for ?? 30_000))
  .addCommand(simple('resume', 'continue it'));
