/** `chronon console`: a fresh link; its token is good once, for ten minutes. */
import { Command } from 'commander';
import { z } from 'zod';
import { apiMutate } from '../client/api-call.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { loginUrl } from '../supervisor/login-token.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine } from './output.ts';
import { liveTarget, withTarget, type TargetFlags } from './target.ts';

interface ConsoleFlags extends TargetFlags {
  readonly consoleUrl?: string;
}

export const consoleCommand = withTarget(new Command('console'))
  .description('print a fresh link to the console')
  .option(
    '--console-url <url>',
    'a console without a supervisor: its address, with its secret in CHRONON_CONSOLE_SECRET',
  )
  .action(async (flags: ConsoleFlags) => {
    const url = flags.consoleUrl === undefined ? await ask(flags) : local(flags.consoleUrl);
    if (flags.json === true) printJson({ url });
    else printLine(url);
  });

async function ask(flags: TargetFlags): Promise<string> {
  const { api } = liveTarget(flags);
  const { url } = await apiMutate(api, 'console.login', {}, z.object({ url: z.string().nullable() }));
  if (url === null) throw new Failure('E_NO_CONSOLE', 'this cluster runs without a console', EXIT.failed);
  return url;
}

function local(consoleUrl: string): string {
  const secret = process.env['CHRONON_CONSOLE_SECRET'] ?? '';
  if (secret.length < 16) throw usage('--console-url needs CHRONON_CONSOLE_SECRET');
  return loginUrl(consoleUrl.replace(/\/+$/, ''), secret, Date.now());
}
