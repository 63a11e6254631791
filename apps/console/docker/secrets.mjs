/** The cluster's secrets as a replica wrote them with `--console-env` (mode 0600), put into the environment: `docker inspect` does not show them. */
import { existsSync, readFileSync } from 'node:fs';

const PATH = process.env.CHRONON_CONSOLE_ENV ?? '/run/chronon/console.env';

const POLL_MS = 200;

/** The first replica that comes up writes them. */
export async function secretsWritten() {
  if (!existsSync(PATH)) process.stdout.write(`waiting for ${PATH}, which the replicas write\n`);
  while (!existsSync(PATH)) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

export function loadSecrets() {
  for (const line of readFileSync(PATH, 'utf8').split('\n')) {
    const [, name, value] = /^(CHRONON_[A-Z_]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) process.env[name] = value;
  }
}
