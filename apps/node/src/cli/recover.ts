/**
 * `chronon recover`: replaces a replica whose disk is lost by a new incarnation of itself. Says what it is about to do, asks, does it, and waits until the new one
 * votes, naming whoever it waits for.
 */
import { createInterface } from 'node:readline/promises';
import { resolve } from 'node:path';
import { lockDirectory } from '@chronon/native/lock';
import { Command } from 'commander';
import { z } from 'zod';
import { apiMutate } from '../client/api-call.ts';
import { clusterView, type ClusterView } from '../client/cluster-status.ts';
import { readEndpoint, type Endpoint } from '../supervisor/endpoint-file.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { acceptLoss, bestOf, inspect, lossOf } from '../supervisor/accept-loss.ts';
import { readCluster } from '../supervisor/cluster-file.ts';
import { clusterOf, prepareRecovery } from '../supervisor/recover.ts';
import { printJson, printLine } from './output.ts';
import { duration, replicaArgument } from './parse.ts';

interface RecoverFlags {
  readonly replica?: number;
  readonly acceptLoss?: boolean;
  readonly keep?: number;
  readonly data: string;
  readonly like?: string;
  readonly yes?: boolean;
  readonly wait: number;
  readonly json?: boolean;
}

const LOOK_EVERY_MS = 500;
/** Of the replica that is to be replaced: one that is late to answer is not lost. */
const HEALTHY_MS = 10_000;
const answer = z.object({ setAside: z.string().nullable() });

export const recoverCommand = new Command('recover')
  .description('replace a replica whose disk is lost or damaged beyond repair by a new incarnation of itself')
  .option('--replica <id>', 'the lost replica, 2 or r2', replicaArgument)
  .option('--accept-loss', 'a majority is lost, or E_DATA_LOSS: make one directory the log of all (nothing may run)')
  .option('--keep <id>', 'with --accept-loss: whose directory; by default the one that keeps most', replicaArgument)
  .option('--data <dir>', 'data directory of the lost replica, or of the cluster on this machine', './data')
  .option('--like <dir>', 'data directory of another replica: its cluster.json is taken when it is lost too')
  .option('--yes', 'do not ask')
  .option('--wait <duration>', 'how long to wait until it votes', duration, 120_000)
  .option('--json', 'print one JSON object')
  .addHelpText(
    'after',
    '\nWhat is left of the directory is set aside, never deleted. The replacement is a committed entry: it needs a majority of all members among the OTHER replicas\n(of three: both). Exit codes: 0 it votes, 1 failed or not within --wait (it goes on by itself), 2 wrong use.',
  )
  .action(async (flags: RecoverFlags) => {
    if (flags.acceptLoss === true && flags.replica === undefined) return await giveUp(flags);
    if (flags.replica === undefined || flags.acceptLoss === true || flags.keep !== undefined)
      throw usage('either --replica, or --accept-loss with or without --keep');
    await replace({ ...flags, replica: flags.replica });
  });

type ReplaceFlags = RecoverFlags & { readonly replica: number };

/** One replica is lost, the others agree on its replacement. */
async function replace(flags: ReplaceFlags): Promise<void> {
  const data = resolve(flags.data);
  const state = readEndpoint(data);
  const endpoint = state.kind === 'running' ? state.endpoint : null;
  const cluster = clusterOf(data, flags.like === undefined ? null : resolve(flags.like));
  const others = Array.from({ length: cluster.replicas }, (_, i) => i + 1).filter((id) => id !== flags.replica);
  const quorum = Math.floor(cluster.replicas / 2) + 1;
  const needs = `${quorum === others.length ? 'all' : `${quorum}`} of ${others.map((id) => `r${id}`).join(', ')}`;
  if (endpoint !== null) await refuseHealthy(endpoint, flags.replica);
  await confirm(flags, `r${flags.replica}`, [
    `r${flags.replica} in ${data} is replaced by a new incarnation of itself, with an empty disk:`,
    `  - what its directory still holds is set aside, not deleted;`,
    `  - the old incarnation never counts again, wherever a copy of it may be;`,
    `  - this is a committed entry and needs ${needs}; while one of them is down, it waits for that one;`,
    `  - the new one copies the log and votes once it has it. Nothing acknowledged is lost by this.`,
  ]);
  const { replica } = flags;
  const setAside =
    endpoint === null
      ? await prepareRecovery(data, cluster, replica)
      : (
          await apiMutate(
            { url: endpoint.supervisorUrl, token: endpoint.token },
            'replica.recover',
            { replica },
            answer,
          )
        ).setAside;
  if (setAside !== null) say(flags, `what was left of r${replica} is now ${setAside}`);
  if (endpoint === null) say(flags, `r${replica} is prepared: start it, and it joins`);
  else await untilItVotes(flags, endpoint, needs);
  if (flags.json === true) printJson({ replica, setAside, votes: endpoint !== null });
  else if (endpoint !== null) printLine(`r${replica} votes again`);
}

/** A majority is lost, or nobody can settle an index. */
async function giveUp(flags: RecoverFlags): Promise<void> {
  const data = resolve(flags.data);
  const cluster = readCluster(data);
  if (cluster === null) throw new Failure('E_NOT_FORMATTED', `${data} is no data directory of a cluster`);
  const lock = await lockDirectory(data).catch((error: unknown) => {
    throw new Failure('E_LOCKED', `${(error as Error).message}; stop the cluster first`);
  });
  try {
    const inspection = inspect(data, cluster);
    const { survivors, lost } = inspection;
    for (const { id, why } of lost) say(flags, `r${id} cannot be kept: ${why}`);
    const kept = flags.keep === undefined ? bestOf(survivors) : (survivors.find(({ id }) => id === flags.keep) ?? null);
    if (kept === null) throw new Failure('E_DATA_LOSS', 'no directory can be kept: see the lines above', 1);
    const loss = lossOf(kept, inspection);
    await confirm(flags, `r${kept.id}`, [
      `A loss is accepted in ${data}:`,
      ...loss.map((line) => `  - ${line};`),
      `  - generation ${kept.manifest.generation + 1} begins: every other directory becomes a copy of that of r${kept.id}, and whatever is of an older`,
      `    generation is refused from then on. All directories are set aside first, nothing is deleted.`,
    ]);
    const view = Math.max(...survivors.map(({ manifest }) => manifest.view)) + 1;
    const asides = await acceptLoss(data, cluster, kept, view);
    for (const line of loss) say(flags, line);
    for (const { id, aside } of asides) say(flags, `what was r${id} is now ${aside}`);
    if (flags.json === true)
      printJson({ kept: kept.id, through: kept.keep, generation: kept.manifest.generation + 1, loss, asides });
    else printLine('start the cluster again');
  } finally {
    lock.release();
  }
}

function say(flags: RecoverFlags, line: string): void {
  if (flags.json !== true) printLine(line);
}

async function refuseHealthy(endpoint: Endpoint, id: number): Promise<void> {
  const view = await clusterView(endpoint.replicas, endpoint.token, endpoint.clusterId, HEALTHY_MS);
  const replica = view.status.replicas.find((one) => one.id === id);
  if (replica === undefined) throw usage(`there is no replica r${id}`);
  if (replica.status === 'normal' && replica.role !== 'standby')
    throw usage(`r${id} runs and votes (${replica.role} in view ${replica.view}): there is nothing to recover`);
}

/** Says what is about to happen and has `word` typed, unless --yes. */
async function confirm(flags: RecoverFlags, word: string, lines: readonly string[]): Promise<void> {
  if (flags.yes === true) return;
  if (process.stdin.isTTY !== true) throw usage(`${lines.join('\n')}\nadd --yes to do it without being asked`);
  for (const line of lines) process.stderr.write(`${line}\n`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const typed = await prompt.question(`Type ${word} to go on: `);
  prompt.close();
  if (typed.trim() !== word) throw new Failure('E_REFUSED', 'nothing was changed', 1);
}

async function look(endpoint: Endpoint): Promise<ClusterView> {
  return await clusterView(endpoint.replicas, endpoint.token, endpoint.clusterId);
}

async function untilItVotes(flags: ReplaceFlags, endpoint: Endpoint, needs: string): Promise<void> {
  const end = performance.now() + flags.wait;
  let said = '';
  for (;;) {
    const { status } = await look(endpoint);
    const replica = status.replicas.find((one) => one.id === flags.replica);
    if (replica?.status === 'normal' && replica.role !== 'standby' && replica.role !== 'none') return;
    const down = status.replicas.filter((one) => one.id !== flags.replica && one.status === 'unreachable');
    const names = down.map(({ id }) => `r${id}`).join(', ');
    const joined = replica?.role === 'standby';
    const text = joined
      ? `r${flags.replica} is admitted and copies the log`
      : down.length === 0
        ? `waiting for the replacement to be committed by ${needs}`
        : `waiting for ${names}: the replacement needs ${needs}`;
    if (text !== said) say(flags, text);
    said = text;
    if (performance.now() > end)
      throw new Failure(
        'E_TIMEOUT',
        `r${flags.replica} does not vote after ${flags.wait / 1000} s (${text}); it goes on by itself`,
        1,
      );
    await new Promise((wait) => setTimeout(wait, LOOK_EVERY_MS));
  }
}
