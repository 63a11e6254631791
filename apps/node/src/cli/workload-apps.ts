/** What the workloads ask of each application: the calls, and the naive model that judges the replies. */
import { bank } from '@chronon/core/apps/bank';
import { kv } from '@chronon/core/apps/kv';
import { BankModel } from '@chronon/core/apps/models/bank-model';
import { KvModel } from '@chronon/core/apps/models/kv-model';
import type { Model } from '@chronon/core/apps/models/model';
import type { ApplicationModule } from '@chronon/core/kernel/types';

/** One call as a client makes it. */
export interface WorkloadCall {
  readonly kind: 'command' | 'query';
  readonly name: string;
  readonly input: unknown;
  /** How a history tells it (core/chaos/checker): what it is about, and its argument. */
  readonly key: string | null;
  readonly value: unknown;
}

export interface WorkloadApp {
  readonly module: ApplicationModule;
  model(): Model;
  /** Commands that must succeed before the load starts. */
  readonly opening: readonly WorkloadCall[];
  next(): WorkloadCall;
  /** A result as a history tells it. */
  told(call: WorkloadCall, result: unknown): unknown;
}

export const WORKLOADS = ['bank', 'kv'] as const;
export type WorkloadName = (typeof WORKLOADS)[number];

/** Cents each account is opened with. */
export const OPENING_CENTS = 100_000;
/** One transfer in so many goes to nobody's account or to the same one: rejections are checked as well. */
const WRONG_EVERY = 16;

export const accountName = (run: string, i: number): string => `${run}-${i}`;

/** `run` distinguishes the names of this run; `reads` is the share of queries. */
export function workloadApp(name: WorkloadName, run: string, names: number, reads: number): WorkloadApp {
  return name === 'bank' ? bankWorkload(run, names, reads) : kvWorkload(run, names, reads);
}

function below(n: number): number {
  return Math.floor(Math.random() * n);
}

function bankWorkload(run: string, accounts: number, reads: number): WorkloadApp {
  const pick = (): string => accountName(run, below(accounts));
  const command = (name: string, input: unknown): WorkloadCall => {
    return { kind: 'command', name, input, key: null, value: input };
  };
  const transfer = (): { from: string; to: string; cents: number } => {
    const cents = 1 + below(100);
    const from = pick();
    if (below(WRONG_EVERY) !== 0) return { from, to: pick(), cents };
    return Math.random() < 0.5 ? { from, to: from, cents } : { from: `${run}-nobody`, to: from, cents };
  };
  return {
    module: bank as ApplicationModule<unknown>,
    model: () => new BankModel(),
    opening: Array.from({ length: accounts }, (_, i) =>
      command('deposit', { account: accountName(run, i), cents: OPENING_CENTS }),
    ),
    next: () => {
      if (Math.random() >= reads) return command('transfer', transfer());
      const key = pick();
      return { kind: 'query', name: 'balance', input: key, key, value: null };
    },
    told: ({ name }, result) => {
      if (name !== 'transfer') return result;
      // The transfer's name is its index, which stands beside the result.
      const { from, to } = result as { from: number; to: number };
      return { from, to };
    },
  };
}

function kvWorkload(run: string, keys: number, reads: number): WorkloadApp {
  let values = 0;
  const next = (): WorkloadCall => {
    const key = `${run}-${below(keys)}`;
    if (Math.random() < reads) return { kind: 'query', name: 'get', input: { key }, key, value: null };
    // Each written value is new: a read tells which write it saw. A cas expects a recent one, or nothing.
    const value = `${run}:${++values}`;
    const dice = Math.random();
    if (dice < 0.7) return { kind: 'command', name: 'put', input: { key, value }, key, value };
    if (dice < 0.8) return { kind: 'command', name: 'delete', input: { key }, key, value: null };
    const expected = dice < 0.85 ? null : `${run}:${Math.max(1, values - 1 - below(4 * keys))}`;
    return { kind: 'command', name: 'cas', input: { key, expected, value }, key, value: { expected, value } };
  };
  return {
    module: kv as ApplicationModule<unknown>,
    model: () => new KvModel(),
    opening: [],
    next,
    told: (_call, result) => result,
  };
}
