/**
 * The client library: `connect(urls, {token, app})` gives sessions to a running cluster. Promises for people (`submit`, `query`), callbacks for load
 * (`session`, the SessionClient itself: batches every submit of a turn into one message).
 */
import { randomInt } from 'node:crypto';
import { decodeValue } from '@chronon/core/kernel/values';
import type { ApplicationModule, CallSpec } from '@chronon/core/kernel/types';
import {
  SessionClient,
  type CallToken,
  type ClientTimes,
  type Outcome,
  type QueryOutcome,
} from '@chronon/core/vsr/client';
import { isNone } from '@chronon/core/engine/commit-index';
import { WsPort, type GatewayAddress } from './ws-port.ts';

export type { CallToken, Outcome, QueryOutcome } from '@chronon/core/vsr/client';
export type { GatewayAddress } from './ws-port.ts';

/** Default patience of a call, in ms. */
export const CALL_TIMEOUT_MS = 10_000;
const TICK_MS = 5;

/** What a named submit came to. */
export type SubmitOutcome =
  | { readonly outcome: 'ok'; readonly index: string; readonly result: unknown; readonly token: CallToken }
  | {
      readonly outcome: 'rejected';
      readonly code: string;
      readonly data: unknown;
      readonly index: string | null;
      readonly message: string;
    }
  | {
      readonly outcome: 'unknown';
      readonly message: string;
      readonly session: string;
      readonly request: string;
      readonly token: CallToken;
    };

export type QueryResult =
  | { readonly outcome: 'ok'; readonly index: string | null; readonly result: unknown }
  | { readonly outcome: 'rejected'; readonly code: string; readonly data: unknown; readonly message: string };

/** A wrong name or input: found before anything is sent. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly code: 'E_UNKNOWN_CALL' | 'E_INPUT';
  readonly issues: readonly { readonly path: string; readonly message: string }[];
  constructor(
    code: 'E_UNKNOWN_CALL' | 'E_INPUT',
    message: string,
    issues: readonly { readonly path: string; readonly message: string }[] = [],
  ) {
    super(message);
    this.code = code;
    this.issues = issues;
  }
}

export interface ConnectOptions {
  readonly token: string;
  /** Gives names and types to calls; without it only `session` can be used. */
  readonly app?: ApplicationModule;
  readonly times?: Partial<ClientTimes>;
  readonly settleBy?: 'cancel' | 'resend';
}

/** Finds the call of a name and parses its input. */
export function prepareCall(
  specs: Readonly<Record<string, CallSpec>>,
  name: string,
  input: unknown,
): { spec: CallSpec; body: Uint8Array } {
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
  if (spec === undefined) {
    throw new InputError('E_UNKNOWN_CALL', `there is no '${name}'; known: ${Object.keys(specs).sort().join(', ')}`);
  }
  const parsed = spec.input.safeParse(input);
  if (parsed.success) {
    try {
      return { spec, body: spec.encode(parsed.data) };
    } catch (error) {
      throw new InputError('E_INPUT', `${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const issues = parsed.error.issues.map((issue) => ({
    path: issue.path.map(String).join('.'),
    message: issue.message,
  }));
  const text = issues.map((issue) => `${issue.path === '' ? '(input)' : issue.path}: ${issue.message}`).join('; ');
  throw new InputError('E_INPUT', `${name}: ${text}`, issues);
}

/** A session with the cluster. */
export class ChrononClient {
  /** The sans-I/O client behind this one: callbacks, no promise a command. */
  readonly session: SessionClient;
  private readonly port: WsPort;
  private readonly app: ApplicationModule | null;
  private readonly timer: NodeJS.Timeout;

  constructor(gateways: readonly GatewayAddress[], options: ConnectOptions) {
    this.app = options.app ?? null;
    this.port = new WsPort(gateways, options.token, {
      onConnected: (replica) => {
        this.session.onConnected(replica);
      },
      onDisconnected: (replica) => {
        this.session.onDisconnected(replica);
      },
      onMessage: (replica, bytes) => {
        this.session.onMessage(replica, bytes);
      },
      flush: () => {
        this.session.flush();
      },
    });
    this.session = new SessionClient({
      replicas: gateways.map(({ id }) => id),
      port: this.port,
      seed: randomInt(2 ** 47),
      nowMs: performance.now(),
      ...(options.times === undefined ? {} : { times: options.times }),
      ...(options.settleBy === undefined ? {} : { settleBy: options.settleBy }),
    });
    this.timer = setInterval(() => {
      this.session.tick(performance.now());
    }, TICK_MS);
  }

  /** Why the last connection was refused or lost, or null. */
  get lastProblem(): string | null {
    return this.port.lastProblem;
  }

  /** Submits a named command. Never rejects but for a wrong name or input (InputError). */
  async submit(name: string, input: unknown, options: { readonly timeoutMs?: number } = {}): Promise<SubmitOutcome> {
    const { spec, body } = prepareCall(this.module().commands, name, input);
    const outcome = await this.submitRaw(spec.number, body, options.timeoutMs);
    return describeOutcome(spec, outcome);
  }

  async submitRaw(command: number, body: Uint8Array, timeoutMs = CALL_TIMEOUT_MS): Promise<Outcome> {
    return await new Promise((resolve) => {
      this.session.submit(command, body, timeoutMs, resolve);
    });
  }

  /** Asks again for a call that ended as unknown. */
  async resume(token: CallToken, timeoutMs = CALL_TIMEOUT_MS): Promise<Outcome> {
    return await new Promise((resolve) => {
      this.session.resume(token, timeoutMs, resolve);
    });
  }

  async query(
    name: string,
    input: unknown,
    options: { readonly timeoutMs?: number; readonly consistency?: 'linearizable' | 'stale' } = {},
  ): Promise<QueryResult> {
    const { spec, body } = prepareCall(this.module().queries, name, input);
    const timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    const consistency = options.consistency ?? 'linearizable';
    const outcome = await new Promise<QueryOutcome>((resolve) => {
      this.session.query(spec.number, body, { consistency, timeoutMs }, resolve);
    });
    if (outcome.kind === 'ok') {
      return {
        outcome: 'ok',
        index: isNone(outcome.index) ? null : String(outcome.index),
        result: spec.decodeResult(outcome.body),
      };
    }
    const { code, data } = businessError(outcome.code, outcome.body);
    return { outcome: 'rejected', code, data, message: outcome.message };
  }

  close(): void {
    clearInterval(this.timer);
    this.session.close();
  }

  private module(): ApplicationModule {
    if (this.app === null) throw new InputError('E_UNKNOWN_CALL', 'this client was given no application');
    return this.app;
  }
}

/** Connects to a cluster; nothing is sent before the first call. */
export function connect(gateways: readonly GatewayAddress[], options: ConnectOptions): ChrononClient {
  return new ChrononClient(gateways, options);
}

/** An outcome with its bytes decoded. */
export function describeOutcome(spec: CallSpec, outcome: Outcome): SubmitOutcome {
  switch (outcome.kind) {
    case 'ok':
      return {
        outcome: 'ok',
        index: String(outcome.index),
        result: spec.decodeResult(outcome.body),
        token: outcome.token,
      };
    case 'rejected': {
      const { code, data } = businessError(outcome.code, outcome.body);
      return {
        outcome: 'rejected',
        code,
        data,
        index: isNone(outcome.index) ? null : String(outcome.index),
        message: outcome.message,
      };
    }
    case 'unknown': {
      const { session, request } = outcome.token;
      return {
        outcome: 'unknown',
        message: outcome.message,
        session: String(session),
        request: String(request),
        token: outcome.token,
      };
    }
  }
}

/** The application's own code and data for a `rejected`; the code as it is for everything else. */
export function businessError(code: string, body: Uint8Array): { readonly code: string; readonly data: unknown } {
  if (code !== 'rejected' || body.length === 0) return { code, data: null };
  try {
    const value = decodeValue(body) as { readonly code?: unknown; readonly data?: unknown };
    return { code: typeof value.code === 'string' ? value.code : code, data: value.data ?? null };
  } catch {
    return { code, data: null };
  }
}
