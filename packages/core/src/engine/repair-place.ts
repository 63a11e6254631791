/**
 * Where repaired frames stand, and what stands around them (log-repair.ts).
 *
 * Invariant: a block is written back only as two reads gave it, or where nothing in it must stay.
 */
import { BLOCK_BYTES } from './constants.ts';
import { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import { sameHash } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import type { FaultyRange } from './recovery-open.ts';
import { scanRegion } from './recovery-scan.ts';
import { readAgreed } from './salvage.ts';
import type { DiskFile, DiskReadCallback } from './virtual-disk.ts';

/** The batch has every frame of the range, and they end just where those behind it were found. */
export function fills({ from, to, offset, endOffset }: FaultyRange, batch: FrameBatch): boolean {
  return batch.last >= to && endOffset !== null && offset + batch.slice(from, to).bytes.length === endOffset;
}

/** Chain hash of the frame below `index`, as the frames of the batch from there on state it. */
export function hashBelow(batch: FrameBatch, index: number): Uint8Array {
  return index === batch.first ? batch.prevHash : batch.hashOf(index - 1);
}

/** How many frames from the first on take at most `room` bytes. */
export function fittingFrames(batch: FrameBatch, room: number): number {
  let count = 0;
  while (count < batch.count && batch.offsets[count + 1]! <= room) count++;
  return count;
}

/** Whole blocks of a segment, `length` bytes from `start` on, of which from..to is written anew; the block at `tail`, and what is above it, is in memory. */
interface Surroundings {
  readonly start: number;
  readonly length: number;
  readonly from: number;
  readonly to: number;
  readonly tail: number;
}

/** Reads the blocks that hold something that must stay; the other bytes are zeros. */
export function readAround(
  file: DiskFile,
  { start, length, from, to, tail }: Surroundings,
  callback: DiskReadCallback,
): void {
  const bytes = new Uint8Array(length);
  const last = start + length - BLOCK_BYTES;
  const edges = new Set<number>();
  if (from > start && start < tail) edges.add(start);
  if (to < start + length && last < tail) edges.add(last);
  const read = ([at, ...rest]: number[]): void => {
    if (at === undefined) {
      callback(null, bytes);
      return;
    }
    readAgreed(file, at, BLOCK_BYTES, (error, block) => {
      if (error !== null || block === null) {
        callback(error, null);
        return;
      }
      bytes.set(block, at - start);
      read(rest);
    });
  };
  read([...edges]);
}

/** The intact frames in `bytes` that end with the last slot of the range, by its hash. */
export function endingRun(
  codec: FrameCodec,
  { from, to, prevHash, hash }: FaultyRange,
  bytes: Uint8Array,
): FrameBatch | null {
  const region = { bytes, start: 0, limit: bytes.length, first: from, chain: prevHash, last: to, lastHash: hash };
  const run = scanRegion(codec, { ...region, exact: false }, HeaderSuffix.EMPTY).at(-1);
  if (run === undefined || run.kind === 'gap' || run.last !== to || !sameHash(run.lastHash, hash!)) return null;
  // The first slot begins where the range does: another place is where the segment had room for slots that came from the end.
  if (run.first === from && (run.start > 0 || (prevHash !== null && !sameHash(run.prevHash, prevHash)))) return null;
  return new FrameBatch(bytes.subarray(run.start, run.end), run.last - run.first + 1, run.lastHash);
}
