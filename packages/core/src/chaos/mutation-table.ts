/**
 * MutationTable: `chronon simulate --mutation all`: for each mutation the first seed that catches it, and proof that the same seed passes without it.
 *
 * Invariants: caught means by an invariant that looks from outside, never by a replica that stops itself; a mutation is given seeds in order, none after
 * the first that catches it; what is said does not depend on the order in which reports come back.
 */
import type { SeedReport, SeedRequest } from './cli.ts';

/** One line of the table. */
export interface MutationResult {
  readonly mutation: string;
  readonly caught: boolean;
  /** The first seed that catches it and passes without it; null: none. */
  readonly seed: number | null;
  /** How many seeds it took, or all that were tried. */
  readonly seedsTaken: number;
  readonly invariant: string | null;
}

class Row {
  readonly mutation: string;
  /** Seeds handed out. */
  given = 0;
  /** By seed: the invariant that noticed, before the seed was known to pass without the mutation. */
  readonly noticed = new Map<number, string>();
  /** Seeds whose report is out. */
  readonly running = new Set<number>();

  constructor(mutation: string) {
    this.mutation = mutation;
  }
}

export class MutationTable {
  private readonly rows: readonly Row[];
  private readonly first: number;
  private readonly count: number;
  private readonly replicas: number | null;
  /** Runs without a mutation: null while it runs. */
  private readonly unmutated = new Map<number, SeedReport | null>();

  constructor(mutations: readonly string[], first: number, count: number, replicas: number | null) {
    this.rows = mutations.map((mutation) => new Row(mutation));
    this.first = first;
    this.count = count;
    this.replicas = replicas;
  }

  /** The next run; null: nothing to start at this moment. */
  next(): SeedRequest | null {
    for (const row of this.rows) {
      for (const seed of row.noticed.keys()) {
        if (this.unmutated.has(seed)) continue;
        this.unmutated.set(seed, null);
        return this.request(seed, null);
      }
    }
    for (const row of this.rows) {
      if (row.given >= this.count || this.mayBeCaught(row)) continue;
      const seed = this.first + row.given++;
      row.running.add(seed);
      return this.request(seed, row.mutation);
    }
    return null;
  }

  add(request: SeedRequest, report: SeedReport): void {
    const { seed, mutation } = request;
    if (mutation === null) {
      this.unmutated.set(seed, report);
      return;
    }
    const row = this.rows.find((candidate) => candidate.mutation === mutation)!;
    row.running.delete(seed);
    const { violation } = report;
    if (violation !== null && violation.family !== 'replica') row.noticed.set(seed, violation.invariant);
  }

  /** Seeds that break an invariant with no mutation: bugs of the product. */
  get unsound(): SeedReport[] {
    const failed = [...this.unmutated.values()].filter((report) => report !== null && report.violation !== null);
    return (failed as SeedReport[]).sort((a, b) => a.seed - b.seed);
  }

  get results(): MutationResult[] {
    return this.rows.map((row) => {
      const seed = [...row.noticed.keys()].sort((a, b) => a - b).find((candidate) => this.passes(candidate)) ?? null;
      const seedsTaken = seed === null ? row.given - row.running.size : seed - this.first + 1;
      const invariant = seed === null ? null : row.noticed.get(seed)!;
      return { mutation: row.mutation, caught: seed !== null, seed, seedsTaken, invariant };
    });
  }

  get passed(): boolean {
    return this.unsound.length === 0 && this.results.every(({ caught }) => caught);
  }

  /** A seed has noticed it, and is not known to fail without it as well. */
  private mayBeCaught(row: Row): boolean {
    for (const seed of row.noticed.keys()) {
      const without = this.unmutated.get(seed) ?? null;
      if (without === null || without.violation === null) return true;
    }
    return false;
  }

  private passes(seed: number): boolean {
    const report = this.unmutated.get(seed) ?? null;
    return report !== null && report.violation === null;
  }

  private request(seed: number, mutation: string | null): SeedRequest {
    return { seed, replicas: this.replicas, mutation, without: [] };
  }
}
