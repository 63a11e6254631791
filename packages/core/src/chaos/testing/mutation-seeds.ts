/** Seeds found to catch each mutation: CI runs these until one catches it. A change of the protocol's timing may spoil some, never all. */
export interface Caught {
  readonly mutation: string;
  readonly seeds: readonly number[];
}

export const CAUGHT_BY: readonly Caught[] = [
  { mutation: 'accept-wrong-cluster', seeds: [19, 9, 36, 53] },
  { mutation: 'ack-before-barrier', seeds: [1, 2, 3, 4] },
  { mutation: 'ack-without-view', seeds: [154] },
  { mutation: 'block-time-backwards', seeds: [1, 2, 3, 4] },
  { mutation: 'clear-in-flight-on-submit', seeds: [1, 2, 3, 4] },
  { mutation: 'commit-zero-heartbeat', seeds: [28, 42, 41, 63, 68] },
  { mutation: 'cumulative-prepare-ok', seeds: [42, 165] },
  { mutation: 'drop-outbox-on-restore', seeds: [1, 3, 4, 5, 7, 9, 12] },
  { mutation: 'ignore-short-write', seeds: [28, 89, 16, 94] },
  { mutation: 'install-shorter-log', seeds: [1, 4, 7, 10] },
  { mutation: 'nack-faulty-slot', seeds: [54, 29, 71, 75] },
  { mutation: 'no-directory-fsync', seeds: [1, 2, 3, 4] },
  { mutation: 'no-log-view', seeds: [7, 4, 1, 19] },
  { mutation: 'no-prepare-retransmit', seeds: [82, 98, 132, 76, 121] },
  { mutation: 'no-session-dedupe', seeds: [1, 2, 3, 4] },
  { mutation: 'no-view-change-timer', seeds: [1, 2, 3] },
  { mutation: 'promise-before-tail-record', seeds: [1, 2, 3, 4] },
  { mutation: 'read-joins-old-round', seeds: [45, 156] },
  { mutation: 'reorder-batch', seeds: [1, 2, 3, 4] },
  { mutation: 'restart-as-primary', seeds: [1, 2, 3, 4] },
  { mutation: 'retry-fsync', seeds: [28, 16, 69, 24, 19] },
  { mutation: 'session-not-in-snapshot', seeds: [1, 2, 3, 4] },
  { mutation: 'single-manifest-copy', seeds: [1, 2, 3, 4] },
  { mutation: 'skip-barrier-at-open', seeds: [1, 3, 2, 4] },
  { mutation: 'skip-fence', seeds: [40, 70, 139, 177] },
  { mutation: 'snapshot-drops-newer-frames', seeds: [36, 82, 179] },
  { mutation: 'stale-read-from-paused-primary', seeds: [45, 120, 156] },
  { mutation: 'truncate-acked-tail', seeds: [4, 29, 69, 75, 54] },
  { mutation: 'unconnected-frames-count', seeds: [1, 42, 46] },
  { mutation: 'unknown-reported-as-failure', seeds: [1, 2, 3, 4] },
  { mutation: 'vote-twice-after-restart', seeds: [1, 2, 3] },
];
