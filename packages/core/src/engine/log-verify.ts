/**
 * `chronon log verify` and `chronon log show` without their command line: a log of either version, as a file or as a replica's directory, is read,
 * checked frame by frame, and described. Nothing is changed, so a live directory may be read too.
 *
 * Invariants: a version 2 directory is checked through its tail record: what that promises must be there; what stands above it was never promised and
 * is not counted.
 */
import { HASH_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { readU32 } from './frame.ts';
import { sameHash, toHex, ZERO_HASH } from './hash.ts';
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
import { SEGMENT_MAGIC, segmentBase } from './segment.ts';
import { decodeTail, TAIL_FILE_BYTES, type TailState } from './tail-record.ts';

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

/** Files by name: a replica's `log` directory, or one file alone. */
export interface LogFiles {
  /** Names of the files, sorted. */
  list(): readonly string[];
  open(name: string): LogBytes;
}

export interface VerifyOptions {
  readonly codec: FrameCodec;
  /** First index to show; null: none is shown. */
  readonly from?: bigint | null;
  readonly limit?: number;
  onEntry?(entry: ShownEntry): void;
  /** Bytes verified so far, and in all. */
  onProgress?(done: number, total: number): void;
}

const PROGRESS_BYTES = 8 * 1024 * 1024;

/** What the start of a file says. */
interface FileStart {
  readonly version: number;
  readonly base: bigint;
  readonly prevHash: Uint8Array;
  readonly offset: number;
  readonly damaged: boolean;
}

class Verification {
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
    while (through === null || reader.index <= through) {
      const next = reader.next();
      if ('kind' in next) {
        this.progress(reader.offset - start, true);
        return next;
      }
      this.first ??= next.index;
      this.last = next.index;
      this.entries++;
      this.chain = next.chain;
      this.show(next, file);
      this.progress(reader.offset - start, false);
    }
    this.progress(reader.offset - start, true);
    return null;
  }

  private show(frame: Parameters<typeof entryFields>[0], file: string): void {
    const { from, limit } = this.options;
    if (this.options.onEntry === undefined || from === null || frame.index < (from ?? 0n)) return;
    if (this.shown >= (limit ?? Number.POSITIVE_INFINITY)) return;
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

/** Verifies one file: version 1, or one segment of version 2 (through its last intact frame: a segment alone has no tail record). */
export function verifyLogFile(name: string, source: LogBytes, options: VerifyOptions): VerifyReport {
  const run = new Verification(options, source.size());
  const start = fileStart(source);
  run.format = start.version === 2 ? 2 : 1;
  run.chain = start.prevHash.slice();
  if (start.damaged) return run.failed('header-checksum', start.base, 0, name);
  const reader = new LogReader(source, options.codec, start.offset, source.size(), start.base, start.prevHash);
  const stop = run.readAll(reader, name, null)!;
  if (run.format === 2) {
    return stop.kind === 'end' ? run.ok() : run.failed(stop.fault, reader.index, stop.offset, name);
  }
  return endOfVersion1(run, reader, stop, name);
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

/** Verifies the `log` directory of a replica: its segments through the tail record. */
export function verifyLogDirectory(files: LogFiles, options: VerifyOptions): VerifyReport {
  const names = files.list().filter((name) => segmentBase(name) !== null);
  const sources = names.map((name) => files.open(name));
  const run = new Verification(
    options,
    sources.reduce((sum, source) => sum + source.size(), 0),
  );
  run.format = 2;
  const tail = files.list().includes('tail') ? readTail(files.open('tail')) : null;
  const promised = tail === null || tail.index < 0 || tail.endOffset === 0 ? null : BigInt(tail.index);
  const nothing = tail !== null && promised === null && tail.index < 0;
  let expected: bigint | null = null;
  for (let i = 0; i < sources.length && !nothing; i++) {
    const [name, source] = [names[i]!, sources[i]!];
    if (promised !== null && BigInt(segmentBase(name)!) > promised) break;
    const start = fileStart(source);
    const base = BigInt(segmentBase(name)!);
    if (start.damaged || start.version !== 2 || start.base !== base)
      return run.failed('header-checksum', base, 0, name);
    if (expected !== null && base !== expected) return run.failed('index-gap', expected, SEGMENT_HEADER_BYTES, name);
    if (expected !== null && !sameHash(start.prevHash, run.chain))
      return run.failed('chain', base, SEGMENT_HEADER_BYTES, name);
    if (expected === null) run.chain = start.prevHash.slice();
    const next = i + 1 < names.length ? BigInt(segmentBase(names[i + 1]!)!) - 1n : null;
    const through = promised !== null && (next === null || promised < next) ? promised : next;
    const reader = new LogReader(source, options.codec, SEGMENT_HEADER_BYTES, source.size(), base, start.prevHash);
    const stop = run.readAll(reader, name, through);
    if (stop !== null && through !== null) {
      // The slot was promised, or a later segment follows: nothing there, or half a frame, is damage.
      const kind = stop.kind === 'end' ? 'torn-tail' : stop.fault;
      return run.failed(kind, reader.index, stop.offset, name);
    }
    expected = reader.index;
  }
  if (tail === null) return run.failed('tail-record', (run.last ?? -1n) + 1n, 0, 'tail');
  if (promised !== null && (run.last !== promised || !sameHash(run.chain, tail.hash))) {
    const short = run.last === null || run.last < promised;
    return run.failed(short ? 'torn-tail' : 'tail-record', short ? (run.last ?? -1n) + 1n : promised, 0, 'tail');
  }
  return run.ok();
}

function readTail(source: LogBytes): TailState | null {
  const bytes = new Uint8Array(TAIL_FILE_BYTES);
  const got = source.readSync(0, bytes);
  const decoded = decodeTail(bytes.subarray(0, got), null);
  return decoded.kind === 'ok' ? decoded.tail : null;
}

/** Reads the header; a file without one is version 1 and begins with frame 0. */
function fileStart(source: LogBytes): FileStart {
  const head = new Uint8Array(SEGMENT_HEADER_BYTES);
  const got = source.readSync(0, head);
  if (got < 4 || readU32(head, 0) !== SEGMENT_MAGIC) {
    return { version: 1, base: 0n, prevHash: ZERO_HASH, offset: 0, damaged: false };
  }
  const checksum = crc32c(head, 36, SEGMENT_HEADER_BYTES, crc32c(head, 0, 32));
  return {
    version: readU32(head, 4),
    base: readU64Big(head, 8),
    prevHash: head.slice(16, 16 + HASH_BYTES),
    offset: SEGMENT_HEADER_BYTES,
    damaged: got < SEGMENT_HEADER_BYTES || checksum !== readU32(head, 32) || ![1, 2].includes(readU32(head, 4)),
  };
}
