/**
 * Calls of a session client: what a caller gets back, and the window of numbered calls.
 *
 * Invariants: ackBelow <= every unsettled number < next <= ackBelow + W; a number is given to one call for ever; a number leaves the window only when
 * a reply settled it (its own, or that of its cancel), never because its caller was told something.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE } from '../engine/commit-index.ts';
import { REPLY, replyName, type ReplyStatus, SESSION_WINDOW } from '../reply.ts';

/** Names a call whose outcome is not known, so that it can be asked for later, by another process too (`formatToken`). */
export interface CallToken {
  readonly session: number;
  readonly request: number;
  /** Every lower number of the session was settled. */
  readonly from?: number;
  /** First bytes of the cluster id, hex. */
  readonly cluster?: string;
}

/** A token as one word, for people and files. */
export function formatToken(token: CallToken): string {
  return [token.cluster ?? '', token.session, token.request, token.from ?? token.request].join('.');
}

/** What `formatToken` made, or null for anything else. */
export function parseToken(text: string): CallToken | null {
  const match = /^([0-9a-f]{8})?\.(\d{1,16})\.(\d{1,16})\.(\d{1,16})$/.exec(text);
  if (match === null) return null;
  const [, cluster, ...digits] = match;
  const [session, request, from] = digits.map(Number) as [number, number, number];
  if (![session, request, from].every(Number.isSafeInteger)) return null;
  if (session < 1 || from < 1 || from > request || request - from >= SESSION_WINDOW) return null;
  return { session, request, from, ...(cluster === undefined ? {} : { cluster }) };
}

/** Why a call was refused without any reply of the log. Closed set. */
export type RefusalCode = 'timeout' | 'no-space' | 'invalid' | 'queue-full' | 'closed';

/** What a call came to. `body` is a view of the transport message it came in. */
export type Outcome =
  | { readonly kind: 'ok'; readonly index: number; readonly body: Uint8Array; readonly token: CallToken }
  | {
      /** Definite: the command changed nothing and never will. */
      readonly kind: 'rejected';
      /** `rejected` is the application's own (body: its code and data); else a reply status or a refusal by name. */
      readonly code: string;
      readonly status: ReplyStatus | null;
      readonly index: CommitIndex;
      readonly body: Uint8Array;
      readonly message: string;
      readonly token: CallToken | null;
    }
  /** `lost`: the session is gone, so that no later `resume` can tell more. */
  | { readonly kind: 'unknown'; readonly message: string; readonly token: CallToken; readonly lost?: true };

export type OutcomeCallback = (outcome: Outcome) => void;

export type QueryOutcome =
  | { readonly kind: 'ok'; readonly index: CommitIndex; readonly body: Uint8Array }
  | { readonly kind: 'rejected'; readonly code: string; readonly body: Uint8Array; readonly message: string };

export type QueryCallback = (outcome: QueryOutcome) => void;

/** One submitted command. */
export class Call {
  readonly command: number;
  readonly body: Uint8Array;
  /** Idempotency key, or null. */
  readonly key: Uint8Array | null;
  readonly timeoutMs: number;
  /** Null once its caller was told (and nobody resumed it). */
  callback: OutcomeCallback | null;
  deadlineMs: number;
  /** 0 until it gets its number. */
  request = 0;
  /** Transmissions of this number and how many of them were answered by a refusal; equal: it is in no replica. */
  sent = 0;
  refused = 0;
  /** Connection epoch of the newest transmission; 0: must be sent (again). */
  epoch = 0;
  sentMs = 0;
  /** Transmissions from now on cancel the number. */
  cancelling = false;
  /** Its caller was told `unknown`: the late outcome is kept for `resume`. */
  unknown = false;

  constructor(
    command: number,
    body: Uint8Array,
    key: Uint8Array | null,
    timeoutMs: number,
    deadlineMs: number,
    callback: OutcomeCallback,
  ) {
    this.command = command;
    this.body = body;
    this.key = key;
    this.timeoutMs = timeoutMs;
    this.deadlineMs = deadlineMs;
    this.callback = callback;
  }

  /** True while every transmission was answered by a refusal. */
  get definitelyAbsent(): boolean {
    return this.sent === this.refused;
  }
}

/** One query in flight. */
export class QueryCall {
  readonly query: number;
  readonly body: Uint8Array;
  readonly consistency: number;
  readonly deadlineMs: number;
  readonly callback: QueryCallback;
  readonly maxLagMs: number;
  epoch = 0;
  sentMs = 0;
  /** The last replica asked could not meet `maxLagMs`. */
  lagged = false;

  constructor(
    query: number,
    body: Uint8Array,
    consistency: number,
    maxLagMs: number,
    deadlineMs: number,
    callback: QueryCallback,
  ) {
    this.query = query;
    this.body = body;
    this.consistency = consistency;
    this.maxLagMs = maxLagMs;
    this.deadlineMs = deadlineMs;
    this.callback = callback;
  }
}

/** Calls that have no number yet, first in, first out. */
export class CallQueue {
  private calls: Call[] = [];
  private head = 0;

  get length(): number {
    return this.calls.length - this.head;
  }

  push(call: Call): void {
    this.calls.push(call);
  }

  shift(): Call | null {
    const call = this.calls[this.head];
    if (call === undefined) return null;
    this.head++;
    if (this.head === this.calls.length) {
      this.calls.length = 0;
      this.head = 0;
    } else if (this.head > 4096) {
      this.calls = this.calls.slice(this.head);
      this.head = 0;
    }
    return call;
  }

  /** Takes everything out. */
  take(): Call[] {
    const waiting = this.calls.slice(this.head);
    this.calls = [];
    this.head = 0;
    return waiting;
  }
}

assert((SESSION_WINDOW & (SESSION_WINDOW - 1)) === 0, 'the window is a power of two');

/** The numbered, unsettled calls of one session. */
export class CallWindow {
  private readonly slots: (Call | null)[] = Array.from<Call | null>({ length: SESSION_WINDOW }).fill(null);
  /** Next number to give. */
  next = 1;
  /** Every number below is settled. */
  ackBelow = 1;

  get full(): boolean {
    return this.next >= this.ackBelow + SESSION_WINDOW;
  }

  get empty(): boolean {
    return this.next === this.ackBelow;
  }

  /** Gives the call its number. */
  add(call: Call): void {
    assert(!this.full && call.request === 0, 'a call gets one number, inside the window');
    call.request = this.next;
    this.slots[this.next & (SESSION_WINDOW - 1)] = call;
    this.next++;
  }

  /** The unsettled call of a number, or null. */
  get(request: number): Call | null {
    if (request < this.ackBelow || request >= this.next) return null;
    return this.slots[request & (SESSION_WINDOW - 1)] ?? null;
  }

  settle(call: Call): void {
    assert(this.get(call.request) === call, 'only a call of the window is settled');
    this.slots[call.request & (SESSION_WINDOW - 1)] = null;
    while (this.ackBelow < this.next && this.slots[this.ackBelow & (SESSION_WINDOW - 1)] === null) this.ackBelow++;
  }

  /** Unsettled calls in order of their numbers. */
  *calls(): IterableIterator<Call> {
    for (let n = this.ackBelow; n < this.next; n++) {
      const call = this.slots[n & (SESSION_WINDOW - 1)];
      if (call) yield call;
    }
  }
}

const EMPTY = new Uint8Array(0);

/** The outcome a reply means. */
export function outcomeOf(status: number, index: CommitIndex, body: Uint8Array, token: CallToken): Outcome {
  if (status === REPLY.ok) return { kind: 'ok', index, body, token };
  const code = status === REPLY.conflict ? IDEMPOTENCY_CONFLICT : replyName(status);
  return { kind: 'rejected', code, status: status as ReplyStatus, index, body, message: MESSAGES[code] ?? code, token };
}

/** A definite failure that no reply stands behind. */
export function refusedOutcome(code: RefusalCode, message: string, token: CallToken | null): Outcome {
  return { kind: 'rejected', code, status: null, index: NONE, body: EMPTY, message, token };
}

/** The code of a command whose idempotency key is bound to another one. */
export const IDEMPOTENCY_CONFLICT = 'IdempotencyConflict';

const MESSAGES: Readonly<Record<string, string>> = {
  rejected: 'the application rejected the command',
  fault: 'the application failed on this command; nothing of it was kept',
  cancelled: 'the command was cancelled before it was applied; it never will be',
  evicted: 'the session is gone',
  mismatch: 'this number of the session is bound to another payload',
  sequence: 'this number is outside the window of the session',
  [IDEMPOTENCY_CONFLICT]: 'the idempotency key was used for another command; nothing changed',
  invalid: 'no such command, or a body the application cannot read',
};
