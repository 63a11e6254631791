/**
 * `app.describe`, `app.submit`, `app.query`: single calls for people and scripts. They go through the same session client as any other client's.
 * Load does not belong here: it goes to the gateway.
 */
import { ENVELOPE_BYTES, PAYLOAD_BYTES_MAX } from '@chronon/core/engine/constants';
import { toJson } from '@chronon/core/engine/commit-index';
import { decodeValue } from '@chronon/core/kernel/values';
import type { CallSpec } from '@chronon/core/kernel/types';
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

const described = z.array(z.object({ name: z.string(), number: z.number(), input: z.unknown() }));

export const appRouterPart = router({
  describe: viewerProcedure
    .output(z.object({ name: z.string(), version: z.number(), commands: described, queries: described }))
    .query(({ ctx }) => {
      const { name, version, commands, queries } = ctx.host.app;
      return { name, version, commands: describe(commands), queries: describe(queries) };
    }),

  submit: operatorProcedure
    .input(call)
    .output(submitResult)
    .mutation(async ({ ctx, input }): Promise<SubmitResult> => {
      const spec = specOf(ctx.host.app.commands, 'command', input.name);
      const outcome = await ctx.host.calls.submit(spec.number, bodyOf(spec, input.input), input.timeoutMs);
      switch (outcome.kind) {
        case 'ok':
          return { outcome: 'ok', index: String(outcome.index), result: resultOf(spec, outcome.body) };
        case 'unknown': {
          const { session, request } = outcome.token;
          return { outcome: 'unknown', message: outcome.message, session: String(session), request: String(request) };
        }
        case 'rejected': {
          const index = toJson(outcome.index);
          if (outcome.code !== 'rejected')
            return { outcome: 'rejected', code: outcome.code, data: outcome.message, index };
          return { outcome: 'rejected', ...rejectionOf(outcome.body), index };
        }
      }
    }),

  query: viewerProcedure
    .input(call.extend({ consistency: z.enum(['linearizable', 'stale']).default('linearizable') }))
    .output(z.object({ index: indexOrNone, result: z.unknown() }))
    .query(async ({ ctx, input }) => {
      const spec = specOf(ctx.host.app.queries, 'query', input.name);
      const body = bodyOf(spec, input.input);
      const outcome = await ctx.host.calls.query(spec.number, body, input.consistency, input.timeoutMs);
      if (outcome.kind === 'ok') return { index: toJson(outcome.index), result: resultOf(spec, outcome.body) };
      if (outcome.code === 'rejected') {
        const { code, data } = rejectionOf(outcome.body);
        throw apiError('E_QUERY_REJECTED', code, { code, data });
      }
      throw apiError('E_TIMEOUT', `${outcome.code}: ${outcome.message}`);
    }),
});

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
  const body = spec.encode(parsed.data);
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
