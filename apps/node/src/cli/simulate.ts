/**
 * `chronon simulate`: seeds of the simulator over all cores. The simulation itself is pure and in core; here are files, signals and the terminal.
 *
 * Exit codes: 0 every seed passed, 1 a violation, 2 usage.
 */
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import {
  describeFault,
  isLenient,
  mutationNames,
  replayCommand,
  runSeed,
  type SavedRun,
  scenarioOf,
  type SeedReport,
  type SeedRequest,
  shrinkSeed,
  Totals,
} from '@chronon/core/chaos/cli';
import { decodeScenario } from '@chronon/core/chaos/scenario';
import { Command, Option } from 'commander';
import { chooseCodec } from '../replica/choose-codec.ts';
import { usage } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine } from './output.ts';
import { between, clusterSize, minutes, wholeNumber } from './parse.ts';
import { ALL_MUTATIONS, simulateMutations } from './simulate-mutations.ts';
import { runSeeds } from './simulate-pool.ts';

interface SimulateFlags {
  readonly seed?: number;
  readonly seeds?: number;
  readonly minutes?: number;
  readonly firstSeed?: number;
  readonly replicas?: readonly number[];
  readonly mutation?: string;
  readonly without?: readonly number[];
  readonly schedule?: string;
  readonly beyond?: boolean;
  readonly save?: string;
  readonly trace?: string;
  readonly threads?: number;
  readonly checkDeterminism?: boolean;
  readonly shrink: boolean;
  readonly shrinkSeconds: number;
  readonly json?: boolean;
}

/** What all seeds of a run have in common. */
interface Plan extends Omit<SeedRequest, 'seed' | 'replicas'> {
  /** Cluster sizes, taken in turn; null: what each seed draws. */
  readonly sizes: readonly number[] | null;
  readonly first: number;
  /** Infinity: until the time is over. */
  readonly count: number;
  readonly minutes: number;
}

const SEEDS_DEFAULT = 200;
/** `--minutes` without `--first-seed` starts anywhere below this. */
const FRESH_SEEDS_BELOW = 2 ** 31;
const PROGRESS_MS = 200;
/** With room for as many seeds above it as can be asked for. */
const SEED_MAX = 2 ** 52;

export const simulateCommand = new Command('simulate')
  .description('run the whole cluster in virtual time under faults drawn from seeds')
  .option('--seed <n>', 'one seed: replays exactly', between(0, SEED_MAX))
  .addOption(
    new Option('--seeds <n>', `how many seeds (default ${SEEDS_DEFAULT})`)
      .argParser(between(1, 2 ** 40))
      .conflicts('seed'),
  )
  .addOption(
    new Option('--minutes <m>', 'fresh seeds until the time is over').argParser(minutes).conflicts(['seed', 'seeds']),
  )
  .addOption(
    new Option('--first-seed <n>', 'first of the seeds (default 1)').argParser(between(0, SEED_MAX)).conflicts('seed'),
  )
  .addOption(new Option('--replicas <n>', 'instead of what the seed draws; 3,5,7: in turn').argParser(clusterSizes))
  .option(
    '--mutation <name>',
    'break the replica on purpose; the run must fail. all: each of them, until a seed catches it',
  )
  .option('--beyond', 'damage that leaves no good copy: a cluster may stop if it says why, no answer may be wrong')
  .option('--without <ids>', 'fault events to leave out, by id (a shrunk schedule)', idList)
  .addOption(
    new Option('--schedule <file>', 'replay what --save wrote, whatever that seed draws today').conflicts([
      'seed',
      'seeds',
      'minutes',
      'firstSeed',
      'replicas',
      'mutation',
      'beyond',
    ]),
  )
  .option(
    '--save <file>',
    'write the world and the faults of the first failing seed, shrunk, or of one --seed that passes',
  )
  .option('--trace <file>', 'write every event as a JSON line (one seed)')
  .option('--threads <n>', 'worker threads (default: all cores)', between(1, 1024))
  .option('--check-determinism', 'run each seed twice and compare the trace hashes')
  .option('--no-shrink', 'do not look for a smaller schedule that fails as well')
  .option('--shrink-seconds <s>', 'patience of the shrinking', between(1, 86_400), 60)
  .option('--json', 'print one JSON object')
  .addHelpText(
    'after',
    '\nExit codes: 0 every seed passed, 1 a violation (or too little was proved), 2 usage. With --mutation all: 0 every mutation was caught, 1 one was not.',
  )
  .action(async (flags: SimulateFlags, command: Command) => {
    const plan = planOf(flags);
    if (plan.mutation === ALL_MUTATIONS) {
      const other =
        ['minutes', 'without', 'save', 'trace', 'beyond'].find((flag) => flag in flags) ??
        (plan.twice ? 'check-determinism' : null);
      if (other !== null) command.error(`error: --mutation all takes no --${other}`, { exitCode: 2 });
      process.exitCode = await everyMutation(plan, flags);
      return;
    }
    const names = plan.mutation === null ? [] : await mutationNames();
    if (plan.mutation !== null && !names.includes(plan.mutation))
      command.error(`error: no mutation is named ${plan.mutation}; there are: ${names.join(', ')}`, { exitCode: 2 });
    if (flags.trace !== undefined && plan.count !== 1) command.error('error: --trace needs --seed', { exitCode: 2 });
    process.exitCode = await simulateSeeds(plan, flags);
  });

function planOf(flags: SimulateFlags): Plan {
  const twice = flags.checkDeterminism === true;
  if (flags.schedule !== undefined) {
    const { mutation, scenario } = readSchedule(flags.schedule);
    const { seed, profile } = scenario;
    const once = { first: seed, count: 1, minutes: Number.POSITIVE_INFINITY };
    return { sizes: [profile.replicas], mutation, without: flags.without ?? [], twice, scenario, ...once };
  }
  const fresh = flags.minutes === undefined ? 1 : Math.floor(Math.random() * FRESH_SEEDS_BELOW);
  const unbounded = flags.minutes === undefined ? SEEDS_DEFAULT : Number.POSITIVE_INFINITY;
  return {
    sizes: flags.replicas ?? null,
    mutation: flags.mutation ?? null,
    without: flags.without ?? [],
    beyond: flags.beyond === true,
    twice,
    first: flags.seed ?? flags.firstSeed ?? fresh,
    count: flags.seed === undefined ? (flags.seeds ?? unbounded) : 1,
    minutes: flags.minutes ?? Number.POSITIVE_INFINITY,
  };
}

async function simulateSeeds(plan: Plan, flags: SimulateFlags): Promise<number> {
  const common = { ...plan, replicas: plan.sizes?.[0] ?? null };
  const threads = Math.min(flags.threads ?? availableParallelism(), plan.count);
  const totals = new Totals();
  const startedMs = performance.now();
  const progress = progressLine(plan, flags.json === true, startedMs);
  let busyMs = 0;
  const add = (report: SeedReport, realMs: number): void => {
    totals.add(report);
    busyMs += realMs;
    progress.show(totals);
  };
  const interrupted = await untilInterrupted(async (stopped) => {
    if (flags.trace !== undefined) {
      const { codec } = await chooseCodec();
      const report = await traced(requestOf(plan, plan.first), codec, flags.trace);
      return add(report, performance.now() - startedMs);
    }
    let given = 0;
    const next = (): SeedRequest | null => {
      const over = stopped() || given >= plan.count || performance.now() - startedMs >= plan.minutes * 60_000;
      return over ? null : requestOf(plan, plan.first + given++);
    };
    await runSeeds(next, threads, ({ report, realMs }) => add(report, realMs));
  });
  progress.end();
  const realMs = performance.now() - startedMs;
  const speed = speedOf(totals, busyMs);
  const json: Record<string, unknown> = {
    ...totals.toJson(common, realMs),
    firstSeed: plan.first,
    threads,
    interrupted,
    ...speed,
  };
  if (flags.json !== true) {
    if (interrupted) printLine('interrupted; this is what was done:');
    printLine(totals.toText(common, realMs));
    printLine(
      `on one core: ${speed.simulatedSecondsPerSecond} simulated seconds and ${speed.commandsPerSecond} acknowledged commands a second`,
    );
  }
  const failed = [...totals.failures].sort((a, b) => a.seed - b.seed)[0];
  if (failed !== undefined && flags.shrink && !interrupted && (plan.mutation === null || plan.count === 1))
    json['shrunk'] = await shrunkOf(requestOf(plan, failed.seed), failed, flags);
  else if (flags.save !== undefined && plan.count === 1) await saveRun(requestOf(plan, plan.first), null, flags.save);
  if (flags.json === true) printJson(json);
  return totals.passed(isLenient(plan)) ? EXIT.ok : EXIT.failed;
}

async function everyMutation({ first, count, sizes }: Plan, flags: SimulateFlags): Promise<number> {
  const threads = flags.threads ?? availableParallelism();
  const run = { first, count, replicas: sizes?.[0] ?? null, threads, json: flags.json === true };
  let code: number = EXIT.failed;
  await untilInterrupted(async (stopped) => {
    code = await simulateMutations(run, stopped);
  });
  return code;
}

function requestOf(plan: Plan, seed: number): SeedRequest {
  const { sizes, mutation, without, twice, beyond = false, scenario = null } = plan;
  return {
    seed,
    replicas: sizes?.[(seed - plan.first) % sizes.length] ?? null,
    mutation,
    without,
    scenario,
    beyond,
    twice: twice === true,
  };
}

/** Per second of one busy thread. */
function speedOf(totals: Totals, busyMs: number): { simulatedSecondsPerSecond: number; commandsPerSecond: number } {
  if (busyMs === 0) return { simulatedSecondsPerSecond: 0, commandsPerSecond: 0 };
  return {
    simulatedSecondsPerSecond: Math.round((10 * totals.virtualMs) / busyMs) / 10,
    commandsPerSecond: Math.round(((totals.sums.get('commandsAcknowledged') ?? 0) * 1000) / busyMs),
  };
}

/** Looks for a smaller schedule of a failing seed, says what it is, and writes it where --save says. */
async function shrunkOf(request: SeedRequest, failed: SeedReport, flags: SimulateFlags): Promise<object> {
  const { codec } = await chooseCodec();
  const patienceMs = performance.now() + flags.shrinkSeconds * 1000;
  const shrunk = await shrinkSeed(request, codec, () => performance.now() < patienceMs);
  const { without, faults, left, runs } = shrunk;
  const replay = replayCommand({ ...request, without });
  const { invariant } = failed.violation!;
  if (flags.json !== true) {
    printLine(`seed ${request.seed} shrunk to ${left} of ${failed.faults} faults in ${runs} runs:`);
    for (const fault of faults) printLine(`  ${describeFault(fault)}`);
    printLine(`  replay: ${replay}`);
  }
  if (flags.save !== undefined) await saveRun({ ...request, without }, invariant, flags.save);
  return { seed: request.seed, ...shrunk, replay };
}

async function saveRun(request: SeedRequest, invariant: string | null, path: string): Promise<void> {
  const { codec } = await chooseCodec();
  const run: SavedRun = { mutation: request.mutation, invariant, scenario: await scenarioOf(request, codec) };
  try {
    writeFileSync(path, `${JSON.stringify(run, null, 2)}\n`);
  } catch (error) {
    throw usage(`${path} cannot be written: ${(error as Error).message}`);
  }
}

function readSchedule(path: string): SavedRun {
  const no = (why: string): never => {
    throw usage(`${path} is not what --save wrote: ${why}`);
  };
  let parsed: Partial<Record<keyof SavedRun, unknown>> | null;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8')) as typeof parsed;
  } catch (error) {
    return no((error as Error).message);
  }
  const scenario = decodeScenario(parsed?.scenario);
  if (typeof scenario === 'string') return no(scenario);
  const mutation = parsed?.mutation ?? null;
  return typeof mutation === 'string' || mutation === null
    ? { mutation, invariant: null, scenario }
    : no('its mutation is no name');
}

/** One seed in this thread, with its events written to a file. */
async function traced(request: SeedRequest, codec: Parameters<typeof runSeed>[1], path: string): Promise<SeedReport> {
  const file = createWriteStream(path);
  const failed = new Promise<never>((_, reject) => {
    file.on('error', (error) => reject(usage(`the trace cannot be written: ${error.message}`)));
  });
  await Promise.race([failed, new Promise<void>((resolve) => file.once('open', () => resolve()))]);
  const report = await runSeed(request, codec, (line) => file.write(`${line}\n`));
  await Promise.race([failed, new Promise<void>((resolve) => file.end(resolve))]);
  return report;
}

/** Runs `work`; SIGINT makes `stopped` true, a second one ends the process. */
async function untilInterrupted(work: (stopped: () => boolean) => Promise<void>): Promise<boolean> {
  let stopped = false;
  const stop = (): void => {
    stopped = true;
  };
  process.once('SIGINT', stop);
  try {
    await work(() => stopped);
  } finally {
    process.off('SIGINT', stop);
  }
  return stopped;
}

function progressLine(plan: Plan, quiet: boolean, startedMs: number): { show(totals: Totals): void; end(): void } {
  const visible = !quiet && plan.count > 1 && process.stderr.isTTY;
  let shownMs = 0;
  return {
    show: (totals) => {
      const nowMs = performance.now();
      if (!visible || nowMs - shownMs < PROGRESS_MS) return;
      shownMs = nowMs;
      const spentMs = nowMs - startedMs;
      const of =
        plan.count === Number.POSITIVE_INFINITY
          ? `seeds in ${(spentMs / 60_000).toFixed(1)} of ${plan.minutes} minutes`
          : `of ${plan.count} seeds`;
      process.stderr.write(
        `\r${totals.seeds} ${of}, ${totals.failures.length} failed, ${Math.round(totals.virtualMs / spentMs)} x real time\u001b[K`,
      );
    },
    end: () => {
      if (visible) process.stderr.write('\r\u001b[K');
    },
  };
}

function clusterSizes(text: string): readonly number[] {
  return text.split(',').map(clusterSize);
}

function idList(text: string): readonly number[] {
  return text.split(',').map(wholeNumber);
}
