/** The checker against histories whose verdict is known. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { check } from './checker.ts';
import { parseHistory } from './history.ts';
import { kvModel, registerModel } from './model.ts';

const HISTORIES = fileURLToPath(new URL('../../../../../../shared/vectors/histories/', import.meta.url));
const present = existsSync(HISTORIES);

interface Expected {
  readonly files: Readonly<Record<string, { readonly model: string; readonly linearizable: boolean }>>;
}

describe.skipIf(!present)('histories of Jepsen and porcupine (skipped: shared/vectors is not here)', () => {
  const { files } = present
    ? (JSON.parse(readFileSync(`${HISTORIES}expected.json`, 'utf8')) as Expected)
    : { files: {} };
  test.each(Object.entries(files))('%s', (file, { linearizable }) => {
    const operations = parseHistory(readFileSync(HISTORIES + file, 'utf8'));
    const result = check(operations, file.startsWith('kv/') ? kvModel : registerModel);
    expect(result.verdict).toBe(linearizable ? 'ok' : 'illegal');
    if (!linearizable) expect(result.counterexample?.blocked).not.toBeNull();
  });
});
