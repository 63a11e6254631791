/** Seeds found to catch each mutation: CI runs these until one catches it. A change of the protocol's timing may spoil some, never all. */
export interface Caught {
  readonly mutation: string;
  readonly seeds: readonly number[];
}

export const CAUGHT_BY: readonly Caught[] = [
  { mutation: 'accept-wrong-cluster', seeds: [9, 19, 36, 53] },
  { mutation: 'ack-before-barrier', seeds: [1, 2, 3, 4] },
  { mutation: 'block-time-backwards', seeds: [1, 2, 3, 4] },
  { mutation: 'clear-in-flight-on-submit', seeds: [1, 2, 3, 4] },
  { mutation: 'commit-zero-heartbeat', seeds: [42, 41, 63, 68] },
  { mutation: 'drop-outbox-on-restore', seeds: [3, 4, 5, 7, 9, 12] },
  { mutation: 'ignore-short-write', seeds: [28, 89, 16, 94] },
  { mutation: 'install-shorter-log', seeds: [4, 1, 7, 10] },
  { mutation: 'nack-faulty-slot', seeds: [29, 54, 71, 75] },
  { mutation: 'no-directory-fsync', seeds: [1, 2, 3, 4] },
  { mutation: 'no-log-view', seeds: [4, 1, 19] },
  { mutation: 'no-prepare-retransmit', seeds: [73, 74, 7, 67] },
  { mutation: 'no-session-dedupe', seeds: [1, 2, 3, 4] },
  { mutation: 'no-view-change-timer', seeds: [1, 2, 3] },
  { mutation: 'promise-before-tail-record', seeds: [1, 2, 3, 4] },
  { mutation: 'reorder-batch', seeds: [1, 2, 3, 4] },
  { mutation: 'restart-as-primary', seeds: [1, 2, 3, 4] },
  { mutation: 'retry-fsync', seeds: [16, 69, 24, 19] },
  { mutation: 'session-not-in-snapshot', seeds: [1, 2, 3, 4] },
  { mutation: 'single-manifest-copy', seeds: [1, 2, 3, 4] },
  { mutation: 'skip-barrier-at-open', seeds: [3, 1, 2, 4] },
  { mutation: 'skip-fence', seeds: [40, 70, 139, 177] },
  { mutation: 'stale-read-from-paused-primary', seeds: [45, 120, 156] },
  { mutation: 'truncate-acked-tail', seeds: [29, 69, 75, 54] },
  { mutation: 'unknown-reported-as-failure', seeds: [2, 1, 3, 4] },
  { mutation: 'vote-twice-after-restart', seeds: [1, 2, 3] },
];
