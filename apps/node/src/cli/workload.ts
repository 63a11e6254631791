/**
 * `chronon workload bank|kv`: drives the cluster through failovers, then checks everything: the sum of the bank, the committed log of each replica, each
 * reply against a naive model; and records a history for `chronon check`. Exit 0 only if all of it holds.
 */
import { randomBytes } from 'node:crypto';
import { Argument, Command } from 'commander';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import type { ClusterStatus } from '../api/schema.ts';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { readLog } from './log-source.ts';
import { HistoryRecorder } from './history-recorder.ts';
import { printJson, printLine, say } from './output.ts';
import { wholeNumber } from './parse.ts';
import { gateways, liveTarget, replicasOf, statusOf, withTarget, type Target, type TargetFlags } from './target.ts';
import {
  accountName,
  OPENING_CENTS,
  workloadApp,
  type WorkloadApp,
  type WorkloadName,
  WORKLOADS,
} from './workload-apps.ts';
import { Workload, type WorkloadResult } from './workload-drive.ts';
import { Replay, type Operation } from './workload-replay.ts';

interface WorkloadFlags extends TargetFlags {
  readonly clients: number;
  readonly seconds: number;
  readonly depth: number;
  readonly accounts: number;
  readonly reads?: number;
  readonly history?: string;
}

/** Percent of queries, unless told otherwise. */
const READS_DEFAULT: Readonly<Record<WorkloadName, number>> = { bank: 0, kv: 40 };
const CATCH_UP_MS = 60_000;
/** A replica that does not answer may be starting again: it is waited for so long before it counts as unreachable. */
const RETURN_MS = 10_000;

export const workloadCommand = withTarget(new Command('workload'))
  .description('drive the cluster and check every outcome')
  .addArgument(new Argument('<name>', 'which workload').choices([...WORKLOADS]))
  .option('--clients <n>', 'sessions', wholeNumber, 8)
  .option('--seconds <n>', 'how long', wholeNumber, 10)
  .option('--depth <n>', 'calls in flight a session', wholeNumber, 16)
  .option('--accounts <n>', 'accounts, or keys', wholeNumber, 64)
  .option('--reads <percent>', 'share of linearizable reads (default: bank 0, kv 40)', wholeNumber)
  .option('--history <file>', 'record every call and its end as JSON lines for `chronon check`')
  .addHelpText(
    'after',
    '\nExit 0 only if the sum is conserved, every acknowledged command stands exactly once in the committed log of each reachable replica, none that\nfailed stands in it, and every reply equals a naive model. Exit codes: 0 all of that, 1 not, 2 wrong use.',
  )
  .action(async (name: WorkloadName, flags: WorkloadFlags) => {
    if (flags.clients < 1 || flags.depth < 1 || flags.accounts < 2 || (flags.reads ?? 0) > 100)
      throw new Failure('E_USAGE', 'at least 1 client, depth 1, 2 accounts; at most 100 percent reads', EXIT.usage);
    const target = liveTarget(flags);
    const report = await run(name, target, flags);
    if (flags.json === true) printJson(report);
    else show(report);
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

type Report = Awaited<ReturnType<typeof run>>;

async function run(name: WorkloadName, target: Target, flags: WorkloadFlags) {
  const runName = `w${randomBytes(5).toString('hex')}`;
  const app = workloadApp(name, runName, flags.accounts, (flags.reads ?? READS_DEFAULT[name]) / 100);
  const recorder = flags.history === undefined ? null : new HistoryRecorder(flags.history);
  const workload = new Workload({
    gateways: gateways(await replicasOf(target)),
    token: target.token,
    clients: flags.clients,
    depth: flags.depth,
    seconds: flags.seconds,
    app,
    recorder,
    onProgress: (line) => {
      if (process.stderr.isTTY) say(line);
    },
  });
  try {
    await workload.open();
    const result = await workload.drive();
    await recorder?.close();
    const sums = name === 'bank' ? await sumsOf(workload, runName, flags.accounts) : null;
    const checked = await checkLogs(target, app, result.operations);
    const problems = [...result.problems, ...checked.flatMap((one) => one.problems)];
    if (sums !== null && sums.sum !== sums.expectedSum)
      problems.push(`the sum is ${sums.sum} cents, ${sums.expectedSum} were deposited`);
    if (checked.length === 0) problems.push('no replica gave its log');
    const heads = new Set(checked.map((one) => one.head));
    if (heads.size > 1) problems.push('the replicas hold different logs');
    return {
      ok: problems.length === 0,
      workload: name,
      ...figures(result, flags),
      ...sums,
      replicas: checked,
      problems,
    };
  } catch (error) {
    throw error instanceof Failure ? error : new Failure('E_WORKLOAD', (error as Error).message, EXIT.failed);
  } finally {
    workload.close();
  }
}

function figures(result: WorkloadResult, flags: WorkloadFlags) {
  const { latencyNs, counts, seconds, longestGapMs, gaps } = result;
  const ms = (ns: number): number => Number((ns / 1e6).toFixed(3));
  const percentile = (p: number): number => (latencyNs.count === 0 ? 0 : ms(latencyNs.percentile(p)));
  return {
    clients: flags.clients,
    depth: flags.depth,
    seconds: Number(seconds.toFixed(3)),
    ...counts,
    perSecond: Math.round((counts.acknowledged + counts.rejected) / seconds),
    readsPerSecond: Math.round(counts.reads / seconds),
    latencyMs: {
      p50: percentile(50),
      p90: percentile(90),
      p99: percentile(99),
      p999: percentile(99.9),
      max: ms(latencyNs.count === 0 ? 0 : latencyNs.max),
    },
    longestGapMs: Math.round(longestGapMs),
    gaps,
  };
}

async function sumsOf(workload: Workload, run: string, accounts: number) {
  const names = Array.from({ length: accounts }, (_, i) => accountName(run, i));
  const balances = await Promise.all(names.map(async (account) => Number(await workload.ask('balance', account))));
  return { sum: balances.reduce((sum, balance) => sum + balance, 0), expectedSum: OPENING_CENTS * accounts };
}

/** Reads the committed log of every reachable replica through the newest acknowledged index, and replays each against the model. */
async function checkLogs(target: Target, app: WorkloadApp, operations: ReadonlyMap<string, Operation>) {
  let through = 0;
  for (const { index } of operations.values()) through = Math.max(through, index);
  const { replicas } = await caughtUp(target, through);
  const codec = await createWasmCodec();
  const reachable = replicas.filter((replica) => replica.status !== 'unreachable');
  const checked = [];
  for (const { id, url, commit } of reachable) {
    if (commit === null || Number(commit) < through) {
      checked.push({
        id,
        frames: 0,
        found: 0,
        head: '',
        problems: [`r${id} has committed ${commit ?? 'nothing'} only, ${through} was acknowledged`],
      });
    } else checked.push(await checkLog(id, { url, token: target.token }, codec, through, app, operations));
  }
  return checked;
}

async function checkLog(
  id: number,
  api: { url: string; token: string },
  codec: FrameCodec,
  through: number,
  app: WorkloadApp,
  operations: ReadonlyMap<string, Operation>,
) {
  const replay = new Replay(app.module, app.model(), operations);
  const read = await readLog(api, codec, through, (bytes, at, index) => {
    replay.take(bytes, at, index);
  });
  if (read.problem === null) replay.finish();
  else replay.problems.push(read.problem);
  return {
    id,
    frames: read.count,
    found: replay.found,
    head: read.head,
    problems: replay.problems.map((text) => `r${id}: ${text}`),
  };
}

/** Waits until every reachable replica has committed `through`, or the patience is over. */
async function caughtUp(target: Target, through: number): Promise<ClusterStatus> {
  const start = performance.now();
  const end = start + CATCH_UP_MS;
  for (;;) {
    const { status, problem } = await statusOf(target);
    if (status === null && performance.now() > end)
      throw problem ?? new Failure('E_UNREACHABLE', 'nobody answers', EXIT.failed);
    const waiting = performance.now() < start + RETURN_MS;
    const behind = status?.replicas.some((replica) => {
      if (replica.status === 'unreachable') return waiting;
      return replica.commit === null || Number(replica.commit) < through;
    });
    if (status !== null && (behind !== true || performance.now() > end)) return status;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function show(report: Report): void {
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
