import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadApplication } from './app-loader.ts';

const directory = mkdtempSync(join(tmpdir(), 'chronon-app-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const spec =
  '{ number: 1, input: { safeParse: (v) => ({ success: true, data: v }) }, encode() {}, decode() {}, decodeResult() {} }';
const methods = 'genesis() {}, apply() {}, query() {}, snapshot() {}, restore() {}';

describe('loadApplication', () => {
  it('knows the built-in ones', async () => {
    for (const name of ['bank', 'kv']) expect(await loadApplication(name)).toMatchObject({ app: { name } });
  });

  it('loads a module', async () => {
    const path = file(
      'good.mjs',
      `export default { name: 'x', version: 1, application: { ${methods} }, commands: { a: ${spec} }, queries: {} }`,
    );
    expect(await loadApplication(path)).toMatchObject({ app: { name: 'x' } });
  });

  it.each([
    ['no such file', null, "there is no application '"],
    ['a syntax error', 'export default {', 'cannot be loaded'],
    ['no default export', 'export const a = 1', 'the default export must be'],
    [
      'a missing method',
      `export default { name: 'x', version: 1, application: { genesis() {} }, commands: {}, queries: {} }`,
      'application.apply is not a function',
    ],
    [
      'no commands',
      `export default { name: 'x', version: 1, application: { ${methods} }, queries: {} }`,
      'commands is missing',
    ],
    [
      'a bad spec',
      `export default { name: 'x', version: 1, application: { ${methods} }, commands: { a: { number: -1 } }, queries: {} }`,
      'commands.a.number must be a u32',
    ],
    [
      'a number used twice',
      `export default { name: 'x', version: 1, application: { ${methods} }, commands: { a: ${spec}, b: ${spec} }, queries: {} }`,
      'commands.b has the number of a',
    ],
    [
      'a name that is missing',
      `export default { version: 1, application: { ${methods} }, commands: {}, queries: {} }`,
      'name must be a string',
    ],
  ])('says what is wrong: %s', async (name, text, message) => {
    const path = text === null ? join(directory, 'absent.mjs') : file(`${name.replaceAll(' ', '-')}.mjs`, text);
    const loaded = await loadApplication(path);
    expect('problem' in loaded && loaded.problem).toContain(message);
  });
});
