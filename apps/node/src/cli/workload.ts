/**
 * `chronon workload bank|kv`: drives the cluster through failovers, then checks everything: the sum of the bank, the committed log of each replica, each
 * reply against a naive model; and records a history for `chronon check`. Exit 0 only if all of it holds.
 */
import { Argument, Command, Option } from 'commander';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, say } from './output.ts';
import { between } from './parse.ts';
import { liveTarget, withTarget, type TargetFlags } from './target.ts';
import { type WorkloadName, WORKLOADS } from './workload-apps.ts';
import { runWorkload, type WorkloadReport, type WorkloadSettings } from './workload-run.ts';

const RATE_MAX = 10_000_000;

interface WorkloadFlags extends TargetFlags, WorkloadSettings {}

/** Options of everything that loads a cluster. */
export function withLoad(
  command: Command,
  defaults: { readonly clients: number; readonly depth: number; readonly rate?: number },
): Command {
  const rate = 'calls a second of all clients together';
  return command
    .option('--clients <n>', 'sessions', between(1, 1000), defaults.clients)
    .option('--depth <n>', 'calls in flight a session', between(1, 10_000), defaults.depth)
    .option('--accounts <n>', 'accounts, or keys', between(2, 1_000_000), 64)
    .option('--reads <percent>', 'share of linearizable reads (default: bank 0, kv 40)', between(0, 100))
    .addOption(
      defaults.rate === undefined
        ? new Option('--rate <n>', `${rate} (default: as many as they can)`).argParser(between(1, RATE_MAX))
        : new Option('--rate <n>', rate).argParser(between(1, RATE_MAX)).default(defaults.rate),
    )
    .option('--history <file>', 'record every call and its end as JSON lines for `chronon check`');
}

export const workloadCommand = withLoad(withTarget(new Command('workload')), { clients: 8, depth: 16 })
  .description('drive the cluster and check every outcome')
  .addArgument(new Argument('<name>', 'which workload').choices([...WORKLOADS]))
  .option('--seconds <n>', 'how long', between(1, 86_400), 10)
  .addHelpText(
    'after',
    '\nExit 0 only if the sum is conserved, every acknowledged command stands exactly once in the committed log of each reachable replica, none that\nfailed stands in it, and every reply equals a naive model. Exit codes: 0 all of that, 1 not, 2 wrong use.',
  )
  .action(async (name: WorkloadName, flags: WorkloadFlags) => {
    const target = liveTarget(flags);
    const report = await runWorkload(name, target, flags);
    if (flags.json === true) printJson(report);
    else showWorkload(report);
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

/** The report for a person. */
export function showWorkload(report: WorkloadReport): void {
  const { latencyMs: l } = report;
  printLine(
    `${report.acknowledged} commands acknowledged, ${report.rejected} rejected, ${report.failed} failed for certain, ${report.perSecond} per second`,
  );
  printLine(
    `unknown outcomes: ${report.unknown} met, ${report.unresolved} unresolved; longest time without a reply ${report.longestGapMs} ms`,
  );
  printLine(`latency ms: p50 ${l.p50}, p90 ${l.p90}, p99 ${l.p99}, p99.9 ${l.p999}, max ${l.max}`);
  if (report.reads + report.readsFailed > 0)
    printLine(`${report.reads} reads answered, ${report.readsFailed} not, ${report.readsPerSecond} per second`);
  for (const { fromMs, toMs } of report.gaps) printLine(`no reply from ${fromMs} to ${toMs} ms`);
  if ('sum' in report) printLine(`sum: ${report.sum} cents of ${report.expectedSum}`);
  for (const one of report.replicas)
    printLine(`r${one.id}: ${one.frames} frames verified, ${one.found} acknowledged commands found, head ${one.head}`);
  for (const problem of report.problems) say(`problem: ${problem}`);
  printLine(report.ok ? 'all checks hold' : 'CHECKS FAILED');
}
