/** What `chronon doctor` says about one thing. */

/** `warning`: works, but not as well as it should; `problem`: will not work, or loses data, until something is done. */
export type Level = 'ok' | 'warning' | 'problem';

export interface Finding {
  readonly id: string;
  readonly level: Level;
  /** What is so, in words. */
  readonly what: string;
  /** What to do; null when nothing is to be done. */
  readonly advice: string | null;
  /** Numbers behind it, for --json. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export function ok(id: string, what: string, facts: Finding['facts'] = {}): Finding {
  return { id, level: 'ok', what, advice: null, facts };
}

export function warning(id: string, what: string, advice: string, facts: Finding['facts'] = {}): Finding {
  return { id, level: 'warning', what, advice, facts };
}

export function problem(id: string, what: string, advice: string, facts: Finding['facts'] = {}): Finding {
  return { id, level: 'problem', what, advice, facts };
}
