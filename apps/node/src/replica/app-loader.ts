/**
 * Loads the application: `bank`, `kv`, or an ES module whose default export is an ApplicationModule. What is missing is named, one line each.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUILT_IN_APPLICATIONS, builtInApplication } from '@chronon/core/apps/index';
import type { ApplicationModule } from '@chronon/core/kernel/types';

export type AppLoad = { readonly app: ApplicationModule } | { readonly problem: string };

const METHODS = ['genesis', 'apply', 'query', 'snapshot', 'restore'] as const;
const SPEC_METHODS = ['encode', 'decode', 'decodeResult'] as const;

export async function loadApplication(name: string): Promise<AppLoad> {
  const builtIn = builtInApplication(name);
  if (builtIn !== null) return { app: builtIn };
  const path = resolve(name);
  if (!existsSync(path)) {
    return {
      problem: `there is no application '${name}': it is neither built in (${BUILT_IN_APPLICATIONS.join(', ')}) nor a file (${path})`,
    };
  }
  let loaded: { default?: unknown };
  try {
    loaded = (await import(pathToFileURL(path).href)) as { default?: unknown };
  } catch (error) {
    return { problem: `${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}` };
  }
  const problems = applicationProblems(loaded.default);
  if (problems.length > 0) return { problem: `${path} is no application: ${problems.join('; ')}` };
  return { app: loaded.default as ApplicationModule };
}

/** What keeps a value from being an ApplicationModule; empty when nothing does. */
export function applicationProblems(value: unknown): string[] {
  if (!isObject(value)) return ['the default export must be an application module (an object)'];
  const problems: string[] = [];
  if (typeof value['name'] !== 'string' || value['name'].length === 0) problems.push('name must be a string');
  const { application, version, oldestVersion = version } = value;
  if (!isVersion(version)) problems.push('version must be a whole number from 1');
  else if (!isVersion(oldestVersion) || oldestVersion > version)
    problems.push(`oldestVersion must be a whole number from 1 to ${version}, the version`);
  if (!isObject(application)) problems.push('application is missing');
  else
    for (const method of METHODS)
      if (typeof application[method] !== 'function') problems.push(`application.${method} is not a function`);
  if (isObject(application) && application['migrate'] !== undefined && typeof application['migrate'] !== 'function')
    problems.push('application.migrate is neither a function nor absent');
  problems.push(...callProblems('commands', value['commands']), ...callProblems('queries', value['queries']));
  return problems;
}

function callProblems(group: string, value: unknown): string[] {
  if (!isObject(value)) return [`${group} is missing`];
  const problems: string[] = [];
  const numbers = new Map<unknown, string>();
  for (const [name, spec] of Object.entries(value)) {
    if (!isObject(spec)) {
      problems.push(`${group}.${name} is no object`);
      continue;
    }
    const { number, input } = spec;
    if (!Number.isSafeInteger(number) || (number as number) < 0 || (number as number) > 0xffff_ffff) {
      problems.push(`${group}.${name}.number must be a u32`);
    } else if (numbers.has(number)) problems.push(`${group}.${name} has the number of ${numbers.get(number) ?? '?'}`);
    numbers.set(number, name);
    if (!isObject(input) || typeof input['safeParse'] !== 'function')
      problems.push(`${group}.${name}.input has no safeParse`);
    for (const method of SPEC_METHODS)
      if (typeof spec[method] !== 'function') problems.push(`${group}.${name}.${method} is not a function`);
  }
  return problems;
}

function isVersion(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
