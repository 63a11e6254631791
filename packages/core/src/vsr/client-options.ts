/** Settings of a session client. */
import type { Policy } from '../policy.ts';
import type { RouteTimes, SessionPort } from './client-route.ts';

export interface SessionClientOptions {
  /** Ids of the replicas that `port.connect` knows. */
  readonly replicas: readonly number[];
  readonly port: SessionPort;
  /** Seed of the register nonce, the first replica tried and all jitter. */
  readonly seed: number;
  readonly policy?: Policy;
  /** How a number whose caller was told `unknown` is settled. */
  readonly settleBy?: 'cancel' | 'resend';
  /** Calls that may wait for a number; more are refused at once. */
  readonly queueMax?: number;
  readonly times?: Partial<ClientTimes>;
  /** The clock of `tick` at this moment. */
  readonly nowMs?: number;
}

export interface ClientTimes extends RouteTimes {
  /** A transmission unanswered for so long on a live connection is repeated. */
  readonly resendMs: number;
}

export const DEFAULT_TIMES: ClientTimes = {
  connectTimeoutMs: 1000,
  helloTimeoutMs: 200,
  silenceMs: 1000,
  backoffMinMs: 10,
  backoffMaxMs: 400,
  suspectMs: 500,
  resendMs: 2000,
};

export const QUEUE_MAX = 65_536;

/** Longest patience of a call, ms: a day. */
export const TIMEOUT_MS_MAX = 86_400_000;
/** Widest bound of a stale query, ms: an hour. */
export const MAX_LAG_MS_MAX = 3_600_000;

/** What is wrong with a number of milliseconds, or null. A caller without types may give anything, and NaN would wait for ever. */
export function millisProblem(name: string, value: unknown, max: number): string | null {
  if (typeof value === 'number' && value >= 0 && value <= max) return null;
  return `${name} is ${String(value)}: a number of milliseconds from 0 to ${max} is needed`;
}
