/** Entry of the console's container: secrets, one line with a link once the server answers, Next's standalone server. */
import { loginLink } from './login-link.mjs';
import { loadSecrets, secretsWritten } from './secrets.mjs';

const POLL_MS = 200;

await secretsWritten();
loadSecrets();
await import('../apps/console/server.js');
void announce();

async function announce() {
  const url = `http://127.0.0.1:${process.env.PORT}/api/health`;
  for (;;) {
    const ok = await fetch(url, { signal: AbortSignal.timeout(2000) }).then(
      (response) => response.ok,
      () => false,
    );
    if (ok) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  process.stdout.write(`Chronon is up: ${loginLink(Date.now())}\n`);
  process.stdout.write(
    '(the link works once, for ten minutes; a fresh one: docker compose exec console chronon-link)\n',
  );
}
