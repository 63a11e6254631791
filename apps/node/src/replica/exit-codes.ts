/**
 * How a replica process ends. A code from REFUSE_MIN to REFUSE_MAX (and 2) means "refused": the same start would fail the same way, so the
 * supervisor does not retry; every other code but 0 may be retried.
 */

/** Exit code by error code. docs/errors.md lists them for people. */
export const EXIT_CODES = {
  /** Stopped by a command or signal. */
  OK: 0,
  /** The configuration is wrong. */
  E_CONFIG: 2,

  E_LOCKED: 20,
  E_DIRECTORY: 21,
  E_NOT_FORMATTED: 22,
  E_MANIFEST: 23,
  E_MANIFEST_MISSING: 24,
  E_CLUSTER_ID: 25,
  E_REPLICA_ID: 26,
  E_VERSION: 27,
  E_LOG_CORRUPT: 28,
  E_IO_READ: 29,
  E_APP: 30,
  E_CHAOS_PRODUCTION: 31,
  E_DISK_KIND: 32,
  E_DATA_LOSS: 33,
  E_DIVERGED: 34,
  /** An entry or snapshot this program does not know. */
  E_UNKNOWN_ENTRY: 35,
  E_SNAPSHOT: 36,
  /** The application threw and is configured to stop then: it would again. */
  E_APPLY_FAULT: 37,
  /** Two frames that must be equal differ. */
  E_PROTOCOL: 38,
  E_NONDETERMINISM: 39,
  /** This replica was replaced: a newer incarnation of it exists. */
  E_DUP_NODE: 40,
  /** A loss was accepted (chronon recover --accept-loss) without this replica. */
  E_GENERATION: 41,
  /** The directory does not know of a promise that its primary has: an old copy. */
  E_AMNESIA: 42,
  /** The directory is empty, and the cluster knows this replica: its disk was wiped. */
  E_WIPED: 43,
  /** The log or a snapshot is of a version of the application that this program does not run. */
  E_APP_VERSION: 44,

  E_PORT: 50,
  E_IO_WRITE: 51,
  E_FSYNC: 52,
  E_DISK_STALL: 53,
  E_ASSERT: 54,
  E_PARENT_GONE: 55,
  /** Out of stack or memory inside apply. */
  E_APPLY_RESOURCES: 56,
  E_STATE: 57,
  E_APPLY_ORDER: 58,
} as const;
export type ExitName = keyof typeof EXIT_CODES;

const REFUSE_MIN = 20;
const REFUSE_MAX = 49;

/** Exit code of an error code; unknown ones count as E_ASSERT. */
export function exitCodeOf(code: string): number {
  return EXIT_CODES[code as ExitName] ?? EXIT_CODES.E_ASSERT;
}

/** True when starting again would be refused again. */
export function isRefusal(exitCode: number): boolean {
  return exitCode === EXIT_CODES.E_CONFIG || (exitCode >= REFUSE_MIN && exitCode <= REFUSE_MAX);
}

/** Name of an exit code, for people. */
export function exitName(exitCode: number): string {
  return Object.entries(EXIT_CODES).find(([, code]) => code === exitCode)?.[0] ?? `exit ${exitCode}`;
}
