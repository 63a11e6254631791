/**
 * Who may talk to this console: requests for a known host name (DNS rebinding), from this console's own pages (cross-site requests), with a session.
 * Every route under /api calls `guard` first.
 */
import { config } from './config.ts';
import { isSession } from './session.ts';

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Host name without the port, in lower case. */
export function hostName(host: string): string {
  const text = host.toLowerCase();
  const end = text.startsWith('[') ? text.indexOf(']') + 1 : text.indexOf(':');
  return end > 0 ? text.slice(0, end) : text;
}

export function hostAllowed(host: string | null, extra: readonly string[]): boolean {
  if (!host) return false;
  const name = hostName(host);
  return LOOPBACK.has(name) || extra.includes(name);
}

/**
 * True when the request comes from a page of this very origin. A request that changes something or opens a stream must prove it, so it needs
 * `Sec-Fetch-Site: same-origin` or an equal `Origin`; a browser always sends one of them.
 */
export function sameOrigin(headers: Headers, strict: boolean): boolean {
  const site = headers.get('sec-fetch-site');
  const origin = headers.get('origin');
  if (site !== null && site !== 'same-origin' && (strict || site !== 'none')) return false;
  if (origin !== null) {
    try {
      if (new URL(origin).host !== headers.get('host')) return false;
    } catch {
      return false;
    }
  }
  return !strict || site !== null || origin !== null;
}

export function refuse(status: number, code: string, message: string): Response {
  return Response.json({ code, message }, { status, headers: { 'cache-control': 'no-store' } });
}

export function readCookie(headers: Headers, name: string): string | undefined {
  for (const part of (headers.get('cookie') ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}

/** Null when the request may go on, else the answer to give. `stream`: it opens the event stream. */
export function guard(request: Request, options: { session: boolean; stream?: boolean }): Response | null {
  const { hosts, secret, cookieName } = config();
  if (!hostAllowed(request.headers.get('host'), hosts)) {
    return refuse(421, 'E_HOST', 'this host name is not in the allow-list (CHRONON_CONSOLE_HOSTS)');
  }
  const strict = request.method !== 'GET' || options.stream === true;
  if (!sameOrigin(request.headers, strict)) {
    return refuse(403, 'E_ORIGIN', 'requests from other sites are refused');
  }
  if (options.session && !isSession(secret, readCookie(request.headers, cookieName), Date.now())) {
    return refuse(401, 'E_SESSION', 'no session: open the link that `npx --no-install chronon console` prints');
  }
  return null;
}
