/**
 * What can go wrong in the kernel, as types: a value that cannot be coded, a command nobody understands, a business rejection, a halt.
 *
 * Invariants: Rejection and InvalidCommand are outcomes of one command, equal on every replica; Halt is the end of this replica and is never
 * turned into a replicated outcome.
 */

/** Bytes that are no value, or a value that has no bytes. */
export class CodecError extends Error {
  override readonly name = 'CodecError';
  readonly code = 'E_CODEC';
}

/** Thrown by an application for a command number it does not have, or a body it cannot read: REPLY.invalid, nothing changes. */
export class InvalidCommand extends Error {
  override readonly name = 'InvalidCommand';
  readonly code = 'E_INVALID_COMMAND';
}

/** A business error: what `ctx.reject` throws. A query may throw one of its own; `data` is any encodable value. */
export class Rejection extends Error {
  override readonly name = 'Rejection';
  code: string;
  data: unknown;

  constructor(code: string, data?: unknown) {
    super(code);
    this.code = code;
    this.data = data;
  }
}

/** Stable codes of a replica that must stop. */
export type HaltCode =
  /** An entry kind, schema or envelope version this program does not know. */
  | 'E_UNKNOWN_ENTRY'
  /** Stack overflow or out of memory inside apply: not the same on every replica. */
  | 'E_APPLY_RESOURCES'
  /** The application threw and the node is configured to stop then. */
  | 'E_APPLY_FAULT'
  /** Commit or rollback of the state, or a snapshot, threw. */
  | 'E_STATE'
  /** The frames handed in do not follow what was applied. */
  | 'E_APPLY_ORDER'
  /** A snapshot that is not of this application, or damaged. */
  | 'E_SNAPSHOT'
  /** The log, or a snapshot, is of a version of the application that this program does not run. */
  | 'E_APP_VERSION';

/** The replica must stop loudly. Nothing catches it below the composition root. */
export class Halt extends Error {
  override readonly name = 'Halt';
  readonly code: HaltCode;

  constructor(code: HaltCode, message: string, cause?: unknown) {
    super(`${code}: ${message}`, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** True for errors that depend on the machine rather than on the command: they must never become a replicated outcome. */
export function isResourceExhaustion(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // V8 and JavaScriptCore: RangeError; SpiderMonkey: InternalError "too much recursion" / "out of memory".
  if (error instanceof RangeError) return /call stack|allocation failed|out of memory/i.test(error.message);
  return error.name === 'InternalError';
}
