import { cookies } from 'next/headers';
import { connection } from 'next/server';
import type { ReactNode } from 'react';
import { LiveProvider } from '../../src/live/live.tsx';
import { QueryProvider } from '../../src/live/query.tsx';
import { config } from '../../src/server/config.ts';
import { poller } from '../../src/server/poller.ts';
import { isSession } from '../../src/server/session.ts';
import { Login } from '../../src/ui/login.tsx';
import { Shell } from '../../src/ui/shell.tsx';

/** Every page comes with a first frame, so that its first paint has numbers with their age and no spinner. */
export default async function ConsoleLayout({ children }: { children: ReactNode }) {
  await connection();
  const { cookieName, secret } = config();
  // A page has no data of its own: all of it comes with this first frame or from /api, which checks the session again.
  if (!isSession(secret, (await cookies()).get(cookieName)?.value, Date.now())) return <Login />;
  const initial = await poller().firstFrame();
  return (
    <QueryProvider>
      <LiveProvider initial={initial}>
        <Shell>{children}</Shell>
      </LiveProvider>
    </QueryProvider>
  );
}
