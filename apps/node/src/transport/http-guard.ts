/**
 * What every HTTP request and WebSocket upgrade must pass before anything reads it: the Host allow-list (DNS rebinding), Origin and
 * Sec-Fetch-Site (other web pages), no token in the URL, JSON only, a size limit.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** Largest request body, in bytes. */
export const HTTP_BODY_BYTES_MAX = 1024 * 1024;
/** Longest URL, in characters. */
const URL_LENGTH_MAX = 8192;

export interface GuardRules {
  /** Host names (without port) by which this replica may be called, lower case. */
  readonly hosts: ReadonlySet<string>;
  /** Further origins that may call, beside the own one; normally none. */
  readonly origins: ReadonlySet<string>;
}

/** A refusal before any handler. */
export interface HttpRefusal {
  readonly status: 400 | 401 | 403 | 413 | 414 | 415 | 421 | 429 | 503;
  readonly code: string;
  readonly message: string;
}

/** Names under which a loopback service is always called. */
export const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]'] as const;

/** The name in a Host header, lower case, without its port. */
export function hostName(header: string): string {
  return header.replace(/:\d{1,5}$/, '').toLowerCase();
}

/** Why the request must not be served, or null. */
export function guard(request: IncomingMessage, rules: GuardRules): HttpRefusal | null {
  const { headers, method } = request;
  const host = headers.host ?? '';
  if (!rules.hosts.has(hostName(host))) {
    return { status: 421, code: 'E_HOST', message: 'this replica is not called by that name' };
  }
  const url = request.url ?? '/';
  if (url.length > URL_LENGTH_MAX) return { status: 414, code: 'E_URL', message: 'the URL is too long' };
  if (/[?&](access_)?token=|connectionParams=/i.test(url)) {
    return {
      status: 400,
      code: 'E_TOKEN_IN_URL',
      message: 'tokens go into the Authorization header, never into the URL',
    };
  }
  const { origin } = headers;
  if (
    origin !== undefined &&
    origin !== `http://${host}` &&
    origin !== `https://${host}` &&
    !rules.origins.has(origin)
  ) {
    return { status: 403, code: 'E_ORIGIN', message: 'requests of other web pages are refused' };
  }
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return { status: 403, code: 'E_ORIGIN', message: 'requests of other web pages are refused' };
  }
  if (method === 'POST' && !/^application\/json\b/.test(headers['content-type'] ?? '')) {
    return { status: 415, code: 'E_CONTENT_TYPE', message: 'the body must be application/json' };
  }
  if (Number(headers['content-length'] ?? 0) > HTTP_BODY_BYTES_MAX) {
    return { status: 413, code: 'E_BODY_SIZE', message: `the body is limited to ${HTTP_BODY_BYTES_MAX} bytes` };
  }
  return null;
}

/** Bytes that are no HTTP: whoever sends them is not owed an answer. Headers that are too long are. */
export function onClientError(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'HPE_HEADER_OVERFLOW' && socket.writable) {
    socket.end('HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n');
  } else socket.destroy();
}
