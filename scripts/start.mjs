/**
 * `npm start [-- ARGS]`: set-up, then the CLI's `start` in this very process, so that signals reach it exactly once each and no wrapper can be
 * killed away from above it. Chaos is enabled because this is the local cluster to play with; a production start uses `chronon start`.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { stopWithNpm } from './lib/child.mjs';
import { ROOT } from './lib/inputs.mjs';
import { runScript, setUp, SetUpError } from './setup.mjs';

stopWithNpm();
// A terminal that is gone must not end a cluster in the middle of its clean stop.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

// Between set-up and the moment the CLI listens for signals itself, a stop is a plain exit: nothing runs yet.
let owner = 'set-up';
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (owner !== 'nobody') return;
    if (process.listenerCount(signal) === 1) process.exit(0);
    owner = 'cli';
  });
}

await runScript(async () => {
  await setUp(['install', 'native', 'build', 'console']);
  owner = 'nobody';
  const main = join(ROOT, 'apps/node/dist/cli/main.js');
  if (!existsSync(main)) throw new SetUpError(`${main} is missing although everything is built`);
  process.argv = [
    process.execPath,
    join(ROOT, 'apps/node/bin/chronon.mjs'),
    'start',
    '--enable-chaos',
    ...process.argv.slice(2),
  ];
  await import(pathToFileURL(main).href);
});
