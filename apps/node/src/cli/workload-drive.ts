/**
 * Drives a cluster: several sessions, each with several calls in flight, through whatever happens to it. Unknown outcomes are settled by going on with
 * the same session number.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { isNone } from '@chronon/core/engine/commit-index';
import { REPLY } from '@chronon/core/reply';
import type { CallSpec } from '@chronon/core/kernel/types';
import { connect, type CallToken, type ChrononClient, type GatewayAddress, type Outcome } from '../client/connect.ts';
import { decodeValue } from '@chronon/core/kernel/values';
import type { CallEnd, HistoryRecorder } from './history-recorder.ts';
import type { WorkloadApp, WorkloadCall } from './workload-apps.ts';
import type { Operation } from './workload-replay.ts';
import { operationKey } from './workload-replay.ts';

export interface WorkloadOptions {
  readonly gateways: readonly GatewayAddress[];
  readonly token: string;
  readonly clients: number;
  readonly depth: number;
  readonly seconds: number;
  /** A call starts so long after the one before it in its lane, at the earliest; ms. */
  readonly thinkMs: number;
  readonly app: WorkloadApp;
  /** Told of every call and its end. */
  readonly recorder: HistoryRecorder | null;
  /** Told once a second. */
  onProgress(line: string): void;
}

type Count = 'acknowledged' | 'rejected' | 'failed' | 'unknown' | 'unresolved' | 'reads' | 'readsFailed';

export interface WorkloadResult {
  readonly operations: ReadonlyMap<string, Operation>;
  readonly latencyNs: RecordableHistogram;
  readonly seconds: number;
  readonly counts: Readonly<Record<Count, number>>;
  /** Longest time without any reply, ms. */
  readonly longestGapMs: number;
  /** Times without any reply of at least GAP_MS, in ms since the start. */
  readonly gaps: readonly { readonly fromMs: number; readonly toMs: number }[];
  readonly problems: readonly string[];
}

const CALL_TIMEOUT_MS = 5000;
const RESOLVE_MS = 60_000;
const NOTHING = new Uint8Array(0);
/** A time without any reply that is worth telling. */
const GAP_MS = 200;
const GAPS_MAX = 1000;
/** A cluster that takes nothing must not be asked in a tight loop. */
const PAUSE_MS = 50;

export class Workload {
  readonly operations = new Map<string, Operation>();
  readonly counts: Record<Count, number> = {
    acknowledged: 0,
    rejected: 0,
    failed: 0,
    unknown: 0,
    unresolved: 0,
    reads: 0,
    readsFailed: 0,
  };
  private readonly options: WorkloadOptions;
  private readonly clients: ChrononClient[];
  private readonly latencyNs = createHistogram();
  private readonly problems: string[] = [];
  private readonly gaps: { fromMs: number; toMs: number }[] = [];
  private startMs = 0;
  private endMs = 0;
  private lastReplyMs = 0;
  private longestGapMs = 0;
  private inFlight = 0;
  private onIdle: (() => void) | null = null;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.clients = Array.from({ length: options.clients }, () =>
      connect(options.gateways, { token: options.token, app: options.app.module, settleBy: 'resend' }),
    );
  }

  /** Makes the calls that come before the load. Throws when one of them cannot be done. */
  async open(): Promise<void> {
    const outcomes = await Promise.all(this.options.app.opening.map((call) => this.settled(0, call)));
    const bad = outcomes.find((outcome): outcome is Exclude<Outcome, { kind: 'ok' }> => outcome.kind !== 'ok');
    if (bad !== undefined) throw new Error(`the load cannot start: ${bad.message}`);
  }

  async drive(): Promise<WorkloadResult> {
    const { seconds, depth } = this.options;
    const start = performance.now();
    this.startMs = start;
    this.endMs = start + seconds * 1000;
    this.lastReplyMs = start;
    this.clients.forEach((_, client) => {
      for (let i = 0; i < depth; i++) this.issue(client);
    });
    const report = setInterval(() => this.progress(start), 1000);
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
      if (this.inFlight === 0) resolve();
    });
    clearInterval(report);
    const took = (Math.min(performance.now(), this.endMs) - start) / 1000;
    const { operations, latencyNs, counts, longestGapMs, gaps, problems } = this;
    return { operations, latencyNs, seconds: took, counts, longestGapMs, gaps, problems };
  }

  close(): void {
    for (const client of this.clients) client.close();
  }

  /** A linearizable query by the first session. */
  async ask(name: string, input: unknown): Promise<unknown> {
    const answer = await this.clients[0]!.query(name, input, { timeoutMs: RESOLVE_MS });
    if (answer.outcome === 'ok') return answer.result;
    throw new Error(`${name} ${JSON.stringify(input)} is not answered: ${answer.message}`);
  }

  private issue(client: number): void {
    const started = performance.now();
    if (started >= this.endMs) return this.maybeIdle();
    const call = this.options.app.next();
    this.inFlight++;
    const next = (pause: boolean): void => {
      this.replied(started);
      this.inFlight--;
      const waitMs = Math.max(pause ? PAUSE_MS : 0, started + this.options.thinkMs - performance.now());
      if (waitMs > 0) setTimeout(() => this.issue(client), waitMs);
      else this.issue(client);
    };
    if (call.kind === 'query') this.query(client, call, next);
    else {
      this.submit(client, call, this.endMs + RESOLVE_MS, (outcome) => {
        next(outcome.kind === 'rejected' && outcome.status === null);
      });
    }
  }

  /** One command, whose outcome is asked for until it is known or the time is `untilMs`. */
  private submit(client: number, call: WorkloadCall, untilMs: number, ended: (outcome: Outcome) => void): void {
    const { session } = this.clients[client]!;
    const spec = this.options.app.module.commands[call.name]!;
    const body = encoded(spec, call.input);
    const op = this.options.recorder?.invoke(client, call.name, call.key, call.value) ?? 0;
    const done = (outcome: Outcome): void => {
      const again = performance.now() < untilMs;
      if (outcome.kind === 'unknown' && again && session.session === outcome.token.session) {
        this.counts.unknown++;
        return session.resume(outcome.token, CALL_TIMEOUT_MS, done);
      }
      this.note(outcome, body);
      this.options.recorder?.end(client, op, this.endOf(call, outcome));
      ended(outcome);
    };
    session.submit(spec.number, body, CALL_TIMEOUT_MS, done);
  }

  private query(client: number, call: WorkloadCall, next: (pause: boolean) => void): void {
    const { recorder, app } = this.options;
    const spec = app.module.queries[call.name]!;
    const op = recorder?.invoke(client, call.name, call.key, call.value) ?? 0;
    const body = encoded(spec, call.input);
    this.clients[client]!.session.query(spec.number, body, { timeoutMs: CALL_TIMEOUT_MS }, (outcome) => {
      const answered = outcome.kind === 'ok' || outcome.code === 'rejected';
      this.counts[answered ? 'reads' : 'readsFailed']++;
      if (outcome.kind === 'ok') {
        const value = app.told(call, spec.decodeResult(outcome.body));
        recorder?.end(client, op, { type: 'ok', value, ...indexed(outcome.index) });
      } else if (answered) recorder?.end(client, op, { type: 'ok', rejected: true, value: decodeValue(outcome.body) });
      else recorder?.end(client, op, { type: 'info', error: outcome.message });
      next(!answered);
    });
  }

  /** Submits until it was done or refused for good. */
  private async settled(client: number, call: WorkloadCall): Promise<Outcome> {
    const end = performance.now() + RESOLVE_MS;
    for (;;) {
      const outcome = await new Promise<Outcome>((resolve) => this.submit(client, call, end, resolve));
      if (outcome.kind !== 'rejected' || outcome.code !== 'timeout' || performance.now() > end) return outcome;
    }
  }

  private endOf(call: WorkloadCall, outcome: Outcome): CallEnd {
    const { app } = this.options;
    if (outcome.kind === 'unknown') return { type: 'info', error: outcome.message, ...tokenOf(outcome.token) };
    const place = { ...tokenOf(outcome.token), ...indexed(outcome.index) };
    if (outcome.kind === 'ok') {
      const result = app.module.commands[call.name]!.decodeResult(outcome.body);
      return { type: 'ok', value: app.told(call, result), ...place };
    }
    // A rejection of the application was executed and says something about the state; any other failure means that nothing happened.
    if (outcome.status !== REPLY.rejected) return { type: 'fail', error: outcome.message, ...place };
    return { type: 'ok', rejected: true, value: decodeValue(outcome.body), ...place };
  }

  private note(outcome: Outcome, body: Uint8Array): void {
    if (outcome.kind === 'unknown') {
      this.counts.unresolved++;
      if (this.problems.length < 20)
        this.problems.push(`session ${outcome.token.session} request ${outcome.token.request}: ${outcome.message}`);
      return;
    }
    if (outcome.kind === 'rejected' && (outcome.status === null || outcome.status === REPLY.cancelled)) {
      this.counts.failed++;
      if (outcome.token === null) return;
      const { session, request } = outcome.token;
      this.operations.set(operationKey(session, request), {
        session,
        request,
        body,
        outcome: 'absent',
        status: 0,
        index: 0,
        reply: NOTHING,
      });
      return;
    }
    const { token } = outcome;
    if (token === null) return;
    const status = outcome.kind === 'ok' ? REPLY.ok : (outcome.status ?? REPLY.ok);
    if (status === REPLY.ok) this.counts.acknowledged++;
    else this.counts.rejected++;
    const index = outcome.kind === 'ok' ? outcome.index : isNone(outcome.index) ? -1 : outcome.index;
    const { session, request } = token;
    this.operations.set(operationKey(session, request), {
      session,
      request,
      body,
      outcome: 'applied',
      status,
      index,
      reply: outcome.body.slice(),
    });
  }

  private replied(started: number): void {
    const now = performance.now();
    const gapMs = now - this.lastReplyMs;
    this.latencyNs.record(Math.max(1, Math.round((now - started) * 1e6)));
    this.longestGapMs = Math.max(this.longestGapMs, gapMs);
    if (gapMs >= GAP_MS && this.gaps.length < GAPS_MAX)
      this.gaps.push({ fromMs: Math.round(this.lastReplyMs - this.startMs), toMs: Math.round(now - this.startMs) });
    this.lastReplyMs = now;
  }

  private maybeIdle(): void {
    if (this.inFlight === 0) this.onIdle?.();
  }

  private progress(start: number): void {
    const seconds = (performance.now() - start) / 1000;
    const { acknowledged, rejected, failed } = this.counts;
    const where = this.clients[0]!.session.where;
    this.options.onProgress(
      `${seconds.toFixed(0)} s: ${acknowledged} acknowledged, ${rejected} rejected, ${failed} failed, ${this.inFlight} in flight, r${where.replica} in view ${where.view}`,
    );
  }
}

/** Body of an input that the workload itself made. */
function encoded(spec: CallSpec, input: unknown): Uint8Array {
  const parsed = spec.input.safeParse(input);
  if (!parsed.success) throw new Error(`the workload made a wrong input: ${JSON.stringify(parsed.error.issues)}`);
  return spec.encode(parsed.data);
}

function tokenOf(token: CallToken | null): { session?: number; number?: number } {
  return token === null ? {} : { session: token.session, number: token.request };
}

function indexed(index: number): { index?: number } {
  return index < 0 ? {} : { index };
}
