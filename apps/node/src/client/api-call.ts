/**
 * One call of a control API (tRPC over HTTP) with its answer checked by zod. Used by the command line and the supervisor; independent of the
 * router's type, so that a mixed version is noticed at run time and named.
 */
import type { z } from 'zod';

/** Why a call did not give an answer. `code` is stable: the server's own, or E_UNREACHABLE, E_TIMEOUT, E_ANSWER. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: string;
  readonly status: number | null;
  /** What the server adds: the issues of an input, the application's rejection. */
  readonly detail: unknown;
  constructor(code: string, message: string, status: number | null = null, detail: unknown = null) {
    super(message);
    this.code = code;
    this.status = status;
    this.detail = detail;
  }
}

export interface ApiTarget {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  readonly token: string;
}

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 10_000;

/** Reads: `path` is a tRPC query. */
export async function apiQuery<S extends z.ZodType>(
  target: ApiTarget,
  path: string,
  input: unknown,
  schema: S,
  options: CallOptions = {},
): Promise<z.output<S>> {
  const search = input === undefined ? '' : `?input=${encodeURIComponent(JSON.stringify(input))}`;
  return await request(target, `${path}${search}`, { method: 'GET' }, schema, options);
}

/** Changes: `path` is a tRPC mutation. */
export async function apiMutate<S extends z.ZodType>(
  target: ApiTarget,
  path: string,
  input: unknown,
  schema: S,
  options: CallOptions = {},
): Promise<z.output<S>> {
  const body = JSON.stringify(input ?? {});
  return await request(
    target,
    path,
    { method: 'POST', body, headers: { 'content-type': 'application/json' } },
    schema,
    options,
  );
}

interface Envelope {
  readonly result?: { readonly data?: unknown };
  readonly error?: {
    readonly message?: string;
    readonly data?: { readonly code?: string; readonly chronon?: string; readonly detail?: unknown };
  };
  readonly code?: string;
  readonly message?: string;
}

async function request<S extends z.ZodType>(
  target: ApiTarget,
  path: string,
  init: RequestInit,
  schema: S,
  options: CallOptions,
): Promise<z.output<S>> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  let status: number;
  let envelope: Envelope;
  try {
    const headers = { ...(init.headers as Record<string, string>), authorization: `Bearer ${target.token}` };
    const response = await fetch(`${target.url}/trpc/${path}`, { ...init, headers, signal });
    status = response.status;
    envelope = (await response.json()) as Envelope;
  } catch (error) {
    throw transportError(target.url, error);
  }
  if (envelope.error !== undefined || envelope.result === undefined) {
    const { error } = envelope;
    const code = error?.data?.chronon ?? error?.data?.code ?? envelope.code ?? `HTTP_${status}`;
    const message = error?.message ?? envelope.message ?? `${target.url} answered ${status}`;
    // The server puts the code in front of its message; people see it once.
    throw new ApiError(
      code,
      message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message,
      status,
      error?.data?.detail,
    );
  }
  const parsed = schema.safeParse(envelope.result.data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ApiError(
    'E_ANSWER',
    `${target.url}/${path.split('?')[0] ?? ''}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
    status,
  );
}

function transportError(url: string, error: unknown): ApiError {
  if (!(error instanceof Error)) return new ApiError('E_UNREACHABLE', `${url}: ${String(error)}`);
  if (error.name === 'TimeoutError') return new ApiError('E_TIMEOUT', `${url} did not answer in time`);
  if (error instanceof SyntaxError) return new ApiError('E_ANSWER', `${url} did not answer with JSON`);
  const cause = (error.cause as { code?: string; message?: string } | undefined) ?? {};
  return new ApiError('E_UNREACHABLE', `${url}: ${cause.code ?? cause.message ?? error.message}`);
}
