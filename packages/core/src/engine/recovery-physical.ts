/**
 * The physical log: every segment scanned, in order, into one list of runs and gaps; which of it is the log of record is decided elsewhere
 * (recovery-record.ts).
 *
 * Invariants:
 *  - through the tail record's index every slot is a run or a gap: what is not there is damage, never absence;
 *  - above it only an unbroken chain of intact frames is listed; segments that do not continue it are stale.
 */
import { at, below, type CommitIndex, max, next, NONE } from './commit-index.ts';
import { FRAME_HEADER_BYTES, HASH_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame, OFFSET, readU32 } from './frame.ts';
import { copyHash, isHashAt, sameHash, toHex, ZERO_HASH } from './hash.ts';
import { HEADER_RECORD_BYTES, writeRecord } from './header-suffix.ts';
import type { ManifestState, Refusal } from './log-contract.ts';
import { faultAt, type Piece, runAt, scanRegion, walkRun } from './recovery-scan.ts';
import { AGREE_TRIES, readsTheSame } from './salvage.ts';
import {
  decodeSegmentHeader,
  LOG_DIRECTORY,
  OffsetMarks,
  SEGMENT_VERSION,
  segmentBase,
  type SegmentHeader,
  segmentPath,
} from './segment.ts';
import type { TailState } from './tail-record.ts';
import type { DiskFile, VirtualDisk } from './virtual-disk.ts';

/** A segment as found. `file` is null when it should be there and is not. */
export interface FoundSegment {
  readonly base: number;
  readonly file: DiskFile | null;
  readonly size: number;
  /** Chain hash of base - 1 as the header, or else the first frame, states it; null: neither can be read. */
  prevHash: Uint8Array | null;
  readonly headerDamaged: boolean;
  /** What stands behind its frames may be of an older segment. */
  readonly recycled: boolean;
  readonly marks: OffsetMarks;
  pieces: Piece[];
}

export interface PhysicalLog {
  /** First index of the log: 0, or where compaction or a snapshot lets it begin. */
  start: number;
  /** Segments of the log, ascending; their pieces are contiguous from `start` to `end`. */
  segments: FoundSegment[];
  /** Last slot, gaps included; NONE: none. */
  end: CommitIndex;
  endHash: Uint8Array | null;
  /** Segments that belong to no log of record. */
  readonly stale: FoundSegment[];
  /** Highest view of an intact frame. */
  viewMax: number;
  /** Headers and hashes of the newest frames. */
  readonly records: RecordRing;
  /** Highest index whose chain hash is the stored header's (NONE: only the empty log agrees); null: nothing agrees. */
  agreed: CommitIndex | null;
  /** Lowest index at which an intact frame differs from the stored header. */
  differs: number | null;
  /** The slot of the manifest's checkpoint holds another frame than the snapshot's. */
  differsAtCheckpoint: boolean;
  /** Nor is the slot of the manifest's junction what that states. */
  differsAtJunction: boolean;
  /** First index above both the tail record and the stored headers. */
  readonly aboveFrom: number;
  /** From `aboveFrom` through here every frame is of the manifest's log view; aboveFrom - 1 when none is. */
  sameViewThrough: CommitIndex;
  /** Something that is no zero stands behind the last intact frame above the tail record. */
  rest: boolean;
  readonly notes: string[];
}

/** Header and chain hash of the newest indexes noted, by index modulo capacity. */
export class RecordRing {
  private readonly capacity: number;
  private readonly bytes: Uint8Array;
  private readonly indexes: Float64Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.bytes = new Uint8Array(capacity * HEADER_RECORD_BYTES);
    this.indexes = new Float64Array(capacity).fill(-1);
  }

  note(index: number, bytes: Uint8Array, at: number, hash: Uint8Array, hashAt: number): void {
    const slot = index % this.capacity;
    this.indexes[slot] = index;
    writeRecord(bytes, at, hash, hashAt, this.bytes, slot * HEADER_RECORD_BYTES);
  }

  /** The record of `index` (header ++ hash, a view), or null when it was not noted. */
  get(index: number): Uint8Array | null {
    const slot = index % this.capacity;
    if (this.indexes[slot] !== index) return null;
    return this.bytes.subarray(slot * HEADER_RECORD_BYTES, (slot + 1) * HEADER_RECORD_BYTES);
  }
}

export interface ScanContext {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly manifest: ManifestState;
  /** Null: lost, or it does not state a place. */
  readonly tail: TailState | null;
  readonly pipelineMax: number;
}

/** Scans the log directory. Throws DiskFailure when it cannot be read. */
export function scanLog(context: ScanContext): PhysicalLog | Refusal {
  const opened = openSegments(context);
  if ('code' in opened) return opened;
  const scan = new LogScan(context, opened.notes);
  return scan.run(opened.segments);
}

function openSegments(context: ScanContext): { segments: FoundSegment[]; notes: string[] } | Refusal {
  const { disk, manifest } = context;
  const segments: FoundSegment[] = [];
  const notes: string[] = [];
  for (const name of disk.list(LOG_DIRECTORY)) {
    const base = segmentBase(name);
    if (base === null) continue;
    const path = segmentPath(base);
    const file = disk.open(path);
    const { head, header } = readHead(file, base);
    if (header !== null && header.version !== SEGMENT_VERSION) {
      return {
        code: 'E_VERSION',
        message: `${path} has log format version ${header.version}; this program reads version ${SEGMENT_VERSION}`,
      };
    }
    if (header !== null && !sameHash(header.clusterId, manifest.clusterId)) {
      const ids = `${toHex(header.clusterId)}, the manifest to cluster ${toHex(manifest.clusterId)}`;
      return { code: 'E_CLUSTER_ID', message: `${path} belongs to cluster ${ids}; move the foreign file away` };
    }
    const damaged = header === null || header.base !== base;
    if (damaged) notes.push(`the header of ${path} is damaged; it is made anew`);
    const prevHash = damaged ? firstPrevHash(context.codec, head, base) : header.prevHash;
    segments.push({
      base,
      file,
      size: file.size(),
      prevHash,
      headerDamaged: damaged,
      recycled: !damaged && header.recycled,
      marks: new OffsetMarks(),
      pieces: [],
    });
  }
  return { segments, notes };
}

/** The header of a segment and of its first frame; read again before it is taken for damaged. */
function readHead(file: DiskFile, base: number): { readonly head: Uint8Array; readonly header: SegmentHeader | null } {
  const head = new Uint8Array(SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES);
  file.readSync(0, head);
  const header = decodeSegmentHeader(head);
  if ((header !== null && header.base === base) || readsTheSame(file, 0, head)) return { head, header };
  return { head, header: decodeSegmentHeader(head) };
}

/** prev_hash of the first frame when its header can be believed. */
function firstPrevHash(codec: FrameCodec, head: Uint8Array, base: number): Uint8Array | null {
  if (base === 0) return ZERO_HASH;
  const at = SEGMENT_HEADER_BYTES;
  if (readU32(head, at) !== codec.crc32c(head, at + OFFSET.payloadSize, at + FRAME_HEADER_BYTES)) return null;
  return frame.index(head, at) === base ? frame.prevHash(head, at).slice() : null;
}

class LogScan {
  private readonly context: ScanContext;
  private readonly log: PhysicalLog;
  private buffer = new Uint8Array(0);
  /** In the order in which they are read. */
  private order: readonly FoundSegment[] = [];
  /** Chain hashes of intact frames that tell where the log joins the manifest's headers, its junction and its checkpoint; null: not met. */
  private readonly joints: Map<number, Uint8Array | null>;

  constructor(context: ScanContext, notes: string[]) {
    const { tail, manifest, pipelineMax } = context;
    const { headers, junction, checkpoint } = manifest;
    const promised = max(max(tail === null ? NONE : tail.index, headers.last), checkpoint.index);
    this.context = context;
    this.joints = new Map([headers.first - 1, junction.index, checkpoint.index].map((index) => [index, null]));
    this.log = {
      start: 0,
      segments: [],
      end: NONE,
      endHash: ZERO_HASH,
      stale: [],
      viewMax: 0,
      records: new RecordRing(4 * (pipelineMax + 1)),
      agreed: headers.first === 0 ? NONE : null,
      differs: null,
      differsAtCheckpoint: false,
      differsAtJunction: false,
      aboveFrom: promised + 1,
      sameViewThrough: promised,
      rest: false,
      notes,
    };
  }

  run(found: FoundSegment[]): PhysicalLog {
    const { tail } = this.context;
    this.order = found;
    const promisedSegment = tail === null || tail.endOffset === 0 ? -1 : tail.segment;
    this.begin(found[0], tail !== null && tail.index !== NONE && tail.endOffset === 0);
    const covered = found.filter((segment) => tail === null || segment.base <= promisedSegment);
    const needed = promisedSegment >= 0 && tail !== null && tail.index > this.log.end;
    if (needed && !covered.some((segment) => segment.base === promisedSegment)) {
      this.log.notes.push(`${segmentPath(promisedSegment)} is missing`);
      covered.push(missing(Math.max(promisedSegment, next(this.log.end))));
    }
    for (let i = 0; i < covered.length; i++) this.scanCovered(covered[i]!, covered[i + 1] ?? null);
    for (const segment of found) if (!covered.includes(segment)) this.scanAbove(segment);
    for (const { file } of found) file?.prefetch(0);
    this.noteFirstHeader();
    this.noteJunction();
    this.noteCheckpoint();
    return this.log;
  }

  /**
   * Where the log begins: at 0, or above it when the manifest's checkpoint covers everything below. With `afterSnapshot` the tail record says that
   * no frame above the snapshot was ever promised.
   */
  private begin(first: FoundSegment | undefined, afterSnapshot: boolean): void {
    const { index, hash } = this.context.manifest.checkpoint;
    if (index === NONE) return;
    if (!afterSnapshot && first !== undefined && first.base <= index) {
      if (first.base > 0)
        Object.assign(this.log, { start: first.base, end: below(first.base), endHash: first.prevHash });
    } else Object.assign(this.log, { start: index + 1, end: index, endHash: hash });
  }

  /** The snapshot's chain hash against what stands at its index: a committed entry, so the frames through it are right when that one is. */
  private noteCheckpoint(): void {
    const { log } = this;
    const { index, hash } = this.context.manifest.checkpoint;
    if (index === NONE || log.end < index) return;
    const own = log.start === index + 1 ? (log.segments[0]?.prevHash ?? hash) : this.hashAt(index);
    if (own === null) return;
    if (!sameHash(own, hash)) log.differsAtCheckpoint = true;
    else if (log.agreed === null || log.agreed < index) log.agreed = index;
  }

  /** What the install of this log view kept, against what stands at its end. */
  private noteJunction(): void {
    const { log } = this;
    const { index, hash } = this.context.manifest.junction;
    if (index < log.start || log.end < index) return;
    const own = this.hashAt(index);
    if (own === null) return;
    if (!sameHash(own, hash)) log.differsAtJunction = true;
    else if (log.agreed === null || log.agreed < index) log.agreed = index;
  }

  /** A segment whose frames were promised, as far as the tail record or the next segment says. */
  private scanCovered(segment: FoundSegment, next: FoundSegment | null): void {
    const { tail, manifest, codec } = this.context;
    if (segment.base <= this.log.end) {
      this.log.stale.push(segment);
      return;
    }
    if (segment.base > this.log.end + 1) this.missingBefore(segment);
    const bytes = this.read(segment);
    const isTail = next === null && tail !== null;
    const last = isTail
      ? tail.index
      : next === null
        ? Math.max(manifest.headers.last, segment.base - 1)
        : next.base - 1;
    const lastHash = isTail ? tail.hash : next === null ? null : next.prevHash;
    const limit = isTail ? Math.min(tail.endOffset, bytes.length) : bytes.length;
    // Where the log was cut inside of damage its end is not known: the tail record leaves the rest of the segment to it (log-install.ts).
    const exact = isTail && limit === tail.endOffset && limit < segment.size;
    const chain = segment.prevHash ?? this.log.endHash;
    const region = { bytes, start: SEGMENT_HEADER_BYTES, limit, first: segment.base, chain, last, lastHash, exact };
    const pieces = this.bestOf(segment, region, () => scanRegion(codec, region, manifest.headers));
    // The header could not be read a moment ago, the first frame can be now: a bad read, no damage (simulator seed 2002256).
    if (pieces[0]?.kind === 'run') segment.prevHash ??= pieces[0].prevHash;
    const short =
      isTail && segment.base === tail.segment && limit < tail.endOffset ? pieces[pieces.length - 1] : undefined;
    if (short !== undefined && short.kind === 'gap')
      pieces[pieces.length - 1] = { ...short, endOffset: tail!.endOffset };
    this.take(segment, bytes, pieces);
    if (next === null) this.scanRest(segment, bytes, isTail ? tail.endOffset : null);
  }

  /**
   * What looks damaged is read again, until two reads one after the other give the same. Of two that differ that one counts in which fewer slots are damaged: an intact
   * frame proves itself, a bad read proves nothing.
   */
  private bestOf({ file }: FoundSegment, { bytes }: { readonly bytes: Uint8Array }, scan: () => Piece[]): Piece[] {
    let pieces = scan();
    for (let left = AGREE_TRIES; left > 0 && file !== null && slotsDamaged(pieces) > 0; left--) {
      const before = bytes.slice();
      if (readsTheSame(file, 0, bytes)) break;
      const again = scan();
      if (slotsDamaged(again) > slotsDamaged(pieces)) bytes.set(before);
      else pieces = again;
    }
    return pieces;
  }

  /** What stands in the last covered segment above what was promised. */
  private scanRest(segment: FoundSegment, bytes: Uint8Array, from: number | null): void {
    const last = segment.pieces[segment.pieces.length - 1];
    if (from === null && last !== undefined && last.kind === 'gap') return;
    const at = from ?? (last === undefined ? SEGMENT_HEADER_BYTES : (last as { end: number }).end);
    const index = this.log.end + 1;
    if (this.log.endHash === null || at > bytes.length) return;
    const run = runAt(this.context.codec, bytes, at, bytes.length, index, this.log.endHash);
    if (run !== null) this.take(segment, bytes, [run]);
    const end = run === null ? at : run.end;
    if (end < bytes.length && !segment.recycled) {
      const fault = faultAt(this.context.codec, bytes, end, bytes.length, this.log.end + 1, this.log.endHash);
      if (fault !== 'empty') this.log.rest = true;
    }
  }

  /** A segment above the tail record: it counts only if it continues the chain. */
  private scanAbove(segment: FoundSegment): void {
    const { endHash, end, stale } = this.log;
    const continues =
      segment.base === end + 1 && endHash !== null && segment.prevHash !== null && sameHash(segment.prevHash, endHash);
    if (!continues || stale.length > 0) {
      stale.push(segment);
      return;
    }
    const bytes = this.read(segment);
    this.log.segments.push(segment);
    this.scanRest(segment, bytes, SEGMENT_HEADER_BYTES);
  }

  /** Slots of segments that are not there. They stand in no file: the next repair makes one. */
  private missingBefore(segment: FoundSegment): void {
    const from = this.log.end + 1;
    const to = segment.base - 1;
    const lost = missing(from);
    this.log.notes.push(`no segment holds indexes ${from}..${to}`);
    lost.pieces.push({
      kind: 'gap',
      from,
      to,
      offset: SEGMENT_HEADER_BYTES,
      endOffset: null,
      hash: segment.prevHash,
      fault: 'incomplete',
    });
    this.log.segments.push(lost);
    this.log.end = at(to);
    this.log.endHash = segment.prevHash;
  }

  /** The whole segment, in a buffer that the next one takes over; the device goes on with that one while this one is verified. */
  private read(segment: FoundSegment): Uint8Array {
    const length = Math.max(segment.size, SEGMENT_HEADER_BYTES);
    if (this.buffer.length < length) this.buffer = new Uint8Array(length);
    const bytes = this.buffer.subarray(0, length);
    const got = segment.file === null ? 0 : segment.file.readSync(0, bytes);
    const following = this.order[this.order.indexOf(segment) + 1];
    following?.file?.prefetch(Math.max(following.size, SEGMENT_HEADER_BYTES));
    return bytes.subarray(0, Math.max(got, SEGMENT_HEADER_BYTES));
  }

  private take(segment: FoundSegment, bytes: Uint8Array, pieces: Piece[]): void {
    if (!this.log.segments.includes(segment)) this.log.segments.push(segment);
    for (const piece of pieces) {
      segment.pieces.push(piece);
      if (piece.kind === 'gap') {
        this.log.end = at(piece.to);
        this.log.endHash = piece.hash;
        continue;
      }
      segment.marks.mark(piece.first, piece.start);
      walkRun(bytes, piece, (index, at, hash, hashAt) => this.note(segment, bytes, index, at, hash, hashAt));
      this.log.end = at(piece.last);
      this.log.endHash = piece.lastHash;
    }
  }

  private note(
    segment: FoundSegment,
    bytes: Uint8Array,
    index: number,
    offset: number,
    hash: Uint8Array,
    hashAt: number,
  ): void {
    const { log } = this;
    const view = frame.view(bytes, offset);
    if (!(view <= log.viewMax)) log.viewMax = view;
    segment.marks.noteAgain(index, offset, frame.size(bytes, offset));
    log.records.note(index, bytes, offset, hash, hashAt);
    if (this.joints.has(index)) this.joints.set(index, copyHash(hash, hashAt));
    const { headers, logView } = this.context.manifest;
    if (index === log.sameViewThrough + 1 && view === logView) log.sameViewThrough = at(index);
    if (!headers.contains(index)) return;
    const stored = headers.hash(index);
    if (stored === null) return;
    if (isHashAt(hash, hashAt, stored)) log.agreed = at(index);
    else log.differs ??= index;
  }

  /** Chain hash of a joint: its frame's, or what the frame above a damaged slot says. */
  private hashAt(index: number): Uint8Array | null {
    const own = this.joints.get(index) ?? null;
    if (own !== null) return own;
    for (const { pieces } of this.log.segments)
      for (const piece of pieces) if (piece.kind === 'gap' && piece.to === index) return piece.hash;
    return null;
  }

  /** The slot below the first stored header agrees when that header's prev_hash says so. */
  private noteFirstHeader(): void {
    const { headers } = this.context.manifest;
    if (this.log.agreed !== null || headers.count === 0 || headers.first === 0) return;
    const joint = below(headers.first);
    const header = headers.header(headers.first);
    const own = this.hashAt(joint);
    if (header !== null && own !== null && sameHash(frame.prevHash(header, 0), own)) this.log.agreed = joint;
  }
}

function slotsDamaged(pieces: readonly Piece[]): number {
  let slots = 0;
  for (const piece of pieces) if (piece.kind === 'gap') slots += piece.to - piece.from + 1;
  return slots;
}

function missing(base: number): FoundSegment {
  const prevHash = base === 0 ? new Uint8Array(HASH_BYTES) : null;
  const marks = new OffsetMarks();
  return { base, file: null, size: 0, prevHash, headerDamaged: false, recycled: false, marks, pieces: [] };
}
