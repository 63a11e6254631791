/**
 * Verifying and showing the `log` directory of a replica, at rest or live: its segments through the tail record.
 *
 * Invariants:
 *  - what the tail record promises must be there; what stands above it was never promised and is not counted;
 *  - the tail record is read before the names and the frames, so that a live directory is never called torn for what is being written; when something looks
 *    damaged and the directory was cut or compacted meanwhile, everything is looked at again;
 *  - one segment is open at a time; memory is bounded by a read and the largest frame.
 */
import { SEGMENT_HEADER_BYTES } from './constants.ts';
import { sameHash } from './hash.ts';
import { type LogBytes, LogReader } from './log-reader.ts';
import {
  fileStart,
  type ShownEntry,
  Verification,
  type VerifyOptions,
  type VerifyReport,
  verifyLogFile,
} from './log-verify.ts';
import { segmentBase } from './segment.ts';
import { decodeTail, TAIL_FILE_BYTES, type TailState } from './tail-record.ts';

/** How often a directory that changes under the reader is looked at anew. */
const ATTEMPTS = 5;
const TAIL_NAME = 'tail';

/** Files by name. */
export interface LogFiles {
  /** Names of the files, sorted. */
  list(): readonly string[];
  /** Null when there is no such file (any more). */
  open(name: string): OpenLogBytes | null;
}

export interface OpenLogBytes extends LogBytes {
  close(): void;
}

interface Look {
  readonly tail: TailState | null;
  /** Names of the segments, ascending. */
  readonly names: readonly string[];
}

/** Verifies the directory; with `onEntry` it begins at the segment that holds `from` and ends when `limit` entries were shown. */
export function verifyLogDirectory(files: LogFiles, options: VerifyOptions): VerifyReport {
  let shownThrough = -1n;
  const { onEntry } = options;
  const once: VerifyOptions =
    onEntry === undefined
      ? options
      : {
          ...options,
          onEntry: (entry: ShownEntry) => {
            if (BigInt(entry.index) <= shownThrough) return;
            shownThrough = BigInt(entry.index);
            onEntry(entry);
          },
        };
  for (let attempt = 1; ; attempt++) {
    const look = lookAt(files);
    const report = verifyOnce(files, look, once);
    if (report.ok || attempt === ATTEMPTS || !movedOn(files, look)) return report;
  }
}

/** Verifies one segment of a directory, through what its neighbours and the tail record say of it. */
export function verifySegment(files: LogFiles, name: string, source: LogBytes, options: VerifyOptions): VerifyReport {
  const { tail, names } = lookAt(files);
  const at = names.indexOf(name);
  const next = at >= 0 && at + 1 < names.length ? BigInt(segmentBase(names[at + 1]!)!) - 1n : null;
  const promised = promisedBy(tail);
  const bound = promised !== null && (next === null || promised < next) ? promised : next;
  const base = segmentBase(name);
  const through = at < 0 || base === null || bound === null || bound < BigInt(base) ? null : bound;
  return verifyLogFile(name, source, options, through);
}

/** Index of the newest promised entry, null when there is none or the tail record is lost. */
export function lastPromised(files: LogFiles): bigint | null {
  return promisedBy(lookAt(files).tail);
}

function promisedBy(tail: TailState | null): bigint | null {
  return tail === null || tail.index < 0 || tail.endOffset === 0 ? null : BigInt(tail.index);
}

/** The tail record first: what it promises stays, unless the log is cut. */
function lookAt(files: LogFiles): Look {
  let tail = readTail(files);
  // A record that is just being written may look damaged for a moment.
  for (let attempt = 1; tail === null && attempt < ATTEMPTS; attempt++) tail = readTail(files);
  return { tail, names: files.list().filter((name) => segmentBase(name) !== null) };
}

/** The log was cut, or a segment was compacted away, since `before`. */
function movedOn(files: LogFiles, before: Look): boolean {
  const now = lookAt(files);
  if (before.names.some((name) => !now.names.includes(name))) return true;
  if (before.tail === null) return now.tail !== null;
  if (now.tail === null) return false;
  return now.tail.index < before.tail.index || now.tail.logView !== before.tail.logView;
}

function readTail(files: LogFiles): TailState | null {
  const source = files.open(TAIL_NAME);
  if (source === null) return null;
  try {
    const bytes = new Uint8Array(TAIL_FILE_BYTES);
    const got = source.readSync(0, bytes);
    const decoded = decodeTail(bytes.subarray(0, got), null);
    return decoded.kind === 'ok' ? decoded.tail : null;
  } finally {
    source.close();
  }
}

function verifyOnce(files: LogFiles, { tail, names }: Look, options: VerifyOptions): VerifyReport {
  const wanted = options.onEntry === undefined ? 0 : firstWanted(names, options.from ?? 0n);
  const promised = promisedBy(tail);
  const segments = tail !== null && tail.index < 0 ? [] : names.slice(wanted);
  const held = segments.filter((name) => promised === null || BigInt(segmentBase(name)!) <= promised);
  const run = new Verification(options, totalBytes(files, held, tail));
  run.format = 2;
  let expected: bigint | null = null;
  for (const [i, name] of held.entries()) {
    if (run.shownAll) return run.ok();
    const source = files.open(name);
    const base = BigInt(segmentBase(name)!);
    if (source === null) return run.failed('index-gap', base, 0, name);
    try {
      const after = held[i + 1];
      const next = after === undefined ? null : BigInt(segmentBase(after)!) - 1n;
      const through = promised !== null && (next === null || promised < next) ? promised : next;
      const failed = verifyHeld(run, source, name, base, expected, through);
      if (typeof failed !== 'bigint') return failed;
      expected = failed;
    } finally {
      source.close();
    }
  }
  return atTail(run, tail, promised);
}

/** One segment: the index behind its last frame, or what is wrong. */
function verifyHeld(
  run: Verification,
  source: LogBytes,
  name: string,
  base: bigint,
  expected: bigint | null,
  through: bigint | null,
): bigint | VerifyReport {
  const start = fileStart(source);
  if (start.damaged || start.version !== 2 || start.base !== base) return run.failed('header-checksum', base, 0, name);
  if (expected !== null && base !== expected) return run.failed('index-gap', expected, SEGMENT_HEADER_BYTES, name);
  if (expected !== null && !sameHash(start.prevHash, run.chain))
    return run.failed('chain', base, SEGMENT_HEADER_BYTES, name);
  if (expected === null) run.chain.set(start.prevHash);
  const reader = new LogReader(source, run.options.codec, SEGMENT_HEADER_BYTES, source.size(), base, start.prevHash);
  const stop = run.readAll(reader, name, through);
  if (stop !== null && through !== null) {
    // The slot was promised, or a later segment follows: nothing there, or half a frame, is damage.
    return run.failed(stop.kind === 'end' ? 'torn-tail' : stop.fault, reader.index, stop.offset, name);
  }
  return reader.index;
}

/** The end: what the tail record says of it. */
function atTail(run: Verification, tail: TailState | null, promised: bigint | null): VerifyReport {
  if (run.shownAll) return run.ok();
  if (tail === null) return run.failed('tail-record', (run.last ?? -1n) + 1n, 0, TAIL_NAME);
  if (promised === null || (run.last === promised && sameHash(run.chain, tail.hash))) return run.ok();
  const short = run.last === null || run.last < promised;
  return run.failed(short ? 'torn-tail' : 'tail-record', short ? (run.last ?? -1n) + 1n : promised, 0, TAIL_NAME);
}

/** Position of the segment that holds `from`. */
function firstWanted(names: readonly string[], from: bigint): number {
  const above = names.findIndex((name) => BigInt(segmentBase(name)!) > from);
  return Math.max(0, (above < 0 ? names.length : above) - 1);
}

/** Bytes that will be read: whole segments, and the last one up to the tail record's end. */
function totalBytes(files: LogFiles, held: readonly string[], tail: TailState | null): number {
  let total = 0;
  for (const name of held) {
    const source = files.open(name);
    if (source === null) continue;
    const isLast = tail !== null && segmentBase(name) === tail.segment && tail.endOffset > 0;
    total += isLast ? tail.endOffset : source.size();
    source.close();
  }
  return total;
}
