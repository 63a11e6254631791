/** The cluster's secrets as `chronon format --console-env` wrote them (mode 0600), put into the environment: `docker inspect` does not show them. */
import { readFileSync } from 'node:fs';

const PATH = process.env.CHRONON_CONSOLE_ENV ?? '/run/chronon/console.env';

export function loadSecrets() {
  for (const line of readFileSync(PATH, 'utf8').split('\n')) {
    const [, name, value] = /^(CHRONON_[A-Z_]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) process.env[name] = value;
  }
}
