/**
 * Clients at a replica: admission, session and pipeline lookup, replies, reads (docs/protocol.md, "Clients and sessions").
 *
 * Invariants: session and pipeline lookup come before admission; only a primary that has applied its own no-op answers from the session table;
 * success is answered only for an entry that this replica applied as committed.
 */
import { at, NONE } from '../engine/commit-index.ts';
import { envelope, KIND } from '../engine/frame.ts';
import { EMPTY_BODY, REPLY, type Reply } from '../reply.ts';
import {
  type ClientMessage,
  encodeRedirect,
  encodeRetryAfter,
  payloadProblem,
  REFUSAL,
  type RefusalStatus,
  refusal,
  TO_CLIENT,
} from './client-protocol.ts';
import { addRead, hasRoomForRead } from './reads.ts';
import type { Verdict } from './requests.ts';
import type { NodeState, PrimaryState, Read } from './state.ts';

const TEXT = new TextEncoder();
/** When a client that found no room for held requests or reads may try again, ms. */
const HELD_RETRY_MS = 50;

/** One request record of a client. `full`: the log cannot grow (read-only alarm). */
export function onRequest(n: NodeState, origin: number, payload: Uint8Array, payloadMax: number, full: boolean): void {
  const problem = payloadProblem(payload, payloadMax);
  if (problem !== null) {
    refuse(n, origin, payload, REFUSAL.invalid, TEXT.encode(problem));
    return;
  }
  const primary = n.primary;
  if (primary === null || !n.isPrimary) {
    refuse(n, origin, payload, REFUSAL.notPrimary, redirect(n));
    return;
  }
  if (!n.serving) hold(n, primary, origin, payload);
  else admit(n, origin, payload, full);
}

/** Keeps a request until the own no-op is applied. */
function hold(n: NodeState, primary: PrimaryState, origin: number, payload: Uint8Array): void {
  const { queueMax, queueBytesMax } = n.config;
  if (primary.heldRequests.length >= queueMax || primary.heldBytes + payload.length > queueBytesMax) {
    refuse(n, origin, payload, REFUSAL.busy, encodeRetryAfter(HELD_RETRY_MS));
    return;
  }
  primary.heldRequests.push({ origin, payload });
  primary.heldBytes += payload.length;
}

/** The client connection is gone: what is kept for it and not queued yet is forgotten; its client sends everything unanswered again. */
export function onDisconnect(n: NodeState, origin: number): void {
  n.requests.disconnect(origin);
  const { primary } = n;
  if (primary === null || primary.heldRequests.length === 0) return;
  primary.heldRequests = primary.heldRequests.filter((held) => held.origin !== origin);
  primary.heldBytes = primary.heldRequests.reduce((sum, { payload }) => sum + payload.length, 0);
}

function admit(n: NodeState, origin: number, payload: Uint8Array, full: boolean): void {
  if (envelope.kind(payload, 0) === KIND.register) {
    refuseUnless(n, origin, payload, n.requests.register(origin, payload, full));
    return;
  }
  const session = envelope.client(payload, 0);
  const number = envelope.request(payload, 0);
  const answer = n.sessions.lookup(session, number, payload);
  if (answer.kind === 'reply' || answer.kind === 'refused') {
    n.out.push({ type: 'reply', origin, message: replyMessage(answer.reply) });
    return;
  }
  const next = answer.kind === 'ahead' ? answer.next : (n.sessions.nextRequest(session) ?? number);
  refuseUnless(n, origin, payload, n.requests.accept(origin, payload, next, full, n.policy.noSessionDedupe));
}

function refuseUnless(n: NodeState, origin: number, payload: Uint8Array, verdict: Verdict): void {
  if (verdict === 'mismatch') {
    const [session, request] = [envelope.client(payload, 0), envelope.request(payload, 0)];
    const message = replyMessage({ status: REPLY.mismatch, session, request, index: NONE, body: EMPTY_BODY });
    n.out.push({ type: 'reply', origin, message });
  } else if (verdict === 'full') refuse(n, origin, payload, REFUSAL.noSpace, EMPTY_BODY);
  else if (verdict === 'busy') refuse(n, origin, payload, REFUSAL.busy, encodeRetryAfter(n.requests.retryAfterMs));
}

function refuse(n: NodeState, origin: number, payload: Uint8Array, status: RefusalStatus, body: Uint8Array): void {
  const whole = payload.length >= 32;
  const session = whole ? envelope.client(payload, 0) : 0;
  const request = whole ? envelope.request(payload, 0) : 0;
  const safe = (value: number): number => (Number.isNaN(value) ? 0 : value);
  n.out.push({
    type: 'reply',
    origin,
    message: refusal(TO_CLIENT.refusal, status, safe(session), safe(request), body),
  });
}

/** Where the primary is, as far as this replica knows. */
function redirect(n: NodeState): Uint8Array {
  const mute = n.abdicated || n.status !== 'normal';
  const view = mute ? n.view + 1 : n.view;
  return encodeRedirect(n.view, n.primaryOf(view));
}

/** A linearizable read. */
export function onQuery(n: NodeState, read: Read): void {
  const primary = n.primary;
  if (primary === null || !n.isPrimary) {
    refuseRead(n, read, REFUSAL.notPrimary, redirect(n));
  } else if (n.diverged !== null) {
    refuseRead(n, read, REFUSAL.unavailable, EMPTY_BODY);
  } else if (!hasRoomForRead(n, primary, read)) {
    refuseRead(n, read, REFUSAL.busy, encodeRetryAfter(HELD_RETRY_MS));
  } else {
    primary.readBytes += read.body.length;
    if (n.serving) addRead(n, primary, read);
    else primary.heldReads.push(read);
  }
}

function refuseRead(n: NodeState, read: Read, status: RefusalStatus, body: Uint8Array): void {
  const message = refusal(TO_CLIENT.queryRefusal, status, 0, read.nonce, body);
  n.out.push({ type: 'reply', origin: read.origin, message });
}

/** A session was evicted with copies parked behind a gap: its clients hear that it is gone. */
export function sweepParked(n: NodeState): void {
  n.requests.sweep(
    (session) => n.sessions.nextRequest(session) !== null,
    (origin, session, request) => {
      const body = EMPTY_BODY;
      n.out.push({
        type: 'reply',
        origin,
        message: replyMessage({ status: REPLY.evicted, session, request, index: NONE, body }),
      });
    },
  );
}

/** The own no-op is applied: what waited for it goes on. */
export function releaseHeld(n: NodeState, primary: PrimaryState, full: boolean): void {
  if (primary.heldRequests.length === 0 && primary.heldReads.length === 0) return;
  const requests = primary.heldRequests;
  const reads = primary.heldReads;
  primary.heldRequests = [];
  primary.heldReads = [];
  primary.heldBytes = 0;
  for (const { origin, payload } of requests) admit(n, origin, payload, full);
  for (const read of reads) addRead(n, primary, read);
}

/** The executor applied a client's entry; whoever waits for it hears. */
export function onReply(n: NodeState, reply: Reply): void {
  if (n.primary === null) return;
  const origin = n.requests.settle(reply.session, reply.request, reply.index);
  if (origin !== null) n.out.push({ type: 'reply', origin, message: replyMessage(reply) });
}

function replyMessage(reply: Reply): ClientMessage {
  return {
    type: TO_CLIENT.reply,
    status: reply.status,
    session: reply.session,
    request: reply.request,
    index: reply.index < 0 ? NONE : at(reply.index),
    body: reply.body,
  };
}
