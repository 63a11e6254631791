/**
 * Entry of a replica process: `node dist/replica/main.js --config FILE`. Exit codes are in exit-codes.ts.
 */
import './pin-environment.ts';
import './tune-engine.ts';
import { loadConfig } from './config.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { createLogger, halt } from './halt.ts';
import { watchParent } from './parent-watch.ts';
import { runReplica, type RunningReplica } from './run-replica.ts';

const file = loadConfig(process.argv.slice(2), process.env);
if ('problem' in file) halt(null, 'E_CONFIG', file.problem);

const log = createLogger(file.logLevel, file.id);
const stop = (code: string, message: string): never => {
  log.fatal({ code }, message);
  return halt(file.id, code, message);
};

let running: RunningReplica | null = null;
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => {
    log.info({ signal }, 'stopping');
    running?.close();
    process.exit(EXIT_CODES.OK);
  });
}
const defect = (error: unknown): void => {
  const { code, message, stack } = error as { code?: unknown; message?: unknown; stack?: unknown };
  log.fatal({ err: error, stack }, 'uncaught');
  stop(
    typeof code === 'string' && /^E_[A-Z_]+$/.test(code) ? code : 'E_ASSERT',
    typeof message === 'string' ? message : String(error),
  );
};
process.on('uncaughtException', defect);
process.on('unhandledRejection', defect);
if (file.exitWithParent) watchParent(() => stop('E_PARENT_GONE', 'the parent process is gone'));

running = await runReplica({ file, log, halt: stop });
process.send?.({ type: 'ready', id: file.id });
