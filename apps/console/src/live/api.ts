/** The browser's way to the console's server. Relative addresses only, so that it works behind any host name. */
import { createTRPCClient, httpLink, httpSubscriptionLink, splitLink } from '@trpc/client';
import type { inferRouterOutputs } from '@trpc/server';
import type { ConsoleRouter } from '../server/router.ts';

const url = '/api/trpc';

export const api = createTRPCClient<ConsoleRouter>({
  links: [
    splitLink({
      condition: (op) => op.type === 'subscription',
      true: httpSubscriptionLink({ url }),
      false: httpLink({ url }),
    }),
  ],
});

export type Outputs = inferRouterOutputs<ConsoleRouter>;

/** What to tell a person about a failed request. zod's issues come as JSON in the message. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  try {
    const issues = JSON.parse(text) as { path?: (string | number)[]; message?: string }[];
    if (Array.isArray(issues))
      return issues.map((i) => `${(i.path ?? []).join('.') || 'input'}: ${i.message}`).join('; ');
  } catch {
    // Not zod's: plain words.
  }
  return text;
}
