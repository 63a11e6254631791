/**
 * SessionClient: the client's half of exactly-once (docs/protocol.md, "Clients and sessions"). Sans-I/O: the same class runs in the daemon's client
 * library, the command line, the simulator and a browser; time comes in by `tick`, bytes by `onMessage`, and go out by the port.
 *
 * Invariants:
 *  - numbers of a session are given without gaps and sent in order on each connection; a number carries one command for ever (or its cancel);
 *  - a call ends as `rejected` without a reply only if every transmission of its number was answered by a refusal, else as `unknown`;
 *  - a number whose caller was told so is settled in the background (cancelled, or sent again) and can be asked for by `resume`;
 *  - what was ever transmitted under a session that is gone ends as `unknown` and is never sent under another one.
 */
import { ENVELOPE_BYTES, PAYLOAD_BYTES_MAX } from '../engine/constants.ts';
import { isNone } from '../engine/commit-index.ts';
import { IDEMPOTENCY_KEY_BYTES_MAX, keyBytes } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { SOUND, type Policy } from '../policy.ts';
import { Prng } from '../prng.ts';
import { REPLY } from '../reply.ts';
import {
  Call,
  CallQueue,
  CallWindow,
  type CallToken,
  type Outcome,
  type OutcomeCallback,
  outcomeOf,
  QueryCall,
  type QueryCallback,
  type RefusalCode,
  refusedOutcome,
} from './client-call.ts';
import {
  type ClientMessage,
  CONSISTENCY,
  decodeClientMessages,
  decodeRedirect,
  decodeRetryAfter,
  REFUSAL,
  TO_CLIENT,
} from './client-protocol.ts';
import {
  type ClientTimes,
  DEFAULT_TIMES,
  MAX_LAG_MS_MAX,
  millisProblem,
  QUEUE_MAX,
  type SessionClientOptions,
  TIMEOUT_MS_MAX,
} from './client-options.ts';
import { ClientQueries } from './client-queries.ts';
import { ClientResumes } from './client-resume.ts';
import { ClientRoute, type SessionPort } from './client-route.ts';
import { ClientSender } from './client-sender.ts';

export { formatToken, parseToken } from './client-call.ts';
export type { CallToken, Outcome, OutcomeCallback, QueryCallback, QueryOutcome } from './client-call.ts';
export { type ClientTimes, DEFAULT_TIMES, QUEUE_MAX, type SessionClientOptions } from './client-options.ts';
export type { SessionPort } from './client-route.ts';

/** Late outcomes kept for `resume`. */
const LATE_MAX = 1024;

export class SessionClient {
  /** The session, or null before its register is answered. */
  session: number | null = null;
  private readonly route: ClientRoute;
  private readonly sender: ClientSender;
  private readonly port: SessionPort;
  private readonly policy: Policy;
  private readonly prng: Prng;
  private readonly times: ClientTimes;
  private readonly cancels: boolean;
  private readonly queueMax: number;
  private window = new CallWindow();
  /** Calls without a number yet. */
  private readonly queue = new CallQueue();
  private readonly queries = new ClientQueries();
  private readonly resumes = new ClientResumes();
  /** First bytes of the cluster's id, hex; null before the first hello. */
  private cluster: string | null = null;
  private readonly late = new Map<number, Outcome>();
  private nowMs: number;
  /** Since when something was sent on this connection, or its hello awaited, and nothing was heard; null: nothing is awaited. */
  private awaitingMs: number | null = null;
  private pausedUntilMs = 0;
  private nextWatchMs = 0;
  private earliestDeadlineMs = Number.POSITIVE_INFINITY;
  private flushWanted = false;
  private inside = false;
  private closed = false;

  constructor(options: SessionClientOptions) {
    this.prng = new Prng(options.seed);
    this.port = options.port;
    this.policy = options.policy ?? SOUND;
    this.times = { ...DEFAULT_TIMES, ...options.times };
    this.cancels = (options.settleBy ?? 'cancel') === 'cancel';
    this.queueMax = options.queueMax ?? QUEUE_MAX;
    this.nowMs = options.nowMs ?? 0;
    this.route = new ClientRoute(options.replicas, options.port, this.prng.fork('route'), this.times);
    this.route.tick(this.nowMs);
    this.sender = new ClientSender(options.port, this.nonce());
  }

  /** Calls that wait for a number or a reply. */
  get pending(): number {
    return this.queue.length + (this.window.next - this.window.ackBelow);
  }

  /** The replica talked to, and the highest view heard of (-1: none). */
  get where(): { readonly replica: number; readonly connected: boolean; readonly view: number } {
    return { replica: this.route.target, connected: this.route.connected, view: this.route.view };
  }

  /**
   * Submits a command; `callback` is called exactly once. `body` and `key` must not change before that. A command with an idempotency key runs once for
   * that key, whichever process submits it how often; later ones get what the first came to.
   */
  submit(
    command: number,
    body: Uint8Array,
    timeoutMs: number,
    callback: OutcomeCallback,
    key: Uint8Array | null = null,
  ): void {
    if (this.closed) return callback(refusedOutcome('closed', 'the client is closed', null));
    const problem = callProblem(body, key) ?? timeoutProblem(timeoutMs);
    if (problem !== null) return callback(refusedOutcome('invalid', problem, null));
    if (this.queue.length >= this.queueMax) {
      return callback(refusedOutcome('queue-full', `${this.queueMax} calls wait already`, null));
    }
    const deadlineMs = this.nowMs + timeoutMs;
    if (deadlineMs < this.earliestDeadlineMs) this.earliestDeadlineMs = deadlineMs;
    this.queue.push(new Call(command, body, key, timeoutMs, deadlineMs, callback));
    this.want();
  }

  /**
   * Runs a query; it changes nothing, so it is either answered or not. A stale one is answered by whatever replica there is; `maxLagMs` bounds what the
   * answer may lack: everything committed so long before it is in it.
   */
  query(
    query: number,
    body: Uint8Array,
    options: {
      readonly consistency?: 'linearizable' | 'stale';
      readonly maxLagMs?: number;
      readonly timeoutMs: number;
    },
    callback: QueryCallback,
  ): void {
    if (this.closed)
      return callback({ kind: 'rejected', code: 'closed', body: NOTHING, message: 'the client is closed' });
    const { timeoutMs, maxLagMs = Number.POSITIVE_INFINITY } = options;
    const problem = timeoutProblem(timeoutMs) ?? lagProblem(maxLagMs);
    if (problem !== null) return callback({ kind: 'rejected', code: 'invalid', body: NOTHING, message: problem });
    const deadlineMs = this.nowMs + timeoutMs;
    if (deadlineMs < this.earliestDeadlineMs) this.earliestDeadlineMs = deadlineMs;
    const consistency = CONSISTENCY[options.consistency ?? 'linearizable'];
    this.queries.add(new QueryCall(query, body, consistency, maxLagMs, deadlineMs, callback));
    this.want();
  }

  /**
   * Asks for the outcome of a call that ended as `unknown`: one of this client, which is being settled already, or one of a process that is gone, whose
   * number is then cancelled: its outcome, or `cancelled` for ever.
   */
  resume(token: CallToken, timeoutMs: number, callback: OutcomeCallback): void {
    const problem = timeoutProblem(timeoutMs);
    if (problem !== null) return callback({ kind: 'unknown', message: problem, token });
    const here = token.cluster === undefined || token.cluster === this.cluster;
    const own = here && token.session === this.session && token.request < this.window.next;
    const settled = own ? this.late.get(token.request) : undefined;
    if (settled !== undefined) return callback(settled);
    const call = own ? this.window.get(token.request) : null;
    if (this.closed || (own && call === null)) {
      const message = this.closed ? 'the client is closed' : 'this session no longer knows the call';
      return callback({ kind: 'unknown', message, token });
    }
    if (call === null) {
      const deadlineMs = this.nowMs + timeoutMs;
      this.resumes.add(token, deadlineMs, callback);
      this.earliestDeadlineMs = Math.min(this.earliestDeadlineMs, deadlineMs);
      return this.want();
    }
    const { callback: earlier } = call;
    call.callback = (outcome) => {
      earlier?.(outcome);
      callback(outcome);
    };
    call.deadlineMs = Math.max(earlier === null ? 0 : call.deadlineMs, this.nowMs + timeoutMs);
    this.earliestDeadlineMs = Math.min(this.earliestDeadlineMs, call.deadlineMs);
    this.want();
  }

  onConnected(replica: number): void {
    if (!this.route.onConnected(replica)) return;
    this.awaitingMs = null;
    this.pausedUntilMs = 0;
  }

  onDisconnected(replica: number): void {
    this.route.onDisconnected(replica);
  }

  /** One transport message from a replica. */
  onMessage(replica: number, bytes: Uint8Array): void {
    if (replica !== this.route.target || !this.route.connected) return;
    this.awaitingMs = null;
    this.inside = true;
    const problem = decodeClientMessages(bytes, (message) => this.onRecord(message));
    this.inside = false;
    if (problem !== null) this.route.leave();
    this.flush();
  }

  /** Lets time pass: call it every few milliseconds with a monotone clock. */
  tick(nowMs: number): void {
    this.nowMs = nowMs;
    this.inside = true;
    if (nowMs >= this.earliestDeadlineMs) this.expire();
    this.inside = false;
    this.route.tick(nowMs);
    if (this.route.connected) this.watch();
    this.flush();
  }

  /** Sends what there is to send in as few transport messages as possible. */
  flush(): void {
    this.flushWanted = false;
    if (this.closed) return;
    if (!this.route.connected) {
      if (this.hasWork()) this.route.start();
      return;
    }
    if (this.nowMs < this.pausedUntilMs) return;
    const { sender, route } = this;
    const probing = route.mayProbe;
    sender.begin(route.target, route.epoch, this.nowMs, route.open ? Number.POSITIVE_INFINITY : probing ? 1 : 0);
    if (sender.room) this.sendRequests();
    if (sender.room) this.resumes.send(sender, route.epoch, this.nowMs, this.cluster);
    this.queries.send(sender, route.epoch);
    if (sender.end() === 0) return;
    this.awaitingMs ??= this.nowMs;
    if (probing && !sender.room) route.onProbeSent();
  }

  /** Ends every call: what was never sent as a definite failure, the rest as `unknown`. */
  close(): void {
    this.closed = true;
    this.route.stop();
    for (const call of this.queue.take())
      tell(call, refusedOutcome('closed', 'the client was closed before the command was sent', null));
    for (const call of this.window.calls()) this.fail(call, 'closed', 'the client was closed');
    this.queries.close();
    this.resumes.close();
  }

  private sendRequests(): void {
    const { sender } = this;
    if (this.session === null) {
      if (this.queue.length > 0) sender.register();
      return;
    }
    sender.resend(this.window, this.session);
    while (sender.room && !this.window.full) {
      const call = this.queue.shift();
      if (call === null) return;
      this.window.add(call);
      sender.request(call, this.session, this.window.ackBelow);
    }
  }

  private onRecord(message: ClientMessage): void {
    switch (message.type) {
      case TO_CLIENT.reply:
        return this.onReply(message);
      case TO_CLIENT.refusal:
        return this.onRefusal(message);
      case TO_CLIENT.answer:
        if (this.queries.answer(message)) this.route.onServed();
        return;
      case TO_CLIENT.queryRefusal:
        return this.onQueryRefusal(message);
      case TO_CLIENT.hello:
        this.cluster = toHex(message.body.subarray(0, 4));
        this.route.learn(message.request);
        return this.route.onDirection(message.session, isNone(message.index) ? null : message.index, 'hello');
      default:
    }
  }

  private onReply(message: ClientMessage): void {
    if (this.session === null && message.request === this.sender.nonce) {
      if (message.status !== REPLY.ok || message.session === 0) return this.pause();
      this.session = message.session;
      this.route.onServed();
      return;
    }
    if (this.resumes.size > 0 && this.resumes.onReply(message)) this.route.onServed();
    if (message.session !== this.session) return;
    if (message.status === REPLY.evicted) return this.abandon('the session was evicted', true);
    const call = this.window.get(message.request);
    if (call === null) return;
    this.route.onServed();
    if (message.status === REPLY.sequence)
      return this.abandon('the session does not continue where this client does', false);
    const token = this.token(message.request);
    const outcome: Outcome =
      message.status === REPLY.mismatch && call.sent - call.refused > 1
        ? { kind: 'unknown', message: 'the session refused a repeated copy', token }
        : outcomeOf(message.status, message.index, message.body, token);
    this.window.settle(call);
    if (call.unknown) this.keepLate(message.request, outcome);
    tell(call, outcome);
  }

  private onRefusal(message: ClientMessage): void {
    if (this.session === null && message.request === this.sender.nonce) {
      this.sender.registerEpoch = 0;
      return message.status === REFUSAL.invalid ? this.pause() : this.direct(message);
    }
    const resumed = this.resumes.size > 0 && this.resumes.onRefusal(message);
    if (resumed && message.status === REFUSAL.invalid) this.pause();
    const call = message.session === this.session ? this.window.get(message.request) : null;
    if (call !== null) {
      if (message.status !== REFUSAL.deposed) call.refused++;
      this.sender.again(call);
      if (call.cancelling && message.status === REFUSAL.invalid) this.pause();
      else if (message.status === REFUSAL.invalid)
        this.fail(call, 'invalid', 'the replica refused the payload: malformed or too large');
      else if (message.status === REFUSAL.noSpace && call.definitelyAbsent)
        this.fail(call, 'no-space', 'E_NO_SPACE: no space left for the log; nothing happened');
    }
    this.direct(message);
  }

  private onQueryRefusal(message: ClientMessage): void {
    if (message.status === REFUSAL.invalid) return this.queries.refuse(message.request);
    const consistency = this.queries.again(message.request, message.status === REFUSAL.lag);
    if (consistency === null) return;
    // A replica that must not serve reads: another one may.
    if (message.status === REFUSAL.unavailable && consistency === CONSISTENCY.stale) this.route.leave();
    else this.direct(message);
  }

  /** What a refusal means for where and when to send next. */
  private direct(message: ClientMessage): void {
    const redirect = decodeRedirect(message.body);
    switch (message.status) {
      case REFUSAL.notPrimary:
      case REFUSAL.deposed:
        if (redirect === null) this.route.doubt();
        else this.route.onDirection(redirect.view, redirect.primary > 0 ? redirect.primary : null, 'refusal');
        return;
      case REFUSAL.invalid:
        return;
      default:
        this.pause(decodeRetryAfter(message.body));
    }
  }

  /** Sends nothing for a jittered while: at least about `retryAfterMs`. */
  private pause(retryAfterMs = 0): void {
    this.awaitingMs = null;
    // All that a burst of requests is told is one refusal: nothing was sent since the first of them.
    if (this.nowMs < this.pausedUntilMs) return;
    const advisedMs = retryAfterMs * (0.75 + this.prng.float() / 2);
    this.pausedUntilMs = this.nowMs + Math.max(this.route.nextBackoffMs(), advisedMs);
    if (this.route.open) this.route.onRefused();
    else this.route.doubt();
  }

  /** Tells a caller that has no reply; its number is settled behind its back. */
  private fail(call: Call, code: RefusalCode, message: string): void {
    const token = this.token(call.request);
    const definite = (call.definitelyAbsent && !call.unknown) || this.policy.unknownReportedAsFailure;
    call.unknown ||= !definite;
    call.cancelling ||= definite || this.cancels;
    this.sender.again(call);
    tell(call, definite ? refusedOutcome(code, message, token) : { kind: 'unknown', message, token });
  }

  private token(request: number): CallToken {
    const token = { session: this.session!, request, from: this.window.ackBelow };
    return this.cluster === null ? token : { ...token, cluster: this.cluster };
  }

  /** Leaves a session that is of no use any more. */
  private abandon(why: string, evicted: boolean): void {
    const tokens = new Map<Call, CallToken>();
    for (const call of this.window.calls()) tokens.set(call, this.token(call.request));
    const waiting = this.queue.take();
    const calls = [...this.window.calls()];
    this.session = null;
    this.window = new CallWindow();
    this.late.clear();
    this.sender.forget(this.nonce());
    for (const call of calls.filter((c) => c.sent === 0 && !c.cancelling)) {
      call.request = 0;
      this.queue.push(call);
    }
    for (const call of waiting) this.queue.push(call);
    for (const call of calls.filter((c) => c.sent > 0)) {
      const unknown = { kind: 'unknown' as const, message: why, token: tokens.get(call)! };
      tell(call, evicted ? { ...unknown, lost: true } : unknown);
    }
  }

  private expire(): void {
    let earliest = Number.POSITIVE_INFINITY;
    const overdue: Call[] = [];
    for (const call of this.queue.take()) {
      if (call.deadlineMs <= this.nowMs) overdue.push(call);
      else {
        this.queue.push(call);
        earliest = Math.min(earliest, call.deadlineMs);
      }
    }
    for (const call of this.window.calls()) {
      if (call.callback === null) continue;
      if (call.deadlineMs <= this.nowMs) this.fail(call, 'timeout', `no reply within ${call.timeoutMs} ms`);
      else earliest = Math.min(earliest, call.deadlineMs);
    }
    this.earliestDeadlineMs = Math.min(earliest, this.queries.expire(this.nowMs), this.resumes.expire(this.nowMs));
    for (const call of overdue) {
      tell(call, refusedOutcome('timeout', `no replica took the command within ${call.timeoutMs} ms`, null));
    }
  }

  /** Repeats what is long unanswered; leaves a replica that says nothing at all. */
  private watch(): void {
    if (this.nowMs < this.nextWatchMs) return;
    this.nextWatchMs = this.nowMs + this.times.silenceMs / 8;
    const { route, sender, nowMs } = this;
    const staleMs = nowMs - this.times.resendMs;
    let underWay = false;
    if (this.session === null && sender.registerEpoch === route.epoch) {
      underWay = true;
      if (sender.registerMs <= staleMs) sender.registerEpoch = 0;
    }
    for (const call of this.window.calls()) {
      if (call.epoch !== route.epoch) continue;
      underWay = true;
      if (call.sentMs <= staleMs) sender.again(call);
    }
    underWay = this.queries.watch(route.epoch, staleMs) || underWay;
    underWay = this.resumes.watch(route.epoch, staleMs) || underWay;
    // A resume waits for the hello of a first connection before anything is sent: that silence counts as well (simulator seed 5011).
    if (underWay || (this.resumes.size > 0 && this.cluster === null)) this.awaitingMs ??= nowMs;
    // Counted from the first unanswered transmission, not from the newest, and on while nothing waits: callers without patience repeat often, or give up
    // and call again later, and must still leave.
    const { awaitingMs } = this;
    if (awaitingMs !== null && nowMs - awaitingMs >= this.times.silenceMs) route.leave();
  }

  private keepLate(request: number, outcome: Outcome): void {
    const kept = outcome.kind === 'unknown' ? outcome : { ...outcome, body: outcome.body.slice() };
    this.late.set(request, kept);
    if (this.late.size > LATE_MAX) for (const oldest of this.late.keys()) return void this.late.delete(oldest);
  }

  private hasWork(): boolean {
    return !this.window.empty || this.queue.length > 0 || this.queries.size > 0 || this.resumes.size > 0;
  }

  private want(): void {
    if (this.flushWanted || this.inside) return;
    this.flushWanted = true;
    this.port.wantFlush();
  }

  private nonce(): number {
    return this.prng.below(0x20_0000) * 0x1_0000_0000 + this.prng.u32();
  }
}

const NOTHING = new Uint8Array(0);

/** Why a command cannot be sent at all, or null. */
function callProblem(body: Uint8Array, key: Uint8Array | null): string | null {
  const limit = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES - keyBytes(key);
  if (body.length > limit) return `a body of ${body.length} bytes, the limit is ${limit}`;
  if (key === null || (key.length >= 1 && key.length <= IDEMPOTENCY_KEY_BYTES_MAX)) return null;
  return `an idempotency key of ${key.length} bytes, it has 1 to ${IDEMPOTENCY_KEY_BYTES_MAX}`;
}

function timeoutProblem(timeoutMs: number): string | null {
  return millisProblem('timeoutMs', timeoutMs, TIMEOUT_MS_MAX);
}

/** Infinity: no bound. */
function lagProblem(maxLagMs: number): string | null {
  return maxLagMs === Number.POSITIVE_INFINITY ? null : millisProblem('maxLagMs', maxLagMs, MAX_LAG_MS_MAX);
}

function tell(call: Call, outcome: Outcome): void {
  const { callback } = call;
  call.callback = null;
  callback?.(outcome);
}
