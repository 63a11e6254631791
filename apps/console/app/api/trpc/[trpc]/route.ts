/** The console's API, and its event stream. */
import { fetchRequestHandler } from '@trpc/server/adapters/fetch';
import { guard } from '../../../../src/server/guard.ts';
import { consoleRouter } from '../../../../src/server/router.ts';

export const dynamic = 'force-dynamic';
export const runtime = 'nodejs';

const BODY_BYTES_MAX = 1024 * 1024;

async function handle(request: Request): Promise<Response> {
  const path = new URL(request.url).pathname;
  const refused = guard(request, { session: true, stream: path.endsWith('/live') });
  if (refused) return refused;
  if (Number(request.headers.get('content-length') ?? 0) > BODY_BYTES_MAX) return new Response(null, { status: 413 });
  const answer = await fetchRequestHandler({ endpoint: '/api/trpc', req: request, router: consoleRouter });
  const headers = new Headers(answer.headers);
  headers.set('cache-control', 'no-store, no-transform');
  return new Response(answer.body, { status: answer.status, headers });
}

export { handle as GET, handle as POST };
