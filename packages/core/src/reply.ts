/**
 * Reply: what one command came to. Made by the Executor at apply, kept in the session table, sent to the client, equal on every replica.
 */

/** Closed set; the numbers are on the wire and in snapshots. */
export const REPLY = {
  /** Applied; the body is the application's result. */
  ok: 0,
  /** A replicated business error: body is the encoded {code, data}; nothing changed. */
  rejected: 1,
  /** The application threw: rolled back, no message or stack replicated. */
  fault: 2,
  /** The number was cancelled before it was applied; it never will be. */
  cancelled: 3,
  /** The session is gone; what its unanswered requests came to is unknown. */
  evicted: 4,
  /** The number is bound to another payload. Nothing changed. */
  mismatch: 5,
  /** The number is not the session's next one, or outside its window. Nothing changed. */
  sequence: 6,
  /** No such command, or a body the application cannot read. Nothing changed. */
  invalid: 7,
  /** The idempotency key is bound to another payload. Nothing changed. */
  conflict: 8,
} as const;
export type ReplyStatus = (typeof REPLY)[keyof typeof REPLY];

export interface Reply {
  readonly status: ReplyStatus;
  /** Session (index of its register entry); 0 for a register that failed. */
  readonly session: number;
  readonly request: number;
  /** Log index at which the command was applied. */
  readonly index: number;
  readonly body: Uint8Array;
}

/** Requests a session may have between acknowledged-below and its newest number (W). */
export const SESSION_WINDOW = 256;

export const EMPTY_BODY: Uint8Array = new Uint8Array(0);

export function replyName(status: number): string {
  return Object.entries(REPLY).find(([, code]) => code === status)?.[0] ?? `status-${status}`;
}

/** True for a number that some reply status has. */
export function isReplyStatus(status: number): status is ReplyStatus {
  return status >= REPLY.ok && status <= REPLY.conflict;
}
