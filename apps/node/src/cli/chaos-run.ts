/**
 * `chronon chaos run`: real processes under the nemesis. Clients load the cluster and record a history while replicas are killed, stopped and cut off in
 * turn; afterwards the history must be linearizable, the log of every replica must hold what was acknowledged, and the times without a reply are listed.
 *
 * Invariants: every fault is a lease, so that nothing stays broken when this process dies; at most a minority is struck at a time.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check } from '@chronon/core/chaos/checker/checker';
import { parseHistory } from '@chronon/core/chaos/checker/history';
import { CHECK_MODELS } from '@chronon/core/chaos/checker/models';
import { inWords } from '@chronon/core/chaos/checker/timeline';
import { checkWitness } from '@chronon/core/chaos/checker/witness';
import { Prng } from '@chronon/core/prng';
import { apiMutate } from '../client/api-call.ts';
import { acknowledged } from '../supervisor/api.ts';
import { askable, statusOf, type Target } from './target.ts';
import type { WorkloadName } from './workload-apps.ts';
import { runWorkload, type WorkloadSettings } from './workload-run.ts';

export const NEMESES = ['kill', 'pause', 'cut-one-way', 'isolate'] as const;
export type Nemesis = (typeof NEMESES)[number];

export interface ChaosRunSettings extends WorkloadSettings {
  readonly workload: WorkloadName;
  readonly seed: number;
  /** How long a fault lasts, and the rest behind it, ms. */
  readonly faultMs: number;
  readonly restMs: number;
  /** Told of each fault. */
  onFault(line: string): void;
}

interface Struck {
  readonly fault: Nemesis;
  readonly replica: number;
  readonly fromMs: number;
  readonly toMs: number;
  /** Why it could not be made, or null. */
  readonly problem: string | null;
}

/** Patience of the checker, ms. */
const CHECK_MS = 300_000;

/** Runs the load under the nemesis, and judges. */
export async function runChaos(target: Target, settings: ChaosRunSettings) {
  const directory = settings.history === undefined ? mkdtempSync(join(tmpdir(), 'chronon-chaos-')) : null;
  const history = settings.history ?? join(directory!, 'history.jsonl');
  const struck: Struck[] = [];
  const startedMs = performance.now();
  try {
    const load = await runWorkload(settings.workload, target, { ...settings, history }, () =>
      torment(target, settings, startedMs, struck),
    );
    const judged = judge(history, settings.workload);
    const problems = [...load.problems, ...judged.problems];
    const made = struck.filter(({ problem }) => problem === null);
    if (made.length === 0) problems.push('no fault could be made: nothing was proved');
    const gaps = load.gaps.map((gap) => ({ ...gap, faults: during(struck, gap.fromMs, gap.toMs) }));
    return { ...load, ...judged, ok: problems.length === 0, seed: settings.seed, faults: struck, gaps, problems };
  } finally {
    if (directory !== null) rmSync(directory, { recursive: true, force: true });
  }
}

/** Strikes in turn until the load is over, then heals everything. */
async function torment(target: Target, settings: ChaosRunSettings, startedMs: number, struck: Struck[]): Promise<void> {
  const prng = new Prng(settings.seed);
  const endMs = startedMs + settings.seconds * 1000;
  for (let turn = 0; performance.now() + settings.restMs + settings.faultMs < endMs; turn++) {
    await sleep(settings.restMs);
    const fault = NEMESES[turn % NEMESES.length]!;
    const fromMs = Math.round(performance.now() - startedMs);
    const { replica, problem } = await strike(target, fault, settings.faultMs, prng).then(
      (hit) => ({ replica: hit, problem: null }),
      (error: unknown) => ({ replica: 0, problem: error instanceof Error ? error.message : String(error) }),
    );
    settings.onFault(problem === null ? `${fault} r${replica}` : `${fault}: ${problem}`);
    await sleep(settings.faultMs);
    struck.push({ fault, replica, fromMs, toMs: Math.round(performance.now() - startedMs), problem });
  }
}

/** Makes one fault, at the primary every other time. Returns whom it struck. */
async function strike(target: Target, fault: Nemesis, ttlMs: number, prng: Prng): Promise<number> {
  const { status } = await statusOf(target);
  if (status === null) throw new Error('nobody says who is primary');
  const ids = status.replicas.map(({ id }) => id);
  const replica = status.primary !== null && prng.chance(0.5) ? status.primary : prng.pick(ids);
  const others = ids.filter((id) => id !== replica);
  const lease = { ttlMs, reason: 'chaos run' };
  if (fault === 'kill' || fault === 'pause') {
    await apiMutate(target.api, `chaos.${fault}`, { replica, ...lease }, acknowledged);
    return replica;
  }
  const { api } = await askable(target, null);
  const oneWay = prng.chance(0.5);
  for (const other of others) {
    const links = [
      { from: replica, to: other },
      { from: other, to: replica },
    ];
    const cut = fault === 'isolate' ? links : [links[oneWay ? 0 : 1]!];
    for (const link of cut) await apiMutate(api, 'chaos.cut', { ...link, ...lease }, acknowledged);
  }
  return replica;
}

/** The history by the search and, where the log says where things stand, by the log. */
function judge(path: string, name: WorkloadName) {
  const model = CHECK_MODELS.get(name)!;
  const operations = parseHistory(readFileSync(path, 'utf8'));
  const startedMs = performance.now();
  const { verdict, counterexample, steps } = check(operations, model, () => performance.now() - startedMs < CHECK_MS);
  const witness = checkWitness(operations, model);
  const problems: string[] = [];
  if (verdict === 'illegal') {
    const { blocked } = counterexample!;
    problems.push(`the history is not linearizable: ${blocked === null ? 'no order fits' : inWords(blocked)}`);
  } else if (verdict === 'unknown') problems.push('the history could not be judged in time');
  if (witness.problem !== null) problems.push(`the log as witness: ${witness.problem}`);
  return { history: { operations: operations.length, verdict, steps, witness }, problems };
}

function during(struck: readonly Struck[], fromMs: number, toMs: number): string[] {
  return struck
    .filter((one) => one.fromMs <= toMs && one.toMs >= fromMs)
    .map(({ fault, replica }) => `${fault} r${replica}`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
