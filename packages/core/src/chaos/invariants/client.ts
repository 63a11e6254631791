/**
 * Client invariants: an acknowledged command is in the canonical list exactly once and its reply is the model's; a definite failure never commits; a
 * linearizable read shows the state at an index between the commit at its invocation and the commit at its return.
 */
import { sameBytes, toHex } from '../../engine/hash.ts';
import { decodeValue } from '../../kernel/values.ts';
import { REPLY, replyName } from '../../reply.ts';
import type { Outcome, QueryOutcome } from '../../vsr/client.ts';
import type { CanonicalLog } from '../canonical.ts';
import { mustHold } from '../violation.ts';

/** A read under way. */
export interface ReadUnderWay {
  readonly client: number;
  readonly query: number;
  readonly input: unknown;
  /** What the answer must show at least: what was committed when it was invoked, for a stale one so long before it as it allows. */
  readonly low: number;
}

export class ClientInvariants {
  private readonly canonical: CanonicalLog;
  /** Numbers that a client was told will never be executed. */
  private readonly never: { readonly client: number; readonly session: number; readonly request: number }[] = [];

  constructor(canonical: CanonicalLog) {
    this.canonical = canonical;
  }

  /** A command ended for its caller. */
  ended(client: number, outcome: Outcome): void {
    if (outcome.kind === 'unknown') return;
    if (outcome.kind === 'rejected' && outcome.status === null) {
      if (outcome.token !== null) this.never.push({ client, ...outcome.token });
      return;
    }
    const { token } = outcome;
    if (token === null) return;
    const status = outcome.kind === 'ok' ? REPLY.ok : outcome.status!;
    const settled = this.canonical.outcome(token.session, token.request);
    const name = `number ${token.request} of session ${token.session} (client ${client})`;
    const asked: readonly number[] = [REPLY.ok, REPLY.rejected, REPLY.cancelled, REPLY.conflict];
    if (!asked.includes(status)) {
      mustHold(
        false,
        'client',
        'a-reply-is-the-models',
        () => `${name} ended as ${replyName(status)}, which no model asks for`,
      );
    }
    mustHold(settled !== undefined, 'client', 'an-acknowledged-command-is-committed', () => {
      return `${name} was acknowledged as ${replyName(status)} at index ${outcome.index}, but nothing committed settles it`;
    });
    mustHold(settled.index === outcome.index, 'client', 'a-command-is-committed-once', () => {
      return `${name} was acknowledged at index ${outcome.index}, the canonical list has it at ${settled.index}`;
    });
    const same = settled.status === status && sameBytes(settled.body, outcome.body);
    mustHold(same || status === REPLY.cancelled, 'client', 'a-reply-is-the-models', () => {
      const word = (s: number, body: Uint8Array): string => `${replyName(s)} ${text(body)}`;
      return `${name} at ${outcome.index} was answered ${word(status, outcome.body)}; the model says ${word(settled.status, settled.body)}`;
    });
    mustHold(settled.status === status, 'client', 'a-reply-is-the-models', () => {
      return `${name} was answered ${replyName(status)}, the canonical list says ${replyName(settled.status)}`;
    });
  }

  /** `low`: what the answer must show at least; a stale read may be content with less than all that is committed. */
  invoked(client: number, query: number, input: unknown, low: number = this.canonical.last): ReadUnderWay {
    return { client, query, input, low };
  }

  returned(read: ReadUnderWay, outcome: QueryOutcome): void {
    const what = `the read of ${text2(read.input)} by client ${read.client}`;
    if (outcome.kind === 'rejected') {
      if (outcome.code !== 'rejected') return;
      // Only "no such account": it must have been absent when the read was invoked, at least.
      mustHold(
        this.canonical.answerAt(read.query, read.input, read.low) === null,
        'client',
        'reads-are-linearizable',
        () => {
          return `${what} found nothing, but the account was there at ${read.low}, before the read began`;
        },
      );
      return;
    }
    const { index } = outcome;
    mustHold(index >= read.low && index <= this.canonical.last, 'client', 'reads-are-linearizable', () => {
      return `${what} shows index ${index}; committed was ${read.low} when it began and ${this.canonical.last} when it ended`;
    });
    const expected = this.canonical.answerAt(read.query, read.input, index);
    mustHold(expected !== null && sameBytes(expected, outcome.body), 'client', 'reads-are-linearizable', () => {
      return `${what} says ${text(outcome.body)} at ${index}, the model ${expected === null ? 'has no such account' : text(expected)}`;
    });
  }

  /** When all is over: what was said never to happen has not happened. */
  atRest(): void {
    for (const { client, session, request } of this.never) {
      const settled = this.canonical.outcome(session, request);
      mustHold(
        settled === undefined || settled.status === REPLY.cancelled,
        'client',
        'a-definite-failure-never-commits',
        () => {
          return `client ${client} was told that number ${request} of session ${session} failed for good; it committed at ${settled?.index}`;
        },
      );
    }
  }
}

function text(body: Uint8Array): string {
  try {
    return text2(decodeValue(body));
  } catch {
    return toHex(body);
  }
}

function text2(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}
