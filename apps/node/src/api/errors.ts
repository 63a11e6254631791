/**
 * Errors of the control API: a stable code each (docs/errors.md), mapped to the HTTP status tRPC gives. The code stands in `data.chronon` of the answer
 * and at the start of its message.
 */
import { TRPCError } from '@trpc/server';

type TrpcCode = TRPCError['code'];

/** Stable codes and what they are over HTTP. */
export const API_ERRORS = {
  E_INPUT: 'BAD_REQUEST',
  E_COMMAND: 'BAD_REQUEST',
  E_PAYLOAD_SIZE: 'PAYLOAD_TOO_LARGE',
  E_TOKEN: 'UNAUTHORIZED',
  E_ROLE: 'FORBIDDEN',
  E_RATE: 'TOO_MANY_REQUESTS',
  E_SUBSCRIBERS: 'TOO_MANY_REQUESTS',
  E_QUERY_REJECTED: 'UNPROCESSABLE_CONTENT',
  E_TIMEOUT: 'TIMEOUT',
  E_LAG: 'TIMEOUT',
  E_LEASE_EXISTS: 'CONFLICT',
  E_LEASE_TTL: 'BAD_REQUEST',
  E_LEASES_MAX: 'TOO_MANY_REQUESTS',
  E_LEASE_UNKNOWN: 'NOT_FOUND',
  E_NO_SUPERVISOR: 'PRECONDITION_FAILED',
  E_MEMBER: 'BAD_REQUEST',
  E_UNREACHABLE: 'BAD_GATEWAY',
  E_LOG_READ: 'INTERNAL_SERVER_ERROR',
  E_NOT_PRIMARY: 'PRECONDITION_FAILED',
} as const satisfies Record<string, TrpcCode>;
export type ApiErrorCode = keyof typeof API_ERRORS;

/** Cause of a TRPCError that carries a stable code. */
export class ApiFault extends Error {
  override readonly name = 'ApiFault';
  readonly code: ApiErrorCode;
  /** Data for the caller: the application's rejection, or the issues of an input. */
  readonly detail: unknown;
  constructor(code: ApiErrorCode, message: string, detail?: unknown) {
    super(message);
    this.code = code;
    this.detail = detail;
  }
}

export function apiError(code: ApiErrorCode, message: string, detail?: unknown): TRPCError {
  return new TRPCError({
    code: API_ERRORS[code],
    message: `${code}: ${message}`,
    cause: new ApiFault(code, message, detail),
  });
}
