/** Violation: an invariant that did not hold, in words. The only way a simulation fails. */

/** Families of invariants, one file each in `invariants/`; `replica` = the replica itself gave up when it had no reason to;
 * `determinism` = one seed ran in two ways. */
export type InvariantFamily =
  | 'log'
  | 'durability'
  | 'view'
  | 'state'
  | 'client'
  | 'effect'
  | 'liveness'
  | 'replica'
  | 'disk'
  | 'determinism';

export class Violation extends Error {
  override readonly name = 'Violation';
  readonly family: InvariantFamily;
  /** Kebab-case name of the invariant. */
  readonly invariant: string;

  /** `sentence` says what was seen and what had to be. */
  constructor(family: InvariantFamily, invariant: string, sentence: string) {
    super(sentence);
    this.family = family;
    this.invariant = invariant;
  }
}

/** Throws a Violation unless `condition` holds. The sentence is made only then. */
export function mustHold(
  condition: boolean,
  family: InvariantFamily,
  invariant: string,
  sentence: () => string,
): asserts condition {
  if (!condition) throw new Violation(family, invariant, sentence());
}
