/**
 * Runs a query: on one replica, against the applied state, never replicated. Whatever the application does, the caller gets bytes: an answer, or
 * the encoded {code, data} of a failure.
 */
import { PAYLOAD_BYTES_MAX } from '../engine/constants.ts';
import { encodeRejection } from './apply-context.ts';
import { CodecError, InvalidCommand, Rejection } from './errors.ts';
import { disown } from './promises.ts';
import type { ChrApplication } from './types.ts';
import { wellFormed } from './utf8.ts';

/** Largest answer, in bytes. */
export const ANSWER_BYTES_MAX = PAYLOAD_BYTES_MAX;

/** Failure codes that do not come from the application. */
export const QUERY_FAILURE = { invalid: 'InvalidQuery', failed: 'QueryFailed', tooLarge: 'AnswerTooLarge' } as const;

export function runQuery<State>(
  application: ChrApplication<State>,
  state: State,
  query: number,
  body: Uint8Array,
): { readonly ok: boolean; readonly body: Uint8Array } {
  try {
    const answer: unknown = application.query(state, query, body);
    disown(answer);
    if (!(answer instanceof Uint8Array)) return failure(QUERY_FAILURE.failed, 'the application gave no bytes');
    if (answer.length > ANSWER_BYTES_MAX) return failure(QUERY_FAILURE.tooLarge, `${answer.length} bytes`);
    return { ok: true, body: answer };
  } catch (error) {
    if (error instanceof Rejection) return rejected(error);
    const invalid = error instanceof InvalidCommand || error instanceof CodecError;
    const message = error instanceof Error ? error.message : 'the application threw something that is no Error';
    return failure(invalid ? QUERY_FAILURE.invalid : QUERY_FAILURE.failed, message);
  }
}

function rejected(error: Rejection): { readonly ok: false; readonly body: Uint8Array } {
  try {
    return { ok: false, body: encodeRejection(error.code, error.data) };
  } catch {
    return failure(QUERY_FAILURE.failed, 'the rejection of the application has no encoding');
  }
}

function failure(code: string, message: string): { readonly ok: false; readonly body: Uint8Array } {
  return { ok: false, body: encodeRejection(code, wellFormed(message, 500)) };
}
