/**
 * Histories made by a linearizable object: clients call, each call takes effect at one moment between its invocation and its return, in the order of the
 * log. `brokenHistory` then tells a lie.
 */
import type { Prng } from '../../../prng.ts';
import { type CheckModel, text } from '../model.ts';
import { numbered, type Operation, type Output } from '../operation.ts';

const CALLS = 40;
const CLIENTS = 5;

interface Call {
  readonly f: string;
  readonly key: string | null;
  readonly input: unknown;
}

/** What the object answers: the outputs worth trying, in order; the model picks the first that fits. */
const OUTPUTS: Readonly<Record<string, (state: string) => readonly Output[]>> = {
  register: (state) => [answer(null), answer(true), answer(false), answer(parsed(state))],
  kv: (state) => [answer(null), answer(true), answer(false), answer(state === '' ? null : state.slice(1))],
  'append-list': (state) => [answer(parsed(state)), answer(null)],
  outbox: () => [answer(true), answer(false), answer(null), refused('E_FENCED')],
  bank: () => [],
};

/** A history that is linearizable, with the index of each operation that took effect. */
export function validHistory(model: CheckModel, prng: Prng): Operation[] {
  const states = new Map<string, string>();
  const operations: Omit<Operation, 'id'>[] = [];
  const busyUntil = Array.from({ length: CLIENTS }, () => 0);
  let effect = 1;
  for (let index = 0; index < CALLS; index++) {
    effect += prng.range(1, 4);
    const client = prng.below(CLIENTS);
    const invoked = Math.max(busyUntil[client]!, effect - prng.range(1, 12) / 13);
    if (invoked >= effect) continue;
    const returned = effect + prng.range(1, 12) / 13 + prng.range(0, 6);
    busyUntil[client] = returned;
    const call = { ...drawCall(model, prng), client: String(client), invoked };
    const key = model.keyOf({ ...call, id: 0, output: null, returned, index });
    const state = states.get(key) ?? model.initial;
    const output = respond(model, state, call);
    if (output === null) continue;
    const complete: Operation = { ...call, id: 0, output, returned, index };
    states.set(key, model.step(state, complete)!);
    // Some callers never hear of it. Some others never get through at all.
    if (!prng.chance(0.1)) operations.push(complete);
    else operations.push({ ...complete, output: null, returned: Number.POSITIVE_INFINITY });
    if (prng.chance(0.05)) {
      const lost = { ...drawCall(model, prng), client: 'lost', invoked, output: null, index: null };
      operations.push({ ...lost, returned: Number.POSITIVE_INFINITY });
    }
  }
  return numbered(operations);
}

/** The same with a lie in it: an output of another operation, or an answer from the past. */
export function brokenHistory(model: CheckModel, prng: Prng): Operation[] {
  const history = validHistory(model, prng);
  const told = history.filter(({ output }) => output !== null);
  const victim = prng.pick(told);
  const others = told.filter(({ f, output }) => f === victim.f && text(output) !== text(victim.output));
  const lie = others.length > 0 ? prng.pick(others).output : answer('never written');
  return history.map((operation) => (operation === victim ? { ...operation, output: lie } : operation));
}

function respond(model: CheckModel, state: string, call: Call & { client: string; invoked: number }): Output | null {
  const candidates = model.name === 'bank' ? bankOutputs(state, call) : OUTPUTS[model.name]!(state);
  const fits = (output: Output): boolean =>
    model.step(state, { ...call, id: 0, output, returned: call.invoked + 1, index: 0 }) !== null;
  return candidates.find(fits) ?? null;
}

function drawCall(model: CheckModel, prng: Prng): Call {
  const key = prng.pick(['x', 'y']);
  const value = prng.below(4);
  const cents = prng.range(1, 20);
  const other = prng.pick(['x', 'y', 'z']);
  const calls: Readonly<Record<string, readonly Call[]>> = {
    register: [
      { f: 'read', key, input: null },
      { f: 'write', key, input: value },
      { f: 'cas', key, input: { from: prng.below(4), to: value } },
    ],
    kv: [
      { f: 'get', key, input: null },
      { f: 'put', key, input: `v${value}` },
      { f: 'append', key, input: `v${value}` },
      { f: 'delete', key, input: null },
      { f: 'cas', key, input: { expected: prng.pick([null, 'v1', 'v2']), value: `v${value}` } },
    ],
    'append-list': [
      { f: 'read', key, input: null },
      { f: 'append', key, input: value },
    ],
    outbox: ['emit', 'deliver', 'deliver', 'acknowledge'].map((f) => {
      return { f, key: `e${prng.below(8)}`, input: f === 'deliver' ? { fence: value } : null };
    }),
    bank: [
      { f: 'balance', key, input: null },
      { f: 'total', key: null, input: null },
      { f: 'deposit', key: null, input: { account: key, cents } },
      { f: 'withdraw', key: null, input: { account: key, cents } },
      { f: 'transfer', key: null, input: { from: key, to: other, cents } },
    ],
  };
  return prng.pick(calls[model.name]!);
}

function bankOutputs(state: string, { f, key, input }: Call): readonly Output[] {
  const accounts = new Map(parsed(state) as [string, number][]);
  const { account, from, to, cents } = (input ?? {}) as { account: string; from: string; to: string; cents: number };
  const sum = [...accounts.values()].reduce((a, b) => a + b, 0);
  const of = (name: string): number => accounts.get(name) ?? 0;
  return [
    answer({ account, balance: of(account) + (f === 'deposit' ? cents : -cents) }),
    answer({ from: of(from) - cents, to: of(to) + cents }),
    answer(of(String(key))),
    answer({ accounts: accounts.size, cents: sum }),
    refused('SameAccount'),
    refused('NoSuchAccount'),
    refused('InsufficientFunds'),
  ];
}

function parsed(state: string): unknown {
  return JSON.parse(state) as unknown;
}

function answer(value: unknown): Output {
  return { rejected: false, value };
}

function refused(code: string): Output {
  return { rejected: true, value: { code } };
}
