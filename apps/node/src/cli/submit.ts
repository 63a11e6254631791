/** `chronon submit NAME JSON`: one command, exactly once, with one of three outcomes. */
import { IDEMPOTENCY_KEY_BYTES_MAX } from '@chronon/core/engine/frame';
import { Command } from 'commander';
import { submitResult, type SubmitResult } from '../api/schema.ts';
import { ApiError, apiMutate } from '../client/api-call.ts';
import { connect, InputError, parseToken } from '../client/connect.ts';
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
  readonly idempotencyKey?: string;
  readonly resume?: string;
}

/** What is asked of the cluster: a new command, or the outcome of one whose token is known. */
type Ask =
  | { readonly kind: 'submit'; readonly name: string; readonly input: unknown; readonly idempotencyKey?: string }
  | { readonly kind: 'resume'; readonly name: string; readonly token: string };

export const submitCommand = withTarget(new Command('submit'))
  .description('submit a command to the application')
  .argument('<name>', 'command, e.g. transfer')
  .argument('[json]', 'its input as JSON; - reads it from standard input', '{}')
  .option('--timeout <duration>', 'how long to wait for the outcome', duration, 10_000)
  .option(
    '--idempotency-key <key>',
    'runs once for this key (1 to 64 bytes), however often it is submitted in 24 hours',
  )
  .option('--resume <token>', 'submit nothing: learn what the call of this token came to, or that it never will happen')
  .addHelpText(
    'after',
    '\nExit codes: 0 applied, 1 the cluster was not reached, 2 wrong use or input, 3 rejected (nothing changed), 4 outcome unknown.',
  )
  .action(async (name: string, json: string, flags: SubmitFlags) => {
    // Wrong use is told as such, whether a cluster runs or not.
    const ask = asked(name, json, flags);
    const result = await submit(liveTarget(flags), ask, flags.timeout);
    if (flags.json === true) printJson(result);
    else show(result);
    process.exitCode = result.outcome === 'ok' ? EXIT.ok : result.outcome === 'rejected' ? EXIT.rejected : EXIT.unknown;
  });

function asked(name: string, json: string, flags: SubmitFlags): Ask {
  const { idempotencyKey, resume } = flags;
  if (resume === undefined) {
    const input = jsonArgument(json);
    if (idempotencyKey === undefined) return { kind: 'submit', name, input };
    const bytes = Buffer.byteLength(idempotencyKey);
    if (bytes < 1 || bytes > IDEMPOTENCY_KEY_BYTES_MAX)
      throw usage(`--idempotency-key takes 1 to ${IDEMPOTENCY_KEY_BYTES_MAX} bytes, not ${bytes}`);
    return { kind: 'submit', name, input, idempotencyKey };
  }
  if (parseToken(resume) === null) throw usage(`--resume takes the token of an unknown outcome, not '${resume}'`);
  return { kind: 'resume', name, token: resume };
}

/** By a session of our own where the application can be loaded here, else by the API of a replica (which has sessions). */
async function submit(target: Target, ask: Ask, timeoutMs: number): Promise<SubmitResult> {
  const app = await applicationOf(target);
  if (app === null) return await submitByApi(target, ask, timeoutMs);
  const client = connect(gateways(await replicasOf(target)), { token: target.token, app });
  try {
    const outcome =
      ask.kind === 'resume'
        ? await client.resume(ask.name, ask.token, { timeoutMs })
        : await client.submit(ask.name, ask.input, { ...ask, timeoutMs });
    if (outcome.outcome === 'ok') return { outcome: 'ok', index: outcome.index, result: jsonable(outcome.result) };
    if (outcome.outcome === 'unknown') {
      const { message, session, request, resume, lost } = outcome;
      return { outcome: 'unknown', message, session, request, token: lost ? null : resume };
    }
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

async function submitByApi(target: Target, ask: Ask, timeoutMs: number): Promise<SubmitResult> {
  const { api } = await askable(target, null);
  const { kind, ...input } = ask;
  try {
    return await apiMutate(api, `app.${kind}`, { ...input, timeoutMs }, submitResult, { timeoutMs: timeoutMs + 2000 });
  } catch (error) {
    if (error instanceof ApiError && (error.code === 'E_INPUT' || error.code === 'E_COMMAND'))
      throw usage(error.message);
    if (!(error instanceof ApiError) || error.status !== null) throw error;
    return { outcome: 'unknown', message: error.message, session: null, request: null, token: null };
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
        `unknown outcome: ${result.message}; it may have happened, or still happen${
          result.token === null ? '' : `; to learn what it came to: chronon submit ... --resume ${result.token}`
        }`,
      );
  }
}
