/**
 * Login tokens and session cookies, both `base64url(payload) + '.' + base64url(HMAC-SHA256(secret, ...))`.
 *
 * Invariants: a login token is good once and until `exp`; the two kinds can never stand in for each other (a cookie's HMAC covers a prefix that no
 * base64url text contains); comparison takes the same time whatever differs.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export const SESSION_MS = 12 * 60 * 60 * 1000;
const TOKEN_CHARS_MAX = 1024;
const NONCES_MAX = 10_000;
const COOKIE_PREFIX = 'session.';

function sign(secret: string, text: string): Buffer {
  return createHmac('sha256', secret).update(text).digest();
}

function open(secret: string, prefix: string, token: string): Record<string, unknown> | null {
  if (token.length > TOKEN_CHARS_MAX) return null;
  const [payload, mac, ...rest] = token.split('.');
  if (!payload || !mac || rest.length > 0) return null;
  const given = Buffer.from(mac, 'base64url');
  const wanted = sign(secret, prefix + payload);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return null;
  try {
    const value: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Login tokens already traded, with their expiry. One set a process, however often the bundler copies this module. */
const used: Map<string, number> = ((globalThis as { chrononNonces?: Map<string, number> }).chrononNonces ??= new Map());

export type LoginOutcome = 'ok' | 'invalid' | 'expired' | 'used';

/** Trades a login token; `ok` at most once a token. `exp` is milliseconds since the epoch (seconds are understood too). */
export function tradeLoginToken(secret: string, token: string, nowMs: number): LoginOutcome {
  const payload = open(secret, '', token);
  if (!payload || typeof payload.exp !== 'number' || typeof payload.nonce !== 'string') return 'invalid';
  const expMs = payload.exp < 100_000_000_000 ? payload.exp * 1000 : payload.exp;
  if (expMs <= nowMs) return 'expired';
  for (const [nonce, exp] of used) if (exp <= nowMs) used.delete(nonce);
  if (used.has(payload.nonce)) return 'used';
  if (used.size >= NONCES_MAX) return 'invalid';
  used.set(payload.nonce, expMs);
  return 'ok';
}

export function issueSession(secret: string, nowMs: number): string {
  const payload = Buffer.from(
    JSON.stringify({ exp: nowMs + SESSION_MS, id: randomBytes(16).toString('base64url') }),
  ).toString('base64url');
  return `${payload}.${sign(secret, COOKIE_PREFIX + payload).toString('base64url')}`;
}

export function isSession(secret: string, cookie: string | undefined, nowMs: number): boolean {
  if (!cookie) return false;
  const payload = open(secret, COOKIE_PREFIX, cookie);
  return payload !== null && typeof payload.exp === 'number' && payload.exp > nowMs;
}
