/**
 * Client bench: one SessionClient on a host that the test plays, with scripted connections, replies and time.
 */
import { expect } from 'vitest';
import { at, NONE, type CommitIndex } from '../../engine/commit-index.ts';
import { envelope, KIND } from '../../engine/frame.ts';
import { REPLY } from '../../reply.ts';
import { type Outcome, SessionClient, type SessionClientOptions } from '../client.ts';
import {
  type ClientMessage,
  clientMessageBytes,
  decodeClientRecords,
  refusal,
  REFUSAL,
  TO_CLIENT,
  writeClientMessage,
} from '../client-protocol.ts';

export const NOTHING = new Uint8Array(0);
export const utf8 = new TextEncoder();

interface Received {
  readonly replica: number;
  readonly kind: number;
  readonly session: number;
  readonly request: number;
  readonly ackBelow: number;
  readonly body: string;
}

function encode(messages: readonly ClientMessage[]): Uint8Array {
  const out = new Uint8Array(messages.reduce((sum, m) => sum + clientMessageBytes(m), 0));
  let to = 0;
  for (const message of messages) to = writeClientMessage(out, to, message);
  return out;
}

/** A host whose replicas do only what the test says. */
export class ClientBench {
  readonly client: SessionClient;
  readonly sent: Received[] = [];
  readonly queries: { replica: number; nonce: number; consistency: number }[] = [];
  messages = 0;
  now = 0;
  dialled: number | null = null;
  up: number | null = null;
  wanted = 0;

  constructor(options: Partial<SessionClientOptions> = {}) {
    this.client = new SessionClient({
      replicas: [1, 2, 3],
      seed: 7,
      port: {
        connect: (replica) => {
          expect(this.dialled).toBeNull();
          this.dialled = replica;
        },
        disconnect: (replica) => {
          expect(this.dialled).toBe(replica);
          this.dialled = null;
          this.up = null;
        },
        send: (replica, bytes) => this.receive(replica, bytes),
        wantFlush: () => {
          this.wanted++;
        },
      },
      ...options,
    });
  }

  private receive(replica: number, bytes: Uint8Array): void {
    expect(replica).toBe(this.up);
    this.messages++;
    const problem = decodeClientRecords(bytes, (record) => {
      if (record.type === 'query') {
        this.queries.push({ replica, nonce: record.nonce, consistency: record.consistency });
        return;
      }
      const p = record.payload;
      this.sent.push({
        replica,
        kind: envelope.kind(p, 0),
        session: envelope.client(p, 0),
        request: envelope.request(p, 0),
        ackBelow: envelope.ackBelow(p, 0),
        body: new TextDecoder().decode(p.subarray(32)),
      });
    });
    expect(problem).toBeNull();
  }

  /** What the replicas got since the last call. */
  take(): Received[] {
    return this.sent.splice(0);
  }

  accept(): number {
    this.up = this.dialled;
    this.client.onConnected(this.up!);
    return this.up!;
  }

  lose(): void {
    const replica = this.dialled!;
    this.dialled = null;
    this.up = null;
    this.client.onDisconnected(replica);
  }

  say(...messages: ClientMessage[]): void {
    this.client.onMessage(this.up!, encode(messages));
  }

  hello(view: number, primary: number | null): void {
    const index: CommitIndex = primary === null ? NONE : at(primary);
    this.say({ type: TO_CLIENT.hello, status: 0, session: view, request: this.up!, index, body: new Uint8Array(16) });
  }

  advance(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now = Math.min(end, this.now + 10);
      this.client.tick(this.now);
    }
  }

  /** Connects to the primary `primary` and registers session 100. */
  open(primary = 1): void {
    this.client.tick(this.now);
    if (this.dialled === null) this.advance(1000);
    if (this.accept() !== primary) {
      this.hello(1, primary);
      expect(this.accept()).toBe(primary);
    }
    this.hello(1, primary);
    const register = this.take();
    expect(register).toMatchObject([{ kind: KIND.register, session: 0 }]);
    this.say(reply(REPLY.ok, 100, register[0]!.request, 5));
  }

  submit(text: string, timeoutMs = 1000): { outcome: Outcome | null } {
    const result: { outcome: Outcome | null } = { outcome: null };
    this.client.submit(1, utf8.encode(text), timeoutMs, (outcome) => {
      expect(result.outcome).toBeNull();
      result.outcome = outcome;
    });
    return result;
  }
}

/** A reply of the log. */
export function reply(
  status: number,
  session: number,
  request: number,
  index: number,
  body: Uint8Array = NOTHING,
): ClientMessage {
  return { type: TO_CLIENT.reply, status, session, request, index: at(index), body };
}

/** A refusal of a request of session 100. */
export const refuse = (
  status: (typeof REFUSAL)[keyof typeof REFUSAL],
  request: number,
  body: Uint8Array = NOTHING,
): ClientMessage => refusal(TO_CLIENT.refusal, status, 100, request, body);
