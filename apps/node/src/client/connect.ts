/**
 * The client library: `connect(urls, {token, app})` gives sessions to a running cluster. Promises for people (`submit`, `query`), callbacks for load
 * (`session`, the SessionClient itself: batches every submit of a turn into one message).
 */
import { randomInt } from 'node:crypto';
import { decodeValue } from '@chronon/core/kernel/values';
import type { ApplicationModule, CallSpec } from '@chronon/core/kernel/types';
import {
  formatToken,
  parseToken,
  SessionClient,
  type CallToken,
  type ClientTimes,
  type Outcome,
  type QueryOutcome,
} from '@chronon/core/vsr/client';
import { MAX_LAG_MS_MAX, millisProblem, TIMEOUT_MS_MAX } from '@chronon/core/vsr/client-options';
import { isNone } from '@chronon/core/engine/commit-index';
import { WsPort, type GatewayAddress } from './ws-port.ts';

export { formatToken, parseToken } from '@chronon/core/vsr/client';
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
      /** The token as text: `resume` takes it, in this process or another. */
      readonly resume: string;
      /** True when the session is gone: no `resume` can tell more. */
      readonly lost: boolean;
    };

export type QueryResult =
  | { readonly outcome: 'ok'; readonly index: string | null; readonly result: unknown }
  | { readonly outcome: 'rejected'; readonly code: string; readonly data: unknown; readonly message: string };

type InputCode = 'E_UNKNOWN_CALL' | 'E_INPUT' | 'E_TOKEN';

/** A wrong name, input or token: found before anything is sent. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly code: InputCode;
  readonly issues: readonly { readonly path: string; readonly message: string }[];
  constructor(
    code: InputCode,
    message: string,
    issues: readonly { readonly path: string; readonly message: string }[] = [],
  ) {
    super(message);
    this.code = code;
    this.issues = issues;
  }
}

export interface ConnectOptions<A extends ApplicationModule = ApplicationModule> {
  readonly token: string;
  /** Gives names and types to calls; without it only `session` can be used. */
  readonly app?: A;
  readonly times?: Partial<ClientTimes>;
  readonly settleBy?: 'cancel' | 'resend';
}

export interface SubmitOptions {
  /** How long to wait for the outcome; afterwards it is `unknown` with a token. */
  readonly timeoutMs?: number;
  /** 1 to 64 bytes (UTF-8). The command runs once for this key, whichever process submits it how often, for 24 hours. */
  readonly idempotencyKey?: string | Uint8Array;
}

export interface QueryOptions {
  readonly timeoutMs?: number;
  /** `stale`: whatever a replica has; no quorum is asked. */
  readonly consistency?: 'linearizable' | 'stale';
  /** What a stale answer may lack: everything committed so long before it is in it, or the query is rejected with code `lag`. */
  readonly maxLagMs?: number;
}

type Names<Specs> = keyof Specs & string;
/** What a call takes, as far as the type of the application says. */
type InputOf<Spec> = Spec extends { readonly input: { readonly '~standard': { readonly types?: infer T } } }
  ? NonNullable<T> extends { readonly input: infer Input }
    ? Input
    : unknown
  : unknown;

/** Finds the call of a name and parses its input. */
export function prepareCall(
  specs: Readonly<Record<string, CallSpec>>,
  name: string,
  input: unknown,
): { spec: CallSpec; body: Uint8Array } {
  const spec = specOf(specs, name);
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

function specOf(specs: Readonly<Record<string, CallSpec>>, name: string): CallSpec {
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
  if (spec === undefined) {
    throw new InputError('E_UNKNOWN_CALL', `there is no '${name}'; known: ${Object.keys(specs).sort().join(', ')}`);
  }
  return spec;
}

function optionError(path: string, message: string): InputError {
  return new InputError('E_INPUT', message, [{ path, message }]);
}

function checkMillis(name: string, value: unknown, max: number): void {
  const problem = millisProblem(name, value, max);
  if (problem !== null) throw optionError(name, problem);
}

/** A session with the cluster. */
export class ChrononClient<A extends ApplicationModule = ApplicationModule> {
  /** The sans-I/O client behind this one: callbacks, no promise a command. */
  readonly session: SessionClient;
  private readonly port: WsPort;
  private readonly app: A | null;
  private readonly timer: NodeJS.Timeout;

  constructor(gateways: readonly GatewayAddress[], options: ConnectOptions<A>) {
    checkGateways(gateways);
    for (const [name, value] of Object.entries(options.times ?? {}))
      checkMillis(`times.${name}`, value, TIMEOUT_MS_MAX);
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
  async submit<N extends Names<A['commands']>>(
    name: N,
    input: InputOf<A['commands'][N]>,
    options: SubmitOptions = {},
  ): Promise<SubmitOutcome> {
    const { spec, body } = prepareCall(this.module().commands, name, input);
    return describeOutcome(spec, await this.submitRaw(spec.number, body, options));
  }

  async submitRaw(command: number, body: Uint8Array, options: SubmitOptions = {}): Promise<Outcome> {
    const { timeoutMs = CALL_TIMEOUT_MS, idempotencyKey } = options;
    checkMillis('timeoutMs', timeoutMs, TIMEOUT_MS_MAX);
    const key = typeof idempotencyKey === 'string' ? Buffer.from(idempotencyKey, 'utf8') : (idempotencyKey ?? null);
    return await new Promise((resolve) => {
      this.session.submit(command, body, timeoutMs, resolve, key);
    });
  }

  /**
   * Asks for the outcome of a call that ended as unknown, in this process or another. A command that was not applied by then never will be
   * (`rejected`, code `cancelled`).
   */
  async resumeRaw(token: CallToken | string, timeoutMs = CALL_TIMEOUT_MS): Promise<Outcome> {
    checkMillis('timeoutMs', timeoutMs, TIMEOUT_MS_MAX);
    const read = parseToken(typeof token === 'string' ? token : formatToken(token));
    if (read === null) throw new InputError('E_TOKEN', 'this is no token of an unknown outcome');
    return await new Promise((resolve) => {
      this.session.resume(read, timeoutMs, resolve);
    });
  }

  /** As `resumeRaw`, the outcome decoded as that of the named command. */
  async resume<N extends Names<A['commands']>>(
    name: N,
    token: CallToken | string,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<SubmitOutcome> {
    return describeOutcome(specOf(this.module().commands, name), await this.resumeRaw(token, options.timeoutMs));
  }

  async query<N extends Names<A['queries']>>(
    name: N,
    input: InputOf<A['queries'][N]>,
    options: QueryOptions = {},
  ): Promise<QueryResult> {
    const { spec, body } = prepareCall(this.module().queries, name, input);
    const { timeoutMs = CALL_TIMEOUT_MS, consistency = 'linearizable', maxLagMs } = options;
    checkMillis('timeoutMs', timeoutMs, TIMEOUT_MS_MAX);
    if (maxLagMs !== undefined) checkMillis('maxLagMs', maxLagMs, MAX_LAG_MS_MAX);
    if (consistency !== 'linearizable' && consistency !== 'stale')
      throw optionError('consistency', `consistency is ${String(consistency)}: linearizable or stale`);
    const outcome = await new Promise<QueryOutcome>((resolve) => {
      const bound = maxLagMs === undefined ? {} : { maxLagMs };
      this.session.query(spec.number, body, { consistency, timeoutMs, ...bound }, resolve);
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

/**
 * Connects to a cluster; nothing is sent before the first call. `urls` are those of the client ports (`ws://host:port/`), in any order; which replica is
 * where is learned.
 */
export function connect<A extends ApplicationModule = ApplicationModule>(
  urls: readonly (string | GatewayAddress)[],
  options: ConnectOptions<A>,
): ChrononClient<A> {
  const gateways = urls.map((url, i) => (typeof url === 'string' ? { id: i + 1, url } : url));
  return new ChrononClient(gateways, options);
}

function checkGateways(gateways: readonly GatewayAddress[]): void {
  if (gateways.length === 0) throw optionError('urls', 'at least one URL of a client port is needed');
  for (const { id, url } of gateways) {
    if (!Number.isInteger(id) || id < 1 || gateways.filter((one) => one.id === id).length > 1)
      throw optionError('urls', `replica ids are whole numbers from 1 up, each once; there is ${String(id)}`);
    if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol))
      throw optionError('urls', `${String(url)} is no ws:// or wss:// URL`);
  }
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
        resume: formatToken(outcome.token),
        lost: outcome.lost === true,
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
