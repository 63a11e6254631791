/**
 * What an application sees of the world while it applies one command, and the collector of what it asks for. One object is reused for all
 * commands: nothing is allocated for a command that asks for nothing.
 *
 * Invariants: everything here is a function of the log (frame header, chain hash, cluster id); after `close` each use throws; a rejection
 * counts even when the application swallows the exception.
 */
import { HASH_BYTES } from '../engine/constants.ts';
import { blockTimeMs, frame, readU32, writeU32, writeU64 } from '../engine/frame.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { toHex } from '../engine/hash.ts';
import { Prng } from '../prng.ts';
import { Rejection } from './errors.ts';
import { CHANNEL, EFFECT_PAYLOAD_BYTES_MAX, LOG_MESSAGE_CHARS_MAX, REJECT_CODE } from './limits.ts';
import { EFFECTS_PER_ENTRY_MAX } from './outbox.ts';
import type { ApplyContext, LogEffect, SideEffect } from './types.ts';
import { wellFormed } from './utf8.ts';
import { encodeValue } from './values.ts';

const LEVELS: readonly string[] = ['debug', 'info', 'warn', 'error'];
const TWO_32 = 0x1_0000_0000;

export class CommandContext implements ApplyContext {
  private readonly codec: FrameCodec;
  private readonly clusterId: Uint8Array;
  /** Thrown by every reject: no stack is captured a command. */
  private readonly signal = new Rejection('rejected');
  private open = false;
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private prng: Prng | null = null;
  private ids = 0;
  index = 0;
  version = 0;
  /** What was asked for. */
  effects: SideEffect[] = [];
  /** Encoded {code, data} of the first rejection, or null. */
  rejection: Uint8Array | null = null;

  constructor(codec: FrameCodec, clusterId: Uint8Array) {
    this.codec = codec;
    this.clusterId = clusterId;
  }

  /** Begins a command, run as `version`: the frame at bytes[at]. */
  begin(index: number, version: number, bytes: Uint8Array, at: number): void {
    this.open = true;
    this.index = index;
    this.version = version;
    this.bytes = bytes;
    this.at = at;
    this.prng = null;
    this.ids = 0;
    this.rejection = null;
    if (this.effects.length > 0) this.effects = [];
  }

  close(): void {
    this.open = false;
  }

  private inside(what: string): void {
    if (!this.open) throw new Error(`ctx.${what} was used after apply returned`);
  }

  get view(): number {
    this.inside('view');
    return frame.view(this.bytes, this.at);
  }

  get blockTime(): number {
    this.inside('blockTime');
    return blockTimeMs(this.bytes, this.at);
  }

  blockTimeNs(): bigint {
    this.inside('blockTimeNs');
    return (BigInt(frame.timeHigh(this.bytes, this.at)) << 32n) | BigInt(frame.timeLow(this.bytes, this.at));
  }

  random(): number {
    this.inside('random');
    if (this.prng === null) {
      const previous = frame.prevHash(this.bytes, this.at);
      const low = (readU32(previous, 0) ^ Math.imul(this.index, 0x9e37_79b1)) >>> 0;
      this.prng = new Prng((readU32(previous, 4) % 0x20_0000) * TWO_32 + low);
    }
    return this.prng.float();
  }

  id(): string {
    this.inside('id');
    const from = new Uint8Array(2 * HASH_BYTES + 12);
    from.set(this.clusterId, 0);
    from.set(frame.prevHash(this.bytes, this.at), HASH_BYTES);
    writeU64(from, 2 * HASH_BYTES, this.index);
    writeU32(from, 2 * HASH_BYTES + 8, this.ids++);
    const id = new Uint8Array(HASH_BYTES);
    this.codec.hash(from, 0, from.length, id, 0);
    return toHex(id);
  }

  emit(channel: string, payload: Uint8Array): void {
    this.inside('emit');
    this.take({ kind: 'emit', channel, payload });
  }

  log(level: LogEffect['level'], message: string): void {
    this.inside('log');
    this.take({ kind: 'log', level, message });
  }

  reject(code: string, data?: unknown): never {
    this.inside('reject');
    this.rejection ??= encodeRejection(code, data);
    throw this.signal;
  }

  /** Takes the outcome of a Rejection that the application threw itself. */
  rejectWith(rejection: Rejection): void {
    this.rejection ??= encodeRejection(rejection.code, rejection.data);
  }

  /** Checks an effect and keeps it; one that is out of bounds throws (a fault of the application). */
  take(effect: SideEffect): void {
    if (this.effects.length >= EFFECTS_PER_ENTRY_MAX) {
      throw new Error(`a command has at most ${EFFECTS_PER_ENTRY_MAX} effects`);
    }
    if (effect.kind === 'log') {
      if (!LEVELS.includes(effect.level)) throw new Error('a log effect has level debug, info, warn or error');
      const message = wellFormed(effect.message, LOG_MESSAGE_CHARS_MAX);
      this.effects.push({ kind: 'log', level: effect.level, message });
      return;
    }
    if (effect.kind !== 'emit') throw new Error('an effect is an emit or a log');
    if (typeof effect.channel !== 'string' || !CHANNEL.test(effect.channel))
      throw new Error(`a channel name matches ${String(CHANNEL)}`);
    if (!(effect.payload instanceof Uint8Array)) throw new Error('the payload of an effect is a Uint8Array');
    if (effect.payload.length > EFFECT_PAYLOAD_BYTES_MAX) {
      throw new Error(`the payload of an effect is at most ${EFFECT_PAYLOAD_BYTES_MAX} bytes`);
    }
    // Taken over as it is now: the application may go on with its buffer, and a view of the frame would pin the whole batch.
    this.effects.push({ kind: 'emit', channel: effect.channel, payload: effect.payload.slice() });
  }
}

/** The body of a REPLY.rejected. `data` is left out when undefined. */
export function encodeRejection(code: string, data: unknown): Uint8Array {
  if (!REJECT_CODE.test(code)) throw new Error(`the code of a rejection matches ${String(REJECT_CODE)}`);
  return encodeValue({ code, data });
}
