/**
 * Calls to the other replicas' control API over HTTP: small, with a deadline, checked by zod. Not by the peer links, so that what chaos cuts does not cut
 * its own heal.
 */
import type { z } from 'zod';
import { apiUrl, type MemberConfig } from '../replica/config.ts';

export type PeerAnswer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: string; readonly message: string };

export interface PeerApi {
  query<T>(member: MemberConfig, path: string, output: z.ZodType<T>, timeoutMs: number): Promise<PeerAnswer<T>>;
  mutate<T>(
    member: MemberConfig,
    path: string,
    input: unknown,
    output: z.ZodType<T>,
    timeoutMs: number,
  ): Promise<PeerAnswer<T>>;
}

/** Answers longer than this are not from a replica, in bytes. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

/** The real one. `token`: the token replicas use among themselves. */
export function httpPeerApi(token: string): PeerApi {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  async function ask<T>(
    url: string,
    init: RequestInit,
    output: z.ZodType<T>,
    timeoutMs: number,
  ): Promise<PeerAnswer<T>> {
    try {
      const response = await fetch(url, {
        ...init,
        headers,
        signal: AbortSignal.timeout(timeoutMs),
        redirect: 'error',
      });
      const text = await response.text();
      if (text.length > ANSWER_BYTES_MAX) return failed('E_UNREACHABLE', 'the answer is too long');
      return read(JSON.parse(text), output);
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return failed('E_UNREACHABLE', cause instanceof Error ? cause.message : String(cause));
    }
  }
  return {
    query: (member, path, output, timeoutMs) => ask(`${apiUrl(member)}/trpc/${path}`, {}, output, timeoutMs),
    mutate: (member, path, input, output, timeoutMs) =>
      ask(`${apiUrl(member)}/trpc/${path}`, { method: 'POST', body: JSON.stringify(input ?? null) }, output, timeoutMs),
  };
}

function read<T>(answer: unknown, output: z.ZodType<T>): PeerAnswer<T> {
  const { result, error } = answer as {
    result?: { data?: unknown };
    error?: { message?: unknown; data?: { chronon?: unknown } };
  };
  if (error !== undefined) return failed(text(error.data?.chronon, 'E_UNREACHABLE'), text(error.message, 'refused'));
  const parsed = output.safeParse(result?.data);
  if (!parsed.success)
    return failed(
      'E_UNREACHABLE',
      `the answer is not what this version expects: ${parsed.error.issues[0]?.path.join('.') ?? ''}`,
    );
  return { ok: true, value: parsed.data };
}

function text(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value.slice(0, 500) : otherwise;
}

function failed(code: string, message: string): { ok: false; code: string; message: string } {
  return { ok: false, code, message };
}
