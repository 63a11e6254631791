/**
 * `app.describe`, `app.submit`, `app.resume`, `app.query`: single calls for people and scripts. They go through the same session client as any other client's.
 * Load does not belong here: it goes to the gateway.
 */
import { ENVELOPE_BYTES, PAYLOAD_BYTES_MAX } from '@chronon/core/engine/constants';
import { IDEMPOTENCY_KEY_BYTES_MAX } from '@chronon/core/engine/frame';
import { toJson } from '@chronon/core/engine/commit-index';
import { CodecError } from '@chronon/core/kernel/errors';
import { decodeValue } from '@chronon/core/kernel/values';
import type { CallSpec } from '@chronon/core/kernel/types';
import { formatToken, parseToken, type Outcome } from '@chronon/core/vsr/client';
import { MAX_LAG_MS_MAX } from '@chronon/core/vsr/client-options';
import { z } from 'zod';
import { apiError } from './errors.ts';
import { jsonable } from './jsonable.ts';
import { indexOrNone, submitResult, type SubmitResult } from './schema.ts';
import { operatorProcedure, router, viewerProcedure } from './trpc.ts';

const call = z.object({
  name: z.string().min(1).max(100),
  input: z.unknown(),
  timeoutMs: z.number().int().min(1).max(60_000).default(5000),
});

/** UTF-8 of 1 to 64 bytes. */
const idempotencyKey = z
  .string()
  .min(1)
  .refine((key) => Buffer.byteLength(key) <= IDEMPOTENCY_KEY_BYTES_MAX, `at most ${IDEMPOTENCY_KEY_BYTES_MAX} bytes`);

const described = z.array(z.object({ name: z.string(), number: z.number(), input: z.unknown() }));

export const appRouterPart = router({
  describe: viewerProcedure
    .output(z.object({ name: z.string(), version: z.number(), commands: described, queries: described }))
    .query(({ ctx }) => {
      const { name, version, commands, queries } = ctx.host.app;
      return { name, version, commands: describe(commands), queries: describe(queries) };
    }),

  submit: operatorProcedure
    .input(call.extend({ idempotencyKey: idempotencyKey.optional() }))
    .output(submitResult)
    .mutation(async ({ ctx, input }): Promise<SubmitResult> => {
      const spec = specOf(ctx.host.app.commands, 'command', input.name);
      const body = bodyOf(spec, input.input);
      return resultOfSubmit(
        spec,
        await ctx.host.calls.submit(spec.number, body, input.timeoutMs, input.idempotencyKey),
      );
    }),

  /** Learns what a submit came to that ended as unknown; one not applied by then never will be. */
  resume: operatorProcedure
    .input(call.omit({ input: true }).extend({ token: z.string().max(80) }))
    .output(submitResult)
    .mutation(async ({ ctx, input }): Promise<SubmitResult> => {
      const spec = specOf(ctx.host.app.commands, 'command', input.name);
      const token = parseToken(input.token);
      if (token === null) throw apiError('E_INPUT', 'this is no token of an unknown outcome');
      return resultOfSubmit(spec, await ctx.host.calls.resume(token, input.timeoutMs));
    }),

  query: viewerProcedure
    .input(
      call.extend({
        consistency: z.enum(['linearizable', 'stale']).default('linearizable'),
        /** What a stale answer may lack, ms. */
        maxLagMs: z.number().int().min(0).max(MAX_LAG_MS_MAX).optional(),
      }),
    )
    .output(z.object({ index: indexOrNone, result: z.unknown() }))
    .query(async ({ ctx, input }) => {
      const spec = specOf(ctx.host.app.queries, 'query', input.name);
      const body = bodyOf(spec, input.input);
      const outcome = await ctx.host.calls.query(spec.number, body, input.consistency, input.timeoutMs, input.maxLagMs);
      if (outcome.kind === 'ok') return { index: toJson(outcome.index), result: resultOf(spec, outcome.body) };
      if (outcome.code === 'rejected') {
        const { code, data } = rejectionOf(outcome.body);
        throw apiError('E_QUERY_REJECTED', code, { code, data });
      }
      throw apiError(outcome.code === 'lag' ? 'E_LAG' : 'E_TIMEOUT', `${outcome.code}: ${outcome.message}`);
    }),
});

function resultOfSubmit(spec: CallSpec, outcome: Outcome): SubmitResult {
  switch (outcome.kind) {
    case 'ok':
      return { outcome: 'ok', index: String(outcome.index), result: resultOf(spec, outcome.body) };
    case 'unknown': {
      const { message, token, lost } = outcome;
      const [session, request] = [String(token.session), String(token.request)];
      return { outcome: 'unknown', message, session, request, token: lost === true ? null : formatToken(token) };
    }
    case 'rejected': {
      const index = toJson(outcome.index);
      if (outcome.code !== 'rejected') return { outcome: 'rejected', code: outcome.code, data: outcome.message, index };
      return { outcome: 'rejected', ...rejectionOf(outcome.body), index };
    }
  }
}

function describe(specs: Readonly<Record<string, CallSpec>>): z.infer<typeof described> {
  return Object.entries(specs).map(([name, spec]) => ({ name, number: spec.number, input: jsonSchema(spec.input) }));
}

/** JSON schema of a zod input; null for a schema of another kind. */
function jsonSchema(input: unknown): unknown {
  try {
    return z.toJSONSchema(input as z.ZodType, { unrepresentable: 'any', io: 'input' });
  } catch {
    return null;
  }
}

function specOf(specs: Readonly<Record<string, CallSpec>>, what: string, name: string): CallSpec {
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
  if (spec === undefined)
    throw apiError('E_COMMAND', `no ${what} '${name}'; there are: ${Object.keys(specs).join(', ')}`);
  return spec;
}

/** The checked and encoded input. The parsed value goes into the log. */
function bodyOf(spec: CallSpec, input: unknown): Uint8Array {
  const parsed = spec.input.safeParse(input);
  if (!parsed.success) {
    const issues = parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), message }));
    const text = issues.map((issue) => `${issue.path || '(top)'}: ${issue.message}`).join('; ');
    throw apiError('E_INPUT', text, issues);
  }
  let body: Uint8Array;
  try {
    body = spec.encode(parsed.data);
  } catch (error) {
    if (error instanceof CodecError) throw apiError('E_INPUT', error.message);
    throw error;
  }
  const limit = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES;
  if (body.length > limit) throw apiError('E_PAYLOAD_SIZE', `the input is ${body.length} bytes, the limit is ${limit}`);
  return body;
}

function resultOf(spec: CallSpec, body: Uint8Array): unknown {
  try {
    return jsonable(spec.decodeResult(body));
  } catch {
    return Buffer.from(body).toString('base64');
  }
}

/** Body of a business error: {code, data}. */
function rejectionOf(body: Uint8Array): { code: string; data: unknown } {
  try {
    const { code, data } = decodeValue(body) as { code?: unknown; data?: unknown };
    return { code: String(code), data: jsonable(data) };
  } catch {
    return { code: 'rejected', data: null };
  }
}
