/**
 * Who calls: bearer tokens and their roles. Tokens are kept as SHA-256 and compared in constant time; replicas call each other with a token
 * derived from the peer secret.
 *
 * Invariants: every configured token is compared on each attempt; a token is never taken from a URL and never logged.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** Rising powers: each role may do what those before it may. */
export const ROLES = ['viewer', 'operator', 'chaos', 'peer'] as const;
export type Role = (typeof ROLES)[number];

export interface Principal {
  readonly name: string;
  readonly role: Role;
}

/** One token; exactly one of `token` and `sha256` (hex) is given. */
export interface TokenConfig {
  readonly name: string;
  readonly role: Exclude<Role, 'peer'>;
  readonly token?: string | undefined;
  readonly sha256?: string | undefined;
}

export function hasRole(principal: Principal, needed: Role): boolean {
  return ROLES.indexOf(principal.role) >= ROLES.indexOf(needed);
}

/** The token replicas of one cluster use among themselves. */
export function peerToken(secret: Uint8Array): string {
  return createHmac('sha256', secret).update('chronon peer api token').digest('hex');
}

export class Authenticator {
  private readonly known: { readonly digest: Buffer; readonly principal: Principal }[];

  constructor(tokens: readonly TokenConfig[], secret: Uint8Array) {
    this.known = tokens.map(({ name, role, token, sha256 }) => ({
      digest: sha256 !== undefined ? Buffer.from(sha256, 'hex') : digestOf(token ?? ''),
      principal: { name, role },
    }));
    this.known.push({ digest: digestOf(peerToken(secret)), principal: { name: 'peer', role: 'peer' } });
  }

  /** The owner of `token`, or null. */
  authenticate(token: string | null): Principal | null {
    if (token === null || token.length === 0 || token.length > 512) return null;
    const digest = digestOf(token);
    let found: Principal | null = null;
    for (const entry of this.known) {
      if (entry.digest.length === digest.length && timingSafeEqual(entry.digest, digest)) found = entry.principal;
    }
    return found;
  }
}

/** The token of `Authorization: Bearer`, or of `Sec-WebSocket-Protocol: chronon, token.<...>` (browsers cannot set the former on a WebSocket). */
export function tokenOf(headers: IncomingHttpHeaders): string | null {
  const match = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(headers.authorization ?? '');
  if (match !== null) return match[1]!;
  for (const protocol of (headers['sec-websocket-protocol'] ?? '').split(',')) {
    const name = protocol.trim();
    if (name.startsWith('token.')) return name.slice('token.'.length);
  }
  return null;
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
