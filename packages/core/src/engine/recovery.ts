/**
 * Recovery: reads a replica's directory and says what its log of record is, or why it must not be opened. Reading only: what opening writes is in
 * recovery-open.ts.
 *
 * Invariants: every outcome is a value, never a throw; a refusal changes no file; views and votes are never made up (no manifest, no start).
 */
import type { Policy } from '../policy.ts';
import { isNone } from './commit-index.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame } from './frame.ts';
import { sameHash, toHex } from './hash.ts';
import { HeaderSuffix } from './header-suffix.ts';
import type { ManifestState, RecoveredLog, Refusal, RefusalCode } from './log-contract.ts';
import { decodeManifest, MANIFEST_PATHS, MANIFEST_VERSION } from './manifest.ts';
import { type PhysicalLog, scanLog } from './recovery-physical.ts';
import { type LogOfRecord, logOfRecord, recordHeaders } from './recovery-record.ts';
import { LOG_DIRECTORY, segmentBase } from './segment.ts';
import { SnapshotStore } from './snapshot-file.ts';
import { SNAPSHOT_DIRECTORY, snapshotIndexes } from './snapshot-path.ts';
import {
  decodeTail,
  isUnusedTail,
  LOST_SEQUENCES,
  TAIL_FILE_BYTES,
  TAIL_PATH,
  TAIL_VERSION,
  type TailState,
} from './tail-record.ts';
import { DiskFailure, type VirtualDisk } from './virtual-disk.ts';

export interface RecoveryOptions {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly expect: { readonly clusterId: Uint8Array | null; readonly replicaId: number };
  readonly pipelineMax: number;
  readonly lossAccepted?: boolean;
  readonly policy: Policy;
}

/** Everything that opening and the store need of what was found. */
export interface Recovery {
  readonly manifest: ManifestState;
  readonly manifestSequence: number;
  /** Position in MANIFEST_PATHS of the copy that won. */
  readonly manifestWinner: number;
  /** Null: lost. */
  readonly tail: TailState | null;
  /** No tail record has a higher sequence. */
  readonly tailSequence: number;
  readonly log: PhysicalLog;
  readonly record: LogOfRecord;
  readonly recovered: RecoveredLog;
}

/** What a bad read can look like: damage, or two records that cannot both be true. */
const READ_AGAIN: ReadonlySet<RefusalCode> = new Set(['E_LOG_CORRUPT', 'E_MANIFEST']);

/** Reads the directory. Blocking. Nothing is refused for damage that was read once only. */
export function recover(options: RecoveryOptions): Recovery | { readonly refusal: Refusal } {
  try {
    let result = read(options);
    if ('code' in result && READ_AGAIN.has(result.code)) result = read(options);
    return 'code' in result ? { refusal: result } : result;
  } catch (error) {
    if (!(error instanceof DiskFailure)) throw error;
    return { refusal: unreadable(error) };
  }
}

export function unreadable({ message }: DiskFailure): Refusal {
  return { code: 'E_IO_READ', message: `the data directory cannot be read: ${message}` };
}

function read(options: RecoveryOptions): Recovery | Refusal {
  const notes: string[] = [];
  const found = readManifest(options, notes);
  if ('code' in found) return found;
  const { state: manifest } = found;
  const foundTail = readTail(options, manifest, notes);
  if ('code' in foundTail) return foundTail;
  const { tail, sequence: tailSequence } = foundTail;
  const { disk, codec, pipelineMax } = options;
  const log = scanLog({ disk, codec, manifest, tail, pipelineMax });
  if ('code' in log) return log;
  const record = logOfRecord(log, manifest, tail, options.policy);
  if ('code' in record) return refused(log, record);
  notes.push(...log.notes);
  const recovered = describe(log, manifest, tail, record, pipelineMax, notes);
  const alone = aloneRefusal(options, recovered, notes);
  if (alone !== null) return refused(log, alone);
  return {
    manifest,
    manifestSequence: found.sequence,
    manifestWinner: found.winner,
    tail,
    tailSequence,
    log,
    record,
    recovered,
  };
}

function refused(log: PhysicalLog, refusal: Refusal): Refusal {
  for (const { file } of [...log.segments, ...log.stale]) file?.close();
  return refusal;
}

interface FoundManifest {
  readonly state: ManifestState;
  readonly sequence: number;
  readonly winner: number;
}

function readManifest(options: RecoveryOptions, notes: string[]): FoundManifest | Refusal {
  const { disk, codec, expect } = options;
  let best: FoundManifest | null = null;
  const faults: string[] = [];
  let absent = 0;
  for (let i = 0; i < MANIFEST_PATHS.length; i++) {
    const path = MANIFEST_PATHS[i]!;
    const bytes = readWhole(disk, path);
    if (bytes === null) {
      absent++;
      faults.push(`${path} is absent`);
      continue;
    }
    const decoded = decodeManifest(bytes, codec);
    if (decoded.kind === 'version') {
      const versions = `manifest version ${decoded.version}; this program knows version ${MANIFEST_VERSION}`;
      return { code: 'E_VERSION', message: `${path} has ${versions}: start a program that knows it` };
    }
    if (decoded.kind === 'damaged') faults.push(`${path}: ${decoded.reason}`);
    else if (best === null || decoded.sequence > best.sequence)
      best = { state: decoded.state, sequence: decoded.sequence, winner: i };
  }
  if (best === null) return noManifest(disk, absent === MANIFEST_PATHS.length, faults);
  for (const fault of faults) notes.push(`${fault}; made anew from the other copy`);
  const { state } = best;
  if (expect.clusterId !== null && !sameHash(expect.clusterId, state.clusterId)) {
    const ids = `cluster ${toHex(state.clusterId)}, not to ${toHex(expect.clusterId)}`;
    return {
      code: 'E_CLUSTER_ID',
      message: `the directory belongs to ${ids}: give the right directory, or format another`,
    };
  }
  if (state.replicaId !== expect.replicaId) {
    const ids = `replica ${state.replicaId}, not to replica ${expect.replicaId}`;
    return { code: 'E_REPLICA_ID', message: `the directory belongs to ${ids}: give each replica its own` };
  }
  return state.headers.count > 0 ? best : { ...best, state: { ...state, headers: HeaderSuffix.EMPTY } };
}

function noManifest(disk: VirtualDisk, absent: boolean, faults: readonly string[]): Refusal {
  const remains = remainsOf(disk);
  if (!absent) {
    const advice = 'restore one of them, or replace this replica (chronon recover); the vote is never made up';
    return { code: 'E_MANIFEST', message: `no copy of the manifest is valid (${faults.join('; ')}): ${advice}` };
  }
  if (remains !== null) {
    const advice = 'restore manifest.a or manifest.b, or replace this replica (chronon recover)';
    return { code: 'E_MANIFEST_MISSING', message: `there is ${remains} but no manifest: ${advice}` };
  }
  return { code: 'E_NOT_FORMATTED', message: 'the directory holds neither manifest nor log: format it first' };
}

/** What shows that a replica has run in this directory, in words; null: nothing (at most a formatting that was cut off). */
export function remainsOf(disk: VirtualDisk): string | null {
  const segments = disk.list(LOG_DIRECTORY).filter((name) => segmentBase(name) !== null).length;
  if (segments > 0) return `a log (${segments} segments)`;
  if (snapshotIndexes(disk.list(SNAPSHOT_DIRECTORY)).length > 0) return 'a snapshot';
  const bytes = readWhole(disk, TAIL_PATH, TAIL_FILE_BYTES);
  if (bytes === null) return null;
  const decoded = decodeTail(bytes, null);
  const formattedOnly = (decoded.kind === 'ok' && decoded.tail.sequence <= 1) || isUnusedTail(bytes);
  return formattedOnly ? null : `${TAIL_PATH} of a replica that has run`;
}

interface FoundTail {
  readonly tail: TailState | null;
  readonly sequence: number;
}

function readTail(options: RecoveryOptions, manifest: ManifestState, notes: string[]): FoundTail | Refusal {
  const bytes = readWhole(options.disk, TAIL_PATH, TAIL_FILE_BYTES);
  if (bytes === null) {
    notes.push(`${TAIL_PATH} is missing: what this replica has promised is not known`);
    return { tail: null, sequence: 0 };
  }
  let decoded = decodeTail(bytes, manifest.clusterId);
  // One bad read must not make a replica forget what it has promised.
  if (decoded.kind === 'lost')
    decoded = decodeTail(readWhole(options.disk, TAIL_PATH, TAIL_FILE_BYTES) ?? bytes, manifest.clusterId);
  switch (decoded.kind) {
    case 'ok':
      if (decoded.damagedCopies > 0) notes.push(`${TAIL_PATH}: ${decoded.damagedCopies} damaged copies, made anew`);
      if (decoded.tail.endOffset === 0 && decoded.tail.index > manifest.checkpoint.index) {
        const states = `${TAIL_PATH} begins the log behind a snapshot at index ${decoded.tail.index}`;
        return {
          code: 'E_MANIFEST',
          message: `${states}, which the manifest does not know: restore the newer manifest, or replace this replica (chronon recover)`,
        };
      }
      return { tail: decoded.tail, sequence: decoded.tail.sequence };
    case 'lost':
      notes.push(`${TAIL_PATH}: ${decoded.reason}: what this replica has promised is not known`);
      return { tail: null, sequence: decoded.sequence + LOST_SEQUENCES };
    case 'version':
      return {
        code: 'E_VERSION',
        message: `${TAIL_PATH} has version ${decoded.version}; this program knows version ${TAIL_VERSION}`,
      };
    case 'cluster': {
      const ids = `${toHex(decoded.clusterId)}, the manifest to cluster ${toHex(manifest.clusterId)}`;
      return { code: 'E_CLUSTER_ID', message: `${TAIL_PATH} belongs to cluster ${ids}: move the foreign file away` };
    }
  }
}

/** The whole file, or null when it does not exist. */
function readWhole(disk: VirtualDisk, path: string, most = Number.POSITIVE_INFINITY): Uint8Array | null {
  let file;
  try {
    file = disk.open(path);
  } catch (error) {
    if (error instanceof DiskFailure && error.code === 'ENOENT') return null;
    throw error;
  }
  const bytes = new Uint8Array(Math.min(file.size(), most));
  const got = file.readSync(0, bytes);
  file.close();
  return bytes.subarray(0, got);
}

function describe(
  log: PhysicalLog,
  manifest: ManifestState,
  tail: TailState | null,
  record: LogOfRecord,
  pipelineMax: number,
  notes: string[],
): RecoveredLog {
  const { end, endHash, head, headHash, promised, connected, faulty } = record;
  const headers = recordHeaders(log, manifest, tail, end, head, pipelineMax);
  const ownHeaders = head === end ? headers : recordHeaders(log, manifest, tail, end, end, pipelineMax);
  const torn = log.end > end || log.stale.length > 0 || log.rest;
  if (log.end > end) notes.push(`frames ${end + 1}..${log.end} were never promised or are stale: cut`);
  else if (log.rest) notes.push(`an unfinished write above index ${isNone(end) ? 'none' : end} was cut`);
  if (log.stale.length > 0) notes.push(`${log.stale.length} stale segments removed`);
  for (const { from, to, hash } of faulty) {
    const must = hash === null ? '' : `; chain hash of ${to}: ${toHex(hash)}`;
    notes.push(`indexes ${from}..${to} are damaged and may have been promised: to be repaired${must}`);
  }
  if (head > end) notes.push(`indexes ${end + 1}..${head} are missing: to be fetched`);
  const outcome = faulty.length > 0 ? 'faulty' : torn ? 'torn' : isNone(head) ? 'empty' : 'clean';
  const time = newestTime(headers);
  const recoveringHead = tail === null;
  return {
    outcome,
    manifest,
    first: log.start,
    end,
    endHash,
    faulty,
    head,
    headHash,
    promised,
    connected,
    recoveringHead,
    headers,
    ownHeaders,
    timeLow: time.low,
    timeHigh: time.high,
    notes,
  };
}

function newestTime(headers: HeaderSuffix): { low: number; high: number } {
  for (let index = headers.last; headers.count > 0 && index >= headers.first; index--) {
    const header = headers.header(index);
    if (header !== null) return { low: frame.timeLow(header, 0), high: frame.timeHigh(header, 0) };
  }
  return { low: 0, high: 0 };
}

/**
 * A cluster of one has nobody to repair from: real damage is refused, with every file as it was. (What is missing and was never promised, nobody has: its next view
 * cuts it.) Entries that an intact snapshot covers are needed by nobody: it starts from there, and says so.
 */
function aloneRefusal(options: RecoveryOptions, recovered: RecoveredLog, notes: string[]): Refusal | null {
  if (recovered.manifest.members.length !== 1 || options.lossAccepted === true) return null;
  const { recoveringHead, faulty, promised, end, connected } = recovered;
  const otherwiseWhole = !recoveringHead && promised <= end && connected;
  if (otherwiseWhole && faulty.length === 0) return null;
  const covering = otherwiseWhole ? intactSnapshot(options, recovered) : null;
  const last = faulty[faulty.length - 1];
  if (covering !== null && last !== undefined && last.to <= covering) {
    notes.push(`the snapshot at index ${covering} covers what is damaged: this replica, the only one, starts from it`);
    return null;
  }
  const what = notes.join('; ');
  const advice = `restore the directory from a backup; chronon log verify shows the damage, chronon recover --accept-loss starts without what it hit`;
  return {
    code: 'E_LOG_CORRUPT',
    message: `the log is damaged and there is no other replica to repair it from (${what}); no file was changed: ${advice}`,
  };
}

/** Index of the newest confirmed snapshot that the log reaches, every byte of it checked; null when there is none. */
function intactSnapshot({ disk, codec }: RecoveryOptions, { manifest, end }: RecoveredLog): number | null {
  const { clusterId, checkpoint } = manifest;
  const files = new SnapshotStore({ disk, codec, clusterId });
  const found = files.newest(Math.min(checkpoint.index, end), () => {});
  if (found === null) return null;
  return found.index < checkpoint.index || sameHash(found.fileDigest, checkpoint.digest) ? found.index : null;
}
