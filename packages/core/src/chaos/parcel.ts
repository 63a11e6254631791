/**
 * Parcel: a message between two simulated replicas on its way. Messages that carry frames always travel as bytes, as on the wire, so that the
 * receiver has memory of its own; of the small ones a sample does, and the others travel as they are, because they are immutable.
 *
 * Invariants: what is delivered is what was sent: a message handed over as it is has the same bytes at both ends (checked on the sample).
 */
import type { FrameCodec } from '../engine/frame-codec.ts';
import { sameBytes } from '../engine/hash.ts';
import { decodeMessage, type Decoded, encodeMessage } from '../vsr/codec.ts';
import type { Message } from '../vsr/messages.ts';
import type { Trace } from './trace.ts';
import { mustHold } from './violation.ts';

export interface Parcel {
  readonly message: Message;
  /** Its bytes; null: handed over as it is. */
  readonly bytes: Uint8Array | null;
}

/** `sampled`: as bytes, whatever it is. */
export function parcelOf(message: Message, sampled: boolean): Parcel {
  return { message, bytes: sampled || isBulky(message) ? concat(encodeMessage(message)) : null };
}

/** The same parcel once more, with bytes of its own: a duplicate on the wire. */
export function copyOf(parcel: Parcel): Parcel {
  return parcel.bytes === null ? parcel : { message: parcel.message, bytes: parcel.bytes.slice() };
}

/** Makes the parcel count in the hash of the run. */
export function mixParcel(trace: Trace, link: number, { message, bytes }: Parcel): void {
  if (bytes !== null) return trace.mixBytes(link, bytes);
  trace.mix(link, message.view);
  if (message.type === 'prepareOk') trace.mix(message.first, message.last);
  else if (message.type === 'commit') trace.mix(message.commit, message.round);
  else if (message.type === 'commitOk') trace.mix(message.durable, message.applied);
}

/** What the receiver reads. */
export function openParcel(parcel: Parcel, codec: FrameCodec): Decoded {
  const { message, bytes } = parcel;
  if (bytes === null) return parcel;
  if (!isBulky(message)) {
    const same = sameBytes(concat(encodeMessage(message)), bytes);
    mustHold(same, 'replica', 'messages-do-not-change', () => `a ${message.type} changed after it was sent`);
  }
  return decodeMessage(bytes, codec);
}

/** Carries frames or headers. */
function isBulky(message: Message): boolean {
  switch (message.type) {
    case 'prepare':
    case 'newState':
    case 'doViewChange':
    case 'startView':
      return true;
    default:
      return false;
  }
}

/** The chunks of an encoded message as one run of bytes. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
