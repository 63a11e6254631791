/**
 * The APIs of replicas and supervisor as the console's server calls them. Types come from apps/node; no value of it is imported, because the routers'
 * values would pull the native addon into the bundle.
 */
import { createTRPCClient, httpBatchLink, TRPCClientError, type TRPCClient } from '@trpc/client';
import type { AppRouter } from '@chronon/node/api';
import type { SupervisorRouter } from '@chronon/node/supervisor/api';
import { TRPCError } from '@trpc/server';
import { config } from './config.ts';

export const REPLICA_TIMEOUT_MS = 800;
/** Ranges and submits may take longer than a status. */
export const SLOW_TIMEOUT_MS = 10_000;

export type ReplicaApi = TRPCClient<AppRouter>;
export type SupervisorApi = TRPCClient<SupervisorRouter>;

function link(url: string, timeoutMs: number) {
  return httpBatchLink({
    url: /\/trpc\/?$/.test(url) ? url : `${url.replace(/\/$/, '')}/trpc`,
    headers: () => ({ authorization: `Bearer ${config().token}` }),
    fetch: (input, init) => {
      const timeout = AbortSignal.timeout(timeoutMs);
      const signal = init?.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
      return fetch(input, { ...init, signal } as RequestInit);
    },
  });
}

const replicas = new Map<string, ReplicaApi>();
const supervisors = new Map<string, SupervisorApi>();

export function replicaApi(id: number, timeoutMs: number = SLOW_TIMEOUT_MS): ReplicaApi {
  const key = `${id}/${timeoutMs}`;
  const known = replicas.get(key);
  if (known) return known;
  const url = config().replicas.find((replica) => replica.id === id)?.apiUrl;
  if (!url) throw new TRPCError({ code: 'NOT_FOUND', message: `there is no replica r${id}` });
  const client = createTRPCClient<AppRouter>({ links: [link(url, timeoutMs)] });
  replicas.set(key, client);
  return client;
}

/** The supervisor of a replica's process; null when it runs without one. */
export function supervisorOf(id: number, timeoutMs: number = SLOW_TIMEOUT_MS): SupervisorApi | null {
  const url = config().replicas.find((replica) => replica.id === id)?.supervisorUrl;
  return url ? supervisorApi(url, timeoutMs) : null;
}

/** Every supervisor once: one for all replicas, or in containers one each. */
export function supervisorApis(timeoutMs: number = SLOW_TIMEOUT_MS): SupervisorApi[] {
  const urls = new Set(config().replicas.flatMap(({ supervisorUrl }) => supervisorUrl ?? []));
  return [...urls].map((url) => supervisorApi(url, timeoutMs));
}

function supervisorApi(url: string, timeoutMs: number): SupervisorApi {
  const key = `${url} ${timeoutMs}`;
  const known = supervisors.get(key);
  if (known) return known;
  const client = createTRPCClient<SupervisorRouter>({ links: [link(url, timeoutMs)] });
  supervisors.set(key, client);
  return client;
}

/** One line a person can act on. */
export function whyFailed(error: unknown): string {
  const cause = error instanceof TRPCClientError && !error.data ? (error.cause ?? error) : error;
  if (!(cause instanceof Error)) return 'failed';
  if (cause.name === 'TimeoutError') return 'no answer in time';
  const inner = cause.cause as { code?: string } | undefined;
  if (inner?.code === 'ECONNREFUSED') return 'connection refused';
  return inner?.code ?? cause.message.slice(0, 200);
}

/** Passes a typed refusal on with its own code and words; anything else becomes "r2: no answer in time". */
export function asConsoleError(who: string, error: unknown): TRPCError {
  if (error instanceof TRPCError) return error;
  if (error instanceof TRPCClientError && error.data) {
    const code = (error.data as { code?: TRPCError['code'] }).code ?? 'INTERNAL_SERVER_ERROR';
    return new TRPCError({ code, message: error.message });
  }
  return new TRPCError({ code: 'SERVICE_UNAVAILABLE', message: `${who}: ${whyFailed(error)}` });
}
