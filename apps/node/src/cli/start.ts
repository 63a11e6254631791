/** `chronon start`: a cluster on this machine (or one replica of one), until a signal ends it. */
import { Command, Option } from 'commander';
import { clusterSize, replicaArgument, wholeNumber } from './parse.ts';
import { PORT_DEFAULT } from '../supervisor/ports.ts';
import { Supervisor, type SupervisorOptions } from '../supervisor/supervisor.ts';
import { usage } from '../supervisor/failure.ts';
import { outliveReader, printJson, printLine, say } from './output.ts';

interface StartFlags {
  readonly replicas?: number;
  readonly app?: string;
  readonly data: string;
  readonly port: number;
  readonly environment?: 'dev' | 'production';
  readonly enableChaos?: boolean;
  readonly disk: 'auto' | 'sync' | 'io_uring';
  readonly console: boolean;
  readonly only?: number;
  readonly members?: string;
  readonly bind: string;
  readonly secrets?: string;
  readonly consoleEnv?: string;
  readonly logLevel: string;
  readonly json?: boolean;
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export const startCommand = new Command('start')
  .description('start a cluster: a supervisor, its replicas and the console')
  .addOption(new Option('--replicas <n>', '1, 3, 5 or 7; fixed by the first start (default 3)').argParser(clusterSize))
  .option(
    '--app <name or path>',
    'bank, kv, or a module that exports an application; fixed by the first start (default bank)',
  )
  .option('--data <dir>', 'data directory', './data')
  .option('--port <n>', 'console on N, supervisor N+1, replica i on N+10i to N+10i+2', wholeNumber, PORT_DEFAULT)
  .addOption(new Option('--environment <name>', 'of the first start (default dev)').choices(['dev', 'production']))
  .option('--enable-chaos', 'allow faults on purpose (data formatted dev only; or CHRONON_CHAOS=1)')
  .addOption(
    new Option('--disk <kind>', 'how the log is written').choices(['auto', 'sync', 'io_uring']).default('auto'),
  )
  .option('--no-console', 'start no console')
  .addOption(new Option('--only <id>', 'run this one replica; the others run elsewhere').argParser(replicaArgument))
  .option('--members <list>', 'with --only: r1=HOST,r2=HOST,...')
  .option('--bind <host>', 'with --only: address to listen on', '0.0.0.0')
  .option(
    '--secrets <file>',
    'with --only: the secrets all members share (the first to come makes the file); an empty directory is then formatted together with the others',
  )
  .option('--console-env <file>', 'with --only: write CHRONON_TOKEN and CHRONON_CONSOLE_SECRET there, for the console')
  .option('--log-level <level>', 'of the replicas', 'info')
  .option('--json', 'print one JSON object when the cluster is up')
  .addHelpText(
    'after',
    '\nExit codes: 0 stopped by a signal, 1 failed, 2 wrong use (also: other replica count than the directory has), 20 and above: refused or failed with the\ncode on stderr (E_LOCKED 20, E_DIRECTORY 21, E_APP 30, E_CHAOS_PRODUCTION 31, E_PORT 50).',
  )
  .action(async (flags: StartFlags) => {
    process.exitCode = await start(flags);
  });

async function start(flags: StartFlags): Promise<number> {
  if ((flags.only === undefined) !== (flags.members === undefined)) throw usage('--only and --members go together');
  if (flags.only === undefined && (flags.secrets !== undefined || flags.consoleEnv !== undefined))
    throw usage('--secrets and --console-env belong to --only');
  const supervisor = new Supervisor({
    dataDir: flags.data,
    replicas: flags.replicas ?? null,
    app: flags.app ?? null,
    environment: flags.environment ?? null,
    port: flags.port,
    enableChaos: flags.enableChaos === true || process.env['CHRONON_CHAOS'] === '1',
    disk: flags.disk,
    withConsole: flags.console && flags.only === undefined,
    only: onlyOf(flags),
    logLevel: flags.logLevel,
    say,
  });
  const ended = untilSignal();
  // A terminal that is gone must not end a cluster, least of all in the middle of its clean stop.
  outliveReader();
  try {
    await supervisor.start();
    const up = supervisor.ready().then((loginUrl) => {
      announce(flags, loginUrl);
    });
    await Promise.race([ended, up.then(() => ended)]);
  } finally {
    await supervisor.stop();
  }
  return 0;
}

function onlyOf({ only, members = '', bind, secrets, consoleEnv }: StartFlags): SupervisorOptions['only'] {
  if (only === undefined) return null;
  return { id: only, members, bindHost: bind, secrets: secrets ?? null, consoleEnv: consoleEnv ?? null };
}

/** Resolves at the first stop signal; later ones are taken and change nothing. */
async function untilSignal(): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of STOP_SIGNALS) process.on(signal, () => resolve());
  });
}

function announce(flags: StartFlags, loginUrl: string | null): void {
  if (flags.json === true)
    return printJson({ event: 'up', consoleUrl: loginUrl, pid: process.pid, dataDir: flags.data });
  printLine(loginUrl === null ? 'Chronon is up (without a console)' : `Chronon is up: ${loginUrl}`);
}
