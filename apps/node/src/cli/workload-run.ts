/** One run of a workload: the load, then the judgement: the sum of the bank, the log of each replica, each reply against a naive model. */
import { randomBytes } from 'node:crypto';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import type { ClusterStatus } from '../api/schema.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { HistoryRecorder } from './history-recorder.ts';
import { say } from './output.ts';
import { applicationOf, gateways, replicasOf, statusOf, type Target } from './target.ts';
import {
  accountName,
  OPENING_CENTS,
  workloadApp,
  type WorkloadApp,
  type WorkloadName,
  WORKLOADS,
} from './workload-apps.ts';
import { Workload, type WorkloadResult } from './workload-drive.ts';
import { LogFollower } from './workload-follow.ts';
import { Replay, type Operation } from './workload-replay.ts';

const CATCH_UP_MS = 60_000;
/** A replica that does not answer may be starting again: it is waited for so long before it counts as unreachable. */
const RETURN_MS = 10_000;

export type WorkloadReport = Awaited<ReturnType<typeof runWorkload>>;

/** Percent of queries, unless told otherwise. */
const READS_DEFAULT: Readonly<Record<WorkloadName, number>> = { bank: 0, kv: 40 };

export interface WorkloadSettings {
  readonly clients: number;
  readonly seconds: number;
  readonly depth: number;
  readonly accounts: number;
  /** Percent of queries. */
  readonly reads?: number;
  /** Calls a second of all clients together; without it as many as they can. */
  readonly rate?: number;
  /** Where the history is recorded. */
  readonly history?: string;
}

/** The workload for the application that the cluster runs. */
export async function workloadOf(target: Target): Promise<WorkloadName> {
  const name = (await applicationOf(target))?.name;
  const found = WORKLOADS.find((workload) => workload === name);
  if (found === undefined)
    throw usage(
      `this cluster runs ${name ?? 'an application of its own'}; there are workloads for ${WORKLOADS.join(' and ')}`,
    );
  return found;
}

/** Drives the cluster, with `beside` going on at the same time, and checks everything. */
export async function runWorkload(
  name: WorkloadName,
  target: Target,
  settings: WorkloadSettings,
  beside: () => Promise<void> = async () => {},
) {
  const running = await workloadOf(target);
  if (running !== name) throw usage(`this cluster runs ${running}, not ${name}`);
  const runName = `w${randomBytes(5).toString('hex')}`;
  const app = workloadApp(name, runName, settings.accounts, (settings.reads ?? READS_DEFAULT[name]) / 100);
  const recorder = settings.history === undefined ? null : new HistoryRecorder(settings.history);
  const workload = new Workload({
    gateways: gateways(await replicasOf(target)),
    token: target.token,
    clients: settings.clients,
    depth: settings.depth,
    seconds: settings.seconds,
    thinkMs: settings.rate === undefined ? 0 : (1000 * settings.clients * settings.depth) / settings.rate,
    app,
    recorder,
    onProgress: (line) => {
      if (process.stderr.isTTY) say(line);
    },
  });
  const follower = new LogFollower(target, await createWasmCodec(), await nextIndex(target));
  try {
    await workload.open();
    follower.start();
    const [result] = await Promise.all([workload.drive(), beside()]);
    await follower.stop();
    await recorder?.close();
    const sums = name === 'bank' ? await sumsOf(workload, runName, settings.accounts) : null;
    const checked = await checkLogs(target, app, follower, result.operations);
    const problems = [...result.problems, ...checked.flatMap((one) => one.problems)];
    if (sums !== null && sums.sum !== sums.expectedSum)
      problems.push(`the sum is ${sums.sum} cents, ${sums.expectedSum} were deposited`);
    if (checked.length === 0) problems.push('no replica gave its log');
    const heads = new Set(checked.map((one) => one.head));
    if (heads.size > 1) problems.push('the replicas hold different logs');
    return {
      ok: problems.length === 0,
      workload: name,
      ...figures(result, settings),
      ...sums,
      replicas: checked,
      problems,
    };
  } catch (error) {
    throw error instanceof Failure ? error : new Failure('E_WORKLOAD', (error as Error).message, EXIT.failed);
  } finally {
    workload.close();
    follower.close();
  }
}

function figures(result: WorkloadResult, settings: WorkloadSettings) {
  const { latencyNs, counts, seconds, longestGapMs, gaps } = result;
  const ms = (ns: number): number => Number((ns / 1e6).toFixed(3));
  const percentile = (p: number): number => (latencyNs.count === 0 ? 0 : ms(latencyNs.percentile(p)));
  return {
    clients: settings.clients,
    depth: settings.depth,
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

/** What is proposed from now on stands at this index or above it. */
async function nextIndex(target: Target): Promise<number> {
  const { status } = await statusOf(target);
  const commits = status?.replicas.flatMap(({ commit }) => (commit === null ? [] : [Number(commit)])) ?? [];
  return Math.max(-1, ...commits) + 1;
}

/** Reads the committed log of every reachable replica through the newest acknowledged index, and replays each against the model. */
async function checkLogs(
  target: Target,
  app: WorkloadApp,
  follower: LogFollower,
  operations: ReadonlyMap<string, Operation>,
) {
  let through = 0;
  for (const { index } of operations.values()) through = Math.max(through, index);
  const { replicas } = await caughtUp(target, through);
  const reachable = replicas.filter((replica) => replica.status !== 'unreachable');
  const checked = [];
  for (const { id, url, commit } of reachable) {
    if (commit === null || Number(commit) < through) {
      checked.push({
        id,
        first: 0,
        frames: 0,
        found: 0,
        head: '',
        problems: [`r${id} has committed ${commit ?? 'nothing'} only, ${through} was acknowledged`],
      });
    } else checked.push(await checkLog({ id, url }, follower, through, app, operations));
  }
  return checked;
}

async function checkLog(
  replica: { readonly id: number; readonly url: string },
  follower: LogFollower,
  through: number,
  app: WorkloadApp,
  operations: ReadonlyMap<string, Operation>,
) {
  const replay = new Replay(app.module, app.model(), operations);
  const { source, problem } = await follower.read(replica, through, (bytes, at, index) => {
    replay.take(bytes, at, index);
  });
  if (problem === null) replay.finish();
  else replay.problems.push(problem);
  return {
    id: replica.id,
    first: source.first,
    frames: source.count,
    found: replay.found,
    head: source.head,
    problems: replay.problems.map((text) => `r${replica.id}: ${text}`),
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
