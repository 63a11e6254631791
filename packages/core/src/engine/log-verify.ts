/**
 * `chronon log verify` and `chronon log show` without their command line: one file of a log of either version is read, checked frame by frame, and
 * described (a replica's directory: log-verify-directory.ts). Nothing is changed.
 *
 * Invariants: memory is bounded by a read and the largest frame; every outcome is a value.
 */
import { HASH_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { readU32 } from './frame.ts';
import { toHex, ZERO_HASH } from './hash.ts';
import {
  type EntryFields,
  entryFields,
  type LogBytes,
  type LogFault,
  type LogFaultKind,
  LogReader,
  readU64Big,
  type ReadStop,
} from './log-reader.ts';
import { crc32c } from './codec/crc32c.ts';
import { decodeSegmentHeader, SEGMENT_MAGIC } from './segment.ts';

/** What `log verify --json` prints. */
export type VerifyReport = VerifyOk | VerifyFailed;

export interface VerifyOk extends VerifiedPart {
  readonly ok: true;
}

export interface VerifyFailed extends VerifiedPart {
  readonly ok: false;
  readonly fault: LogFault & { readonly file: string };
}

interface VerifiedPart {
  readonly format: 1 | 2;
  /** Null when no entry is intact. */
  readonly firstIndex: string | null;
  readonly lastIndex: string | null;
  readonly entries: number;
  /** Chain hash of the last intact entry; of the one before the first when there is none. */
  readonly tailHash: string;
}

/** An entry, and the file it stands in. */
export interface ShownEntry extends EntryFields {
  readonly file: string;
}

export interface VerifyOptions {
  readonly codec: FrameCodec;
  /** First index to show, and how many from there; without `onEntry` none is shown and everything is checked. */
  readonly from?: bigint;
  readonly limit?: number;
  readonly onEntry?: (entry: ShownEntry) => void;
  /** Bytes verified so far, and in all. */
  onProgress?(done: number, total: number): void;
}

const PROGRESS_BYTES = 8 * 1024 * 1024;

/** What the start of a file says. */
export interface FileStart {
  /** Only what is above the frames of this segment is of it: behind the last frame an older segment's may stand. */
  readonly recycled: boolean;
  readonly version: number;
  readonly base: bigint;
  readonly prevHash: Uint8Array;
  readonly offset: number;
  readonly damaged: boolean;
}

export class Verification {
  readonly options: VerifyOptions;
  first: bigint | null = null;
  last: bigint | null = null;
  entries = 0;
  chain: Uint8Array = ZERO_HASH.slice();
  format: 1 | 2 = 1;
  private shown = 0;
  private done = 0;
  private reported = 0;
  private readonly total: number;

  constructor(options: VerifyOptions, total: number) {
    this.options = options;
    this.total = total;
  }

  /** Reads frames until something stops the reader, or through `through`. */
  readAll(reader: LogReader, file: string, through: bigint | null): ReadStop | null {
    const start = reader.offset;
    while (!this.shownAll && (through === null || reader.index <= through)) {
      if (this.options.onEntry === undefined) {
        const index = reader.index;
        const run = reader.run(through ?? reader.index + BigInt(Number.MAX_SAFE_INTEGER));
        if (run > 0) {
          this.first ??= index;
          this.last = reader.index - 1n;
          this.entries += run;
          this.chain.set(reader.chain);
          this.progress(reader.offset - start, false);
          continue;
        }
      }
      const next = reader.next();
      if ('kind' in next) {
        this.progress(reader.offset - start, true);
        return next;
      }
      this.first ??= next.index;
      this.last = next.index;
      this.entries++;
      this.chain.set(next.chain);
      this.show(next, file);
      this.progress(reader.offset - start, false);
    }
    this.progress(reader.offset - start, true);
    return null;
  }

  /** Every entry that was asked for has been shown: nothing more needs to be read. */
  get shownAll(): boolean {
    return this.options.onEntry !== undefined && this.shown >= (this.options.limit ?? Number.POSITIVE_INFINITY);
  }

  private show(frame: Parameters<typeof entryFields>[0], file: string): void {
    const { from } = this.options;
    if (this.options.onEntry === undefined || frame.index < (from ?? 0n)) return;
    this.shown++;
    this.options.onEntry({ ...entryFields(frame), file });
  }

  private progress(bytes: number, end: boolean): void {
    if (!end && this.done + bytes - this.reported < PROGRESS_BYTES) return;
    if (end) this.done += bytes;
    this.reported = end ? this.done : this.done + bytes;
    this.options.onProgress?.(this.reported, this.total);
  }

  private part(): VerifiedPart {
    return {
      format: this.format,
      firstIndex: this.first === null ? null : String(this.first),
      lastIndex: this.last === null ? null : String(this.last),
      entries: this.entries,
      tailHash: toHex(this.chain),
    };
  }

  ok(): VerifyReport {
    return { ok: true, ...this.part() };
  }

  failed(kind: LogFaultKind, index: bigint, offset: number, file: string): VerifyReport {
    return { ok: false, ...this.part(), fault: { kind, index: String(index), offset, file } };
  }
}

/**
 * Verifies one file: version 1, or one segment of version 2. `through`: the last frame the segment must hold, where the files beside it tell; else it is
 * read through its last intact frame, and what stands behind that in a segment that was used before is not judged.
 */
export function verifyLogFile(
  name: string,
  source: LogBytes,
  options: VerifyOptions,
  through: bigint | null = null,
): VerifyReport {
  const run = new Verification(options, source.size());
  const start = fileStart(source);
  run.format = start.version === 2 ? 2 : 1;
  run.chain = start.prevHash.slice();
  if (start.damaged) return run.failed('header-checksum', start.base, 0, name);
  const reader = new LogReader(source, options.codec, start.offset, source.size(), start.base, start.prevHash);
  const stop = run.readAll(reader, name, through);
  if (stop === null) return run.ok();
  if (run.format === 1) return endOfVersion1(run, reader, stop, name);
  if (through !== null)
    return run.failed(stop.kind === 'end' ? 'torn-tail' : stop.fault, reader.index, stop.offset, name);
  return stop.kind === 'end' || start.recycled ? run.ok() : run.failed(stop.fault, reader.index, stop.offset, name);
}

/** Behind the last frame of version 1 stands a sentinel that states its index. */
function endOfVersion1(run: Verification, reader: LogReader, stop: ReadStop, name: string): VerifyReport {
  const mark = reader.peek(stop.offset, 16);
  const isSentinel = mark.length >= 8 && mark[0] === 0x45 && mark[1] === 0x4f && mark[2] === 0x4c;
  if (isSentinel && mark[3] === 2 && mark.length === 16) {
    const right = readU32(mark, 4) === 0 && readU64Big(mark, 8) === reader.index - 1n;
    return right ? run.ok() : run.failed('sentinel', reader.index, stop.offset, name);
  }
  if (isSentinel && mark[3] === 0) {
    const right = BigInt(readU32(mark, 4)) === reader.index - 1n;
    return right ? run.ok() : run.failed('sentinel', reader.index, stop.offset, name);
  }
  if (stop.kind === 'end') return run.failed('sentinel', reader.index, stop.offset, name);
  // Fewer bytes than a sentinel, or the start of one: the end was being written.
  const kind = stop.fault === 'header-checksum' && mark.length < 16 ? 'torn-tail' : stop.fault;
  return run.failed(kind, reader.index, stop.offset, name);
}

/** Reads the header; a file without one is version 1 and begins with frame 0. */
export function fileStart(source: LogBytes): FileStart {
  const head = new Uint8Array(SEGMENT_HEADER_BYTES);
  const got = source.readSync(0, head);
  if (got < 4 || readU32(head, 0) !== SEGMENT_MAGIC) {
    return { recycled: false, version: 1, base: 0n, prevHash: ZERO_HASH, offset: 0, damaged: false };
  }
  const checksum = crc32c(head, 36, SEGMENT_HEADER_BYTES, crc32c(head, 0, 32));
  return {
    recycled: decodeSegmentHeader(head)?.recycled ?? false,
    version: readU32(head, 4),
    base: readU64Big(head, 8),
    prevHash: head.slice(16, 16 + HASH_BYTES),
    offset: SEGMENT_HEADER_BYTES,
    damaged: got < SEGMENT_HEADER_BYTES || checksum !== readU32(head, 32) || ![1, 2].includes(readU32(head, 4)),
  };
}
