/** Seeds that once broke an invariant, with what was wrong. Each stays mended for ever. */
export interface RegressionSeed {
  readonly seed: number;
  readonly replicas: number | null;
  readonly what: string;
}

export const REGRESSION_SEEDS: readonly RegressionSeed[] = [
  { seed: 7, replicas: null, what: 'an install from far behind did not know the hash of the commit' },
  { seed: 47, replicas: null, what: 'an install that cut nothing unlinked the empty segment being written' },
  { seed: 65, replicas: null, what: 'a client never left a silent replica whose probe had timed out' },
  { seed: 108, replicas: null, what: 'frames that an install had cut were read back and applied' },
  { seed: 261, replicas: null, what: 'a second install from far behind forgot what the first knew to be committed' },
  { seed: 300, replicas: null, what: 'an empty log below the stored headers was never settled by an install' },
  {
    seed: 1021,
    replicas: null,
    what: 'the checker took damage that a misdirected repair carried along for what was meant',
  },
  { seed: 1022, replicas: null, what: 'the same, with rot where a misdirected repair should have gone' },
  { seed: 20032, replicas: null, what: 'a segment freed while a rotation renamed the recycled one took its name' },
  {
    seed: 731021,
    replicas: null,
    what: 'a dead peer, asked for a damaged frame for ever, kept a backup from catching up',
  },
];
