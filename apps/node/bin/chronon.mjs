#!/usr/bin/env node
// The `chronon` command. Built by `npm start` / `npm test` / `npm run setup`.
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (!existsSync(main)) {
  process.stderr.write('chronon: not built yet; run `npm run setup` in the repository root first\n');
  process.exit(1);
}
await import(main.href);
