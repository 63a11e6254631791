/** Payloads of entries that a replica itself proposes. */
import { ENVELOPE_BYTES } from '../engine/constants.ts';
import { type EntryKind, writeEnvelope } from '../engine/frame.ts';

/** Payload of an entry that the replica itself proposes. */
export function internalPayload(kind: EntryKind, body: Uint8Array): Uint8Array {
  const payload = new Uint8Array(ENVELOPE_BYTES + body.length);
  writeEnvelope(payload, 0, kind, 0, 0, 0, 0);
  payload.set(body, ENVELOPE_BYTES);
  return payload;
}
