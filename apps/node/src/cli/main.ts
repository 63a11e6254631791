/**
 * The `chronon` command: one file a subcommand. Exit codes: 0 done, 1 failed, 2 wrong use; others are listed by each command's --help.
 */
import { Command, CommanderError } from 'commander';
import { ApiError } from '../client/api-call.ts';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printable, watchOutput } from './output.ts';

/** Loaded when asked for: `status` does not pay for the simulator. The description is what --help lists. */
const COMMANDS: readonly {
  readonly name: string;
  readonly description: string;
  readonly load: () => Promise<Command>;
}[] = [
  {
    name: 'start',
    description: 'start a cluster with its console',
    load: async () => (await import('./start.ts')).startCommand,
  },
  {
    name: 'format',
    description: 'format directories for a cluster of containers',
    load: async () => (await import('./format.ts')).formatCommand,
  },
  {
    name: 'status',
    description: 'view, primary, and how far each replica is',
    load: async () => (await import('./status.ts')).statusCommand,
  },
  {
    name: 'submit',
    description: 'submit a command to the application',
    load: async () => (await import('./submit.ts')).submitCommand,
  },
  { name: 'query', description: 'ask the application', load: async () => (await import('./query.ts')).queryCommand },
  {
    name: 'log',
    description: 'verify, show or follow the log',
    load: async () => (await import('./log.ts')).logCommand,
  },
  {
    name: 'snapshot',
    description: 'create, list or verify snapshots',
    load: async () => (await import('./snapshot.ts')).snapshotCommand,
  },
  { name: 'effects', description: 'the outbox', load: async () => (await import('./effects.ts')).effectsCommand },
  {
    name: 'console',
    description: 'print a fresh link to the console',
    load: async () => (await import('./console.ts')).consoleCommand,
  },
  {
    name: 'replica',
    description: 'start, stop, kill or pause a replica',
    load: async () => (await import('./replica.ts')).replicaCommand,
  },
  {
    name: 'recover',
    description: 'replace a replica whose disk is lost',
    load: async () => (await import('./recover.ts')).recoverCommand,
  },
  { name: 'chaos', description: 'cut and heal links', load: async () => (await import('./chaos.ts')).chaosCommand },
  {
    name: 'workload',
    description: 'drive the cluster and check every outcome',
    load: async () => (await import('./workload.ts')).workloadCommand,
  },
  {
    name: 'simulate',
    description: 'run clusters in virtual time under faults',
    load: async () => (await import('./simulate.ts')).simulateCommand,
  },
  {
    name: 'check',
    description: 'check a recorded history for linearizability',
    load: async () => (await import('./check.ts')).checkCommand,
  },
  {
    name: 'doctor',
    description: 'what this machine offers',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
  {
    name: 'bench',
    description: 'run a benchmark of the repository',
    load: async () => (await import('./bench.ts')).benchCommand,
  },
];

async function main(given: readonly string[]): Promise<void> {
  const argv = given[0] === 'help' ? [...given.slice(1), '--help'] : given;
  const program = new Command('chronon')
    .description('Chronon: a deterministic application on 2f+1 replicas')
    .exitOverride()
    .showHelpAfterError()
    .helpCommand(false)
    .enablePositionalOptions()
    .addHelpText(
      'after',
      '\nEvery command has --help and --json. Clusters are found by --url and --token, CHRONON_URL and CHRONON_TOKEN, or --data DIR (./data).',
    );
  const chosen = argv.find((argument) => !argument.startsWith('-'));
  for (const { name, description, load } of COMMANDS) {
    if (name !== chosen) program.command(name, { hidden: false }).description(description).allowUnknownOption();
    else program.addCommand(inherit(program, await load()));
  }
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    process.exitCode = EXIT.usage;
    return;
  }
  await program.parseAsync([...argv], { from: 'user' });
}

/** Settings do not reach commands that were made elsewhere. */
function inherit(parent: Command, command: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(command, child);
  return command;
}

/** Exit code of what ended a command. */
function report(error: unknown): number {
  if (error instanceof CommanderError)
    return error.exitCode === 0
      ? EXIT.ok
      : error.code === 'commander.help'
        ? EXIT.usage
        : Math.max(error.exitCode, EXIT.usage);
  const json = process.argv.includes('--json');
  const known = error instanceof Failure || error instanceof ApiError;
  const code = known ? error.code : 'E_INTERNAL';
  const message = error instanceof Error ? error.message : String(error);
  if (json) process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  process.stderr.write(`chronon: ${code}: ${printable(message)}\n`);
  if (!known && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  return error instanceof Failure ? error.exitCode : EXIT.failed;
}

watchOutput();
try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
// Nothing is left to wait for but the output; a connection that lingers must not hold the terminal.
process.stdout.write('', (error) => {
  // An error has its own end: watchOutput.
  if (error === null || error === undefined) process.exit();
});
