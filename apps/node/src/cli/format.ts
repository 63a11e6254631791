/**
 * `chronon format`: directories for a cluster whose replicas run apart (containers): one a replica, all with the same ids and secrets. Safe to run again:
 * what is formatted stays as it is.
 */
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { loadApplication } from '../replica/app-loader.ts';
import {
  newCluster,
  prepareDirectory,
  readCluster,
  writeCluster,
  type ClusterFile,
} from '../supervisor/cluster-file.ts';
import { Failure } from '../supervisor/failure.ts';
import { formatReplica } from '../supervisor/format.ts';
import { replicaDir } from '../supervisor/layout.ts';
import { writeConsoleEnv } from '../supervisor/shared-secrets.ts';
import { appName } from '../supervisor/supervisor.ts';
import { printJson, printLine } from './output.ts';
import { clusterSize } from './parse.ts';

interface FormatFlags {
  readonly replicas: number;
  readonly out: string;
  readonly app: string;
  readonly environment: 'dev' | 'production';
  readonly consoleEnv?: string;
  readonly json?: boolean;
}

export const formatCommand = new Command('format')
  .description('format one data directory a replica under DIR (DIR/r1, DIR/r2, ...), for replicas that run apart')
  .addOption(new Option('--replicas <n>', '1, 3, 5 or 7').argParser(clusterSize).default(3))
  .requiredOption('--out <dir>', 'where the directories are, or their volumes are mounted')
  .option('--app <name or path>', 'bank, kv, or a module', 'bank')
  .addOption(new Option('--environment <name>', 'dev or production').choices(['dev', 'production']).default('dev'))
  .option('--console-env <file>', 'write CHRONON_TOKEN and CHRONON_CONSOLE_SECRET there, for the console')
  .option('--json', 'print one JSON object')
  .addHelpText(
    'after',
    '\nCHRONON_TOKEN and CHRONON_CONSOLE_SECRET are used when set; else new ones are made. Exit codes: 0 formatted (now or before), 1 failed, 2 wrong use.',
  )
  .action(async (flags: FormatFlags) => {
    const app = await loadApplication(flags.app);
    if ('problem' in app) throw new Failure('E_APP', app.problem);
    const { cluster, made } = format(flags);
    if (flags.consoleEnv !== undefined) {
      writeConsoleEnv(resolve(flags.consoleEnv), cluster);
    }
    if (flags.json === true) printJson({ clusterId: cluster.clusterId, replicas: cluster.replicas, formatted: made });
    else
      printLine(
        `cluster ${cluster.clusterId}: ${cluster.replicas} replicas ${made ? 'formatted' : 'were formatted before'} in ${resolve(flags.out)}`,
      );
  });

function format(flags: FormatFlags): { cluster: ClusterFile; made: boolean } {
  const directories = Array.from({ length: flags.replicas }, (_, i) => join(resolve(flags.out), `r${i + 1}`));
  for (const directory of directories) prepareDirectory(directory);
  const found = directories.map((directory) => readCluster(directory));
  const known = found.find((cluster) => cluster !== null) ?? null;
  for (const [i, cluster] of found.entries()) {
    if (cluster !== null && cluster.clusterId !== known?.clusterId) {
      throw new Failure(
        'E_CLUSTER_ID',
        `${directories[i] ?? ''} belongs to cluster ${cluster.clusterId}, another one to ${known?.clusterId ?? ''}`,
      );
    }
    if (cluster !== null && cluster.replicas !== flags.replicas) {
      throw new Failure(
        'E_USAGE',
        `${directories[i] ?? ''} was formatted with ${cluster.replicas} replicas, --replicas says ${flags.replicas}`,
        2,
      );
    }
  }
  if (found.every((cluster) => cluster?.formatted)) return { cluster: known!, made: false };
  if (found.some((cluster) => cluster?.formatted)) {
    // The mark is set on one after the other, when all were complete.
    const missing = found.findIndex((cluster) => cluster === null);
    if (missing >= 0)
      throw new Failure(
        'E_NOT_FORMATTED',
        `${directories[missing] ?? ''} is empty, others are formatted: a lost volume is not formatted again`,
      );
    for (const [i, directory] of directories.entries()) writeCluster(directory, { ...found[i]!, formatted: true });
    return { cluster: known!, made: false };
  }
  const cluster =
    known ??
    withGivenSecrets(newCluster({ replicas: flags.replicas, environment: flags.environment, app: appName(flags.app) }));
  for (const directory of directories) writeCluster(directory, cluster);
  for (const [i, directory] of directories.entries()) formatReplica(replicaDir(directory, i + 1), cluster, i + 1);
  for (const directory of directories) writeCluster(directory, { ...cluster, formatted: true });
  return { cluster, made: true };
}

function withGivenSecrets(cluster: ClusterFile): ClusterFile {
  const token = process.env['CHRONON_TOKEN'] ?? '';
  const consoleSecret = process.env['CHRONON_CONSOLE_SECRET'] ?? '';
  return {
    ...cluster,
    token: token.length >= 32 ? token : cluster.token,
    consoleSecret: consoleSecret.length >= 32 ? consoleSecret : cluster.consoleSecret,
  };
}
