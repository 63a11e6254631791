/**
 * The tail record T: what this replica has promised (docs/log-format.md, "Tail record"). `log/tail` is two slots of two blocks each; record n goes
 * to slot n mod 2, one copy at the start of each of its blocks.
 *
 * Invariants:
 *  - a copy lies within one sector, so an unfinished write leaves each copy wholly old or wholly new: an invalid copy is damage;
 *  - both slots are valid from the format on, so a slot without a valid copy means that T may be lost, whatever the other slot says;
 *  - the newest valid record is T.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, fromWire, max, NONE, toWire } from './commit-index.ts';
import { BLOCK_BYTES, SECTOR_BYTES } from './constants.ts';
import { crc32c } from './codec/crc32c.ts';
import { readU32, readU64, writeU32, writeU64 } from './frame.ts';
import { copyHash, isHashAt, toHex } from './hash.ts';

export const TAIL_PATH = 'log/tail';
export const TAIL_SLOT_BYTES = 2 * BLOCK_BYTES;
export const TAIL_FILE_BYTES = 2 * TAIL_SLOT_BYTES;
export const TAIL_VERSION = 1;
/**
 * An unreadable record's sequence is at most so much above the newest readable one: two records may be in flight, one to each slot, so a slot may
 * still hold record n - 2 while the other, now damaged, already held n + 1.
 */
export const LOST_SEQUENCES = 3;

/** "TAIL", little-endian. */
const MAGIC = 0x4c494154;
const RECORD_BYTES = 128;
const AT = {
  magic: 0,
  version: 4,
  sequence: 8,
  clusterId: 16,
  logView: 32,
  lastIndex: 40,
  chainHash: 48,
  segment: 64,
  endOffset: 72,
  promised: 80,
  checksum: RECORD_BYTES - 4,
} as const;

assert(RECORD_BYTES <= SECTOR_BYTES, 'a tail record lies within one sector');

/** One promise: the log through `index` is durable here, and nothing through `promised` may be nacked. */
export interface TailState {
  readonly sequence: number;
  readonly logView: number;
  /** NONE: nothing was promised. */
  readonly index: CommitIndex;
  /** Chain hash of `index`. */
  readonly hash: Uint8Array;
  /** Base index of the segment that holds `index`. */
  readonly segment: number;
  /** Offset just behind the frame of `index` in that segment; 0: `index` is the snapshot's, and no frame above it was written yet. */
  readonly endOffset: number;
  /**
   * `index`, or above it: a slot up to here may have held, and promised, a frame that is no longer here (damage that an install cut, promises of a lost tail
   * record, frames that a snapshot replaced). It is never nacked, also after further crashes.
   */
  readonly promised: CommitIndex;
}

/** `sequence` of a lost record: the highest that is readable; the lost one is at most LOST_SEQUENCES above it. */
export type TailDecoded =
  | { readonly kind: 'ok'; readonly tail: TailState; readonly damagedCopies: number }
  | { readonly kind: 'lost'; readonly reason: string; readonly sequence: number }
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'cluster'; readonly clusterId: Uint8Array };

/** Writes both copies of a record into `slot` (TAIL_SLOT_BYTES bytes, zero elsewhere). */
export function encodeTail(
  slot: Uint8Array,
  clusterId: Uint8Array,
  sequence: number,
  logView: number,
  index: CommitIndex,
  hash: Uint8Array,
  segment: number,
  endOffset: number,
  promised: CommitIndex,
): void {
  assert(slot.length === TAIL_SLOT_BYTES, 'a slot is two blocks');
  writeU32(slot, AT.magic, MAGIC);
  writeU32(slot, AT.version, TAIL_VERSION);
  writeU64(slot, AT.sequence, sequence);
  slot.set(clusterId, AT.clusterId);
  writeU64(slot, AT.logView, logView);
  writeU64(slot, AT.lastIndex, toWire(index));
  slot.set(hash, AT.chainHash);
  writeU64(slot, AT.segment, segment);
  writeU64(slot, AT.endOffset, endOffset);
  writeU64(slot, AT.promised, toWire(max(index, promised)));
  writeU32(slot, AT.checksum, crc32c(slot, 0, AT.checksum));
  slot.copyWithin(BLOCK_BYTES, 0, RECORD_BYTES);
}

/** Offset in the file of the slot that record `sequence` goes to. */
export function slotOffset(sequence: number): number {
  return (sequence % 2) * TAIL_SLOT_BYTES;
}

/** What the file says. `content` is the whole file; copies that a short one does not reach are damaged. `clusterId` null: any. */
export function decodeTail(content: Uint8Array, clusterId: Uint8Array | null): TailDecoded {
  const bytes = content.length < TAIL_FILE_BYTES ? padded(content) : content;
  let newestAt = -1;
  let newestSequence = 0;
  let damagedCopies = 0;
  let lost: string | null = null;
  for (let slot = 0; slot < 2; slot++) {
    let valid = 0;
    for (let copy = 0; copy < 2; copy++) {
      const at = slot * TAIL_SLOT_BYTES + copy * BLOCK_BYTES;
      if (readU32(bytes, at + AT.checksum) !== crc32c(bytes, at, at + AT.checksum) || readU32(bytes, at) !== MAGIC) {
        damagedCopies++;
        continue;
      }
      const version = readU32(bytes, at + AT.version);
      if (version !== TAIL_VERSION) return { kind: 'version', version };
      if (clusterId !== null && !isHashAt(bytes, at + AT.clusterId, clusterId))
        return { kind: 'cluster', clusterId: copyHash(bytes, at + AT.clusterId) };
      const sequence = readU64(bytes, at + AT.sequence);
      if (!isInRange(bytes, at) || sequence % 2 !== slot) {
        damagedCopies++;
        continue;
      }
      valid++;
      if (newestAt === -1 || sequence > newestSequence) {
        newestAt = at;
        newestSequence = sequence;
      }
    }
    if (valid === 0) lost ??= `both copies of slot ${slot} are unreadable`;
  }
  if (lost !== null && content.length < TAIL_FILE_BYTES)
    lost = `the file has ${content.length} bytes of ${TAIL_FILE_BYTES}`;
  if (lost !== null) return { kind: 'lost', reason: lost, sequence: newestSequence };
  assert(newestAt !== -1, 'each slot has a valid copy');
  return { kind: 'ok', tail: decodeCopy(bytes, newestAt), damagedCopies };
}

function padded(content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(TAIL_FILE_BYTES);
  bytes.set(content);
  return bytes;
}

/**
 * True when nothing stands there but what a formatting writes first, or a part of it (a failed flush or a power cut may leave any): each copy is blank, or holds the
 * first record of its slot. A replica opens with later ones.
 */
export function isUnusedTail(bytes: Uint8Array): boolean {
  return [0, 1].every((slot) =>
    [0, 1].every((copy) => {
      const at = slot * TAIL_SLOT_BYTES + copy * BLOCK_BYTES;
      const sector = bytes.subarray(at, at + RECORD_BYTES);
      if (!sector.some((byte) => byte !== 0)) return true;
      if (sector.length < RECORD_BYTES || readU32(sector, 0) !== MAGIC) return false;
      const whole = readU32(sector, AT.checksum) === crc32c(sector, 0, AT.checksum);
      return whole && readU64(sector, AT.sequence) === slot;
    }),
  );
}

/** Every field of the copy is a number that this program can count with. */
function isInRange(bytes: Uint8Array, at: number): boolean {
  const views = readU64(bytes, at + AT.sequence) + readU64(bytes, at + AT.logView);
  const indexes = readU64(bytes, at + AT.lastIndex) + readU64(bytes, at + AT.promised);
  const place = readU64(bytes, at + AT.segment) + readU64(bytes, at + AT.endOffset);
  return !Number.isNaN(views + indexes + place);
}

function decodeCopy(bytes: Uint8Array, at: number): TailState {
  const sequence = readU64(bytes, at + AT.sequence);
  const logView = readU64(bytes, at + AT.logView);
  const last = readU64(bytes, at + AT.lastIndex);
  const segment = readU64(bytes, at + AT.segment);
  const endOffset = readU64(bytes, at + AT.endOffset);
  const promised = readU64(bytes, at + AT.promised);
  const hash = copyHash(bytes, at + AT.chainHash);
  return { sequence, logView, index: fromWire(last), hash, segment, endOffset, promised: fromWire(promised) };
}

/** For notes and error messages. */
export function describeTail(tail: TailState): string {
  const index = tail.index === NONE ? 'none' : String(tail.index);
  const place = `segment ${tail.segment}, end offset ${tail.endOffset}, promised ${tail.promised}`;
  return `index ${index}, chain hash ${toHex(tail.hash)}, log view ${tail.logView}, ${place}`;
}
