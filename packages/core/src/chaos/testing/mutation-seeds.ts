/** Seeds found to catch each mutation: CI runs these, and some fresh ones. */
export interface Caught {
  readonly mutation: string;
  readonly seeds: readonly number[];
}

export const CAUGHT_BY: readonly Caught[] = [];
