#!/usr/bin/env node
/** `docker compose exec console chronon-link`: prints a fresh link. */
import { loginLink } from './login-link.mjs';
import { loadSecrets } from './secrets.mjs';

loadSecrets();
process.stdout.write(`${loginLink(Date.now())}\n`);
