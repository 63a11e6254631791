/**
 * "Opening ends with a write" (docs/log-format.md): what recovery read may only be in a cache, so before the first message everything it relied on
 * is written again or barriered, and what does not count is removed.
 *
 * Invariants: a copy is rewritten only while the other one is valid; the tail record is lowered before anything is removed; a lost tail record stays
 * lost until an install settles the head, so that another restart still knows; what is written back is what the scan found, not merely what was read.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, next, NONE } from './commit-index.ts';
import { BLOCK_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { ZERO_HASH } from './hash.ts';
import { encodeManifest, MANIFEST_PATHS, manifestBytes } from './manifest.ts';
import type { Recovery } from './recovery.ts';
import type { FoundSegment } from './recovery-physical.ts';
import { endOffsetOf, readAgainSync } from './recovery-reread.ts';
import type { Gap } from './recovery-scan.ts';
import { readAgreedSync } from './salvage.ts';
import { LOG_DIRECTORY, restoreHeader, type Segment, segmentPath } from './segment.ts';
import { RECYCLED_PATHS, type Spare, SPARE_NEW_PATH, SPARE_PATH } from './spare-segment.ts';
import { encodeTail, slotOffset, TAIL_FILE_BYTES, TAIL_PATH, TAIL_SLOT_BYTES } from './tail-record.ts';
import { DiskFailure, type DiskFile, reading, type VirtualDisk } from './virtual-disk.ts';

/** Blocking writes go in pieces of this many bytes. */
const PIECE_BYTES = 1024 * 1024;

/** A damaged range of the log and where it starts; `segment` null: in no file. */
export interface FaultyRange {
  from: number;
  to: number;
  segment: Segment | null;
  offset: number;
  /** Just behind the last slot; null when not known. */
  endOffset: number | null;
  /** Chain hash of from - 1; null when not known. */
  prevHash: Uint8Array | null;
  /** Chain hash that `to` must have; null when not known. */
  hash: Uint8Array | null;
  /** A gap of the scan at opening: behind it the log was found again by itself, not by a way from below. */
  resumes: boolean;
}

/** What the store works on. */
export interface OpenLog {
  readonly segments: Segment[];
  readonly faulty: FaultyRange[];
  readonly manifestFiles: readonly DiskFile[];
  readonly tailFile: DiskFile;
  /** No record has a higher sequence. */
  readonly tailSequence: number;
  /** The tail record is lost: nothing may be promised until an install. */
  readonly unsettled: boolean;
  /** Segments that the install which settles the log removes. */
  readonly leftovers: readonly FoundSegment[];
  /** Freed segments that wait to be used again. */
  readonly recycled: readonly Spare[];
  /** The segment that an earlier run made ahead. */
  readonly spare: DiskFile | null;
}

/** Writes what opening must write. Throws DiskFailure. `sync` false: the skip-barrier-at-open mutation. */
export function finishOpening(
  disk: VirtualDisk,
  codec: FrameCodec,
  recovery: Recovery,
  segmentBytes: number,
  pipelineMax: number,
  sync: boolean,
): OpenLog {
  const manifestFiles = rewriteManifest(disk, codec, recovery, sync);
  reserve(manifestFiles, manifestBytes(recovery.manifest.members.length, pipelineMax + 1));
  const opened = openSegments(disk, codec, recovery, segmentBytes, sync);
  const tailFile = disk.open(TAIL_PATH, { create: true });
  if (tailFile.size() < TAIL_FILE_BYTES) extend(tailFile, TAIL_FILE_BYTES, agreed);
  const tailSequence = sync ? rewriteTail(disk, tailFile, recovery, opened) : recovery.tailSequence;
  // While it is not known what counts, nothing is removed: the install that settles it does that.
  const unsettled = recovery.record.tail !== 'at-end';
  const leftovers = notKept(recovery, opened.segments);
  if (!unsettled) removeSegments(disk, leftovers);
  removeIfThere(disk, SPARE_NEW_PATH);
  const recycled = RECYCLED_PATHS.flatMap((path): Spare[] => {
    const file = openMade(disk, path, segmentBytes);
    return file === null ? [] : [{ file, path }];
  });
  const spare = openMade(disk, SPARE_PATH, segmentBytes);
  return {
    ...opened,
    manifestFiles,
    tailFile,
    tailSequence,
    unsettled,
    leftovers: unsettled ? leftovers : [],
    recycled,
    spare,
  };
}

/** A freed segment that an earlier run kept, or one that it made ahead: it got this name when it was wholly written, so it is as good as a new one if it has the right size. */
function openMade(disk: VirtualDisk, path: string, segmentBytes: number): DiskFile | null {
  if (!isThere(disk, path)) return null;
  const file = disk.open(path);
  if (file.size() === segmentBytes) return file;
  file.close();
  disk.unlinkSync(path);
  return null;
}

function isThere(disk: VirtualDisk, path: string): boolean {
  return disk.list(LOG_DIRECTORY).some((name) => `${LOG_DIRECTORY}/${name}` === path);
}

function removeIfThere(disk: VirtualDisk, path: string): void {
  if (isThere(disk, path)) disk.unlinkSync(path);
}

/** The copy that lost first, then the one that won. */
function rewriteManifest(disk: VirtualDisk, codec: FrameCodec, recovery: Recovery, sync: boolean): DiskFile[] {
  const files = MANIFEST_PATHS.map((path) => disk.open(path, { create: true }));
  if (!sync) return files;
  const bytes = encodeManifest(recovery.manifest, recovery.manifestSequence, codec);
  for (const which of [1 - recovery.manifestWinner, recovery.manifestWinner]) {
    files[which]!.writeSync(0, bytes);
    files[which]!.barrierSync();
  }
  disk.syncDirectorySync('');
  return files;
}

/** Makes both copies as long as they can ever get, so that a vote can be stored on a full disk. Where it is full already, what there is must do. */
function reserve(files: readonly DiskFile[], bytes: number): void {
  for (const file of files) {
    try {
      if (file.size() < bytes) extend(file, bytes, agreed);
    } catch (error) {
      if (!(error instanceof DiskFailure) || error.code !== 'ENOSPC') throw error;
    }
  }
}

function openSegments(
  disk: VirtualDisk,
  codec: FrameCodec,
  recovery: Recovery,
  segmentBytes: number,
  sync: boolean,
): { segments: Segment[]; faulty: FaultyRange[] } {
  const { log, record, tail, manifest } = recovery;
  const segments: Segment[] = [];
  const faulty: FaultyRange[] = [];
  let before: Uint8Array | null = log.start === 0 ? ZERO_HASH : (log.segments[0]?.prevHash ?? null);
  if (log.start === next(manifest.checkpoint.index)) before = manifest.checkpoint.hash;
  for (const found of log.segments) {
    if (found.base > record.end + 1) break;
    const isTail = tail !== null && found.base === tail.segment && tail.endOffset > 0;
    const file = found.file ?? (isTail ? disk.open(segmentPath(found.base), { create: true }) : null);
    const prevHash = found.prevHash ?? before;
    let segment: Segment | null = null;
    if (file !== null) {
      const size = Math.max(segmentBytes, Math.ceil((tail?.endOffset ?? 0) / BLOCK_BYTES) * BLOCK_BYTES);
      const again: Reread = (offset, bytes) => {
        if (found.file !== null) reading(() => readAgainSync(codec, found, file, offset, bytes));
        if (offset === 0 && prevHash !== null) restoreHeader(bytes, { base: found.base, prevHash }, manifest);
      };
      if (file.size() < (isTail ? size : BLOCK_BYTES) || file.size() % BLOCK_BYTES !== 0) extend(file, size, again);
      // While base_prev_hash is not known, the next open tries again.
      if ((found.file === null || found.headerDamaged) && prevHash !== null) {
        rewrite(file, 0, BLOCK_BYTES, again);
        file.barrierSync();
      }
      const { last, end } = reading(() => endIn(codec, found, record.end));
      if (sync && tail !== null && found.base >= tail.segment)
        rewrite(file, found.base === tail.segment ? tail.endOffset : 0, end, again);
      // Also below the tail record: a repair that a kill cut off may have left frames there that only the cache has.
      if (sync) file.barrierSync();
      found.marks.truncate(last);
      segment = {
        base: found.base,
        prevHash,
        file,
        bytes: file.size(),
        marks: found.marks,
        last,
        end,
      };
      segments.push(segment);
    }
    for (const piece of found.pieces) {
      if (piece.kind === 'gap' && piece.from <= record.end) faulty.push(rangeOf(piece, segment, before, record.end));
      before = piece.kind === 'gap' ? piece.hash : piece.lastHash;
    }
  }
  if (sync) disk.syncDirectorySync(LOG_DIRECTORY);
  return { segments, faulty };
}

function rangeOf(gap: Gap, segment: Segment | null, prevHash: Uint8Array | null, end: number): FaultyRange {
  const { from, offset } = gap;
  const place = { segment, offset, prevHash, resumes: true };
  if (gap.to > end) return { ...place, from, to: end, endOffset: null, hash: null };
  return { ...place, from, to: gap.to, endOffset: gap.endOffset, hash: gap.hash };
}

/** Last index of a segment that counts, and the offset behind it. */
function endIn(codec: FrameCodec, found: FoundSegment, end: CommitIndex): { last: number; end: number } {
  const lastPiece = found.pieces[found.pieces.length - 1];
  if (lastPiece === undefined || end < found.base) return { last: found.base - 1, end: SEGMENT_HEADER_BYTES };
  const own = lastPiece.kind === 'gap' ? lastPiece.to : lastPiece.last;
  const last = Math.min(own, end);
  return { last, end: endOffsetOf(codec, found, last) ?? found.file?.size() ?? SEGMENT_HEADER_BYTES };
}

/** Reads bytes that are written back; throws DiskFailure when they cannot be believed. */
type Reread = (offset: number, bytes: Uint8Array, file: DiskFile) => void;

/** Of a file that holds no frames: two reads must give the same. */
const agreed: Reread = (offset, bytes, file) => reading(() => readAgreedSync(file, offset, bytes));

/**
 * Writes what was read from `from` up to `end` again. A write or barrier that failed may have left pages that readers see and that no barrier will ever
 * write (simulator, barrier-error): what was not promised yet counts only as what is written now.
 */
function rewrite(file: DiskFile, from: number, end: number, again: Reread): void {
  const start = from - (from % BLOCK_BYTES);
  const stop = Math.min(Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES, file.size());
  if (start >= stop) return;
  const bytes = new Uint8Array(stop - start);
  again(start, bytes, file);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES)
    file.writeSync(start + at, bytes.subarray(at, at + PIECE_BYTES));
}

/** Fills the file with zeros from its end to `size`. */
function extend(file: DiskFile, size: number, again: Reread): void {
  const zeros = new Uint8Array(PIECE_BYTES);
  let from = Math.floor(file.size() / BLOCK_BYTES) * BLOCK_BYTES;
  if (from < file.size()) {
    const block = new Uint8Array(BLOCK_BYTES);
    again(from, block, file);
    file.writeSync(from, block);
    from += BLOCK_BYTES;
  }
  for (; from < size; from += PIECE_BYTES) file.writeSync(from, zeros.subarray(0, Math.min(PIECE_BYTES, size - from)));
  file.barrierSync();
}

/** Both slots, the older one first; returns the sequence of the newest record. */
function rewriteTail(
  disk: VirtualDisk,
  file: DiskFile,
  recovery: Recovery,
  { segments, faulty }: Pick<OpenLog, 'segments' | 'faulty'>,
): number {
  const { record, tail, manifest } = recovery;
  if (tail === null) return recovery.tailSequence;
  const holder = segments.findLast((segment) => segment.base <= record.end);
  const lost = faulty.find((range) => range.segment === null && range.to >= record.end && range.from <= record.end);
  for (let sequence = tail.sequence + 1; sequence <= tail.sequence + 2; sequence++) {
    const slot = new Uint8Array(TAIL_SLOT_BYTES);
    const id = manifest.clusterId;
    if (lost !== undefined) {
      // The file that held the end is gone.
      const { logView } = manifest;
      encodeTail(
        slot,
        id,
        sequence,
        logView,
        record.end,
        record.endHash,
        lost.from,
        SEGMENT_HEADER_BYTES,
        record.promised,
      );
    } else if (holder === undefined) {
      assert(record.end === recovery.log.start - 1, 'a log without a frame ends where it begins');
      encodeTail(slot, id, sequence, manifest.logView, record.end, record.endHash, 0, 0, record.promised);
    } else {
      assert(holder.last === record.end, 'the last segment holds the end');
      const { base, end } = holder;
      encodeTail(slot, id, sequence, manifest.logView, record.end, record.endHash, base, end, record.promised);
    }
    file.writeSync(slotOffset(sequence), slot);
    file.barrierSync();
  }
  disk.syncDirectorySync(LOG_DIRECTORY);
  return tail.sequence + 2;
}

/** Segments that the store does not work on. */
function notKept(recovery: Recovery, kept: readonly Segment[]): FoundSegment[] {
  const { log } = recovery;
  return [...log.stale, ...log.segments].filter(
    (found) => found.file !== null && !kept.some((segment) => segment.file === found.file),
  );
}

function removeSegments(disk: VirtualDisk, segments: readonly FoundSegment[]): void {
  for (const found of segments) {
    found.file?.close();
    disk.unlinkSync(segmentPath(found.base));
  }
  if (segments.length > 0) disk.syncDirectorySync(LOG_DIRECTORY);
}

/** Writes an empty tail file with both slots valid. */
export function formatTail(disk: VirtualDisk, clusterId: Uint8Array, logView: number): void {
  const bytes = new Uint8Array(TAIL_FILE_BYTES);
  for (const sequence of [0, 1]) {
    const slot = bytes.subarray(slotOffset(sequence), slotOffset(sequence) + TAIL_SLOT_BYTES);
    encodeTail(slot, clusterId, sequence, logView, NONE, ZERO_HASH, 0, 0, NONE);
  }
  const file = disk.open(TAIL_PATH, { create: true });
  file.writeSync(0, bytes);
  file.barrierSync();
  file.close();
  disk.syncDirectorySync(LOG_DIRECTORY);
}
