/**
 * The pure part of `chronon simulate`: runs seeds, adds up what happened, judges, and says how to replay a failure. Threads, files and the terminal are
 * the caller's (apps/node/src/cli/simulate.ts).
 */
import type { FrameCodec } from '../engine/frame-codec.ts';
import { SOUND } from '../policy.ts';
import type { FaultEvent } from './schedule.ts';
import type { Scenario } from './scenario.ts';
import { beyondAtlas } from './beyond.ts';
import { shrink } from './shrink.ts';
import { simulate, type SimulationOptions, type SimulationResult, Simulator } from './simulator.ts';
import {
  COMMANDS_ACKNOWLEDGED_MIN,
  REQUIRED_STATISTICS,
  SELDOM,
  SOMETIMES,
  STATISTICS,
  type SometimesId,
  type Statistic,
} from './sometimes.ts';

export interface SeedRequest {
  readonly seed: number;
  readonly replicas: number | null;
  readonly mutation: string | null;
  readonly without: readonly number[];
  /** The seed is run twice, and must come to one trace hash. */
  readonly twice?: boolean;
  /** Damage that leaves no good copy (beyond.ts). */
  readonly beyond?: boolean;
  /** Instead of what the seed draws. */
  readonly scenario?: Scenario | null;
}

export interface SeedReport extends Omit<SimulationResult, 'schedule'> {
  /** Fault events of the schedule. */
  readonly faults: number;
}

export interface ShrinkReport {
  readonly without: readonly number[];
  readonly left: number;
  readonly runs: number;
  /** The faults that are needed, in order. */
  readonly faults: readonly FaultEvent[];
}

/** A run as a file: what `--save` writes and `--schedule` reads. */
export interface SavedRun {
  readonly mutation: string | null;
  /** What it breaks; for people. */
  readonly invariant: string | null;
  readonly scenario: Scenario;
}

/** Runs that a shrink may take. */
export const SHRINK_RUNS_MAX = 200;
/** From so many seeds on, each required statistic must be above zero in half of them. */
export const SEEDS_FOR_STATISTICS = 100;
/** From so many seeds on, each rare state must have been reached. */
export const SEEDS_FOR_SOMETIMES = 200;
/** From so many seeds on, each of the rarest as well. */
export const SEEDS_FOR_SELDOM = 5000;

/** Runs one seed. The mutations are loaded only when one is asked for. */
export async function runSeed(
  request: SeedRequest,
  codec: FrameCodec,
  traceSink: ((line: string) => void) | null = null,
): Promise<SeedReport> {
  const options = await optionsOf(request, codec, traceSink);
  const report = reportOf(simulate(options));
  if (request.twice !== true) return report;
  const { traceHash } = simulate({ ...options, traceSink: null });
  if (traceHash === report.traceHash) return report;
  const sentence = `seed ${request.seed} ran twice in two ways: trace hash ${report.traceHash}, then ${traceHash}`;
  return { ...report, violation: { family: 'determinism', invariant: 'one-seed-one-run', sentence } };
}

/** Drops faults of a failing seed while it still fails in the same way. */
export async function shrinkSeed(
  request: SeedRequest,
  codec: FrameCodec,
  patient: () => boolean = () => true,
): Promise<ShrinkReport> {
  const options = await optionsOf(request, codec, null);
  const failed = simulate(options);
  const { without, left, runs } = shrink(options, failed, SHRINK_RUNS_MAX, patient);
  const faults = failed.schedule.filter(({ id }) => !without.includes(id));
  return { without, left, runs, faults };
}

/** The world of a seed and the faults that are left in it, whatever seeds will draw one day. */
export async function scenarioOf(request: SeedRequest, codec: FrameCodec): Promise<Scenario> {
  const { profile, schedule } = new Simulator(await optionsOf(request, codec, null));
  return { seed: request.seed, profile, schedule: schedule.filter(({ id }) => !request.without.includes(id)) };
}

/** One fault of a schedule, in words. */
export function describeFault({ id, atUs, kind, atPrimary, durationUs }: FaultEvent): string {
  return `#${id} at ${(atUs / 1000).toFixed(1)} ms: ${kind} for ${(durationUs / 1000).toFixed(1)} ms, aimed at ${atPrimary ? 'the primary' : 'any replica'}`;
}

/** Names that `--mutation` takes. */
export async function mutationNames(): Promise<string[]> {
  const { MUTATIONS } = await import('./mutations/index.ts');
  return [...MUTATIONS.keys()];
}

/** The one command that replays a seed. */
export function replayCommand(request: SeedRequest): string {
  const parts = ['npx --no-install chronon simulate', `--seed ${request.seed}`];
  if (request.replicas !== null) parts.push(`--replicas ${request.replicas}`);
  if (request.beyond === true) parts.push('--beyond');
  if (request.mutation !== null) parts.push(`--mutation ${request.mutation}`);
  if (request.without.length > 0) parts.push(`--without ${request.without.join(',')}`);
  return parts.join(' ');
}

/** What cannot happen in a cluster of one. */
const BETWEEN_REPLICAS: ReadonlySet<Statistic> = new Set<Statistic>(['messagesLost', 'truncations']);

/** What many seeds came to. */
export class Totals {
  seeds = 0;
  virtualMs = 0;
  /** Fault events of all schedules. */
  faults = 0;
  /** Trace hashes of all seeds, xored: the same in whatever order they came. */
  private hash = 0n;
  private severalReplicas = false;
  readonly sums = new Map<Statistic, number>();
  /** In how many seeds each statistic was above zero. */
  readonly seedsAbove = new Map<Statistic, number>();
  readonly sometimes = new Map<string, number>();
  readonly failures: SeedReport[] = [];
  /** Seeds with too few acknowledged commands to prove anything. */
  readonly poor: number[] = [];

  add(report: SeedReport): void {
    this.seeds++;
    if (report.replicas > 1) this.severalReplicas = true;
    this.virtualMs += report.virtualMs;
    this.faults += report.faults;
    this.hash ^= BigInt(`0x${report.traceHash}`);
    for (const name of STATISTICS) {
      const value = report.statistics[name];
      this.sums.set(name, (this.sums.get(name) ?? 0) + value);
      this.seedsAbove.set(name, (this.seedsAbove.get(name) ?? 0) + (value > 0 ? 1 : 0));
    }
    for (const [id, count] of Object.entries(report.sometimes))
      this.sometimes.set(id, (this.sometimes.get(id) ?? 0) + count);
    if (report.violation !== null) this.failures.push(report);
    else if (report.statistics.commandsAcknowledged < COMMANDS_ACKNOWLEDGED_MIN) this.poor.push(report.seed);
  }

  /** Statistics that were above zero in too few seeds of a large run. */
  get rare(): Statistic[] {
    if (this.seeds < SEEDS_FOR_STATISTICS) return [];
    const possible = REQUIRED_STATISTICS.filter((name) => this.severalReplicas || !BETWEEN_REPLICAS.has(name));
    return possible.filter((name) => (this.seedsAbove.get(name) ?? 0) * 2 < this.seeds);
  }

  /** Rare states that a large run never reached. */
  get unreached(): SometimesId[] {
    if (this.seeds < SEEDS_FOR_SOMETIMES || !this.severalReplicas) return [];
    const due = this.seeds < SEEDS_FOR_SELDOM ? SOMETIMES : [...SOMETIMES, ...SELDOM];
    return due.filter((id) => !this.sometimes.has(id));
  }

  /** `lenient`: a run that is meant to fail, or to stop, is not judged by its statistics. */
  passed(lenient: boolean): boolean {
    return (
      this.failures.length === 0 &&
      (lenient || (this.poor.length === 0 && this.rare.length === 0 && this.unreached.length === 0))
    );
  }

  get traceHash(): string {
    return this.hash.toString(16).padStart(16, '0');
  }

  toJson(request: Omit<SeedRequest, 'seed'>, realMs: number): Record<string, unknown> {
    const sorted = [...this.failures].sort((a, b) => a.seed - b.seed);
    return {
      ok: this.passed(isLenient(request)),
      verdict: this.failures.length > 0 ? 'violation' : this.passed(isLenient(request)) ? 'pass' : 'proves-too-little',
      seeds: this.seeds,
      faults: this.faults,
      traceHash: this.traceHash,
      mutation: request.mutation,
      totals: Object.fromEntries(this.sums),
      seedsAboveZero: Object.fromEntries(this.seedsAbove),
      sometimes: Object.fromEntries([...this.sometimes].sort(byName)),
      tooRare: this.rare,
      neverReached: this.unreached,
      tooFewCommands: this.poor,
      virtualMs: Math.round(this.virtualMs),
      realMs: Math.round(realMs),
      failures: sorted.map((report) => ({
        seed: report.seed,
        ...report.violation,
        atMs: report.virtualMs,
        traceHash: report.traceHash,
        replay: replayCommand({ ...request, ...replicasOf(request, report), seed: report.seed }),
      })),
    };
  }

  /** The same for a person. */
  toText(request: Omit<SeedRequest, 'seed'>, realMs: number): string {
    const lines: string[] = [];
    const rate = realMs > 0 ? Math.round(this.virtualMs / realMs) : 0;
    lines.push(`${this.seeds} seeds, ${seconds(this.virtualMs)} simulated in ${seconds(realMs)} (${rate} x real time)`);
    lines.push(`trace hash ${this.traceHash}, ${this.faults} faults`);
    for (const name of STATISTICS) {
      lines.push(
        `  ${name.padEnd(24)} ${String(this.sums.get(name) ?? 0).padStart(10)}   in ${this.seedsAbove.get(name) ?? 0} seeds`,
      );
    }
    for (const [id, count] of [...this.sometimes].sort(byName)) lines.push(`  sometimes ${id}: ${count}`);
    for (const seed of this.poor)
      lines.push(`seed ${seed}: fewer than ${COMMANDS_ACKNOWLEDGED_MIN} commands acknowledged`);
    for (const name of this.rare) lines.push(`${name} was above zero in fewer than half of the seeds`);
    for (const id of this.unreached) lines.push(`sometimes ${id} was never reached`);
    for (const report of [...this.failures].sort((a, b) => a.seed - b.seed)) {
      const { invariant, sentence } = report.violation!;
      lines.push(
        `seed ${report.seed}: ${invariant}: ${sentence}`,
        `  replay: ${replayCommand({ ...request, ...replicasOf(request, report), seed: report.seed })}`,
      );
    }
    lines.push(this.failures.length > 0 ? 'VIOLATION' : this.passed(isLenient(request)) ? 'pass' : 'PROVES TOO LITTLE');
    return lines.join('\n');
  }
}

/** Not judged by its statistics. */
export function isLenient({ mutation, beyond }: Pick<SeedRequest, 'mutation' | 'beyond'>): boolean {
  return mutation !== null || beyond === true;
}

/** A size given on the command line belongs to the replay; one drawn from the seed is drawn again. */
function replicasOf(request: Omit<SeedRequest, 'seed'>, report: SeedReport): { readonly replicas: number | null } {
  return { replicas: request.replicas === null ? null : report.replicas };
}

function reportOf(result: SimulationResult): SeedReport {
  const { schedule, ...rest } = result;
  return { ...rest, faults: schedule.length };
}

async function optionsOf(
  request: SeedRequest,
  codec: FrameCodec,
  traceSink: ((line: string) => void) | null,
): Promise<SimulationOptions> {
  const { seed, replicas, mutation, without, scenario = null, beyond = false } = request;
  const world = { scenario, ...(beyond ? { adjust: beyondAtlas } : {}) };
  const base = { seed, replicas, codec, traceSink, without: new Set(without), ...world };
  if (mutation === null) return { ...base, policy: SOUND };
  const { MUTATIONS } = await import('./mutations/index.ts');
  const policy = MUTATIONS.get(mutation);
  if (policy === undefined) throw new RangeError(`no mutation is named ${mutation}`);
  return { ...base, policy, forgiveHalts: true };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function byName([a]: readonly [string, number], [b]: readonly [string, number]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
