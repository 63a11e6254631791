/** `chronon submit NAME JSON`: one command, exactly once, with one of three outcomes. */
import { Command } from 'commander';
import { submitResult, type SubmitResult } from '../api/schema.ts';
import { ApiError, apiMutate } from '../client/api-call.ts';
import { connect, InputError } from '../client/connect.ts';
import { jsonable } from '../api/jsonable.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { inline, printJson, printLine, say } from './output.ts';
import { duration, jsonArgument } from './parse.ts';
import {
  applicationOf,
  askable,
  gateways,
  liveTarget,
  replicasOf,
  withTarget,
  type Target,
  type TargetFlags,
} from './target.ts';

interface SubmitFlags extends TargetFlags {
  readonly timeout: number;
}

export const submitCommand = withTarget(new Command('submit'))
  .description('submit a command to the application')
  .argument('<name>', 'command, e.g. transfer')
  .argument('[json]', 'its input as JSON; - reads it from standard input', '{}')
  .option('--timeout <duration>', 'how long to wait for the outcome', duration, 10_000)
  .addHelpText(
    'after',
    '\nExit codes: 0 applied, 1 the cluster was not reached, 2 wrong use or input, 3 rejected (nothing changed), 4 outcome unknown.',
  )
  .action(async (name: string, json: string, flags: SubmitFlags) => {
    const input = jsonArgument(json);
    const target = liveTarget(flags);
    const result = await submit(target, name, input, flags.timeout);
    if (flags.json === true) printJson(result);
    else show(result);
    process.exitCode = result.outcome === 'ok' ? EXIT.ok : result.outcome === 'rejected' ? EXIT.rejected : EXIT.unknown;
  });

/** By a session of our own where the application can be loaded here, else by the API of a replica (which has sessions). */
async function submit(target: Target, name: string, input: unknown, timeoutMs: number): Promise<SubmitResult> {
  const app = await applicationOf(target);
  if (app === null) return await submitByApi(target, name, input, timeoutMs);
  const client = connect(gateways(await replicasOf(target)), { token: target.token, app });
  try {
    const outcome = await client.submit(name, input, { timeoutMs });
    if (outcome.outcome === 'ok') return { outcome: 'ok', index: outcome.index, result: jsonable(outcome.result) };
    if (outcome.outcome === 'unknown')
      return { outcome: 'unknown', message: outcome.message, session: outcome.session, request: outcome.request };
    if (outcome.code === 'timeout') {
      throw new Failure(
        'E_NO_PRIMARY',
        `nothing was submitted: ${outcome.message}${client.lastProblem === null ? '' : ` (${client.lastProblem})`}`,
        EXIT.failed,
      );
    }
    if (outcome.code === 'invalid' && outcome.index === null)
      throw new Failure('E_PAYLOAD_SIZE', outcome.message, EXIT.usage);
    return { outcome: 'rejected', code: outcome.code, data: jsonable(outcome.data), index: outcome.index };
  } catch (error) {
    throw error instanceof InputError ? inputFailure(error) : error;
  } finally {
    client.close();
  }
}

async function submitByApi(target: Target, name: string, input: unknown, timeoutMs: number): Promise<SubmitResult> {
  const { api } = await askable(target, null);
  try {
    return await apiMutate(api, 'app.submit', { name, input, timeoutMs }, submitResult, {
      timeoutMs: timeoutMs + 2000,
    });
  } catch (error) {
    if (error instanceof ApiError && (error.code === 'E_INPUT' || error.code === 'E_COMMAND'))
      throw usage(error.message);
    if (!(error instanceof ApiError) || error.status !== null) throw error;
    return { outcome: 'unknown', message: error.message, session: null, request: null };
  }
}

export function inputFailure(error: InputError): Failure {
  return new Failure(error.code, error.message, EXIT.usage);
}

function show(result: SubmitResult): void {
  switch (result.outcome) {
    case 'ok':
      return printLine(`ok at index ${result.index}: ${inline(result.result)}`);
    case 'rejected':
      return say(`rejected: ${result.code}${result.data === null ? '' : ` ${inline(result.data)}`} (nothing changed)`);
    case 'unknown':
      return say(
        `unknown outcome: ${result.message}; it may still happen (session ${result.session ?? '?'}, request ${result.request ?? '?'})`,
      );
  }
}
