import { expect, test } from 'vitest';
import type { SeedReport, SeedRequest } from './cli.ts';
import { MutationTable } from './mutation-table.ts';

/** Drives a table as one thread does; `fails` says which runs break what. */
function run(table: MutationTable, fails: (request: SeedRequest) => string | null): SeedRequest[] {
  const ran: SeedRequest[] = [];
  for (let request = table.next(); request !== null; request = table.next()) {
    ran.push(request);
    table.add(request, report(request, fails(request)));
  }
  return ran;
}

function report({ seed }: SeedRequest, invariant: string | null): SeedReport {
  const family = invariant === 'no-replica-halts' ? 'replica' : 'log';
  const violation = invariant === null ? null : { family, invariant, sentence: invariant };
  return { seed, violation } as unknown as SeedReport;
}

test('a mutation ends at the first seed that catches it and passes without it', () => {
  const table = new MutationTable(['a', 'b'], 5, 4, null);
  const ran = run(table, ({ seed, mutation }) => (mutation === 'a' && seed >= 6 ? 'commit-only-grows' : null));
  expect(table.results).toEqual([
    { mutation: 'a', caught: true, seed: 6, seedsTaken: 2, invariant: 'commit-only-grows' },
    { mutation: 'b', caught: false, seed: null, seedsTaken: 4, invariant: null },
  ]);
  expect(table.passed).toBe(false);
  expect(ran.filter(({ mutation }) => mutation === 'a').map(({ seed }) => seed)).toEqual([5, 6]);
});

test('a replica that stops itself has caught nothing, and a seed that fails anyway proves nothing but a bug', () => {
  const table = new MutationTable(['a'], 1, 3, null);
  run(table, ({ seed, mutation }) => {
    if (seed === 1) return mutation === null ? null : 'no-replica-halts';
    return seed === 2 || mutation !== null ? 'no-fork' : null;
  });
  expect(table.results[0]).toMatchObject({ caught: true, seed: 3, seedsTaken: 3 });
  expect(table.unsound.map(({ seed }) => seed)).toEqual([2]);
  expect(table.passed).toBe(false);
});
