/** `chronon snapshot create | list | verify`: the snapshots of a running cluster's replicas. */
import { Command } from 'commander';
import { z } from 'zod';
import { snapshotCheck, snapshotList } from '../api/schema.ts';
import { apiMutate, apiQuery } from '../client/api-call.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, table } from './output.ts';
import { replicaArgument } from './parse.ts';
import { askable, liveTarget, type TargetFlags, withTarget } from './target.ts';

interface Flags extends TargetFlags {
  readonly replica?: number;
}

/** A pass over large snapshots takes its time. */
const VERIFY_TIMEOUT_MS = 70_000;

const createCommand = withTarget(new Command('create'))
  .description('take a snapshot on every replica, at one place of the log')
  .action(async (flags: TargetFlags) => {
    const { api } = await askable(liveTarget(flags), null);
    const { replica } = await apiMutate(api, 'snapshots.create', {}, z.object({ replica: z.number() }));
    if (flags.json === true) printJson({ proposed: true, replica });
    else printLine(`proposed by r${replica}; see: chronon snapshot list`);
  });

const listCommand = withTarget(new Command('list'))
  .description('snapshots on the disk of a replica')
  .option('--replica <id>', 'whose (default: the primary)', replicaArgument)
  .action(async (flags: Flags) => {
    const { api } = await askable(liveTarget(flags), flags.replica ?? null);
    const list = await apiQuery(api, 'snapshots.list', {}, snapshotList);
    if (flags.json === true) return printJson(list);
    printLine(`r${list.replica}: the log begins at ${list.first}`);
    const rows = list.snapshots.map((s) => [s.index, s.file, s.confirmed ? 'confirmed' : 'not confirmed yet']);
    for (const line of table(rows)) printLine(line);
  });

const verifyCommand = withTarget(new Command('verify'))
  .description('read every snapshot of a replica and check every byte; exit 1 when one is damaged')
  .option('--replica <id>', 'whose (default: the primary)', replicaArgument)
  .action(async (flags: Flags) => {
    const { api } = await askable(liveTarget(flags), flags.replica ?? null);
    const check = await apiQuery(api, 'snapshots.verify', {}, snapshotCheck, { timeoutMs: VERIFY_TIMEOUT_MS });
    if (check.damage.length > 0) process.exitCode = EXIT.failed;
    if (flags.json === true) return printJson({ ok: check.damage.length === 0, ...check });
    printLine(`r${check.replica}: ${check.checked} snapshots read, ${check.damage.length} damaged`);
    for (const { file, fault } of check.damage) printLine(`${file}: ${fault}`);
  });

export const snapshotCommand = new Command('snapshot')
  .description('snapshots of the state')
  .addCommand(createCommand)
  .addCommand(listCommand)
  .addCommand(verifyCommand);
