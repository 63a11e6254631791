/**
 * bank: the reference application. Accounts in whole cents; deposit, withdraw, transfer; a receipt is emitted for each transfer.
 *
 * Invariants: no balance is below 0 or above CENTS_TOTAL_MAX; the sum of all balances equals the total of deposits less withdrawals; a rejected
 * command changes nothing and emits nothing; the first deposit or transfer to a name opens the account, for ever.
 *
 * | command | input | result | errors |
 * |---|---|---|---|
 * | 1 deposit | {account or to, cents} | {account, balance} | Overflow |
 * | 2 withdraw | {account or from, cents} | {account, balance} | NoSuchAccount, InsufficientFunds |
 * | 3 transfer | {from, to, cents} | {transfer, from, to} (balances) | SameAccount, NoSuchAccount (the sender), InsufficientFunds |
 *
 * Queries: 1 balance "name" -> cents (NoSuchAccount); 2 accounts {limit?, after?} -> [{account, balance}]; 3 total -> {accounts, cents}.
 */
import { z } from 'zod';
import { InvalidCommand, Rejection } from '../kernel/errors.ts';
import { type Table, Tables } from '../kernel/table.ts';
import type { Applied, ApplicationModule, ApplyContext, Event } from '../kernel/types.ts';
import { isWellFormed } from '../kernel/utf8.ts';
import { decodeValue, encodeValue } from '../kernel/values.ts';
import { valueCall } from './calls.ts';

export const BANK_COMMAND = { deposit: 1, withdraw: 2, transfer: 3 } as const;
export const BANK_QUERY = { balance: 1, accounts: 2, total: 3 } as const;

/** Most cents one command moves. */
export const CENTS_MAX = 1_000_000_000_000;
/** Most cents the bank holds: sums stay exact. */
export const CENTS_TOTAL_MAX = Number.MAX_SAFE_INTEGER;
export const ACCOUNT_CHARS_MAX = 64;
/** Accounts one answer lists. */
export const ACCOUNTS_PAGE_MAX = 1000;
/** Channel of the receipts. */
export const RECEIPTS = 'receipts';

/** Payload of a receipt, encoded as a value. */
export interface Receipt {
  readonly transfer: string;
  readonly from: string;
  readonly to: string;
  readonly cents: number;
  readonly index: number;
}

const account = z.string().min(1).max(ACCOUNT_CHARS_MAX).refine(isWellFormed, { message: 'not well-formed Unicode' });
const cents = z.number().int().min(1).max(CENTS_MAX);

const depositInput = z.union([
  z.strictObject({ account, cents }),
  z.strictObject({ to: account, cents }).transform((input) => ({ account: input.to, cents: input.cents })),
]);
const withdrawInput = z.union([
  z.strictObject({ account, cents }),
  z.strictObject({ from: account, cents }).transform((input) => ({ account: input.from, cents: input.cents })),
]);
const transferInput = z.strictObject({ from: account, to: account, cents });
const pageInput = z
  .strictObject({ limit: z.number().int().min(1).max(ACCOUNTS_PAGE_MAX).optional(), after: account.optional() })
  .nullish()
  .transform((input) => ({ limit: input?.limit ?? ACCOUNTS_PAGE_MAX, after: input?.after ?? null }));
const noInput = z.union([z.strictObject({}), z.null(), z.undefined()]).transform(() => null);

export type Movement = { readonly account: string; readonly cents: number };
export type Transfer = z.infer<typeof transferInput>;

/** Balances by account, and the running total. */
export class BankState extends Tables {
  readonly accounts: Table<string, number> = this.table('accounts');
  private readonly totals: Table<string, number> = this.table('totals');

  get total(): number {
    return this.totals.get('cents') ?? 0;
  }

  set total(value: number) {
    this.totals.set('cents', value);
  }
}

function apply(state: BankState, event: Event, ctx: ApplyContext): Applied<BankState> {
  const input = readInput(event.body);
  switch (event.command) {
    case BANK_COMMAND.deposit:
      return { state, result: encodeValue(deposit(state, movement(input), ctx)) };
    case BANK_COMMAND.withdraw:
      return { state, result: encodeValue(withdraw(state, movement(input), ctx)) };
    case BANK_COMMAND.transfer:
      return { state, result: encodeValue(transfer(state, transferOf(input), ctx)) };
    default:
      throw new InvalidCommand(`the bank has no command ${event.command}`);
  }
}

function deposit(state: BankState, input: Movement, ctx: ApplyContext): { account: string; balance: number } {
  if (state.total > CENTS_TOTAL_MAX - input.cents) ctx.reject('Overflow', { total: state.total, cents: input.cents });
  const balance = (state.accounts.get(input.account) ?? 0) + input.cents;
  state.accounts.set(input.account, balance);
  state.total += input.cents;
  return { account: input.account, balance };
}

function withdraw(state: BankState, input: Movement, ctx: ApplyContext): { account: string; balance: number } {
  const balance = funds(state, input.account, input.cents, ctx) - input.cents;
  state.accounts.set(input.account, balance);
  state.total -= input.cents;
  return { account: input.account, balance };
}

function transfer(
  state: BankState,
  input: Transfer,
  ctx: ApplyContext,
): { transfer: string; from: number; to: number } {
  if (input.from === input.to) ctx.reject('SameAccount', { account: input.from });
  const from = funds(state, input.from, input.cents, ctx) - input.cents;
  const to = (state.accounts.get(input.to) ?? 0) + input.cents;
  state.accounts.set(input.from, from);
  state.accounts.set(input.to, to);
  const receipt: Receipt = { transfer: transferId(ctx.index), ...input, index: ctx.index };
  ctx.emit(RECEIPTS, encodeValue(receipt));
  return { transfer: receipt.transfer, from, to };
}

/** The id of the transfer that was committed at `index`: one entry is at most one transfer. */
export function transferId(index: number): string {
  return `t${index}`;
}

function funds(state: BankState, name: string, needed: number, ctx: ApplyContext): number {
  const balance = state.accounts.get(name);
  if (balance === undefined) return ctx.reject('NoSuchAccount', { account: name });
  if (balance < needed) return ctx.reject('InsufficientFunds', { account: name, balance, needed });
  return balance;
}

// Inputs are validated at the edge, but anyone may write bytes to a gateway: what the log holds is checked again by hand.

function readInput(body: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = decodeValue(body);
  } catch {
    throw new InvalidCommand('the body is no value');
  }
  if (typeof value !== 'object' || value === null) throw new InvalidCommand('the input is no object');
  return value as Record<string, unknown>;
}

function movement(input: Record<string, unknown>): Movement {
  return { account: accountOf(input['account']), cents: centsOf(input['cents']) };
}

function transferOf(input: Record<string, unknown>): Transfer {
  return { from: accountOf(input['from']), to: accountOf(input['to']), cents: centsOf(input['cents']) };
}

function accountOf(value: unknown): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= ACCOUNT_CHARS_MAX) return value;
  throw new InvalidCommand(`an account is a name of 1 to ${ACCOUNT_CHARS_MAX} characters`);
}

function centsOf(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= CENTS_MAX) return value;
  throw new InvalidCommand(`cents are a whole number from 1 to ${CENTS_MAX}`);
}

function query(state: BankState, number: number, body: Uint8Array): Uint8Array {
  const input = decodeValue(body);
  switch (number) {
    case BANK_QUERY.balance: {
      const name = accountOf(input);
      const balance = state.accounts.get(name);
      if (balance === undefined) throw new Rejection('NoSuchAccount', { account: name });
      return encodeValue(balance);
    }
    case BANK_QUERY.accounts:
      return encodeValue(page(state, input as { limit: number; after: string | null }));
    case BANK_QUERY.total:
      return encodeValue({ accounts: state.accounts.size, cents: state.total });
    default:
      throw new InvalidCommand(`the bank has no query ${number}`);
  }
}

/** Accounts in order of their first deposit, behind `after`. */
function page(
  state: BankState,
  input: { limit: number; after: string | null },
): { account: string; balance: number }[] {
  const limit = Math.min(Number(input.limit), ACCOUNTS_PAGE_MAX);
  const rows: { account: string; balance: number }[] = [];
  let started = input.after === null;
  for (const [name, balance] of state.accounts.entries()) {
    if (rows.length >= limit) break;
    if (started) rows.push({ account: name, balance });
    else started = name === input.after;
  }
  return rows;
}

export const bank: ApplicationModule<BankState> = {
  name: 'bank',
  version: 1,
  application: {
    genesis: () => new BankState(),
    apply,
    query,
    snapshot: (state) => state.stream(),
    restore: (bytes) => {
      const state = new BankState();
      state.restore(bytes);
      return state;
    },
  },
  commands: {
    deposit: valueCall(BANK_COMMAND.deposit, depositInput),
    withdraw: valueCall(BANK_COMMAND.withdraw, withdrawInput),
    transfer: valueCall(BANK_COMMAND.transfer, transferInput),
  },
  queries: {
    balance: valueCall(BANK_QUERY.balance, account),
    accounts: valueCall(BANK_QUERY.accounts, pageInput),
    total: valueCall(BANK_QUERY.total, noInput),
  },
};
