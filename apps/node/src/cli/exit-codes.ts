/** Exit codes of the command line. `start` ends with the codes of replica/exit-codes.ts where a start is refused. */
export const EXIT = {
  ok: 0,
  /** It could not be done; the reason is on stderr. */
  failed: 1,
  /** Wrong use: unknown command or flag, malformed input, something that must be done first. */
  usage: 2,
  /** The application or the cluster refused the command; nothing changed. */
  rejected: 3,
  /** The outcome is not known: it may still happen. */
  unknown: 4,
} as const;
