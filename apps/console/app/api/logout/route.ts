import { config } from '../../../src/server/config.ts';
import { guard } from '../../../src/server/guard.ts';

export const dynamic = 'force-dynamic';

export function POST(request: Request): Response {
  const refused = guard(request, { session: false });
  if (refused) return refused;
  const cookie = `${config().cookieName}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0`;
  return new Response(null, { status: 204, headers: { 'set-cookie': cookie, 'cache-control': 'no-store' } });
}
