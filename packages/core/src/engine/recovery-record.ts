/**
 * The log of record: which slots of the physical log count, by the manifest's headers, the log view and the tail record (docs/log-format.md,
 * "Recovery: the log of record", "Who wins").
 *
 * Invariants:
 *  - nothing at or below a tail record of the manifest's log view is cut: what is unreadable there is faulty;
 *  - a tail record of an older log view is no head, it only forbids nacking what is unreadable;
 *  - while view > log view nothing above the stored headers counts.
 */
import type { Policy } from '../policy.ts';
import { at, below, type CommitIndex, max, min, next, NONE } from './commit-index.ts';
import { FRAME_HEADER_BYTES } from './constants.ts';
import { frame } from './frame.ts';
import { sameHash, ZERO_HASH } from './hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from './header-suffix.ts';
import type { FaultySlots, ManifestState, Refusal } from './log-contract.ts';
import type { PhysicalLog } from './recovery-physical.ts';
import { describeTail, type TailState } from './tail-record.ts';

/** What the tail record must say when opening ends: the end of the log of record, or it stays lost. */
export type TailPlan = 'at-end' | 'lost';

export interface LogOfRecord {
  readonly end: CommitIndex;
  readonly endHash: Uint8Array;
  readonly head: CommitIndex;
  readonly headHash: Uint8Array;
  readonly promised: CommitIndex;
  readonly connected: boolean;
  readonly faulty: FaultySlots[];
  readonly tail: TailPlan;
}

/** Decides what counts. `tail` null: lost. What does not reach the snapshot of the checkpoint, or contradicts it, is dropped for it (in `log`, too). */
export function logOfRecord(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  policy: Policy,
): LogOfRecord | Refusal {
  const refusal = contradiction(log, manifest, tail);
  if (refusal !== null) return refusal;
  const record = recordOf(log, manifest, tail, policy);
  const { index } = manifest.checkpoint;
  if ('code' in record) return record;
  const damagedThere = record.end === index && record.faulty.some((range) => range.to === index);
  if (record.end >= index && !log.differsAtCheckpoint && !damagedThere) return record;
  log.stale.push(...log.segments);
  log.segments = [];
  log.start = next(index);
  return build(log, manifest, tail, index, true, max(index, record.promised), tail === null ? 'lost' : 'at-end');
}

function recordOf(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  policy: Policy,
): LogOfRecord | Refusal {
  const { headers, logView } = manifest;
  if (tail === null) return recordWithoutTail(log, manifest);
  if (tail.logView === logView)
    return policy.truncateAckedTail ? recordCut(log, manifest, tail) : recordOfTail(log, manifest, tail);

  const promised = min(max(tail.index, tail.promised), headers.last);
  const agreed = max(log.agreed ?? NONE, keptByInstall(log, manifest, tail));
  if (policy.unconnectedFramesCount && headers.count > 0 && agreed < headers.first - 1)
    return build(log, manifest, tail, min(tail.index, log.end), true, promised, 'at-end');
  // Slots above the tail record held what no frame here tells of, whatever stands in them now.
  const gone = tail.promised > tail.index ? promised : NONE;
  const kept = max(gone, lastUnreadable(log, agreed, promised) ?? NONE);
  return build(log, manifest, tail, agreed, true, max(agreed, kept), 'at-end');
}

/**
 * The install of the manifest's log view was cut off: it keeps the log through the junction, also where damage hides what stands there. Everything through it had been
 * promised before it began.
 */
function keptByInstall(log: PhysicalLog, { junction }: ManifestState, tail: TailState): CommitIndex {
  return max(below(log.start), min(junction.index, tail.index));
}

/** Two records that cannot both be true. */
function contradiction(log: PhysicalLog, manifest: ManifestState, tail: TailState | null): Refusal | null {
  const { headers, view, logView } = manifest;
  const advice = 'one of them is old or damaged: restore it, or replace this replica (chronon recover)';
  if (!(log.viewMax <= view)) {
    return {
      code: 'E_MANIFEST',
      message: `log/ holds a frame of view ${log.viewMax}, the manifest knows view ${view} only; ${advice}`,
    };
  }
  if (tail === null) return null;
  if (tail.logView > logView) {
    return {
      code: 'E_MANIFEST',
      message: `log/tail is of log view ${tail.logView}, the manifest of ${logView}; ${advice}`,
    };
  }
  if (log.differsAtJunction && manifest.junction.index <= tail.index) {
    return {
      code: 'E_LOG_CORRUPT',
      message: `the frame of index ${manifest.junction.index} is intact but not the one that the manifest's junction states; ${advice}`,
    };
  }
  if (tail.logView < logView) return null;
  const snapshot = manifest.checkpoint.index;
  if (log.differsAtCheckpoint && tail.index >= snapshot) {
    return {
      code: 'E_LOG_CORRUPT',
      message: `the frame of index ${snapshot} is intact but not the one that the manifest's checkpoint states; ${advice}`,
    };
  }
  const stored = headers.contains(tail.index) ? headers.hash(tail.index) : null;
  if (stored !== null && tail.endOffset > 0 && !sameHash(stored, tail.hash)) {
    return {
      code: 'E_MANIFEST',
      message: `log/tail (${describeTail(tail)}) and the manifest's headers disagree; ${advice}`,
    };
  }
  if (view > logView && tail.index > Math.max(headers.last, snapshot)) {
    const vote = `the vote of view ${view} in the manifest ends at index ${headers.last}`;
    return { code: 'E_MANIFEST', message: `log/tail promises index ${tail.index}, ${vote}; ${advice}` };
  }
  if (log.differs !== null && log.differs <= tail.index && tail.endOffset > 0) {
    return {
      code: 'E_LOG_CORRUPT',
      message: `the frame of index ${log.differs} is intact but not the one the manifest states; ${advice}`,
    };
  }
  return null;
}

/** The tail record is of this log view: everything through it is the log of record. */
function recordOfTail(log: PhysicalLog, manifest: ManifestState, tail: TailState): LogOfRecord | Refusal {
  let end = tail.index;
  if (log.agreed !== null && log.agreed > end) end = log.agreed;
  if (end === log.aboveFrom - 1 && manifest.view === manifest.logView) end = max(end, log.sameViewThrough);
  return build(log, manifest, tail, end, true, max(tail.index, tail.promised), 'at-end');
}

/** The truncate-acked-tail mutation: what is unreadable at the end is taken for a torn write, whatever the tail record says of it. */
function recordCut(log: PhysicalLog, manifest: ManifestState, tail: TailState): LogOfRecord | Refusal {
  let end = min(tail.index, log.end);
  for (const { pieces } of log.segments) {
    for (const piece of pieces)
      if (piece.kind === 'gap' && piece.from <= end && piece.to >= end) end = below(piece.from);
  }
  return build(log, manifest, tail, end, true, end, 'at-end');
}

/**
 * The tail record is lost: only the manifest's headers say what counts, and nothing says what was promised above them. Frames that do not reach up to the headers may be
 * of this log view or older: all are kept, unconnected, for the install that settles the head. (Where they end is the last intact one: behind it nothing says what was there.)
 */
function recordWithoutTail(log: PhysicalLog, manifest: ManifestState): LogOfRecord | Refusal {
  const { headers } = manifest;
  const agreed = headers.count === 0 ? below(log.start) : (log.agreed ?? NONE);
  const connected = headers.count === 0 || agreed >= headers.first - 1;
  let end = connected ? agreed : max(max(agreed, below(log.start)), min(lastIntact(log), below(headers.first)));
  if (connected && end === log.aboveFrom - 1 && manifest.view === manifest.logView) end = max(end, log.sameViewThrough);
  return build(log, manifest, null, end, connected, max(end, headers.last), 'lost');
}

function lastIntact({ segments }: PhysicalLog): CommitIndex {
  let last: CommitIndex = NONE;
  for (const { pieces } of segments) for (const piece of pieces) if (piece.kind === 'run') last = at(piece.last);
  return last;
}

function build(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  end: CommitIndex,
  connected: boolean,
  promised: CommitIndex,
  plan: TailPlan,
): LogOfRecord | Refusal {
  const { headers } = manifest;
  const head = max(end, headers.last);
  const endHash = hashOf(log, manifest, tail, end);
  const headHash = head === end ? endHash : headers.hash(head);
  if (endHash === null || headHash === null) {
    const which = endHash === null ? `of its end, index ${end},` : `of the head, index ${head},`;
    return {
      code: 'E_LOG_CORRUPT',
      message: `nothing in log/ or the manifest states the chain hash ${which} any more: replace this replica (chronon recover)`,
    };
  }
  return { end, endHash, head, headHash, promised, connected, faulty: faultyThrough(log, end, endHash), tail: plan };
}

/** Chain hash of a slot at or below the end, from whatever states it. */
function hashOf(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  index: CommitIndex,
): Uint8Array | null {
  if (index === NONE) return ZERO_HASH;
  if (index === manifest.checkpoint.index) return manifest.checkpoint.hash;
  if (index === log.end && log.endHash !== null) return log.endHash;
  const record = log.records.get(index);
  if (record !== null) return record.slice(FRAME_HEADER_BYTES);
  if (tail !== null && tail.index === index) return tail.hash;
  const { headers, junction } = manifest;
  if (index === junction.index) return junction.hash;
  if (headers.contains(index)) return headers.hash(index);
  const above = headers.contains(index + 1) ? headers.header(index + 1) : null;
  return above === null ? null : frame.prevHash(above, 0).slice();
}

function faultyThrough(log: PhysicalLog, end: CommitIndex, endHash: Uint8Array): FaultySlots[] {
  const faulty: FaultySlots[] = [];
  for (const segment of log.segments) {
    let before = segment.prevHash;
    for (const piece of segment.pieces) {
      if (piece.kind === 'run') before = piece.lastHash;
      if (piece.kind !== 'gap' || piece.from > end) continue;
      const last = faulty[faulty.length - 1];
      const to = Math.min(piece.to, end);
      const hash = to === end ? endHash : piece.hash;
      if (last !== undefined && last.to === piece.from - 1) faulty[faulty.length - 1] = { ...last, to, hash };
      else faulty.push({ from: piece.from, to, hash, before });
    }
  }
  return faulty;
}

/** The last slot in above+1..through that is unreadable (not merely another frame), or null. */
function lastUnreadable(log: PhysicalLog, above: CommitIndex, through: CommitIndex): CommitIndex | null {
  let last = through > log.end && through > above ? through : null;
  for (const segment of log.segments) {
    for (const piece of segment.pieces) {
      if (piece.kind !== 'gap' || piece.to <= above || piece.from > through) continue;
      last = max(last ?? NONE, min(at(piece.to), through));
    }
  }
  return last;
}

/** Records of the last `pipelineMax` + 1 indexes up to `through`, as far as they are known. */
export function recordHeaders(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  end: CommitIndex,
  through: CommitIndex,
  pipelineMax: number,
): HeaderSuffix {
  if (through === NONE) return HeaderSuffix.EMPTY;
  const first = Math.max(0, through - pipelineMax, log.start - 1);
  const bytes = new Uint8Array((through - first + 1) * HEADER_RECORD_BYTES);
  const { headers } = manifest;
  for (let index = first; index <= through; index++) {
    const at = (index - first) * HEADER_RECORD_BYTES;
    const own = index <= end && index >= log.start ? log.records.get(index) : null;
    if (own !== null) {
      bytes.set(own, at);
    } else if (headers.contains(index)) {
      const from = (index - headers.first) * HEADER_RECORD_BYTES;
      bytes.set(headers.bytes.subarray(from, from + HEADER_RECORD_BYTES), at);
    } else {
      const { checkpoint } = manifest;
      const hash = index === checkpoint.index ? checkpoint.hash : statedHash(log, tail, index, end);
      if (hash !== null) bytes.set(hash, at + FRAME_HEADER_BYTES);
    }
  }
  return new HeaderSuffix(first, bytes);
}

/** The hash an unreadable slot at or below the end must have, when the slot above it or the tail record says so. */
function statedHash(log: PhysicalLog, tail: TailState | null, index: number, end: CommitIndex): Uint8Array | null {
  if (index > end) return null;
  if (tail !== null && tail.index === index) return tail.hash;
  for (const segment of log.segments) {
    for (const piece of segment.pieces) if (piece.kind === 'gap' && piece.to === index) return piece.hash;
  }
  return null;
}
