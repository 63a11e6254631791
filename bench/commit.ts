/**
 * Commit benchmark: distinct kv puts, each with its reply, through three replica processes, from a load generator process of its own; beside it, run by
 * run, the bare pipeline and the raw device on the same disk, so that ratios are of the same minutes.
 *
 * Invariants: a run counts only if the commit index accounts for every put, the replicas end with one digest and no put failed; otherwise exit 1.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SESSION_WINDOW } from '@chronon/core/reply';
import { commitOptions, USAGE, type CommitOptions } from './commit/options.ts';
import { REFERENCES } from './commit/references.ts';
import { ratio, summary, table, type Cell, type RawLoop } from './commit/report.ts';
import { etcdVersion } from './etcd/start.ts';
import { bareRun, chrononRun, etcdRun, type ChrononRun, type Run } from './commit/run.ts';
import { isMemory, machine } from './lib/machine.ts';
import { rawDevice } from './raw-device.mjs';

const RAW_BYTES = [4096, 65_536];
const RAW_SECONDS = 1;

const options = commitOptions(process.argv.slice(2));
if (typeof options === 'string') {
  process.stderr.write(`${options}\nusage: ${USAGE}\n`);
  process.exitCode = 2;
} else {
  await main(options);
}

async function main(options: CommitOptions): Promise<void> {
  mkdirSync(options.directory, { recursive: true });
  if (isMemory(options.directory)) process.stderr.write('note: this directory is in memory; nothing here is durable\n');
  process.once('exit', () => {
    rmSync(options.directory, { recursive: true, force: true });
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
  const before = machine();
  const etcd = options.etcd ? etcdVersion() : null;
  if (options.etcd) progress(etcd ?? 'etcd is left out: it is not installed (Debian: apt-get install etcd-server)');
  const cells: Cell[] = [];
  for (const inFlight of options.inFlight) cells.push(await measure(options, inFlight, etcd !== null));
  const problems = cells.flatMap(problemsOf);
  if (options.json) {
    const cellsOut = cells.map((cell) => ({
      ...cell,
      summary: {
        chronon: summary(cell.chronon),
        bare: summary(cell.bare),
        etcd: summary(cell.etcd),
        ratio: ratio(cell),
        ratioToEtcd: ratio(cell, 'etcd'),
      },
    }));
    const { seconds, warmUpSeconds, runs, valueBytes, keys } = options;
    const parameters = { seconds, warmUpSeconds, runs, valueBytes, distinctKeys: keys === 0 ? 'all' : keys };
    const directory = dirname(options.directory);
    const report = {
      benchmark: 'commit',
      machine: before,
      etcd,
      directory,
      parameters,
      cells: cellsOut,
      references: REFERENCES,
      problems,
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } else {
    const disk = cells.flatMap((cell) => cell.chronon)[0];
    process.stdout.write(`${JSON.stringify(before)}\n`);
    if (disk !== undefined) {
      const why = disk.diskFallback === null ? '' : ` (${disk.diskFallback})`;
      process.stdout.write(`disk ${disk.diskKind}${why} on ${disk.fileSystem ?? 'unknown'}, codec ${disk.codec}\n`);
    }
    process.stdout.write(`\n${table(cells)}\n`);
  }
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

async function measure(options: CommitOptions, inFlight: number, withEtcd: boolean): Promise<Cell> {
  const chronon: ChrononRun[] = [];
  const bare: Run[] = [];
  const etcd: Run[] = [];
  const raw = RAW_BYTES.map((bytes) => rawLoop(bytes, options.directory));
  for (let run = 1; run <= options.runs; run++) {
    const name = `${inFlight}-${run}`;
    if (options.only !== 'bare') {
      chronon.push(await chrononRun(options, inFlight, name));
      rmSync(join(options.directory, name), { recursive: true, force: true });
      progress(`${inFlight} in flight, run ${run}: Chronon ${chronon.at(-1)!.putsPerSecond} puts/s`);
    }
    if (options.only !== 'chronon') {
      bare.push(await bareRun(options, inFlight));
      progress(`${inFlight} in flight, run ${run}: bare pipeline ${bare.at(-1)!.putsPerSecond} puts/s`);
    }
    if (withEtcd) {
      etcd.push(await etcdRun(options, inFlight, `etcd-${name}`));
      rmSync(join(options.directory, `etcd-${name}`), { recursive: true, force: true });
      progress(`${inFlight} in flight, run ${run}: etcd ${etcd.at(-1)!.putsPerSecond} puts/s`);
    }
  }
  return { inFlight, sessions: Math.ceil(inFlight / SESSION_WINDOW), raw, chronon, bare, etcd };
}

function rawLoop(bytes: number, directory: string): RawLoop {
  try {
    const { perSecond, p50us, p99us } = rawDevice({ bytes, seconds: RAW_SECONDS, directory });
    return { bytes, perSecond, p50us, p99us };
  } catch (error) {
    return { bytes, problem: (error as Error).message.split('\n')[0]! };
  }
}

/** Why the numbers of a cell must not be used. */
function problemsOf(cell: Cell): string[] {
  const at = `${cell.inFlight} in flight`;
  const problems: string[] = [];
  for (const run of [...cell.chronon, ...cell.bare])
    for (const [code, count] of Object.entries(run.errors)) problems.push(`${at}: ${count} puts ended as ${code}`);
  for (const { unaccounted, viewsPassed, commitBefore, commitAfter, acknowledged } of cell.chronon) {
    const moved = `commit went from ${commitBefore} to ${commitAfter} for ${acknowledged} acknowledged puts`;
    if (unaccounted < 0 || unaccounted > viewsPassed) problems.push(`${at}: ${moved}, ${viewsPassed} views passed`);
    else if (viewsPassed > 0)
      progress(
        `note: ${at}: ${viewsPassed} views passed during a run (a replica did not answer in time: see docs/benchmarks.md, "Reading the numbers"); ${unaccounted} no-ops`,
      );
  }
  return problems;
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
