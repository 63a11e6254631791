/**
 * Bodies of the log entries by which a primary reports on effects: acknowledged, failed (to be tried again), dead. One entry carries a batch.
 *
 * ack:    varint count, each: index varint, sub varint
 * failed: varint count, each: index varint, sub varint, attempt varint, notBefore varint (block time, ms), error text
 * dead:   varint count, each: index varint, sub varint, attempt varint, error text
 *
 * Invariants: decoding gives a batch or throws CodecError; a batch is never empty and never above EFFECT_BATCH_MAX.
 */
import { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';
import { wellFormed } from './utf8.ts';

/** Most effects one entry reports on. */
export const EFFECT_BATCH_MAX = 1024;
/** Longest error kept, in UTF-16 units; longer ones are cut by the reporter. */
export const EFFECT_ERROR_CHARS_MAX = 200;

/** Place of an effect in the log: entry and position within it. */
export interface EffectRef {
  readonly index: number;
  readonly sub: number;
}

export interface EffectFailure extends EffectRef {
  /** Which attempt failed, from 1: a report that is in the log twice counts once. */
  readonly attempt: number;
  /** Block time, ms, before which no further attempt starts. */
  readonly notBefore: number;
  readonly error: string;
}

export interface EffectDeath extends EffectRef {
  /** The last attempt. */
  readonly attempt: number;
  readonly error: string;
}

export function encodeEffectAcks(acks: readonly EffectRef[]): Uint8Array {
  return encodeBatch(acks, () => undefined);
}

export function decodeEffectAcks(body: Uint8Array): EffectRef[] {
  return decodeBatch(body, (_r, ref) => ref);
}

export function encodeEffectFailures(failures: readonly EffectFailure[]): Uint8Array {
  return encodeBatch(failures, (w, failure) => {
    w.varint(failure.attempt);
    w.varint(failure.notBefore);
    w.text(cutError(failure.error));
  });
}

export function decodeEffectFailures(body: Uint8Array): EffectFailure[] {
  return decodeBatch(body, (r, ref) => ({ ...ref, attempt: r.varint(), notBefore: r.varint(), error: errorText(r) }));
}

export function encodeEffectDeaths(deaths: readonly EffectDeath[]): Uint8Array {
  return encodeBatch(deaths, (w, death) => {
    w.varint(death.attempt);
    w.text(cutError(death.error));
  });
}

export function decodeEffectDeaths(body: Uint8Array): EffectDeath[] {
  return decodeBatch(body, (r, ref) => ({ ...ref, attempt: r.varint(), error: errorText(r) }));
}

/** An error as it may stand in the log: bounded and well-formed (a sink may have said anything). */
export function cutError(error: string): string {
  return wellFormed(error, EFFECT_ERROR_CHARS_MAX);
}

function encodeBatch<T extends EffectRef>(items: readonly T[], rest: (w: ByteWriter, item: T) => void): Uint8Array {
  if (items.length === 0 || items.length > EFFECT_BATCH_MAX) throw new CodecError(`a batch of ${items.length} effects`);
  const w = new ByteWriter(16 * items.length);
  w.varint(items.length);
  for (const item of items) {
    w.varint(item.index);
    w.varint(item.sub);
    rest(w, item);
  }
  return w.copy();
}

function decodeBatch<T>(body: Uint8Array, rest: (r: ByteReader, ref: EffectRef) => T): T[] {
  const r = new ByteReader(body);
  const count = r.count(2);
  if (count === 0 || count > EFFECT_BATCH_MAX) throw new CodecError(`a batch of ${count} effects`);
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(rest(r, { index: r.varint(), sub: r.varint() }));
  r.end();
  return items;
}

function errorText(r: ByteReader): string {
  const text = r.text();
  if (text.length > EFFECT_ERROR_CHARS_MAX) throw new CodecError('an effect error is too long');
  return text;
}
