/** Seeds found to catch each mutation: CI runs these until one catches it. A change of the protocol's timing may spoil some, never all. */
export interface Caught {
  readonly mutation: string;
  readonly seeds: readonly number[];
}

export const CAUGHT_BY: readonly Caught[] = [
  { mutation: 'ack-before-barrier', seeds: [1, 2, 3, 4] },
  { mutation: 'commit-zero-heartbeat', seeds: [41, 42, 63, 68] },
  { mutation: 'drop-outbox-on-restore', seeds: [3, 4, 5, 7, 9, 12] },
  { mutation: 'no-log-view', seeds: [4, 1, 19] },
  { mutation: 'no-prepare-retransmit', seeds: [19, 36, 59, 120] },
  { mutation: 'no-session-dedupe', seeds: [1, 2, 3, 4] },
  { mutation: 'restart-as-primary', seeds: [1, 2, 3, 4] },
  { mutation: 'session-not-in-snapshot', seeds: [2, 3, 4, 5] },
];
