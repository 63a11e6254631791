/** Where things are: inside a data directory, and beside this code. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `.js` from the build, `.ts` from source. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

function besides(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

/** Entry of a replica process. */
export const REPLICA_MAIN = besides(`../replica/main.${EXTENSION}`);
/**
 * V8 flags of a replica: a young generation that holds a few batches, whose frames and replies are then garbage before they are copied anywhere. Costs up
 * to 64 MiB of memory.
 */
export const REPLICA_FLAGS: readonly string[] = ['--min-semi-space-size=32', '--max-semi-space-size=32'];
export const WATCH_PARENT = besides(`./watch-parent.${EXTENSION}`);
/** Server of the built console. */
export const CONSOLE_SERVER = besides('../../../console/.next/standalone/apps/console/server.js');

export function consoleBuilt(): boolean {
  return existsSync(CONSOLE_SERVER);
}

export const replicaDir = (dataDir: string, id: number): string => join(dataDir, `r${id}`);
/** Configurations of the processes (0600: they hold secrets) and their output. */
export const runDir = (dataDir: string): string => join(dataDir, 'run');
export const configPath = (dataDir: string, id: number): string => join(runDir(dataDir), `r${id}.json`);
export const logPath = (dataDir: string, name: string): string => join(runDir(dataDir), `${name}.log`);
export const ledgerPath = (dataDir: string): string => join(dataDir, 'effects', 'ledger.jsonl');

/** Node flags of child processes: those of this one that decide how code is found (tsx, conditions), none that debug. */
export function nodeFlags(): string[] {
  return process.execArgv.filter((flag) => !flag.startsWith('--inspect') && flag !== '--no-warnings');
}
