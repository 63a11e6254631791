/** What the supervisor tells the console's server by environment. Read when first needed, so that `next build` needs none of it. */
import { z } from 'zod';

const replicas = z
  .array(z.object({ id: z.number().int().min(1).max(7), apiUrl: z.url(), supervisorUrl: z.url().optional() }))
  .min(1)
  .max(7);

export interface ConsoleConfig {
  readonly replicas: readonly {
    readonly id: number;
    readonly apiUrl: string;
    /** API of the supervisor of its process (one for all, or in containers one each), or null when it runs without. */
    readonly supervisorUrl: string | null;
  }[];
  /** Bearer token of the replicas' API. */
  readonly token: string;
  /** HMAC key of login tokens and session cookies. */
  readonly secret: string;
  /** Host names beside loopback under which this console may be asked for. */
  readonly hosts: readonly string[];
  /** Distinguishes the cookies of two consoles on one host name: cookies do not know ports. */
  readonly cookieName: string;
}

let cached: ConsoleConfig | null = null;

/** The configuration; throws one clear line when the environment is not usable. */
export function config(): ConsoleConfig {
  if (cached) return cached;
  const env = process.env;
  let members: unknown;
  try {
    members = JSON.parse(env.CHRONON_REPLICAS ?? '');
  } catch {
    throw new Error('CHRONON_REPLICAS is not JSON: expected [{"id":1,"apiUrl":"http://127.0.0.1:4010"}]');
  }
  const parsed = replicas.safeParse(members);
  if (!parsed.success) throw new Error(`CHRONON_REPLICAS: ${z.prettifyError(parsed.error)}`);
  const secret = env.CHRONON_CONSOLE_SECRET ?? '';
  if (secret.length < 16) throw new Error('CHRONON_CONSOLE_SECRET is missing or shorter than 16 characters');
  cached = {
    replicas: parsed.data
      .map(({ supervisorUrl = env.CHRONON_SUPERVISOR_URL || null, ...replica }) => ({ ...replica, supervisorUrl }))
      .toSorted((a, b) => a.id - b.id),
    token: env.CHRONON_TOKEN ?? '',
    secret,
    hosts: (env.CHRONON_CONSOLE_HOSTS ?? '')
      .split(',')
      .map((name) => name.trim().toLowerCase())
      .filter((name) => name !== ''),
    cookieName: `chronon_session_${env.PORT ?? '0'}`,
  };
  return cached;
}
