/** The checks of a WebSocket upgrade, and how one is refused: a plain HTTP answer, then the connection ends. */
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { hasRole, tokenOf, type Authenticator, type Principal, type Role } from './auth.ts';
import { guard, type GuardRules, type HttpRefusal } from './http-guard.ts';

/** Time a refused peer has to read why, ms. */
const HANG_UP_MS = 1000;

/** Who upgrades, or why not. */
export function admitUpgrade(
  request: IncomingMessage,
  rules: GuardRules,
  auth: Authenticator,
  role: Role,
): Principal | HttpRefusal {
  const refused = guard(request, rules);
  if (refused !== null) return refused;
  const principal = auth.authenticate(tokenOf(request.headers));
  if (principal === null) return { status: 401, code: 'E_TOKEN', message: 'a valid bearer token is needed' };
  if (!hasRole(principal, role))
    return { status: 403, code: 'E_ROLE', message: `role ${role} is needed, this token has ${principal.role}` };
  return principal;
}

export function isRefusal(value: Principal | HttpRefusal): value is HttpRefusal {
  return 'status' in value;
}

export function refuseUpgrade(socket: Duplex, refusal: HttpRefusal): void {
  const body = JSON.stringify({ code: refusal.code, message: refusal.message });
  socket.on('error', () => undefined);
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  // Of an upgraded socket no timer of the server takes care: one that does not hang up would be held for ever.
  setTimeout(() => socket.destroy(), HANG_UP_MS).unref();
}
