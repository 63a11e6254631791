/**
 * CanonicalLog: what the cluster has committed, kept outside the replicas: entry after entry, once and for ever, with what each command must have come
 * to by the naive model.
 *
 * Invariants: it only grows; each entry was on the medium of a quorum when it was added; what the model says of an index never changes.
 */
import type { Model, ModelResult } from '../apps/models/model.ts';
import { BankModel } from '../apps/models/bank-model.ts';
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { blockTimeMs, envelope, frame, KIND, writeU32 } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { decodeVersion, FIRST_VERSION } from '../engine/version-entry.ts';
import { IDEMPOTENCY_FULL } from '../kernel/idempotency.ts';
import { decodeValue, encodeValue } from '../kernel/values.ts';
import { REPLY } from '../reply.ts';
import type { DurableFrame } from './durable-log.ts';
import type { Profile } from './profile.ts';
import { mustHold } from './violation.ts';

export interface CanonicalEntry {
  readonly index: number;
  readonly view: number;
  readonly hash: Uint8Array;
  readonly kind: number;
  readonly session: number;
  readonly request: number;
  /** True for a command that the session table lets through: the application sees it. */
  readonly executed: boolean;
  /** The version of the application that is active behind it; 0: nothing was executed yet. */
  readonly version: number;
}

/** What a number of a session came to. */
export interface Settled {
  readonly index: number;
  readonly status: number;
  /** Encoded result or rejection. */
  readonly body: Uint8Array;
}

interface HistoryPoint {
  readonly index: number;
  readonly value: Uint8Array;
}

const DEPOSIT = 1;
const TRANSFER = 3;
const QUERY_BALANCE = 1;
const QUERY_TOTAL = 3;

export class CanonicalLog {
  readonly entries: CanonicalEntry[] = [];
  /** Keys of the effects that committed transfers emitted, with the index of each. */
  readonly effects = new Map<string, number>();
  private readonly model: Model = new BankModel();
  private readonly codec: FrameCodec;
  private readonly clusterId: Uint8Array;
  private readonly limits: Profile['limits'];
  /** Next number of each session, least recently committed first. */
  private readonly sessions = new Map<number, number>();
  /** What each idempotency key came to, oldest first. */
  private readonly keys = new Map<
    string,
    { readonly command: string; readonly timeMs: number; readonly settled: Settled }
  >();
  private readonly settled = new Map<string, Settled>();
  private readonly balances = new Map<string, HistoryPoint[]>();
  private readonly totals: HistoryPoint[] = [];
  /** The active version of the application. */
  active = 0;
  private timeLow = 0;
  private timeHigh = 0;
  /** Entries that repeat a number already settled. */
  duplicates = 0;
  /** Commands answered with what an earlier one of their idempotency key came to. */
  keysAnswered = 0;

  constructor(codec: FrameCodec, clusterId: Uint8Array, limits: Profile['limits']) {
    this.codec = codec;
    this.clusterId = clusterId;
    this.limits = limits;
  }

  /** Index of the last entry, -1 for none. */
  get last(): number {
    return this.entries.length - 1;
  }

  /** Adds the entry behind the last; what must hold along the log is checked here. */
  append(found: DurableFrame): void {
    const { bytes, index, view } = found;
    const previous = this.entries[index - 1];
    mustHold(index === this.entries.length, 'log', 'commit-without-gaps', () => `entry ${index} follows ${this.last}`);
    mustHold(
      previous === undefined || frame.chainsTo(bytes, 0, previous.hash),
      'log',
      'parents-chain',
      () => `committed entry ${index} does not chain to committed entry ${index - 1}`,
    );
    mustHold(previous === undefined || previous.view <= view, 'log', 'views-never-decrease', () => {
      return `committed entry ${index} has view ${view}, the one before it ${previous?.view}`;
    });
    this.checkTime(bytes, index);
    this.entries.push(this.execute(found));
  }

  /** What the number came to, or undefined while nothing committed says. */
  outcome(session: number, request: number): Settled | undefined {
    return this.settled.get(`${session}/${request}`);
  }

  /** The bytes a query must be answered with in the state after `index`; null: rejected. */
  answerAt(query: number, input: unknown, index: number): Uint8Array | null {
    if (query === QUERY_TOTAL) return pointAt(this.totals, index) ?? encodeValue({ accounts: 0, cents: 0 });
    const points = this.balances.get(String(input));
    return points === undefined ? null : pointAt(points, index);
  }

  /** The answer in the present state of the model, by the model itself. */
  answerNow(query: number, input: unknown): ModelResult {
    return this.model.query(query, input);
  }

  private checkTime(bytes: Uint8Array, index: number): void {
    const low = frame.timeLow(bytes, 0);
    const high = frame.timeHigh(bytes, 0);
    const grows = high > this.timeHigh || (high === this.timeHigh && low > this.timeLow);
    mustHold(index === 0 || grows, 'log', 'block-times-grow', () => {
      return `block time of committed entry ${index} (${high}:${low}) is not above that of ${index - 1} (${this.timeHigh}:${this.timeLow})`;
    });
    this.timeLow = low;
    this.timeHigh = high;
  }

  private execute(found: DurableFrame): CanonicalEntry {
    const { bytes, index, view, hash } = found;
    const kind = envelope.kind(bytes, FRAME_HEADER_BYTES);
    const session = envelope.client(bytes, FRAME_HEADER_BYTES);
    const request = envelope.request(bytes, FRAME_HEADER_BYTES);
    let executed = false;
    if (kind === KIND.register) {
      const full = this.sessions.size >= this.limits.sessionsMax;
      if (full) for (const oldest of this.sessions.keys()) if (this.sessions.delete(oldest)) break;
      this.sessions.set(index, 1);
    } else if (kind === KIND.command || kind === KIND.cancel) {
      const next = this.sessions.get(session);
      if (next === request) {
        this.sessions.delete(session);
        this.sessions.set(session, request + 1);
        const known =
          kind === KIND.command ? this.known(bytes, index) : { index, status: REPLY.cancelled, body: NOTHING };
        executed = known === null;
        this.settled.set(`${session}/${request}`, known ?? this.command(bytes, index, hash));
      } else if (next !== undefined && request > next) {
        mustHold(false, 'client', 'requests-of-a-session-commit-in-order', () => {
          return `number ${request} of session ${session} committed at ${index} before number ${next}`;
        });
      } else if (next !== undefined) {
        this.duplicates++;
      }
    }
    if (kind === KIND.activateVersion) this.active = Math.max(this.active, decodeVersion(bodyOf(bytes))!);
    else if (executed && this.active === 0) this.active = FIRST_VERSION;
    return { index, view, hash, kind, session, request, executed, version: this.active };
  }

  /** What a command comes to without being run, by its idempotency key; null: it is run. */
  private known(bytes: Uint8Array, index: number): Settled | null {
    const key = envelope.key(bytes, FRAME_HEADER_BYTES);
    if (key === null) return null;
    const { keyRetentionMs, keysMax } = this.limits;
    const timeMs = blockTimeMs(bytes, 0);
    for (const [old, { timeMs: keptMs }] of this.keys) {
      // The oldest stand first.
      if (keptMs + keyRetentionMs > timeMs) break;
      this.keys.delete(old);
    }
    const kept = this.keys.get(toHex(key));
    if (kept === undefined) {
      const full = { index, status: REPLY.rejected, body: encodeValue({ code: IDEMPOTENCY_FULL }) };
      return this.keys.size >= keysMax ? full : null;
    }
    if (kept.command !== identityOf(bytes)) return { index, status: REPLY.conflict, body: NOTHING };
    this.keysAnswered++;
    return kept.settled;
  }

  private command(bytes: Uint8Array, index: number, hash: Uint8Array): Settled {
    const command = envelope.command(bytes, FRAME_HEADER_BYTES);
    const body = bodyOf(bytes);
    const input = decodeValue(body) as Record<string, unknown>;
    const result = this.model.step(command, input, index);
    if (result.status === REPLY.ok) {
      for (const field of ['account', 'from', 'to'])
        if (typeof input[field] === 'string') this.noteBalance(input[field], index);
      const total = this.model.query(QUERY_TOTAL, null);
      // A transfer must move money, not make it.
      const before = this.totals.at(-1);
      const after = encodeValue(total.value);
      mustHold(
        command !== TRANSFER || centsOf(before?.value) === centsOf(after),
        'client',
        'money-is-conserved',
        () => {
          return `the model's total changed in transfer ${index}`;
        },
      );
      if (command >= DEPOSIT) this.totals.push({ index, value: after });
      if (command === TRANSFER) this.effects.set(this.effectKey(hash, 0), index);
    }
    const settled = { index, status: result.status, body: encodeValue(result.value) };
    const key = envelope.key(bytes, FRAME_HEADER_BYTES);
    if (key !== null) {
      const kept = { command: identityOf(bytes), timeMs: blockTimeMs(bytes, 0), settled };
      this.keys.set(toHex(key), kept);
    }
    return settled;
  }

  private noteBalance(account: string, index: number): void {
    let points = this.balances.get(account);
    if (points === undefined) {
      points = [];
      this.balances.set(account, points);
    }
    points.push({ index, value: encodeValue(this.model.query(QUERY_BALANCE, account).value) });
  }

  private effectKey(hash: Uint8Array, sub: number): string {
    const from = new Uint8Array(36);
    from.set(this.clusterId, 0);
    from.set(hash, 16);
    writeU32(from, 32, sub);
    const id = new Uint8Array(16);
    this.codec.hash(from, 0, from.length, id, 0);
    return toHex(id);
  }
}

const NOTHING = new Uint8Array(0);

function bodyOf(bytes: Uint8Array): Uint8Array {
  return envelope.body(bytes, FRAME_HEADER_BYTES, frame.payloadSize(bytes, 0));
}

/** What makes two commands the same for an idempotency key. */
function identityOf(bytes: Uint8Array): string {
  return `${envelope.command(bytes, FRAME_HEADER_BYTES)}:${toHex(bodyOf(bytes))}`;
}

/** The value in force after `index`, or null when there was none yet. */
function pointAt(points: readonly HistoryPoint[], index: number): Uint8Array | null {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]!.index <= index) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : points[low - 1]!.value;
}

function centsOf(total: Uint8Array | undefined): number {
  return total === undefined ? 0 : (decodeValue(total) as { cents: number }).cents;
}
