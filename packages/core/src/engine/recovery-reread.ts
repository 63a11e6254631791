/**
 * Reading a segment again that recovery has scanned: for what opening writes back, and for where a frame ends.
 *
 * Invariant: every frame that the scan found intact and that lies in the range is in the bytes handed out, as it was. Two reads that agree prove nothing of it:
 * rotten sectors, and a disk that looks in another place, give the same wrong bytes each time, and written back they would take the place of promised frames.
 */
import { BLOCK_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame } from './frame.ts';
import { sameHash } from './hash.ts';
import type { FoundSegment } from './recovery-physical.ts';
import { cutRun, type Run } from './recovery-scan.ts';
import { readAgreedSync } from './salvage.ts';
import { segmentPath } from './segment.ts';
import { DiskFailure, type DiskFile } from './virtual-disk.ts';

/** Readings that lack a frame until the disk is given up. */
const TRIES = 3;

/** Fills `bytes` from `offset` on. Throws DiskFailure when the disk does not give the frames it gave to the scan. */
export function readAgainSync(
  codec: FrameCodec,
  found: FoundSegment,
  file: DiskFile,
  offset: number,
  bytes: Uint8Array,
): void {
  const end = offset + bytes.length;
  const runs = found.pieces.filter((piece) => piece.kind === 'run' && piece.start < end && piece.end > offset);
  for (let left = TRIES; left > 0; left--) {
    readAgreedSync(file, offset, bytes);
    if (runs.every((run) => holds(codec, found, file, run as Run, offset, bytes))) return;
  }
  const path = segmentPath(found.base);
  const message = `${path}: at ${offset} it gives other bytes than frames that it gave a moment ago; nothing was written over them: check the disk, then start the replica anew`;
  throw new DiskFailure({ code: 'EIO', message });
}

/** The frames of the run from the mark below `offset` on, with `bytes` in their place: the chain hash of the last proves all of them. */
function holds(
  codec: FrameCodec,
  found: FoundSegment,
  file: DiskFile,
  run: Run,
  offset: number,
  bytes: Uint8Array,
): boolean {
  const from = found.marks.atOffset(Math.max(offset, run.start)) ?? { index: run.first, offset: run.start };
  const whole = new Uint8Array(run.end - from.offset);
  if (from.offset < offset) file.readSync(from.offset, whole.subarray(0, offset - from.offset));
  const behind = offset + bytes.length;
  if (behind < run.end) file.readSync(behind, whole.subarray(behind - from.offset));
  const start = Math.max(offset, from.offset);
  whole.set(bytes.subarray(start - offset, Math.min(behind, run.end) - offset), start - from.offset);
  const chain = frame.prevHash(whole, 0).slice();
  const { count, end } = codec.verify(whole, 0, whole.length, from.index, chain);
  return from.index + count - 1 === run.last && end === whole.length && sameHash(chain, run.lastHash);
}

/** Offset just behind the frame of `index`, which lies in a run or ends a gap with a known end; null otherwise. Throws DiskFailure. */
export function endOffsetOf(codec: FrameCodec, found: FoundSegment, index: number): number | null {
  for (const piece of found.pieces) {
    if (piece.kind === 'gap') {
      if (piece.to === index) return piece.endOffset;
      if (piece.from === index + 1) return piece.offset;
      continue;
    }
    if (piece.last === index) return piece.end;
    if (piece.first === index + 1) return piece.start;
    if (index < piece.first || index > piece.last || found.file === null) continue;
    const bytes = new Uint8Array(piece.end);
    const first = piece.start - (piece.start % BLOCK_BYTES);
    readAgainSync(codec, found, found.file, first, bytes.subarray(first));
    const copy = { ...piece };
    cutRun(bytes, copy, index);
    return copy.end;
  }
  return null;
}
