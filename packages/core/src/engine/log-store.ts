/**
 * LogStore: the log of one replica on its disk, as the replica uses it (log-contract.ts). Appends go to the DurabilityWorker; manifest updates,
 * installs and repairs run alone, in the order of the calls.
 *
 * Invariants:
 *  - an operation that runs alone starts only when every earlier append is durable with its tail record, and later appends wait for it;
 *  - a manifest update that only moves the checkpoint, to what is promised here already, does not run alone: frames are written beside it;
 *  - the first disk error poisons the log: nothing is tried again, nothing succeeds afterwards, `onFatal` is called once;
 *  - a full disk is a state, not an error: queued frames wait, and manifest updates and installs overtake them so that view changes live on.
 */
import { assert } from '../assert.ts';
import { type Policy, SOUND } from '../policy.ts';
import { at, type CommitIndex, min, next } from './commit-index.ts';
import { SEGMENT_HEADER_BYTES } from './constants.ts';
import { DurabilityWorker } from './durability-worker.ts';
import type { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import { type Fetched, FrameFetch } from './frame-fetch.ts';
import { sameHash } from './hash.ts';
import type {
  IndexRange,
  LogFatal,
  LogOptions,
  LogPort,
  LogReport,
  ManifestState,
  ReadOutcome,
  RecoveredLog,
  Refusal,
} from './log-contract.ts';
import { formatDirectory } from './log-format.ts';
import { LogInstall } from './log-install.ts';
import { LogRepair } from './log-repair.ts';
import { LogSegments } from './log-segments.ts';
import { ManifestFile } from './manifest-file.ts';
import { finishOpening, type OpenLog } from './recovery-open.ts';
import { recover, type Recovery, unreadable } from './recovery.ts';
import type { Segment } from './segment.ts';
import { TailBlock } from './tail-block.ts';
import { TailFile } from './tail-file.ts';
import { type DiskError, DiskFailure, ReadFailure, reading, type VirtualDisk } from './virtual-disk.ts';

const NO_BYTES = new Uint8Array(0);

type Operation =
  | { readonly kind: 'append'; readonly batch: FrameBatch; readonly view: number }
  | { readonly kind: 'manifest'; readonly manifest: ManifestState; readonly done: () => void }
  | {
      readonly kind: 'install';
      readonly manifest: ManifestState;
      readonly keep: CommitIndex;
      readonly keepHash: Uint8Array | null;
      readonly promised: CommitIndex;
      readonly done: () => void;
    }
  | {
      readonly kind: 'snapshot';
      readonly manifest: ManifestState;
      readonly promised: CommitIndex;
      /** No frame stays in any case. */
      readonly whole: boolean;
      readonly done: (end: CommitIndex) => void;
    }
  | {
      readonly kind: 'repair';
      readonly batch: FrameBatch;
      readonly done: () => void;
      readonly found: (batch: FrameBatch) => void;
    }
  | { readonly kind: 'alone'; readonly task: (release: () => void) => void };

export type OpenResult = { readonly store: LogStore; readonly recovered: RecoveredLog } | { readonly refusal: Refusal };

export class LogStore implements LogPort {
  readonly options: LogOptions;
  readonly codec: FrameCodec;
  readonly policy: Policy;
  /** Last durable manifest. */
  manifest: ManifestState;
  /** Last index handed to append. */
  end: CommitIndex;
  /** First index held. */
  first: number;
  readonly tail: TailFile;
  readonly worker: DurabilityWorker;
  readonly segments: LogSegments;
  readonly fetch: FrameFetch;
  readonly repairs: LogRepair;
  /** The tail record is lost: an install must settle that before anything is appended. */
  unsettled: boolean;
  /** Operations finished since open: a caller that sees neither this nor `idle` change knows that the disk is stuck. */
  progress = 0;
  readonly manifestFile: ManifestFile;
  private readonly installer: LogInstall;
  private operations: Operation[] = [];
  private running: Exclude<Operation, { kind: 'append' }> | null = null;
  /** What runs is a manifest update beside which frames are written. */
  private beside = false;
  /** Compactions that wait for an install. */
  private compactions: { readonly through: number; readonly done: () => void }[] = [];
  /** A snapshot install will tell where the log ends. */
  private settling = false;
  /** Chain hash of `end`; null when an install is under way that will tell. */
  private endHash: Uint8Array | null;
  private stopped = false;
  /** Installs asked for since open: what was read meanwhile may have been cut. */
  installs = 0;

  /** Opens a formatted directory: recovers, then writes what opening must write. Blocking. */
  static open(options: LogOptions): OpenResult {
    const { disk, codec, expect, pipelineMax, segmentBytes } = options;
    const policy = options.policy ?? SOUND;
    const recovery = recover({ disk, codec, expect, pipelineMax, policy, lossAccepted: options.lossAccepted === true });
    if ('refusal' in recovery) return recovery;
    try {
      const opened = finishOpening(disk, codec, recovery, segmentBytes, pipelineMax, !policy.skipBarrierAtOpen);
      return { store: new LogStore(options, recovery, opened), recovered: recovery.recovered };
    } catch (error) {
      if (error instanceof ReadFailure) return { refusal: unreadable(error) };
      if (!(error instanceof DiskFailure)) throw error;
      return { refusal: { code: 'E_IO_WRITE', message: `the data directory cannot be written: ${error.message}` } };
    }
  }

  /** Formats an empty directory: tail record and manifest, no log. Null on success. Blocking. */
  static format(disk: VirtualDisk, codec: FrameCodec, manifest: ManifestState): Refusal | null {
    return formatDirectory(disk, codec, manifest);
  }

  private constructor(options: LogOptions, recovery: Recovery, opened: OpenLog) {
    const { disk, codec, segmentBytes } = options;
    const { manifest, record } = recovery;
    this.options = options;
    this.codec = codec;
    this.policy = options.policy ?? SOUND;
    this.manifest = manifest;
    this.end = record.end;
    this.first = recovery.recovered.first;
    this.endHash = record.endHash;
    this.unsettled = opened.unsettled;
    this.fetch = new FrameFetch(codec);
    this.manifestFile = new ManifestFile(opened.manifestFiles, codec, recovery.manifestSequence);
    const onError = (error: DiskError): void => this.poison(error);
    this.tail = new TailFile({
      disk,
      file: opened.tailFile,
      clusterId: manifest.clusterId,
      sequence: opened.tailSequence,
      logView: manifest.logView,
      promised: record.promised,
      held: opened.unsettled,
      onWritten: (index) => this.worker.release(index),
      onError,
    });
    this.segments = new LogSegments({
      disk,
      segmentBytes,
      clusterId: manifest.clusterId,
      policy: this.policy,
      view: () => this.manifest.view,
      onSpace: (full) => this.onSpace(full),
      onError,
      onReady: () => this.runNext(),
    });
    this.segments.adopt(
      opened.segments,
      opened.leftovers.map((found) => found.base),
      opened.recycled,
      opened.spare,
    );
    this.worker = new DurabilityWorker(
      {
        disk,
        segmentBytes,
        tail: this.tail,
        policy: this.policy,
        needSegment: (base, prevHash) => {
          this.segments.rotate(base, prevHash, (segment, prefix) => this.worker.rotated(segment, prefix));
        },
        onDurable: (index, hash, view) => {
          this.progress++;
          options.events.onDurable(index, hash, view);
        },
        onIdle: () => this.runNext(),
        onError,
      },
      record.end,
      record.endHash,
    );
    this.repairs = new LogRepair(this, opened.faulty, (index, fault) => {
      if (!this.isGivenUp(index)) options.events.onDamaged(index, fault);
    });
    this.installer = new LogInstall(this);
    const current = this.segments.current(record.end);
    const tailBlock = current === null ? null : new TailBlock(options.codec, current, manifest, record.endHash);
    const prefix = tailBlock === null ? null : reading(() => tailBlock.readSync());
    // What cannot be believed is left as it is: the next frame begins another segment.
    this.worker.useSegment(prefix === null ? null : current, prefix ?? NO_BYTES);
    this.segments.prepare();
  }

  get durable(): CommitIndex {
    return min(this.worker.durable, this.end);
  }

  get full(): boolean {
    return this.segments.full;
  }

  get idle(): boolean {
    return this.running === null && this.operations.length === 0 && this.worker.idle;
  }

  /** Damaged ranges known now, ascending. */
  get faulty(): IndexRange[] {
    return this.repairs.list();
  }

  append(batch: FrameBatch, view: number): void {
    if (this.stopped) return;
    assert(!this.unsettled || this.installs > 0, 'nothing is appended before an install has settled the head');
    assert(!this.settling, 'nothing is appended before a snapshot install has told where the log ends');
    assert(batch.first === this.end + 1, `append of ${batch.first} behind ${this.end}`);
    assert(this.endHash === null || sameHash(batch.prevHash, this.endHash), `frame ${batch.first} chains to the log`);
    this.assertFits(batch);
    this.end = at(batch.last);
    this.endHash = batch.lastHash;
    const passes = (this.running === null || this.beside) && this.operations.length === 0;
    if (passes) this.worker.enqueue(batch, view);
    else this.operations.push({ kind: 'append', batch, view });
  }

  saveManifest(manifest: ManifestState, done: () => void): void {
    if (this.stopped) return;
    this.operations.push({ kind: 'manifest', manifest, done });
    this.runNext();
  }

  install(
    manifest: ManifestState,
    keepThrough: CommitIndex,
    promised: CommitIndex,
    done: () => void,
    keepHash: Uint8Array | null = null,
  ): void {
    if (this.stopped) return;
    assert(!this.settling, 'nothing is installed before a snapshot install has told where the log ends');
    assert(keepThrough <= this.end, `an install keeps through ${keepThrough}, the log ends at ${this.end}`);
    assert(manifest.junction.index <= keepThrough, `the manifest says that through ${manifest.junction.index} is kept`);
    assert(keepThrough >= min(this.end, this.manifest.checkpoint.index), 'nothing at or below the checkpoint is cut');
    if (keepThrough < this.end)
      this.endHash = manifest.headers.contains(keepThrough) ? manifest.headers.hash(keepThrough) : null;
    this.end = keepThrough;
    this.installs++;
    this.operations.push({ kind: 'install', manifest, keep: keepThrough, keepHash, promised, done });
    this.runNext();
  }

  installSnapshot(manifest: ManifestState, promised: CommitIndex, done: (end: CommitIndex) => void): void {
    if (this.stopped) return;
    const { index, hash } = manifest.checkpoint;
    assert(!this.settling && (!this.unsettled || this.installs > 0), 'an install settles the head before a snapshot');
    assert(index >= this.first && index >= this.manifest.checkpoint.index, `a snapshot at ${index} tells nothing new`);
    const whole = index >= this.end;
    if (whole) this.endBehind(index, hash);
    else this.settling = true;
    this.installs++;
    this.operations.push({ kind: 'snapshot', manifest, promised, whole, done });
    this.runNext();
  }

  compact(through: number, done: () => void = () => {}): void {
    if (this.stopped) return;
    assert(through <= this.manifest.checkpoint.index, `the checkpoint covers what is compacted, through ${through}`);
    this.compactions.push({ through, done });
    this.runCompactions();
  }

  repair(batch: FrameBatch, done: () => void, found: (batch: FrameBatch) => void = () => {}): void {
    if (this.stopped) return;
    this.operations.push({ kind: 'repair', batch, done, found });
    this.runNext();
  }

  /** For the scrubber: runs `task` while nothing else is written; the next operation begins when it calls `release`. */
  alone(task: (release: () => void) => void): void {
    if (this.stopped) return;
    this.operations.push({ kind: 'alone', task });
    this.runNext();
  }

  /** The callback may run inside the call when nothing has to be read. */
  read(from: number, maxBytes: number, callback: (outcome: ReadOutcome) => void): void {
    if (this.stopped || from > this.end) {
      callback({ kind: 'none' });
      return;
    }
    if (from < this.first) {
      callback({ kind: 'compacted', first: this.first });
      return;
    }
    const queued = from > this.worker.written ? this.findQueued(from) : null;
    if (queued !== null) {
      callback({ kind: 'frames', batch: limited(queued, maxBytes) });
      return;
    }
    if (this.repairs.isFaulty(from)) {
      callback({ kind: 'faulty', index: from, fault: 'damaged' });
      return;
    }
    const segment = this.segments.holding(from);
    if (segment === null) {
      callback({ kind: 'none' });
      return;
    }
    const { installs } = this;
    this.fetch.read(segment, from, this.worker.written, maxBytes, (fetched) => {
      if (this.stopped) return;
      if (installs !== this.installs || from < this.first) this.read(from, maxBytes, callback);
      else this.handOut(segment, this.heldOf(fetched), callback);
    });
  }

  private handOut(segment: Segment, fetched: Fetched, callback: (outcome: ReadOutcome) => void): void {
    if (fetched.kind === 'frames') {
      callback(fetched);
      return;
    }
    this.repairs.found(fetched, segment);
    callback({ kind: 'faulty', index: fetched.index, fault: fetched.fault });
  }

  /** What was read, up to the first frame that is not the one that the log holds there. */
  private heldOf(fetched: Fetched): Fetched {
    if (fetched.kind !== 'frames') return fetched;
    const { batch, offset } = fetched;
    const { stated } = this.options;
    let older: number | null = null;
    for (let index = batch.last; index >= batch.first; index--) {
      const hash = stated?.(index) ?? null;
      if (hash === null) continue;
      // It covers everything below.
      if (sameHash(hash, batch.hashOf(index))) break;
      older = index;
    }
    if (older === null) return fetched;
    if (older === batch.first) return { kind: 'damaged', index: older, offset, fault: 'chain' };
    return { kind: 'frames', batch: batch.slice(batch.first, older - 1), offset };
  }

  /** Another number whenever something of the log has been done. */
  get mark(): number {
    const { tail, manifestFile, options } = this;
    return this.durable + tail.writes + manifestFile.writes + options.disk.stats.writes + this.progress;
  }

  report(): LogReport {
    return {
      durable: this.durable,
      end: this.end,
      first: this.first,
      segments: this.segments.count,
      bytes: this.segments.bytes,
      manifestWrites: this.manifestFile.writes,
      tailWrites: this.tail.writes,
      disk: this.options.disk.stats,
    };
  }

  /** Tries again what waits for space. Call it every tick. */
  tick(): void {
    if (this.stopped) return;
    this.segments.tick();
    // The frames may have met the full disk after an operation that may overtake them was queued.
    if (this.full) this.runNext();
  }

  /** Stops at once; callbacks of what is in flight are not called any more. */
  close(): void {
    this.stop();
    this.segments.close();
  }

  /** For the parts of the store: stores the manifest in both copies, `first` before the other. */
  storeManifest(manifest: ManifestState, then: () => void, first = 0): void {
    assert(manifest.view >= this.manifest.view && manifest.logView >= this.manifest.logView, 'views never go back');
    const copies = this.policy.singleManifestCopy ? 1 : 2;
    const stored = (error: DiskError | null): void => {
      if (error !== null) {
        this.poison(error);
        return;
      }
      this.manifest = manifest;
      then();
    };
    this.manifestFile.save(manifest, copies, stored, first);
  }

  /** For the parts of the store: the first disk error stops everything. */
  poison(error: DiskError): void {
    if (error.code === 'ECLOSED') return;
    const advice = 'a write that failed is never tried again: check the disk, then start the replica anew';
    this.fail({ code: 'E_FSYNC', message: `${error.message}; ${advice}` });
  }

  fail(fatal: LogFatal): void {
    if (this.stopped) return;
    this.stop();
    this.options.events.onFatal(fatal);
  }

  get isStopped(): boolean {
    return this.stopped;
  }

  private stop(): void {
    this.stopped = true;
    this.operations = [];
    this.compactions = [];
    this.worker.stop();
  }

  private onSpace(full: boolean): void {
    this.options.events.onSpace(full);
    this.runNext();
  }

  /** Starts what is next in line, as far as it may start now. */
  private runNext(): void {
    while (this.running === null && !this.stopped) {
      const next = this.operations[0];
      if (next === undefined) return;
      if (next.kind === 'append') {
        this.operations.shift();
        this.worker.enqueue(next.batch, next.view);
        continue;
      }
      const beside = next.kind === 'manifest' && this.movesCheckpoint(next.manifest);
      if (!beside && !this.worker.idle && !this.overtakes(next)) return;
      this.operations.shift();
      this.running = next;
      this.beside = beside;
      this.start(next);
    }
  }

  /** Frees segments. Nothing else is held up by it, but an install that is under way may still need them. */
  private runCompactions(): void {
    if (this.running !== null && this.running.kind !== 'repair') return;
    for (const { through, done } of this.compactions.splice(0)) {
      if (this.unsettled) {
        done();
        continue;
      }
      const { segments, worker, repairs } = this;
      const base = segments.compact(through, worker.durable, repairs.busy, done);
      // Slots that no file holds may be below the first segment: what no snapshot covers is still to be repaired.
      this.first = Math.max(this.first, Math.min(base, through + 1));
      repairs.dropBelow(this.first);
    }
  }

  /** An install that is under way, or waits, ends the log below this slot: what stands there is nobody's concern any more. */
  private isGivenUp(index: number): boolean {
    const givesUp = (operation: Operation): boolean =>
      operation.kind === 'install' ? operation.keep < index : operation.kind === 'snapshot' && operation.whole;
    return (this.running !== null && givesUp(this.running)) || this.operations.some(givesUp);
  }

  private endBehind(index: CommitIndex, hash: Uint8Array): void {
    this.end = index;
    this.endHash = hash;
    this.first = next(index);
  }

  /** Nothing but the checkpoint changes, to what is promised: no frame that waits depends on it, nor it on one. */
  private movesCheckpoint(to: ManifestState): boolean {
    if (this.unsettled || to.checkpoint.index > this.worker.durable) return false;
    const fields = Object.keys(to) as (keyof ManifestState)[];
    return fields.every((field) => field === 'checkpoint' || to[field] === this.manifest[field]);
  }

  /** On a full disk view changes live on: a manifest update overtakes the frames that wait for space, an install drops those that it cuts. */
  private overtakes(next: Exclude<Operation, { kind: 'append' }>): boolean {
    if (!this.full || !this.worker.blocked) return false;
    if (next.kind === 'manifest' || next.kind === 'alone') return true;
    const drops = next.kind === 'install' ? next.keep <= this.worker.written : next.kind === 'snapshot' && next.whole;
    if (!drops || !this.segments.cancelRotation()) return false;
    this.worker.dropQueued();
    return true;
  }

  private start(operation: Exclude<Operation, { kind: 'append' }>): void {
    const release = (): void => {
      if (this.stopped) return;
      this.running = null;
      this.beside = false;
      this.progress++;
      this.runCompactions();
      this.runNext();
    };
    if (operation.kind === 'alone') {
      operation.task(release);
      return;
    }
    const finish = (): void => {
      if (this.stopped) return;
      if (operation.kind === 'snapshot') {
        this.settling = false;
        operation.done(operation.whole ? operation.manifest.checkpoint.index : this.end);
      } else operation.done();
      release();
    };
    const { worker, tail, installer } = this;
    if (operation.kind === 'repair') this.repairs.run(operation.batch, operation.done, release, operation.found);
    else if (operation.kind === 'install')
      installer.run(operation.manifest, operation.keep, operation.promised, finish, operation.keepHash);
    else if (operation.kind === 'snapshot') this.startSnapshot(operation, finish);
    else if (operation.manifest.logView !== this.manifest.logView)
      installer.run(operation.manifest, worker.written, tail.promised, finish);
    else this.storeManifest(operation.manifest, finish);
  }

  private startSnapshot(operation: Operation & { kind: 'snapshot' }, finish: () => void): void {
    const { manifest, promised, whole } = operation;
    const { index, hash } = manifest.checkpoint;
    const reset = (): void => this.installer.reset(manifest, promised, finish);
    if (whole) {
      reset();
      return;
    }
    this.installer.mayConnect(index, hash, (connects) => {
      if (connects) {
        this.compactions.push({ through: index, done: () => {} });
        this.installer.run(manifest, this.worker.written, promised, finish);
      } else {
        this.endBehind(index, hash);
        reset();
      }
    });
  }

  /** For the parts of the store: the worker goes on behind the last frame of `segment`; in another one when its tail block cannot be believed. */
  goOnIn(segment: Segment, then: () => void): void {
    const { worker, repairs, options } = this;
    const block = new TailBlock(options.codec, segment, this.manifest, worker.writtenHash);
    block.read((prefix) => {
      if (this.stopped) return;
      worker.useSegment(prefix === null ? null : segment, prefix ?? NO_BYTES);
      const { damaged } = block;
      if (prefix === null && damaged !== null) repairs.found(damaged, segment);
      then();
    });
  }

  private findQueued(from: number): FrameBatch | null {
    const found = this.worker.findQueued(from);
    if (found !== null) return found;
    for (const operation of this.operations) {
      if (operation.kind === 'append' && operation.batch.contains(from))
        return operation.batch.slice(from, operation.batch.last);
    }
    return null;
  }

  private assertFits(batch: FrameBatch): void {
    const most = this.options.segmentBytes - SEGMENT_HEADER_BYTES;
    if (batch.bytes.length <= most) return;
    for (let i = 0; i < batch.count; i++)
      assert(batch.offsets[i + 1]! - batch.offsets[i]! <= most, 'a frame fits an empty segment');
  }
}

/** The first frames of a batch, about `maxBytes` of them, at least one. */
function limited(batch: FrameBatch, maxBytes: number): FrameBatch {
  if (batch.bytes.length <= maxBytes) return batch;
  let count = 1;
  while (count < batch.count && batch.offsets[count + 1]! <= maxBytes) count++;
  return batch.slice(batch.first, batch.first + count - 1);
}
