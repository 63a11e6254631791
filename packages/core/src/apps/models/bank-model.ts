/** Naive bank: a Map of bigints. */
import { invalid, type Model, type ModelResult, ok, rejected } from './model.ts';

type Input = Record<string, unknown>;

const TOTAL_MAX = 2n ** 53n - 1n;

export class BankModel implements Model {
  readonly name = 'bank';
  private readonly balances: Map<string, bigint>;

  constructor(balances: ReadonlyMap<string, bigint> = new Map()) {
    this.balances = new Map(balances);
  }

  get total(): bigint {
    return [...this.balances.values()].reduce((sum, balance) => sum + balance, 0n);
  }

  step(command: number, input: unknown, index: number): ModelResult {
    const fields = input as Input;
    const cents = BigInt(fields['cents'] as number);
    if (command === 1) return this.deposit(String(fields['account']), cents);
    if (command === 2) return this.withdraw(String(fields['account']), cents);
    if (command === 3) return this.transfer(String(fields['from']), String(fields['to']), cents, index);
    return invalid();
  }

  private deposit(account: string, cents: bigint): ModelResult {
    const { total } = this;
    if (total + cents > TOTAL_MAX) return rejected('Overflow', { total: Number(total), cents: Number(cents) });
    const balance = (this.balances.get(account) ?? 0n) + cents;
    this.balances.set(account, balance);
    return ok({ account, balance: Number(balance) });
  }

  private withdraw(account: string, cents: bigint): ModelResult {
    const refusal = this.lacking(account, cents);
    if (refusal !== null) return refusal;
    const balance = this.balances.get(account)! - cents;
    this.balances.set(account, balance);
    return ok({ account, balance: Number(balance) });
  }

  private transfer(from: string, to: string, cents: bigint, index: number): ModelResult {
    if (from === to) return rejected('SameAccount', { account: from });
    const refusal = this.lacking(from, cents);
    if (refusal !== null) return refusal;
    const left = this.balances.get(from)! - cents;
    const held = (this.balances.get(to) ?? 0n) + cents;
    this.balances.set(from, left);
    this.balances.set(to, held);
    return ok({ transfer: `t${index}`, from: Number(left), to: Number(held) });
  }

  private lacking(account: string, cents: bigint): ModelResult | null {
    const balance = this.balances.get(account);
    if (balance === undefined) return rejected('NoSuchAccount', { account });
    if (balance >= cents) return null;
    return rejected('InsufficientFunds', { account, balance: Number(balance), needed: Number(cents) });
  }

  query(query: number, input: unknown): ModelResult {
    if (query === 1) {
      const balance = this.balances.get(String(input));
      return balance === undefined ? rejected('NoSuchAccount', { account: input }) : ok(Number(balance));
    }
    if (query === 3) return ok({ accounts: this.balances.size, cents: Number(this.total) });
    if (query !== 2) return invalid();
    const { limit, after } = input as { limit: number; after: string | null };
    const rows = [...this.balances].map(([account, balance]) => ({ account, balance: Number(balance) }));
    const at = after === null ? 0 : rows.findIndex((row) => row.account === after) + 1;
    return ok(at === 0 && after !== null ? [] : rows.slice(at, at + limit));
  }

  clone(): BankModel {
    return new BankModel(this.balances);
  }

  fingerprint(): string {
    return [...this.balances].map(([account, balance]) => `${account}=${balance}`).join('\n');
  }
}
