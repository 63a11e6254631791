/**
 * Replays a committed log in the plainest way: sessions as a map, the application as its naive model. What each command came to is compared with the reply
 * its client got.
 *
 * Invariants: nothing of the kernel runs here (its value codec excepted); each (session, number) is applied at most once.
 */
import { isDeepStrictEqual } from 'node:util';
import { BANK_COMMAND } from '@chronon/core/apps/bank';
import { FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { envelope, frame, KIND } from '@chronon/core/engine/frame';
import { decodeEffectAcks, decodeEffectDeaths } from '@chronon/core/kernel/effect-entries';
import { OUTBOX_PENDING_MAX } from '@chronon/core/kernel/outbox';
import { SESSIONS_MAX } from '@chronon/core/kernel/sessions';
import type { ApplicationModule, CallSpec } from '@chronon/core/kernel/types';
import { decodeValue } from '@chronon/core/kernel/values';
import type { Model, ModelResult } from '@chronon/core/apps/models/model';
import { REPLY, replyName } from '@chronon/core/reply';

/** One command of the run, as its client knows it. */
export interface Operation {
  readonly session: number;
  readonly request: number;
  readonly body: Uint8Array;
  /** `absent`: reported as a definite failure, must be in no log. */
  readonly outcome: 'applied' | 'absent';
  readonly status: number;
  readonly index: number;
  readonly reply: Uint8Array;
}

export function operationKey(session: number, request: number): string {
  return `${session}:${request}`;
}

const PROBLEMS_MAX = 20;

export class Replay {
  readonly problems: string[] = [];
  /** Operations found applied. */
  found = 0;
  private readonly operations: ReadonlyMap<string, Operation>;
  private readonly model: Model;
  /** Next number by session, least recently committed first. */
  private readonly sessions = new Map<number, number>();
  private readonly copies = new Map<string, number>();
  /** Entries whose receipt waits. */
  private readonly waiting = new Set<number>();

  private readonly calls: ReadonlyMap<number, CallSpec>;
  private readonly transfer: number | null;

  constructor(
    app: Pick<ApplicationModule, 'name' | 'commands'>,
    model: Model,
    operations: ReadonlyMap<string, Operation>,
  ) {
    this.model = model;
    this.operations = operations;
    this.calls = new Map(Object.values(app.commands).map((call) => [call.number, call]));
    this.transfer = app.name === 'bank' ? BANK_COMMAND.transfer : null;
  }

  /** One frame of the committed log, in order. */
  take(bytes: Uint8Array, at: number, index: number): void {
    const payload = at + FRAME_HEADER_BYTES;
    const size = frame.payloadSize(bytes, at);
    const body = envelope.body(bytes, payload, size);
    switch (envelope.kind(bytes, payload)) {
      case KIND.register:
        this.sessions.set(index, 1);
        if (this.sessions.size > SESSIONS_MAX) this.sessions.delete(this.sessions.keys().next().value!);
        return;
      case KIND.command:
        return this.command(
          envelope.client(bytes, payload),
          envelope.request(bytes, payload),
          envelope.command(bytes, payload),
          body,
          index,
        );
      case KIND.cancel:
        this.next(envelope.client(bytes, payload), envelope.request(bytes, payload));
        return;
      case KIND.effectAck:
        for (const ref of decodeEffectAcks(body)) this.waiting.delete(ref.index);
        return;
      case KIND.effectDead:
        for (const ref of decodeEffectDeaths(body)) this.waiting.delete(ref.index);
        return;
      default:
    }
  }

  /** What was promised and is not there. */
  finish(): void {
    for (const [key, operation] of this.operations) {
      const copies = this.copies.get(key) ?? 0;
      if (operation.outcome === 'absent' && copies > 0)
        this.problem(`${key} was reported as failed and stands in the log`);
      if (operation.outcome === 'applied' && copies !== 1)
        this.problem(`${key}, acknowledged at ${operation.index}, is in the log ${copies} times`);
    }
  }

  /** Takes the number when it is the session's next one. */
  private next(session: number, request: number): boolean {
    const next = this.sessions.get(session);
    if (next === undefined || request !== next) return false;
    this.sessions.delete(session);
    this.sessions.set(session, request + 1);
    return true;
  }

  private command(session: number, request: number, command: number, body: Uint8Array, index: number): void {
    const key = operationKey(session, request);
    const operation = this.operations.get(key);
    if (operation !== undefined) this.copies.set(key, (this.copies.get(key) ?? 0) + 1);
    if (!this.next(session, request)) return;
    const result = this.step(command, body, index);
    if (operation === undefined || operation.outcome === 'absent') return;
    this.found++;
    if (Buffer.compare(body, operation.body) !== 0)
      return this.problem(`${key}: the log holds another payload than was sent`);
    if (operation.index !== index)
      return this.problem(`${key}: acknowledged at ${operation.index}, stands at ${index}`);
    if (operation.status !== result.status) {
      return this.problem(
        `${key} at ${index}: the reply was ${replyName(operation.status)}, the model says ${replyName(result.status)}`,
      );
    }
    const reply = this.replyOf(command, operation);
    if (!isDeepStrictEqual(reply, result.value)) {
      this.problem(
        `${key} at ${index}: the reply was ${JSON.stringify(reply)}, the model says ${JSON.stringify(result.value)}`,
      );
    }
  }

  /** A result is the application's, a rejection the kernel's. */
  private replyOf(command: number, { status, reply }: Operation): unknown {
    return status === REPLY.ok ? this.calls.get(command)!.decodeResult(reply) : decodeValue(reply);
  }

  private step(command: number, body: Uint8Array, index: number): ModelResult {
    const call = this.calls.get(command);
    if (call === undefined) return { status: REPLY.invalid, value: null };
    // The receipt of a transfer needs room in the outbox; without it the kernel rejects, whatever the application said.
    const isTransfer = command === this.transfer;
    const outboxFull = isTransfer && this.waiting.size >= OUTBOX_PENDING_MAX;
    const model = outboxFull ? this.model.clone() : this.model;
    const result = model.step(command, call.decode(body), index);
    if (result.status !== REPLY.ok || !isTransfer) return result;
    if (outboxFull) return { status: REPLY.rejected, value: { code: 'OutboxFull' } };
    this.waiting.add(index);
    return result;
  }

  private problem(text: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(text);
  }
}
