/**
 * `chronon recover`: replaces a replica whose disk is lost by a new incarnation of itself. Says what it is about to do, asks, does it, and waits until the new one
 * votes, naming whoever it waits for.
 */
import { createInterface } from 'node:readline/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import { apiMutate } from '../client/api-call.ts';
import { clusterView, type ClusterView } from '../client/cluster-status.ts';
import { readEndpoint, type Endpoint } from '../supervisor/endpoint-file.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { clusterOf, prepareRecovery } from '../supervisor/recover.ts';
import { printJson, printLine } from './output.ts';
import { duration, replicaArgument } from './parse.ts';

interface RecoverFlags {
  readonly replica: number;
  readonly data: string;
  readonly like?: string;
  readonly yes?: boolean;
  readonly wait: number;
  readonly json?: boolean;
}

const LOOK_EVERY_MS = 500;
const answer = z.object({ setAside: z.string().nullable() });

export const recoverCommand = new Command('recover')
  .description('replace a replica whose disk is lost or damaged beyond repair by a new incarnation of itself')
  .requiredOption('--replica <id>', 'the lost replica, 2 or r2', replicaArgument)
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
    const data = resolve(flags.data);
    const state = readEndpoint(data);
    const endpoint = state.kind === 'running' ? state.endpoint : null;
    const cluster = clusterOf(data, flags.like === undefined ? null : resolve(flags.like));
    const others = Array.from({ length: cluster.replicas }, (_, i) => i + 1).filter((id) => id !== flags.replica);
    const quorum = Math.floor(cluster.replicas / 2) + 1;
    const needs = `${quorum === others.length ? 'all' : `${quorum}`} of ${others.map((id) => `r${id}`).join(', ')}`;
    if (endpoint !== null) await refuseHealthy(endpoint, flags.replica);
    await confirm(flags, data, needs);
    const setAside =
      endpoint === null
        ? await prepareRecovery(data, cluster, flags.replica)
        : (
            await apiMutate(
              { url: endpoint.supervisorUrl, token: endpoint.token },
              'replica.recover',
              { replica: flags.replica },
              answer,
            )
          ).setAside;
    if (setAside !== null) say(flags, `what was left of r${flags.replica} is now ${setAside}`);
    if (endpoint === null) {
      say(flags, `r${flags.replica} is prepared: start it, and it joins`);
      if (flags.json === true) printJson({ replica: flags.replica, setAside, votes: false });
      return;
    }
    await untilItVotes(flags, endpoint, needs);
    if (flags.json === true) printJson({ replica: flags.replica, setAside, votes: true });
    else printLine(`r${flags.replica} votes again`);
  });

function say(flags: RecoverFlags, line: string): void {
  if (flags.json !== true) printLine(line);
}

async function refuseHealthy(endpoint: Endpoint, id: number): Promise<void> {
  const view = await look(endpoint);
  const replica = view.status.replicas.find((one) => one.id === id);
  if (replica === undefined) throw usage(`there is no replica r${id}`);
  if (replica.status === 'normal' && replica.role !== 'standby')
    throw usage(`r${id} runs and votes (${replica.role} in view ${replica.view}): there is nothing to recover`);
}

async function confirm(flags: RecoverFlags, data: string, needs: string): Promise<void> {
  if (flags.yes === true) return;
  const lines = [
    `r${flags.replica} in ${data} is replaced by a new incarnation of itself, with an empty disk:`,
    `  - what its directory still holds is set aside, not deleted;`,
    `  - the old incarnation never counts again, wherever a copy of it may be;`,
    `  - this is a committed entry and needs ${needs}; while one of them is down, it waits for that one;`,
    `  - the new one copies the log and votes once it has it. Nothing acknowledged is lost by this.`,
  ];
  if (process.stdin.isTTY !== true) throw usage(`${lines.join('\n')}\nadd --yes to do it without being asked`);
  for (const line of lines) process.stderr.write(`${line}\n`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const typed = await prompt.question(`Type r${flags.replica} to go on: `);
  prompt.close();
  if (typed.trim() !== `r${flags.replica}`) throw new Failure('E_REFUSED', 'nothing was changed', 1);
}

async function look(endpoint: Endpoint): Promise<ClusterView> {
  return await clusterView(endpoint.replicas, endpoint.token, endpoint.clusterId);
}

async function untilItVotes(flags: RecoverFlags, endpoint: Endpoint, needs: string): Promise<void> {
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
