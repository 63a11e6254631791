/**
 * `chronon simulate`: seeds of the simulator over all cores. The simulation itself is pure and in core; here are threads, files and the terminal.
 *
 * Exit codes: 0 every seed passed, 1 a violation, 2 usage.
 */
import { createWriteStream } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import {
  mutationNames,
  replayCommand,
  runSeed,
  type SeedReport,
  type SeedRequest,
  shrinkSeed,
  Totals,
} from '@chronon/core/chaos/cli';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import { Command, InvalidArgumentError, Option } from 'commander';

interface SimulateFlags {
  readonly seed?: number;
  readonly seeds?: number;
  readonly firstSeed: number;
  readonly replicas?: number;
  readonly mutation?: string;
  readonly without?: number[];
  readonly trace?: string;
  readonly threads?: number;
  readonly shrink: boolean;
  readonly json?: boolean;
}

const SEEDS_DEFAULT = 200;

export const simulateCommand = new Command('simulate')
  .description('run the whole cluster in virtual time under faults drawn from seeds')
  .option('--seed <n>', 'one seed: replays exactly', wholeNumber)
  .addOption(
    new Option('--seeds <n>', `how many seeds (default ${SEEDS_DEFAULT})`).argParser(wholeNumber).conflicts('seed'),
  )
  .option('--first-seed <n>', 'first of the seeds', wholeNumber, 1)
  .addOption(new Option('--replicas <n>', 'instead of what the seed draws').argParser(clusterSize))
  .option('--mutation <name>', 'break the replica on purpose; the run must fail')
  .option('--without <ids>', 'fault events to leave out, by id (a shrunk schedule)', idList)
  .option('--trace <file>', 'write every event as a JSON line (one seed)')
  .option('--threads <n>', 'worker threads (default: all cores)', wholeNumber)
  .option('--no-shrink', 'do not look for a smaller schedule that fails as well')
  .option('--json', 'print one JSON object')
  .addHelpText('after', '\nExit codes: 0 every seed passed, 1 a violation, 2 usage.')
  .action(async (flags: SimulateFlags, command: Command) => {
    const names = flags.mutation === undefined ? [] : await mutationNames();
    if (flags.mutation !== undefined && !names.includes(flags.mutation)) {
      command.error(`error: no mutation is named ${flags.mutation}; there are: ${names.join(', ')}`, { exitCode: 2 });
    }
    if (flags.trace !== undefined && flags.seed === undefined) {
      command.error('error: --trace needs --seed', { exitCode: 2 });
    }
    process.exitCode = await simulateSeeds(flags);
  });

async function simulateSeeds(flags: SimulateFlags): Promise<number> {
  const common = {
    replicas: flags.replicas ?? null,
    mutation: flags.mutation ?? null,
    without: flags.without ?? [],
  };
  const first = flags.seed ?? flags.firstSeed;
  const count = flags.seed === undefined ? (flags.seeds ?? SEEDS_DEFAULT) : 1;
  const requests = Array.from({ length: count }, (_, i): SeedRequest => ({ ...common, seed: first + i }));
  const totals = new Totals();
  const startedMs = performance.now();
  const progress = progressLine(count, flags.json === true);
  const add = (report: SeedReport): void => {
    totals.add(report);
    progress.show(totals);
  };
  if (flags.trace !== undefined) add(await traced(requests[0]!, flags.trace));
  else await runAll(requests, flags.threads ?? availableParallelism(), add);
  progress.end();
  const realMs = performance.now() - startedMs;
  const json = totals.toJson(common, realMs);
  if (flags.json !== true) process.stdout.write(`${totals.toText(common, realMs)}\n`);
  const failed = [...totals.failures].sort((a, b) => a.seed - b.seed)[0];
  if (failed !== undefined && flags.shrink && common.mutation === null) {
    const request = { ...common, seed: failed.seed };
    const shrunk = await shrinkSeed(request, await createWasmCodec());
    const replay = replayCommand({ ...request, without: shrunk.without });
    json['shrunk'] = { seed: failed.seed, ...shrunk, replay };
    if (flags.json !== true) process.stdout.write(`shrunk to ${shrunk.left} of ${failed.faults} faults: ${replay}\n`);
  }
  if (flags.json === true) process.stdout.write(`${JSON.stringify(json)}\n`);
  return totals.passed(common.mutation !== null) ? 0 : 1;
}

/** One seed in this thread, with its events written to a file. */
async function traced(request: SeedRequest, path: string): Promise<SeedReport> {
  const file = createWriteStream(path);
  const report = await runSeed(request, await createWasmCodec(), (line) => file.write(`${line}\n`));
  await new Promise<void>((resolve, reject) => {
    file.on('error', reject);
    file.end(resolve);
  });
  return report;
}

/** Spreads seeds over threads; a single seed, or a run from source, stays in this one. */
async function runAll(requests: SeedRequest[], threads: number, add: (report: SeedReport) => void): Promise<void> {
  if (requests.length === 1 || import.meta.url.endsWith('.ts')) {
    const codec = await createWasmCodec();
    for (const request of requests) add(await runSeed(request, codec));
    return;
  }
  let next = 0;
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./simulate-worker.js', import.meta.url));
      const give = (): void => {
        const request = requests[next++];
        if (request !== undefined) worker.postMessage(request);
        else void worker.terminate().then(() => resolve(), reject);
      };
      worker.on('message', (report: SeedReport) => {
        add(report);
        give();
      });
      worker.on('error', reject);
      give();
    });
  await Promise.all(Array.from({ length: Math.min(threads, requests.length) }, work));
}

function progressLine(count: number, quiet: boolean): { show(totals: Totals): void; end(): void } {
  const visible = !quiet && count > 1 && process.stderr.isTTY;
  return {
    show: (totals) => {
      if (visible) process.stderr.write(`\r${totals.seeds} of ${count} seeds, ${totals.failures.length} failed `);
    },
    end: () => {
      if (visible) process.stderr.write('\r\u001b[K');
    },
  };
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('a whole number is needed');
  return value;
}

function clusterSize(text: string): number {
  const value = wholeNumber(text);
  if (![1, 3, 5, 7].includes(value)) throw new InvalidArgumentError('a cluster has 1, 3, 5 or 7 replicas');
  return value;
}

function idList(text: string): number[] {
  return text.split(',').map(wholeNumber);
}
