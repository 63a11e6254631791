/** The built-in applications by name, as `--app NAME` chooses them. */
import type { ApplicationModule } from '../kernel/types.ts';
import { bank } from './bank.ts';
import { kv } from './kv.ts';

/** Null when there is no built-in application of that name. */
export function builtInApplication(name: string): ApplicationModule | null {
  if (name === 'bank') return bank as ApplicationModule<unknown>;
  if (name === 'kv') return kv as ApplicationModule<unknown>;
  return null;
}

export const BUILT_IN_APPLICATIONS: readonly string[] = ['bank', 'kv'];
