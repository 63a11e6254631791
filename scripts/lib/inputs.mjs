/** Content hashes of a step's inputs, and the stamp files that remember them under node_modules/.cache/chronon. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const CACHE = join(ROOT, 'node_modules', '.cache', 'chronon');
/** Folders and files that builds write: never an input. */
const OUTPUTS = new Set(['node_modules', 'dist', '.next', 'next-env.d.ts', 'build', 'test-results']);

function* filesUnder(path) {
  const full = join(ROOT, path);
  if (!existsSync(full)) return;
  if (!statSync(full).isDirectory()) {
    yield path;
    return;
  }
  for (const entry of readdirSync(full, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (OUTPUTS.has(entry.name)) continue;
    const child = `${path}/${entry.name}`;
    if (entry.isDirectory()) yield* filesUnder(child);
    else if (entry.isFile()) yield child;
  }
}

/** Hash of names and contents of all files in `paths` (files or folders, relative to the root) and of `extra` strings. */
export function hashInputs(paths, extra = []) {
  const hash = createHash('sha256');
  for (const path of paths) {
    for (const file of filesUnder(path)) {
      const bytes = readFileSync(join(ROOT, file));
      hash.update(`${file}\0${bytes.length}\0`).update(bytes);
    }
  }
  return hash.update(extra.join('\0')).digest('hex');
}

export function readStamp(name) {
  try {
    return readFileSync(join(CACHE, name), 'utf8');
  } catch {
    return '';
  }
}

export function writeStamp(name, value) {
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(join(CACHE, name), value);
}
