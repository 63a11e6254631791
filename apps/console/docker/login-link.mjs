/** A fresh link to this console. The token is what apps/node/src/supervisor/login-token.ts makes: good once, for ten minutes. */
import { createHmac, randomBytes } from 'node:crypto';

const LOGIN_TOKEN_MS = 10 * 60 * 1000;

export function loginLink(nowMs) {
  const claims = { exp: nowMs + LOGIN_TOKEN_MS, nonce: randomBytes(16).toString('base64url') };
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
  const mac = createHmac('sha256', process.env.CHRONON_CONSOLE_SECRET).update(payload).digest('base64url');
  const base = process.env.CHRONON_CONSOLE_URL ?? `http://127.0.0.1:${process.env.PORT}`;
  return `${base}/#token=${payload}.${mac}`;
}
