/**
 * The bank as a specification for the checker: accounts in whole cents. Results are those of apps/bank.ts without the transfer's name. All accounts
 * are one partition: a transfer joins two.
 */
import { type CheckModel, text } from './model.ts';
import { HistoryError, type Operation } from './operation.ts';

type Accounts = Map<string, number>;

interface Outcome {
  /** Code of the rejection, or null. */
  readonly code: string | null;
  readonly value: unknown;
}

export const bankModel: CheckModel = {
  name: 'bank',
  initial: text([]),
  keyOf: () => '',
  isRead: ({ f }) => f === 'balance' || f === 'total',
  step(state, operation) {
    const accounts: Accounts = new Map(JSON.parse(state) as [string, number][]);
    const { code, value } = execute(accounts, operation);
    const { output } = operation;
    if (output !== null) {
      if (output.rejected !== (code !== null)) return null;
      if (code !== null ? codeOf(output.value) !== code : text(output.value) !== text(value)) return null;
    }
    if (code !== null || this.isRead(operation)) return state;
    return text([...accounts].sort(([a], [b]) => (a < b ? -1 : 1)));
  },
};

function execute(accounts: Accounts, operation: Operation): Outcome {
  const input = operation.input as Record<string, unknown>;
  switch (operation.f) {
    case 'deposit': {
      const account = String(input['account']);
      const balance = (accounts.get(account) ?? 0) + Number(input['cents']);
      accounts.set(account, balance);
      return ok({ account, balance });
    }
    case 'withdraw': {
      const account = String(input['account']);
      const cents = Number(input['cents']);
      const code = lacking(accounts, account, cents);
      if (code !== null) return rejected(code);
      const balance = accounts.get(account)! - cents;
      accounts.set(account, balance);
      return ok({ account, balance });
    }
    case 'transfer':
      return transfer(accounts, String(input['from']), String(input['to']), Number(input['cents']));
    case 'balance': {
      const balance = accounts.get(String(operation.key ?? operation.input));
      return balance === undefined ? rejected('NoSuchAccount') : ok(balance);
    }
    case 'total':
      return ok({ accounts: accounts.size, cents: [...accounts.values()].reduce((sum, cents) => sum + cents, 0) });
    default:
      throw new HistoryError(`the bank model knows no operation ${JSON.stringify(operation.f)}`);
  }
}

function transfer(accounts: Accounts, from: string, to: string, cents: number): Outcome {
  if (from === to) return rejected('SameAccount');
  const code = lacking(accounts, from, cents);
  if (code !== null) return rejected(code);
  const left = accounts.get(from)! - cents;
  const held = (accounts.get(to) ?? 0) + cents;
  accounts.set(from, left);
  accounts.set(to, held);
  return ok({ from: left, to: held });
}

function lacking(accounts: Accounts, account: string, cents: number): string | null {
  const balance = accounts.get(account);
  if (balance === undefined) return 'NoSuchAccount';
  return balance < cents ? 'InsufficientFunds' : null;
}

function codeOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)['code'] : value;
}

function ok(value: unknown): Outcome {
  return { code: null, value };
}

function rejected(code: string): Outcome {
  return { code, value: null };
}
