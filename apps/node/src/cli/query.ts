/** `chronon query NAME JSON`: reads the application's state; linearizable unless told otherwise. */
import { Command } from 'commander';
import { z } from 'zod';
import { indexOrNone } from '../api/schema.ts';
import { ApiError, apiQuery } from '../client/api-call.ts';
import { connect, InputError, type QueryOptions, type QueryResult } from '../client/connect.ts';
import { Failure, usage } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { inline, printJson, printLine, say } from './output.ts';
import { duration, jsonArgument } from './parse.ts';
import { inputFailure } from './submit.ts';
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

interface QueryFlags extends TargetFlags {
  readonly timeout: number;
  readonly stale?: boolean;
  readonly maxLag?: number;
}

export const queryCommand = withTarget(new Command('query'))
  .description('ask the application')
  .argument('<name>', 'query, e.g. balance')
  .argument('[json]', 'its input as JSON; - reads it from standard input', 'null')
  .option('--stale', 'whatever a replica has: no quorum is asked')
  .option('--max-lag <duration>', 'stale, but lacking nothing that was committed so long ago', duration)
  .option('--timeout <duration>', 'how long to wait for the answer', duration, 10_000)
  .addHelpText('after', '\nExit codes: 0 answered, 1 no answer, 2 wrong use or input, 3 rejected by the application.')
  .action(async (name: string, json: string, flags: QueryFlags) => {
    const input = jsonArgument(json);
    const result = await ask(liveTarget(flags), name, input, flags);
    if (flags.json === true) printJson(result);
    else if (result.outcome === 'ok') printLine(inline(result.result));
    else say(`rejected: ${result.code}${result.data === null ? '' : ` ${inline(result.data)}`}`);
    process.exitCode = result.outcome === 'ok' ? EXIT.ok : EXIT.rejected;
  });

async function ask(target: Target, name: string, input: unknown, flags: QueryFlags): Promise<QueryResult> {
  const bounded = flags.maxLag === undefined ? {} : { maxLagMs: flags.maxLag };
  const stale = flags.stale === true || flags.maxLag !== undefined;
  const options = { consistency: stale ? ('stale' as const) : ('linearizable' as const), ...bounded };
  const app = await applicationOf(target);
  if (app === null) return await askByApi(target, name, input, options, flags.timeout);
  const client = connect(gateways(await replicasOf(target)), { token: target.token, app });
  try {
    const result = await client.query(name, input, { ...options, timeoutMs: flags.timeout });
    if (result.outcome === 'rejected' && result.code === 'timeout') {
      const why = client.lastProblem === null ? '' : ` (${client.lastProblem})`;
      throw new Failure('E_TIMEOUT', `${result.message}${why}; --stale asks a single replica`, EXIT.failed);
    }
    if (result.outcome === 'rejected' && result.code === 'lag') throw new Failure('E_LAG', result.message, EXIT.failed);
    return result;
  } catch (error) {
    throw error instanceof InputError ? inputFailure(error) : error;
  } finally {
    client.close();
  }
}

const answer = z.object({ index: indexOrNone, result: z.unknown() });
const rejection = z.object({ code: z.string(), data: z.unknown() });

async function askByApi(
  target: Target,
  name: string,
  input: unknown,
  options: QueryOptions,
  timeoutMs: number,
): Promise<QueryResult> {
  const { api } = await askable(target, null);
  try {
    const { index, result } = await apiQuery(api, 'app.query', { name, input, ...options, timeoutMs }, answer, {
      timeoutMs: timeoutMs + 2000,
    });
    return { outcome: 'ok', index, result };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === 'E_INPUT' || error.code === 'E_COMMAND') throw usage(error.message);
    const rejected = rejection.safeParse(error.detail);
    if (error.code !== 'E_QUERY_REJECTED' || !rejected.success) throw error;
    return { outcome: 'rejected', code: rejected.data.code, data: rejected.data.data ?? null, message: error.message };
  }
}
