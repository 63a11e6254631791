/**
 * Drives a bank: several sessions, each with several transfers in flight, through whatever happens to the cluster. Unknown outcomes are settled by going
 * on with the same session number.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { bank } from '@chronon/core/apps/bank';
import { isNone } from '@chronon/core/engine/commit-index';
import { REPLY } from '@chronon/core/reply';
import { connect, type ChrononClient, type GatewayAddress, type Outcome } from '../client/connect.ts';
import type { Operation } from './workload-replay.ts';
import { operationKey } from './workload-replay.ts';

export interface WorkloadOptions {
  readonly gateways: readonly GatewayAddress[];
  readonly token: string;
  readonly clients: number;
  readonly depth: number;
  readonly seconds: number;
  readonly accounts: number;
  /** Distinguishes the accounts of this run. */
  readonly run: string;
  /** Told once a second. */
  onProgress(line: string): void;
}

export interface WorkloadResult {
  readonly operations: ReadonlyMap<string, Operation>;
  readonly latencyNs: RecordableHistogram;
  readonly seconds: number;
  readonly counts: Readonly<Record<'acknowledged' | 'rejected' | 'failed' | 'unknown' | 'unresolved', number>>;
  /** Longest time without any reply, ms. */
  readonly longestGapMs: number;
  readonly problems: readonly string[];
}

const CALL_TIMEOUT_MS = 5000;
const RESOLVE_MS = 60_000;
const NOTHING = new Uint8Array(0);
/** One transfer in so many goes to nobody's account or to the same one: rejections are checked as well. */
const WRONG_EVERY = 16;

export const accountName = (run: string, i: number): string => `${run}-${i}`;

export class Workload {
  readonly operations = new Map<string, Operation>();
  readonly counts = { acknowledged: 0, rejected: 0, failed: 0, unknown: 0, unresolved: 0 };
  private readonly options: WorkloadOptions;
  private readonly clients: ChrononClient[];
  private readonly latencyNs = createHistogram();
  private readonly problems: string[] = [];
  private endMs = 0;
  private lastReplyMs = 0;
  private longestGapMs = 0;
  private inFlight = 0;
  private onIdle: (() => void) | null = null;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.clients = Array.from({ length: options.clients }, () =>
      connect(options.gateways, { token: options.token, app: bank, settleBy: 'resend' }),
    );
  }

  /** Opens the accounts with `cents` each. Throws when that cannot be done. */
  async open(cents: number): Promise<void> {
    const { accounts, run } = this.options;
    const client = this.clients[0]!;
    const outcomes = await Promise.all(
      Array.from({ length: accounts }, async (_, i) => {
        const body = bank.commands['deposit']!.encode({ account: accountName(run, i), cents });
        const outcome = await this.settled(client, bank.commands['deposit']!.number, body);
        this.note(outcome, body);
        return outcome;
      }),
    );
    const bad = outcomes.find((outcome): outcome is Exclude<Outcome, { kind: 'ok' }> => outcome.kind !== 'ok');
    if (bad !== undefined) throw new Error(`an account could not be opened: ${bad.message}`);
  }

  async drive(): Promise<WorkloadResult> {
    const { seconds, depth } = this.options;
    const start = performance.now();
    this.endMs = start + seconds * 1000;
    this.lastReplyMs = start;
    for (const client of this.clients) for (let i = 0; i < depth; i++) this.issue(client);
    const report = setInterval(() => this.progress(start), 1000);
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
      if (this.inFlight === 0) resolve();
    });
    clearInterval(report);
    const took = (Math.min(performance.now(), this.endMs) - start) / 1000;
    const { operations, latencyNs, counts, longestGapMs, problems } = this;
    return { operations, latencyNs, seconds: took, counts, longestGapMs, problems };
  }

  close(): void {
    for (const client of this.clients) client.close();
  }

  /** A linearizable query by the first session. */
  async balance(i: number): Promise<number> {
    const answer = await this.clients[0]!.query('balance', accountName(this.options.run, i), { timeoutMs: RESOLVE_MS });
    if (answer.outcome === 'ok') return Number(answer.result);
    throw new Error(`the balance of account ${i} is not answered: ${answer.message}`);
  }

  private issue(client: ChrononClient): void {
    const started = performance.now();
    if (started >= this.endMs) return this.maybeIdle();
    const spec = bank.commands['transfer']!;
    const body = spec.encode(this.transfer());
    this.inFlight++;
    const done = (outcome: Outcome): void => {
      if (
        outcome.kind === 'unknown' &&
        performance.now() < this.endMs + RESOLVE_MS &&
        client.session.session === outcome.token.session
      ) {
        this.counts.unknown++;
        return client.session.resume(outcome.token, CALL_TIMEOUT_MS, done);
      }
      this.replied(started);
      this.note(outcome, body);
      this.inFlight--;
      // A cluster that takes nothing must not be asked in a tight loop.
      if (outcome.kind === 'rejected' && outcome.status === null) setTimeout(() => this.issue(client), 50);
      else this.issue(client);
    };
    client.session.submit(spec.number, body, CALL_TIMEOUT_MS, done);
  }

  private transfer(): { from: string; to: string; cents: number } {
    const { run, accounts } = this.options;
    const pick = (): string => accountName(run, Math.floor(Math.random() * accounts));
    const cents = 1 + Math.floor(Math.random() * 100);
    const from = pick();
    if (Math.floor(Math.random() * WRONG_EVERY) !== 0) return { from, to: pick(), cents };
    return Math.random() < 0.5 ? { from, to: from, cents } : { from: `${run}-nobody`, to: from, cents };
  }

  /** Submits until the outcome is known. */
  private async settled(client: ChrononClient, command: number, body: Uint8Array): Promise<Outcome> {
    const end = performance.now() + RESOLVE_MS;
    let outcome = await client.submitRaw(command, body, CALL_TIMEOUT_MS);
    while (performance.now() < end) {
      if (outcome.kind === 'unknown' && client.session.session === outcome.token.session)
        outcome = await client.resume(outcome.token, CALL_TIMEOUT_MS);
      else if (outcome.kind === 'rejected' && outcome.code === 'timeout') {
        this.note(outcome, body);
        outcome = await client.submitRaw(command, body, CALL_TIMEOUT_MS);
      } else break;
    }
    return outcome;
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
    this.latencyNs.record(Math.max(1, Math.round((now - started) * 1e6)));
    this.longestGapMs = Math.max(this.longestGapMs, now - this.lastReplyMs);
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
