/** `chronon bench`: passes its arguments on to the repository's benchmarks (`npm run bench`). */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';

const SCRIPT = fileURLToPath(new URL('../../../../scripts/bench.mjs', import.meta.url));

export const benchCommand = new Command('bench')
  .description('run a benchmark of the repository, e.g. chronon bench commit --json')
  .argument('[args...]', 'passed on')
  .allowUnknownOption()
  .helpOption(false)
  .passThroughOptions()
  .action(async (args: string[]) => {
    if (!existsSync(SCRIPT))
      throw new Failure('E_NO_BENCH', 'the benchmarks are part of the repository, which is not here', EXIT.failed);
    const child = spawn(process.execPath, [SCRIPT, ...args], { stdio: 'inherit' });
    process.exitCode = await new Promise<number>((resolve) => {
      child.once('close', (code) => {
        resolve(code ?? EXIT.failed);
      });
    });
  });
