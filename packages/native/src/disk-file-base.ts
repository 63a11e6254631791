/**
 * What every real DiskFile has in common, whatever moves its bytes: argument checks, the closed and poisoned states, the
 * size, the counters, and when a barrier needs the system at all.
 *
 * Invariants:
 *  - a callback is called exactly once and never from inside the call that got it;
 *  - descriptors are released only when nothing is in flight (a released number may already belong to another file);
 *  - `unsynced` is true whenever a byte of this file, or its size, may not be on stable storage: so it starts true (a process
 *    before us may have left its writes in a cache) and falls only when a barrier that began after the last speculative write
 *    has succeeded;
 *  - after a failed barrier, or EIO, the file is poisoned: every later call fails with that first error (never retry an fsync).
 */
import { readSync as fsReadSync, fdatasyncSync, fstatSync, writeSync as fsWriteSync } from 'node:fs';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import {
  DiskFailure,
  type DiskCallback,
  type DiskError,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
} from '@chronon/core/engine/virtual-disk';
import { blocking, diskError, poisons } from './disk-error.ts';

/** Ends a write. `touched` false: it was not begun, because the link before it in a chain failed. */
export type WriteEnd = (error: DiskError | null, touched?: boolean) => void;

export abstract class DiskFileBase implements DiskFile {
  readonly path: string;
  readonly #stats: DiskStats;
  readonly #onReleased: (file: DiskFileBase) => void;
  #size: number;
  #inFlight = 0;
  #barriersInFlight = 0;
  #unsynced = true;
  #closed = false;
  #poison: DiskError | null = null;

  /** `fd` is any open descriptor of the file, used here for its size only. */
  constructor(path: string, fd: number, stats: DiskStats, onReleased: (file: DiskFileBase) => void) {
    this.path = path;
    this.#stats = stats;
    this.#onReleased = onReleased;
    this.#size = fstatSync(fd).size;
  }

  /** Writes all bytes; `done` is called once, later. */
  protected abstract writeAll(offset: number, bytes: Uint8Array, durable: boolean, done: DiskCallback): void;
  /** fdatasync; `done` is called once, later. */
  protected abstract sync(done: DiskCallback): void;
  /** Reads up to `length` bytes (fewer only at the end); `done` is called once, later. */
  protected abstract readAll(offset: number, length: number, done: DiskReadCallback): void;
  /** A long blocking read by a better way than a descriptor, or 0: bytes read, fewer than asked only at the end of the file. */
  protected readLong(_offset: number, _into: Uint8Array): number {
    return 0;
  }
  /** A descriptor for blocking reads. */
  protected abstract readFd(): number;
  /** A descriptor for speculative blocking writes. */
  protected abstract bufferedFd(): number;
  /** A descriptor that has been open since before the first write, so that it hears of every write-back error. */
  protected abstract syncFd(): number;
  /** Called after a barrier when no speculative write is outstanding. */
  protected quiesced(): void {}
  /** Closes the descriptors; nothing is in flight. */
  protected abstract release(): void;

  size(): number {
    return this.#size;
  }

  readSync(offset: number, into: Uint8Array): number {
    const attempt = `read of ${into.length} bytes at ${offset} of ${this.path}`;
    if (this.#closed) throw new DiskFailure(diskError(attempt, 'ECLOSED', 'the file is closed'));
    const count = blocking(attempt, () => {
      let done = this.readLong(offset, into);
      if (done > 0) return done;
      const fd = this.readFd();
      while (done < into.length) {
        const got = fsReadSync(fd, into, done, into.length - done, offset + done);
        if (got === 0) break;
        done += got;
      }
      return done;
    });
    this.#stats.reads++;
    this.#stats.bytesRead += count;
    return count;
  }

  prefetch(_length: number): void {}

  writeSync(offset: number, bytes: Uint8Array): void {
    const attempt = `write of ${bytes.length} bytes at ${offset} of ${this.path}`;
    this.#refuseBroken(attempt);
    this.#unsynced = true;
    try {
      blocking(attempt, () => {
        const fd = this.bufferedFd();
        let done = 0;
        while (done < bytes.length) {
          const put = fsWriteSync(fd, bytes, done, bytes.length - done, offset + done);
          if (put === 0) throw new DiskFailure(diskError(attempt, 'EIO', 'wrote 0 bytes'));
          done += put;
        }
      });
    } catch (failure) {
      this.#poisonIfGrave(failure);
      throw failure;
    }
    this.#countWrite(offset, bytes.length);
  }

  barrierSync(): void {
    const attempt = `barrier of ${this.path}`;
    this.#refuseBroken(attempt);
    try {
      blocking(attempt, () => fdatasyncSync(this.syncFd()));
    } catch (failure) {
      const { code, message } = failure as DiskFailure;
      this.#poison ??= { code, message };
      throw failure;
    }
    // A speculative write in flight may have completed before or after: leave the flag up for it.
    if (this.#inFlight === 0) this.#unsynced = false;
    this.#stats.barriers++;
    if (this.#inFlight === 0) this.quiesced();
  }

  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback): void {
    const refusal = this.#refusal('write', offset, bytes.length);
    if (refusal !== null) return queueMicrotask(() => callback(refusal));
    this.writeAll(offset, bytes, durable, this.begun(offset, bytes, durable, callback));
  }

  /** For chains: whether a write may begin now. */
  mayWrite(offset: number, bytes: Uint8Array): boolean {
    return this.#refusal('write', offset, bytes.length) === null;
  }

  /** Counts a write as begun; what is returned ends it. */
  begun(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback): WriteEnd {
    this.#inFlight++;
    return (error, touched = true) => {
      if (error === null) {
        this.#countWrite(offset, bytes.length);
        if (durable) this.#stats.barriers++;
        else this.#unsynced = true;
      } else if (touched) {
        // Part of it may have reached a cache.
        this.#unsynced = true;
        if (poisons(error)) this.#poison ??= error;
      }
      this.#finish(() => callback(error));
    };
  }

  barrier(callback: DiskCallback): void {
    const refusal = this.#refusal('barrier', 0, 0);
    if (refusal !== null) return queueMicrotask(() => callback(refusal));
    this.#inFlight++;
    const finish = (error: DiskError | null): void => {
      if (error === null) this.#stats.barriers++;
      else this.#poison ??= error;
      this.#finish(() => callback(error));
    };
    // Nothing speculative since the last barrier that ended: durable writes were promised by themselves.
    if (!this.#unsynced && this.#barriersInFlight === 0) return queueMicrotask(() => finish(null));
    // Down before the system call: a write that completes meanwhile raises it again.
    this.#unsynced = false;
    this.#barriersInFlight++;
    this.sync((error) => {
      this.#barriersInFlight--;
      if (error !== null) this.#unsynced = true;
      else if (!this.#unsynced && this.#inFlight === 1) this.quiesced();
      finish(error);
    });
  }

  read(offset: number, length: number, callback: DiskReadCallback): void {
    const refusal = this.#refusal('read', offset, length);
    if (refusal !== null) return queueMicrotask(() => callback(refusal, null));
    this.#inFlight++;
    this.readAll(offset, length, (error, bytes) => {
      if (bytes !== null) {
        this.#stats.reads++;
        this.#stats.bytesRead += bytes.length;
      }
      this.#finish(() => callback(error, bytes));
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight === 0) this.#releaseNow();
  }

  #finish(callback: () => void): void {
    try {
      callback();
    } finally {
      this.#inFlight--;
      if (this.#closed && this.#inFlight === 0) this.#releaseNow();
    }
  }

  #releaseNow(): void {
    this.release();
    this.#onReleased(this);
  }

  #countWrite(offset: number, length: number): void {
    this.#stats.writes++;
    this.#stats.bytesWritten += length;
    // An empty write grows nothing, wherever it is.
    if (length > 0) this.#size = Math.max(this.#size, offset + length);
  }

  #poisonIfGrave(failure: unknown): void {
    const { code, message } = failure as DiskFailure;
    if (poisons({ code, message })) this.#poison ??= { code, message };
  }

  #refuseBroken(attempt: string): void {
    if (this.#closed) throw new DiskFailure(diskError(attempt, 'ECLOSED', 'the file is closed'));
    if (this.#poison !== null) throw new DiskFailure(this.#poisonedError(attempt));
  }

  #poisonedError(attempt: string): DiskError {
    const first = this.#poison!;
    return { code: first.code, message: `${attempt}: refused after an earlier failure (${first.message})` };
  }

  /** Why a call must not start, or null. Reads of a poisoned file are allowed: they promise nothing. */
  #refusal(what: 'write' | 'barrier' | 'read', offset: number, length: number): DiskError | null {
    const attempt =
      what === 'barrier' ? `barrier of ${this.path}` : `${what} of ${length} bytes at ${offset} of ${this.path}`;
    if (this.#closed) return diskError(attempt, 'ECLOSED', 'the file is closed');
    if (this.#poison !== null && what !== 'read') return this.#poisonedError(attempt);
    if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0)
      return diskError(attempt, 'EINVAL', 'offset and length must be non-negative safe integers');
    if (what === 'write' && (offset % BLOCK_BYTES !== 0 || length % BLOCK_BYTES !== 0 || length === 0))
      return diskError(attempt, 'EINVAL', `offset and length must be multiples of ${BLOCK_BYTES}`);
    return null;
  }
}
