/**
 * The physical scan of one segment: runs of intact frames, and the gaps between them (docs/log-format.md, "Resynchronising").
 *
 * Invariants:
 *  - pieces are contiguous in index and ascend in offset;
 *  - a run behind a gap is believed only when it is anchored: it chains without a gap to the hash the segment must end with, or to a stored
 *    manifest header. Bytes inside a payload cannot do that;
 *  - a gap states the hash of its last slot whenever something intact or stored states it.
 */
import { assert } from '../assert.ts';
import { FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, HASH_BYTES, PAYLOAD_BYTES_MAX } from './constants.ts';
import type { FrameCodec, FrameFault } from './frame-codec.ts';
import { frame, frameBytes, OFFSET, readU32, readU64 } from './frame.ts';
import { isHashAt, sameHash } from './hash.ts';
import type { HeaderSuffix } from './header-suffix.ts';

/** The shortest frame. */
export const FRAME_BYTES_MIN = frameBytes(0);

/** Intact frames first..last at bytes start..end of a segment. */
export interface Run {
  readonly kind: 'run';
  readonly first: number;
  last: number;
  readonly start: number;
  end: number;
  /** Chain hash of first - 1. */
  readonly prevHash: Uint8Array;
  /** Chain hash of last. */
  lastHash: Uint8Array;
}

/** Slots from..to that cannot be read. */
export interface Gap {
  readonly kind: 'gap';
  readonly from: number;
  readonly to: number;
  /** Where the first of them stands. */
  readonly offset: number;
  /** Just behind the last of them; null when not known. */
  readonly endOffset: number | null;
  /** Chain hash that `to` must have; null when not known. */
  readonly hash: Uint8Array | null;
  readonly fault: FrameFault;
}

export type Piece = Run | Gap;

/** What a stretch of a segment must hold. */
export interface Region {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly limit: number;
  readonly first: number;
  /** Chain hash of first - 1; null: what the first frame says. */
  readonly chain: Uint8Array | null;
  /** Last index that must be there. */
  readonly last: number;
  /** Chain hash that it must have; null when not known. */
  readonly lastHash: Uint8Array | null;
  /** The frame of `last` ends exactly at `limit`. */
  readonly exact: boolean;
}

/** Scans a region in which `first..last` must be: whatever is not intact becomes a gap. */
export function scanRegion(codec: FrameCodec, region: Region, headers: HeaderSuffix): Piece[] {
  const { bytes, limit, last } = region;
  const pieces: Piece[] = [];
  let at = region.start;
  let index = region.first;
  let chain = region.chain;
  while (index <= last) {
    const run = runAt(codec, bytes, at, limit, index, chain);
    if (run !== null) {
      cutRun(bytes, run, last);
      pieces.push(run);
      at = run.end;
      index = run.last + 1;
      chain = run.lastHash;
    }
    if (index > last) break;
    const fault = faultAt(codec, bytes, at, limit, index, chain);
    const found = resynchronise(codec, region, headers, at, index);
    if (found !== null && found.first === index) {
      // The frame itself is right and anchored, so the slot before it is not what was promised (in another segment when there is none here).
      dropLastSlot(bytes, pieces, found);
    } else {
      const to = found === null ? last : found.first - 1;
      const endOffset = found === null ? (region.exact ? limit : null) : found.start;
      const hash = found === null ? region.lastHash : found.prevHash;
      pieces.push({ kind: 'gap', from: index, to, offset: at, endOffset, hash, fault });
    }
    if (found === null) return pieces;
    at = found.start;
    index = found.first;
    chain = found.prevHash;
  }
  return checkEnd(bytes, pieces, region);
}

/** The intact frames from `at` on, whatever comes behind them; null when the first is not intact or does not chain. */
export function runAt(
  codec: FrameCodec,
  bytes: Uint8Array,
  at: number,
  limit: number,
  index: number,
  chain: Uint8Array | null,
): Run | null {
  if (at + FRAME_HEADER_BYTES > limit) return null;
  const prevHash = (chain ?? frame.prevHash(bytes, at)).slice();
  const lastHash = prevHash.slice();
  const result = codec.verify(bytes, at, limit, index, lastHash);
  if (result.count === 0) return null;
  return { kind: 'run', first: index, last: index + result.count - 1, start: at, end: result.end, prevHash, lastHash };
}

/** Why there is no intact frame of `index` at `at`. */
export function faultAt(
  codec: FrameCodec,
  bytes: Uint8Array,
  at: number,
  limit: number,
  index: number,
  chain: Uint8Array | null,
): FrameFault {
  const scratch = (chain ?? bytes.subarray(at + OFFSET.prevHash, at + OFFSET.prevHash + HASH_BYTES)).slice(
    0,
    HASH_BYTES,
  );
  if (scratch.length < HASH_BYTES) return 'incomplete';
  // One frame only: a header that can be believed bounds it, otherwise the header itself is at fault.
  const end = at + FRAME_HEADER_BYTES <= limit ? Math.min(limit, at + frame.size(bytes, at)) : limit;
  return (
    codec.verify(bytes, at, Math.max(end, Math.min(limit, at + FRAME_HEADER_BYTES)), index, scratch).fault ?? 'empty'
  );
}

/** Shortens a run so that it ends with `last`. */
export function cutRun(bytes: Uint8Array, run: Run, last: number): void {
  if (run.last <= last) return;
  assert(last >= run.first, 'a cut run keeps a frame');
  let at = run.start;
  for (let index = run.first; index <= last; index++) at += frame.size(bytes, at);
  run.lastHash = frame.prevHash(bytes, at).slice();
  run.last = last;
  run.end = at;
}

/** Replaces the last slot before `found` by a gap, when it is in this region. */
function dropLastSlot(bytes: Uint8Array, pieces: Piece[], found: Run): void {
  const before = pieces.pop();
  if (before === undefined) return;
  assert(before.kind === 'run', 'a run at the next index follows a run');
  const wrong = before.last;
  let offset = before.start;
  for (let index = before.first; index < wrong; index++) offset += frame.size(bytes, offset);
  if (wrong > before.first) {
    cutRun(bytes, before, wrong - 1);
    pieces.push(before);
  }
  pieces.push({
    kind: 'gap',
    from: wrong,
    to: wrong,
    offset,
    endOffset: found.start,
    hash: found.prevHash,
    fault: 'chain',
  });
}

/** The last run must end with the stated hash, at the stated place. */
function checkEnd(bytes: Uint8Array, pieces: Piece[], region: Region): Piece[] {
  const run = pieces[pieces.length - 1];
  if (run === undefined || run.kind !== 'run' || region.lastHash === null) return pieces;
  if (sameHash(run.lastHash, region.lastHash) && (!region.exact || run.end === region.limit)) return pieces;
  pieces.pop();
  let offset = run.start;
  for (let index = run.first; index < run.last; index++) offset += frame.size(bytes, offset);
  const gap: Gap = {
    kind: 'gap',
    from: run.last,
    to: run.last,
    offset,
    endOffset: region.exact ? region.limit : run.end,
    hash: region.lastHash,
    fault: 'chain',
  };
  if (run.last > run.first) {
    cutRun(bytes, run, run.last - 1);
    pieces.push(run);
  }
  pieces.push(gap);
  return pieces;
}

/** The first anchored run at or behind `from` whose first index is at least `index`; null when there is none. */
function resynchronise(
  codec: FrameCodec,
  region: Region,
  headers: HeaderSuffix,
  from: number,
  index: number,
): Run | null {
  const { bytes, limit, last } = region;
  for (let at = from; at + FRAME_HEADER_BYTES <= limit; at += FRAME_ALIGN_BYTES) {
    if (!plausible(bytes, at, limit, index, last) || !fits(bytes, at, from, limit, index, last)) continue;
    if (readU32(bytes, at) !== codec.crc32c(bytes, at + 4, at + FRAME_HEADER_BYTES)) continue;
    const run = runAt(codec, bytes, at, limit, frame.index(bytes, at), null);
    if (run === null) continue;
    const whole = run.end;
    cutRun(bytes, run, last);
    if (isAnchored(bytes, run, region, headers)) return run;
    at = whole - FRAME_ALIGN_BYTES;
  }
  return null;
}

/** Cheap tests before a checksum is computed. */
function plausible(bytes: Uint8Array, at: number, limit: number, index: number, last: number): boolean {
  if (readU32(bytes, at + OFFSET.reserved) !== 0 || bytes[at + OFFSET.index + 7] !== 0) return false;
  const size = readU32(bytes, at + OFFSET.payloadSize);
  if (size > PAYLOAD_BYTES_MAX || at + FRAME_HEADER_BYTES + size > limit) return false;
  const own = readU64(bytes, at + OFFSET.index);
  return own >= index && own <= last;
}

/**
 * The slots before and behind it have room. A copy that a misdirected write left in the wrong place is intact and anchored all the same; believed there,
 * the repair of the slots before it would run over it (simulator, misdirected-write).
 */
function fits(bytes: Uint8Array, at: number, from: number, limit: number, index: number, last: number): boolean {
  const own = readU64(bytes, at + OFFSET.index);
  const end = at + frame.size(bytes, at);
  return at - from >= (own - index) * FRAME_BYTES_MIN && limit - end >= (last - own) * FRAME_BYTES_MIN;
}

function isAnchored(bytes: Uint8Array, run: Run, region: Region, headers: HeaderSuffix): boolean {
  if (run.last === region.last && region.lastHash !== null && sameHash(run.lastHash, region.lastHash)) {
    if (!region.exact || run.end === region.limit) return true;
  }
  let anchored = false;
  walkRun(bytes, run, (index, _at, hash, hashAt) => {
    if (anchored || !headers.contains(index)) return;
    const stored = headers.hash(index);
    anchored = stored !== null && isHashAt(hash, hashAt, stored);
  });
  return anchored;
}

/** Visits each frame of a run: index, offset, and where its chain hash stands. */
export function walkRun(
  bytes: Uint8Array,
  run: Run,
  visit: (index: number, at: number, hash: Uint8Array, hashAt: number) => void,
): void {
  let at = run.start;
  for (let index = run.first; index <= run.last; index++) {
    const next = at + frame.size(bytes, at);
    if (index === run.last) visit(index, at, run.lastHash, 0);
    else visit(index, at, bytes, next + OFFSET.prevHash);
    at = next;
  }
  assert(at === run.end, 'a run ends where its last frame ends');
}
