/**
 * `chronon simulate --mutation all`: each mutation by seeds until one catches it, over all cores; prints the table.
 *
 * Exit codes: 0 every mutation is caught, 1 one is not (or a seed fails without any mutation).
 */
import { mutationNames, replayCommand, type SeedRequest } from '@chronon/core/chaos/cli';
import { MutationTable } from '@chronon/core/chaos/mutation-table';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, say, table } from './output.ts';
import { runSeeds } from './simulate-pool.ts';

/** `--mutation` takes it beside the names. */
export const ALL_MUTATIONS = 'all';

export interface MutationRun {
  readonly first: number;
  /** Seeds a mutation is given at most. */
  readonly count: number;
  readonly replicas: number | null;
  readonly threads: number;
  readonly json: boolean;
}

export async function simulateMutations(run: MutationRun, stopped: () => boolean): Promise<number> {
  const startedMs = performance.now();
  const mutations = new MutationTable(await mutationNames(), run.first, run.count, run.replicas);
  const visible = !run.json && process.stderr.isTTY;
  let runs = 0;
  await runSeeds(
    () => (stopped() ? null : mutations.next()),
    run.threads,
    ({ request, report }) => {
      mutations.add(request, report);
      runs++;
      if (visible) process.stderr.write(`\r${progress(mutations, runs, request)}\u001b[K`);
    },
  );
  if (visible) process.stderr.write('\r\u001b[K');
  const realMs = Math.round(performance.now() - startedMs);
  const interrupted = stopped();
  const unsound = mutations.unsound.map(({ seed, violation }) => ({
    seed,
    ...violation,
    replay: replayCommand({ seed, replicas: run.replicas, mutation: null, without: [] }),
  }));
  const { results, passed } = mutations;
  const ok = passed && !interrupted;
  if (run.json)
    printJson({ ok, mutations: results, unsound, firstSeed: run.first, seeds: run.count, runs, realMs, interrupted });
  else {
    const rows = results.map(({ mutation, caught, seed, seedsTaken, invariant }) => [
      mutation,
      caught ? 'caught' : 'NOT CAUGHT',
      String(seedsTaken),
      seed === null ? '' : String(seed),
      invariant ?? '',
    ]);
    for (const line of table([['mutation', 'verdict', 'seeds', 'caught by seed', 'invariant'], ...rows]))
      printLine(line);
    for (const { seed, invariant, replay } of unsound)
      say(`seed ${seed} fails without any mutation: ${invariant}: ${replay}`);
    if (interrupted) printLine('interrupted; this is what was done');
    const caught = results.filter((result) => result.caught).length;
    printLine(`${caught} of ${results.length} caught, ${runs} runs in ${Math.round(realMs / 1000)} s`);
  }
  return ok ? EXIT.ok : EXIT.failed;
}

function progress(mutations: MutationTable, runs: number, { seed, mutation }: SeedRequest): string {
  const { results } = mutations;
  const caught = results.filter((result) => result.caught).length;
  return `${runs} runs, ${caught} of ${results.length} caught; seed ${seed} ${mutation ?? 'unmutated'}`;
}
