/**
 * Body of a replace-replica entry: "from here on, incarnation I of replica R, which has boot id B, counts; what older incarnations said does not" (docs/protocol.md,
 * "A wiped disk"). replica u64, incarnation u64, boot id 16.
 */
import { HASH_BYTES } from './constants.ts';
import { readU64, writeU64 } from './frame.ts';

export interface Replacement {
  readonly replica: number;
  readonly incarnation: number;
  readonly bootId: Uint8Array;
}

const BYTES = 16 + HASH_BYTES;

export function encodeReplacement(value: Replacement): Uint8Array {
  const out = new Uint8Array(BYTES);
  writeU64(out, 0, value.replica);
  writeU64(out, 8, value.incarnation);
  out.set(value.bootId, 16);
  return out;
}

/** Null for bytes that are none. */
export function decodeReplacement(bytes: Uint8Array): Replacement | null {
  if (bytes.length !== BYTES) return null;
  const replica = readU64(bytes, 0);
  const incarnation = readU64(bytes, 8);
  return Number.isNaN(replica + incarnation) ? null : { replica, incarnation, bootId: bytes.slice(16) };
}
