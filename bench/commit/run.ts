/** One run of one of the systems: start, warm up, measure, drain, account for every put, stop. */
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ReplicaDetail } from '@chronon/node/api/schema';
import { BarePipeline } from '../bare-pipeline/start.ts';
import { Etcd } from '../etcd/start.ts';
import { Child } from '../lib/child.ts';
import type { LoadOrder, LoadResult, LoadTotal } from '../lib/closed-loop.ts';
import type { Latency } from '../lib/latency.ts';
import { cpuMsOf } from '../lib/machine.ts';
import { BenchCluster } from './cluster.ts';
import type { LoadArgument } from './load.ts';
import type { CommitOptions } from './options.ts';

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url));

/** What every system is measured by. */
export interface Run {
  readonly putsPerSecond: number;
  readonly puts: number;
  readonly windowMs: number;
  readonly latencyMs: Latency;
  /** Puts acknowledged in all, warm-up and drain included. */
  readonly acknowledged: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Processor time within the window, ms. */
  readonly cpuMs: { readonly load: number; readonly primary: number; readonly backups: readonly number[] };
  /** Of the primary, from start to drain. */
  readonly disk: { readonly writes: number; readonly bytes: number; readonly barriers: number };
  readonly loadAverage: number;
}

export interface ChrononRun extends Run {
  readonly commitBefore: string;
  readonly commitAfter: string;
  /** Entries that were committed and are not an acknowledged put. */
  readonly unaccounted: number;
  /** Views that passed: each leaves at most one no-op in the log, and that is all that may be unaccounted for. */
  readonly viewsPassed: number;
  readonly diskKind: string;
  readonly diskFallback: string | null;
  readonly fileSystem: string | null;
  readonly codec: string;
  readonly digest: string;
}

export async function chrononRun(options: CommitOptions, inFlight: number, name: string): Promise<ChrononRun> {
  const { disk, tuning, profileTo, valueBytes, keys } = options;
  const cluster = await BenchCluster.start({ directory: join(options.directory, name), disk, tuning, profileTo });
  let load: Child | null = null;
  try {
    const argument: LoadArgument = { gateways: cluster.gateways, token: cluster.token, valueBytes, inFlight, keys };
    load = new Child('load', LOAD, argument);
    await load.next('ready');
    const primary = await cluster.primary();
    const before = await cluster.converged();
    const members = [primary, ...[1, 2, 3].filter((id) => id !== primary)];
    const run = await drive(
      load,
      members.map((id) => cluster.pid(id)),
      options,
      inFlight,
    );
    const after = await cluster.converged();
    return { ...run, ...accounted(before, after, primary, run.acknowledged) };
  } finally {
    await load?.stop();
    await cluster.stop();
  }
}

function accounted(
  before: readonly ReplicaDetail[],
  after: readonly ReplicaDetail[],
  primary: number,
  acknowledged: number,
): Omit<ChrononRun, Exclude<keyof Run, 'disk'>> {
  const from = before[primary - 1]!;
  const to = after[primary - 1]!;
  return {
    commitBefore: from.commit ?? '-1',
    commitAfter: to.commit ?? '-1',
    unaccounted: Number(to.commit) - Number(from.commit) - acknowledged,
    viewsPassed: Number(to.view) - Number(from.view),
    disk: {
      writes: to.disk.writes - from.disk.writes,
      bytes: to.disk.bytesWritten - from.disk.bytesWritten,
      barriers: to.disk.barriers - from.disk.barriers,
    },
    diskKind: to.disk.kind,
    diskFallback: to.disk.fallbackReason,
    fileSystem: to.disk.fileSystem,
    codec: to.codec,
    digest: to.digest,
  };
}

export async function bareRun(options: CommitOptions, inFlight: number): Promise<Run> {
  const pipeline = await BarePipeline.start(options.directory, options.valueBytes);
  try {
    const pids = pipeline.members.map(({ pid }) => pid);
    const run = await drive(pipeline.load, pids, options, inFlight);
    const { writes, bytes } = (await pipeline.stats())[0]!;
    return { ...run, disk: { writes, bytes, barriers: writes } };
  } finally {
    await pipeline.stop();
  }
}

/** What etcd writes is not counted: it has no such counters. */
export async function etcdRun(options: CommitOptions, inFlight: number, name: string): Promise<Run> {
  const etcd = await Etcd.start(join(options.directory, name), options.valueBytes, inFlight);
  try {
    const run = await drive(etcd.load, etcd.pids, options, inFlight);
    return { ...run, disk: { writes: 0, bytes: 0, barriers: 0 } };
  } finally {
    await etcd.stop();
  }
}

/** `pids`: the primary first. */
async function drive(
  load: Child,
  pids: readonly number[],
  options: CommitOptions,
  inFlight: number,
): Promise<Omit<Run, 'disk'>> {
  const times = (): number[] => [load.pid, ...pids].map((pid) => cpuMsOf(pid));
  const order: LoadOrder = {
    type: 'run',
    inFlight,
    warmUpMs: options.warmUpSeconds * 1000,
    measureMs: options.seconds * 1000,
  };
  load.send(order);
  await load.next('begin');
  const from = times();
  const result = await load.next<LoadResult>('measured');
  const to = times();
  const { acknowledged, errors } = await load.next<LoadTotal>('drained');
  const spent = to.map((ms, i) => ms - from[i]!);
  return {
    putsPerSecond: Math.round((result.puts * 1000) / result.windowMs),
    puts: result.puts,
    windowMs: Math.round(result.windowMs),
    latencyMs: result.latencyMs,
    acknowledged,
    errors,
    cpuMs: { load: spent[0]!, primary: spent[1]!, backups: spent.slice(2) },
    loadAverage: Number(loadavg()[0]!.toFixed(1)),
  };
}
