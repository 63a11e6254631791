/**
 * House rules that no linter states: the arrows between rooms (a second time, by another parser), file size and names, owned TODOs, nothing of
 * this machine in committed files, no dead source file, and no way from the daemon to the simulator's mutations.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const LINES_MAX = 600;
const SELF = 'scripts/tidy.test.ts';

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: ROOT, encoding: 'utf8' })
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)));
const text = new Map(files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));
const code = files.filter((file) => /\.(ts|tsx|mjs)$/.test(file));
const isTest = (file: string) => /\.(test|e2e|spec)\.tsx?$/.test(file);

/** Specifiers a file imports, statically or dynamically. */
function specifiers(file: string): string[] {
  const pattern =
    /^\s*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(\s*['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]/gm;
  return [...(text.get(file) ?? '').matchAll(pattern)].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

const PACKAGES = { core: 'packages/core', native: 'packages/native', node: 'apps/node' } as const;

/** The source file that `specifier` means in `file`; null outside this repository. */
function resolve(file: string, specifier: string): string | null {
  const own = /^@chronon\/(core|native|node)\/(.+)$/.exec(specifier);
  if (own) return `${PACKAGES[own[1] as keyof typeof PACKAGES]}/src/${own[2] === 'api' ? 'api/router' : own[2]}.ts`;
  if (!specifier.startsWith('.')) return null;
  const path = normalize(join(dirname(file), specifier));
  return [path, `${path}.ts`, `${path}.tsx`, `${path}/index.ts`].find((candidate) => text.has(candidate)) ?? path;
}

const imports = new Map(
  code.map((file) => [file, specifiers(file).map((name) => ({ name, to: resolve(file, name) }))]),
);

/** `from` may import `to` only, beside itself. First match wins. */
const ROOT_FILES = 'packages/core/src/(assert|prng|policy|reply)\\.ts$';
const CORE = 'packages/core/src';
const ARROWS: readonly [from: string, to: readonly string[], packages: RegExp][] = [
  [`${CORE}/engine/`, [`${CORE}/engine/`, ROOT_FILES], /^(@noble\/hashes\/|hash-wasm$)/],
  [`${CORE}/vsr/`, [`${CORE}/vsr/`, `${CORE}/engine/`, ROOT_FILES], /^@noble\/hashes\//],
  [`${CORE}/kernel/`, [`${CORE}/kernel/`, `${CORE}/engine/`, ROOT_FILES], /^(@noble\/hashes\/|zod$)/],
  [`${CORE}/apps/`, [`${CORE}/apps/`, `${CORE}/kernel/`, `${CORE}/engine/`, ROOT_FILES], /^zod$/],
  [`${CORE}/chaos/`, [`${CORE}/`], /^(@noble\/hashes\/|hash-wasm$|zod$)/],
  [`${CORE}/`, [`${CORE}/(?!chaos/)`], /^(@noble\/hashes\/|hash-wasm$|zod$)/],
  ['packages/native/src/', ['packages/native/', `${CORE}/engine/`, `${CORE}/assert.ts`], /^node:/],
  ['apps/node/src/', ['apps/node/', 'packages/'], /^(node:|@trpc\/|ws$|zod$|commander$|pino|prom-client$)/],
];

test('imports follow the arrows between the rooms', () => {
  const wrong: string[] = [];
  for (const [file, list] of imports) {
    const arrow =
      isTest(file) || file.includes('/testing/') ? undefined : ARROWS.find(([from]) => file.startsWith(from));
    if (arrow === undefined) continue;
    const [, to, packages] = arrow;
    for (const { name, to: target } of list) {
      const allowed =
        target === null ? packages.test(name) : to.some((prefix) => new RegExp(`^${prefix}`).test(target));
      if (!allowed) wrong.push(`${file} imports ${name}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('the console imports only types from apps/node', () => {
  const value = /^\s*(?:import|export)\s+(?!type\b)[^;'"]*from\s*['"]@chronon\/node/m;
  expect(code.filter((file) => file.startsWith('apps/console/') && value.test(text.get(file)!))).toEqual([]);
});

test('every import inside the repository leads to a file', () => {
  // What an image's entry imports lies at its place in the image.
  const inTree = [...imports].filter(([file]) => !file.includes('/docker/'));
  const broken = inTree.flatMap(([file, list]) =>
    list
      .filter(({ to }) => to !== null && !existsSync(join(ROOT, to)) && !to.includes('/dist/'))
      .map(({ name }) => `${file}: ${name}`),
  );
  expect(broken).toEqual([]);
});

test('no way leads from the daemon to the mutations of the simulator', () => {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { to } of imports.get(file) ?? []) if (to !== null) visit(to);
  };
  const daemon = code.filter((file) => file.startsWith('apps/node/src/replica/') && !isTest(file));
  expect(daemon.length).toBeGreaterThan(0);
  daemon.forEach(visit);
  expect([...seen].filter((file) => file.includes('/chaos/mutations'))).toEqual([]);
});

test(`source files have at most ${LINES_MAX} lines and kebab-case names`, () => {
  const long = files.filter(
    (file) => /\.(ts|tsx|mjs|cc|h)$/.test(file) && text.get(file)!.split('\n').length > LINES_MAX + 1,
  );
  expect(long).toEqual([]);
  const name = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/;
  expect(code.filter((file) => !name.test(basename(file)))).toEqual([]);
});

test('a to-do has an owner', () => {
  const owned = /\b(TODO|FIXME|XXX)\b(?!\([\w#@-]+\))/;
  expect(code.filter((file) => file !== SELF && owned.test(text.get(file)!))).toEqual([]);
});

test('committed files name no registry and no place of one machine', () => {
  const forbidden = [
    /registry\.npmjs\.org|"resolved": "http|\/\/[\w.-]*(artifactory|nexus|verdaccio)/i,
    /(^|[\s'"`(=:])\/(work|root|Users|home\/(?!node\b)\w+)\//m,
  ];
  const wrong = files.filter((file) => file !== SELF && forbidden.some((pattern) => pattern.test(text.get(file)!)));
  expect(wrong).toEqual([]);
});

test('every source file is used by another one', () => {
  // Helpers of tests live in `testing/`; everything else must serve more than its own test.
  const reaches = (from: string, to: string | null) => !isTest(from) || to?.includes('/testing/');
  const used = new Set(
    [...imports].flatMap(([file, list]) => list.filter(({ to }) => reaches(file, to)).map(({ to }) => to)),
  );
  const sources = code.filter(
    (file) => /^(packages\/\w+|apps\/node)\/src\/.*(?<!\.d)\.ts$/.test(file) && !isTest(file),
  );
  const others = (file: string) =>
    files.filter((other) => other !== file && !other.endsWith('.md') && (!isTest(other) || file.includes('/testing/')));
  // An entry point is named by its path: a worker, a child process, the CLI's main.
  const named = (file: string) => {
    const tail = new RegExp(`/${basename(file, '.ts')}\\.(ts\\b|js\\b|\\$\\{EXTENSION\\})`);
    return others(file).some((other) => tail.test(text.get(other)!));
  };
  expect(sources.filter((file) => !used.has(file) && !named(file))).toEqual([]);
});
