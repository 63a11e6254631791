/**
 * Mutations: production behaviour broken on purpose, one place each, to prove that the invariants notice. Loaded by the simulator alone, by dynamic
 * import; nothing of the daemon reaches this file.
 */
import { type Policy, SOUND } from '../../policy.ts';

/** Kebab-case names, as `--mutation` takes them. */
export const MUTATIONS: ReadonlyMap<string, Policy> = new Map(
  (Object.keys(SOUND) as (keyof Policy)[]).map((flag) => [kebabCase(flag), Object.freeze({ ...SOUND, [flag]: true })]),
);

function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
