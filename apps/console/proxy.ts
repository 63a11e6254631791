/**
 * Before every page: host allow-list and Content-Security-Policy with a fresh nonce. The session is checked by the console's layout, which shows the
 * login page without one (a rewrite from here would be a network request: Next calls 127.0.0.1 localhost). Routes under /api guard themselves
 * (src/server/guard.ts); files under /_next/static are the same for everybody.
 */
import { randomBytes } from 'node:crypto';
import { NextResponse, type NextRequest } from 'next/server';
import { config as consoleConfig } from './src/server/config.ts';
import { hostAllowed } from './src/server/guard.ts';

export const config = { matcher: '/((?!api/|_next/static|_next/image|favicon.ico|icon.svg).*)' };

function policy(nonce: string): string {
  const dev = process.env.NODE_ENV === 'development';
  return [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}' 'strict-dynamic'${dev ? " 'unsafe-eval'" : ''}`,
    `style-src 'self' ${dev ? "'unsafe-inline'" : `'nonce-${nonce}'`}`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
  ].join('; ');
}

export function proxy(request: NextRequest): NextResponse {
  const { hosts } = consoleConfig();
  if (!hostAllowed(request.headers.get('host'), hosts)) {
    return new NextResponse('this host name is not in the allow-list (CHRONON_CONSOLE_HOSTS)\n', { status: 421 });
  }
  const nonce = randomBytes(16).toString('base64');
  const csp = policy(nonce);
  const headers = new Headers(request.headers);
  headers.set('x-nonce', nonce);
  headers.set('content-security-policy', csp);
  const response = NextResponse.next({ request: { headers } });
  response.headers.set('content-security-policy', csp);
  response.headers.set('cache-control', 'no-store');
  return response;
}
