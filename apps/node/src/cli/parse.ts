/** Arguments of commands as values; a wrong one is wrong use (exit 2). */
import { readFileSync } from 'node:fs';
import { TIMEOUT_MS_MAX } from '@chronon/core/vsr/client-options';
import { InvalidArgumentError } from 'commander';
import { TTL_MS_MAX, TTL_MS_MIN } from '../replica/leases.ts';
import { usage } from '../supervisor/failure.ts';

export function replicaArgument(text: string): number {
  const match = /^r?([1-7])$/.exec(text);
  if (match === null) throw new InvalidArgumentError('a replica is 1 to 7, or r1 to r7');
  return Number(match[1]);
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('a whole number is needed');
  return value;
}

/** A whole number within bounds, ends included. */
export function between(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = wholeNumber(text);
    if (value < min || value > max) throw new InvalidArgumentError(`${min} to ${max} is possible`);
    return value;
  };
}

/** `500ms`, `30s`, `5m`, or seconds. */
export function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('a duration is needed: 500ms, 30s or 5m');
  const unit = match[2] === 'ms' ? 1 : match[2] === 'm' ? 60_000 : 1000;
  const ms = Math.round(Number(match[1]) * unit);
  if (ms > TIMEOUT_MS_MAX) throw new InvalidArgumentError(`at most ${TIMEOUT_MS_MAX / 60_000}m is possible`);
  return ms;
}

/** How long a fault on purpose lasts. */
export function leaseDuration(text: string): number {
  const ms = duration(text);
  if (ms < TTL_MS_MIN || ms > TTL_MS_MAX)
    throw new InvalidArgumentError(`a fault lasts ${TTL_MS_MIN} ms to ${TTL_MS_MAX / 60_000} minutes`);
  return ms;
}

/** Input of a command or query; `-` reads it from standard input (an argument is limited to 128 KiB). */
export function jsonArgument(text: string): unknown {
  try {
    return JSON.parse(text === '-' ? readFileSync(0, 'utf8') : text);
  } catch (error) {
    throw usage(`the input is not JSON: ${(error as Error).message} (strings need quotes: '"bob"')`);
  }
}

export function clusterSize(text: string): number {
  const value = wholeNumber(text);
  if (![1, 3, 5, 7].includes(value)) throw new InvalidArgumentError('a cluster has 1, 3, 5 or 7 replicas');
  return value;
}

/** A number of minutes, fractions too. */
export function minutes(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 100_000)
    throw new InvalidArgumentError('a number of minutes above 0 is needed');
  return value;
}
