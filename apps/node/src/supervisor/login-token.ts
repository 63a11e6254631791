/**
 * Login tokens of the console: `base64url(payload) + '.' + base64url(HMAC-SHA256(secret, base64url(payload)))`, payload {exp, nonce}; good once, for ten
 * minutes. The console (apps/console/src/server/session.ts) trades one for a cookie.
 */
import { createHmac, randomBytes } from 'node:crypto';

export const LOGIN_TOKEN_MS = 10 * 60 * 1000;

export function loginToken(secret: string, nowMs: number): string {
  const claims = { exp: nowMs + LOGIN_TOKEN_MS, nonce: randomBytes(16).toString('base64url') };
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
  return `${payload}.${createHmac('sha256', secret).update(payload).digest('base64url')}`;
}

/** The console's address with a fresh token in the fragment, which no server ever sees in a URL. */
export function loginUrl(consoleUrl: string, secret: string, nowMs: number): string {
  return `${consoleUrl}/#token=${loginToken(secret, nowMs)}`;
}
