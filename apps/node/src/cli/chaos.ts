/** `chronon chaos`: faults on links. Each is a lease: it ends by itself, also when everybody who asked for it is gone. */
import { Command, Option } from 'commander';
import { z } from 'zod';
import { lease } from '../api/schema.ts';
import { ApiError, apiMutate, apiQuery } from '../client/api-call.ts';
import { acknowledged } from '../supervisor/api.ts';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, say, table } from './output.ts';
import { duration, leaseDuration, minutes, replicaArgument, wholeNumber } from './parse.ts';
import { askable, liveTarget, withTarget, type TargetFlags } from './target.ts';
import { type WorkloadName, WORKLOADS } from './workload-apps.ts';
import { showWorkload, withLoad } from './workload.ts';
import { workloadOf, type WorkloadSettings } from './workload-run.ts';

interface CutFlags extends TargetFlags {
  readonly ttl: number;
  readonly reason: string;
  readonly both?: boolean;
}

const list = z.object({ leases: z.array(lease), unreachable: z.array(z.number()) });

/** A replica without chaos has no such routes. */
async function chaos<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'NOT_FOUND') throw error;
    throw new Failure('E_CHAOS_OFF', 'this cluster was started without --enable-chaos', EXIT.failed);
  }
}

const cutCommand = withTarget(new Command('cut'))
  .description('cut the directed link from one replica to another')
  .argument('<from>', 'sender, 1 or r1', replicaArgument)
  .argument('<to>', 'receiver', replicaArgument)
  .option('--both', 'both directions')
  .option('--ttl <duration>', 'how long, at most 10m', leaseDuration, 30_000)
  .option('--reason <text>', 'shown in the console', '')
  .action(async (from: number, to: number, flags: CutFlags) => {
    const { api } = await askable(liveTarget(flags), null);
    const links = flags.both === true ? [[from, to] as const, [to, from] as const] : [[from, to] as const];
    const answers: z.output<typeof acknowledged>[] = [];
    for (const [a, b] of links) {
      const input = { from: a, to: b, ttlMs: flags.ttl, reason: flags.reason };
      answers.push(await chaos(apiMutate(api, 'chaos.cut', input, acknowledged)));
    }
    if (flags.json === true) return printJson({ cuts: answers });
    for (const [i, [a, b]] of links.entries())
      printLine(`r${a} to r${b} cut for ${flags.ttl / 1000} s (${answers[i]?.leaseId ?? ''})`);
  });

const healCommand = withTarget(new Command('heal'))
  .description('end one fault, or all')
  .argument('[id]', 'lease id; none: all')
  .addHelpText(
    'after',
    '\nExit codes: 0 all answered; 1 somebody did not, whose faults go on until their leases end (ask again); 2 usage.',
  )
  .action(async (id: string | undefined, flags: TargetFlags) => {
    const target = liveTarget(flags);
    const path = id === undefined ? 'chaos.healAll' : 'chaos.heal';
    const input = id === undefined ? {} : { id };
    const acks: z.output<typeof acknowledged>['acks'] = [];
    // The supervisor first: it heals processes even when no replica answers.
    if (target.endpoint !== null) acks.push(...(await apiMutate(target.api, path, input, acknowledged)).acks);
    const { api } = await askable(target, null);
    acks.push(...(await chaos(apiMutate(api, path, input, acknowledged))).acks);
    // Whoever did not answer may have faults left: a script must not go on as if all were healed.
    if (acks.some(({ ok }) => !ok)) process.exitCode = EXIT.failed;
    if (flags.json === true) return printJson({ acks });
    for (const { replica, ok, message } of acks)
      printLine(`${replica === 0 ? 'supervisor' : `r${replica}`}: ${ok ? message : `failed: ${message}`}`);
  });

const listCommand = withTarget(new Command('list'))
  .description('active faults')
  .action(async (flags: TargetFlags) => {
    const target = liveTarget(flags);
    const { api } = await askable(target, null);
    const answer = await chaos(apiQuery(api, 'chaos.list', undefined, list));
    const leases = new Map(answer.leases.map((one) => [one.id, one]));
    if (target.endpoint !== null)
      for (const one of (await apiQuery(target.api, 'chaos.list', undefined, list)).leases) leases.set(one.id, one);
    if (flags.json === true) return printJson({ leases: [...leases.values()], unreachable: answer.unreachable });
    const rows = [...leases.values()].map((one) => [
      one.kind === 'cut' ? `cut r${one.replica} to r${one.to ?? 0}` : `${one.kind} r${one.replica}`,
      `${(one.remainingMs / 1000).toFixed(1)} s left`,
      one.id,
      one.reason,
    ]);
    for (const line of table(rows)) printLine(line);
  });

interface RunFlags extends TargetFlags, WorkloadSettings {
  readonly minutes: number;
  readonly workload?: WorkloadName;
  readonly seed: number;
  readonly fault: number;
  readonly rest: number;
}

const runCommand = withLoad(withTarget(new Command('run')), { clients: 4, depth: 4, rate: 400 })
  .description('load the cluster while replicas are killed, stopped and cut off in turn, then judge everything')
  .option('--minutes <m>', 'how long', minutes, 10)
  .addOption(new Option('--workload <name>', 'which load (default: that of the application)').choices([...WORKLOADS]))
  .option('--fault <duration>', 'how long a fault lasts, at most 10m', leaseDuration, 5000)
  .option('--rest <duration>', 'between two faults', duration, 4000)
  .option('--seed <n>', 'of the choice of faults', wholeNumber, 1)
  .addHelpText(
    'after',
    '\nExit 0 only if the history is linearizable and every acknowledged command stands in the log of each replica. Exit codes: 0 so, 1 not, 2 usage.',
  )
  .action(async (flags: RunFlags) => {
    const { runChaos } = await import('./chaos-run.ts');
    const target = liveTarget(flags);
    const report = await runChaos(target, {
      ...flags,
      workload: flags.workload ?? (await workloadOf(target)),
      seconds: flags.minutes * 60,
      faultMs: flags.fault,
      restMs: flags.rest,
      onFault: (line) => {
        if (flags.json !== true) say(line);
      },
    });
    if (flags.json === true) printJson(report);
    else {
      showWorkload(report);
      const { operations, verdict, witness } = report.history;
      for (const { fromMs, toMs, faults } of report.gaps)
        printLine(`unavailable for ${toMs - fromMs} ms from ${fromMs} ms (${faults.join(', ') || 'no fault'})`);
      printLine(
        `${report.faults.length} faults; history of ${operations} operations: ${verdict}, ${witness.placed} placed by the log`,
      );
    }
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

export const chaosCommand = new Command('chaos')
  .description('faults on links, each a lease (needs a cluster started with --enable-chaos)')
  .addCommand(cutCommand)
  .addCommand(healCommand)
  .addCommand(listCommand)
  .addCommand(runCommand);
