/** The built-in applications by name, as `--app NAME` chooses them. */
import type { ApplicationModule } from '../kernel/types.ts';
import { bank } from './bank.ts';
import { kv } from './kv.ts';
import { BankModel } from './models/bank-model.ts';
import { KvModel } from './models/kv-model.ts';
import type { Model } from './models/model.ts';

/** Null when there is no built-in application of that name. */
export function builtInApplication(name: string): ApplicationModule | null {
  if (name === 'bank') return bank as ApplicationModule<unknown>;
  if (name === 'kv') return kv as ApplicationModule<unknown>;
  return null;
}

/** A naive model of a built-in application in its first state, or null. */
export function naiveModel(name: string): Model | null {
  if (name === 'bank') return new BankModel();
  if (name === 'kv') return new KvModel();
  return null;
}

export const BUILT_IN_APPLICATIONS: readonly string[] = ['bank', 'kv'];
