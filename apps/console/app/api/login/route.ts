import { config } from '../../../src/server/config.ts';
import { guard, refuse } from '../../../src/server/guard.ts';
import { issueSession, SESSION_MS, tradeLoginToken } from '../../../src/server/session.ts';

export const dynamic = 'force-dynamic';

const BODY_BYTES_MAX = 4096;
const SAYS = {
  invalid: 'this link is not one of this console',
  expired: 'this link has expired',
  used: 'this link was used before; each works once',
} as const;

/** Trades the token of the printed link, once, for the session cookie. */
export async function POST(request: Request): Promise<Response> {
  const refused = guard(request, { session: false });
  if (refused) return refused;
  if (!request.headers.get('content-type')?.startsWith('application/json')) {
    return refuse(415, 'E_CONTENT_TYPE', 'expected application/json');
  }
  const text = await request.text();
  let token: unknown;
  try {
    token = text.length <= BODY_BYTES_MAX ? (JSON.parse(text) as { token?: unknown } | null)?.token : undefined;
  } catch {
    // Falls through: not JSON is not a token.
  }
  if (typeof token !== 'string') return refuse(400, 'E_TOKEN', 'expected {"token": "..."}');
  const { secret, cookieName } = config();
  const outcome = tradeLoginToken(secret, token, Date.now());
  if (outcome !== 'ok') return refuse(401, 'E_TOKEN', SAYS[outcome]);
  const cookie = `${cookieName}=${issueSession(secret, Date.now())}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${SESSION_MS / 1000}`;
  return new Response(null, { status: 204, headers: { 'set-cookie': cookie, 'cache-control': 'no-store' } });
}
