/** Seeds that once broke an invariant. Each stays mended for ever. */
export interface RegressionSeed {
  readonly seed: number;
  readonly replicas: number | null;
  /** What was wrong. */
  readonly what: string;
}

export const REGRESSION_SEEDS: readonly RegressionSeed[] = [];
