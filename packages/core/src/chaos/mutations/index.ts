/**
 * Mutations: production behaviour broken on purpose, one place each, to prove that the invariants notice. Loaded by the simulator alone, by dynamic
 * import; nothing of the daemon reaches this file.
 */
import { type Policy, SOUND } from '../../policy.ts';

/** Kebab-case names, as `--mutation` takes them. */
export const MUTATIONS: ReadonlyMap<string, Policy> = new Map(
  (Object.keys(SOUND) as (keyof Policy)[]).map((flag) => [kebabCase(flag), Object.freeze({ ...SOUND, [flag]: true })]),
);

/** Those that must be caught within 200 seeds today; the others join with the parts of the system that they break. */
export const REQUIRED_MUTATIONS = [
  'ack-before-barrier',
  'ignore-short-write',
  'vote-twice-after-restart',
  'truncate-acked-tail',
  'nack-faulty-slot',
  'no-log-view',
  'install-shorter-log',
  'commit-zero-heartbeat',
  'no-prepare-retransmit',
  'no-view-change-timer',
  'no-session-dedupe',
  'session-not-in-snapshot',
  'stale-read-from-paused-primary',
  'retry-fsync',
  'no-directory-fsync',
  'accept-wrong-cluster',
  'block-time-backwards',
  'skip-fence',
  'clear-in-flight-on-submit',
  'drop-outbox-on-restore',
  'reorder-batch',
  'unknown-reported-as-failure',
  'restart-as-primary',
  'promise-before-tail-record',
  'skip-barrier-at-open',
  'single-manifest-copy',
] as const;

function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
