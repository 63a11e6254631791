/** `npm run bench -- NAME [ARGS]`: set-up, then the named benchmark of `bench/` (commit by default), run from the production build. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { ROOT } from './lib/inputs.mjs';
import { runScript, setUp, SetUpError } from './setup.mjs';

await runScript(async () => {
  const main = ['bench/main.ts', 'bench/main.mjs'].map((name) => join(ROOT, name)).find((path) => existsSync(path));
  if (main === undefined) throw new SetUpError('bench/ has no main.ts');
  await setUp(['install', 'native', 'build'], { stopExitCode: 130 });
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...process.argv.slice(2)], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('close', (code, signal) => process.exit(code ?? (signal ? 130 : 1)));
});
