/**
 * SyncDisk: VirtualDisk on plain node:fs. The data path is a descriptor opened with O_DSYNC, so that a durable write is one
 * system call and its completion is the promise (visible in /proc/PID/fdinfo).
 *
 * Writes go through libuv's thread pool. A speculative write (segment pre-writing, snapshots) must not pay a flush for each
 * call: it uses a second, plain descriptor, and the barrier's fdatasync makes it durable. That descriptor exists only between
 * the first speculative write and the barrier that covers it, so an active segment is open with O_DSYNC alone.
 *
 * Honest limit: reads may be served by the page cache, not the medium.
 */
import fs from 'node:fs';
import type { DiskCallback, DiskReadCallback, DiskStats } from '@chronon/core/engine/virtual-disk';
import { DiskBase, reopen } from './disk-base.ts';
import { diskError, diskErrorOf } from './disk-error.ts';
import { DiskFileBase } from './disk-file-base.ts';

const { O_DSYNC, O_RDWR } = fs.constants;
const CLOSED_FD = -1;

class SyncFile extends DiskFileBase {
  readonly #absolute: string;
  /** O_DSYNC, for the life of the file. */
  readonly #durableFd: number;
  /** Plain; CLOSED_FD while nothing speculative is outstanding. */
  #plainFd = CLOSED_FD;

  constructor(path: string, absolute: string, fd: number, stats: DiskStats, onReleased: (file: DiskFileBase) => void) {
    super(path, fd, stats, onReleased);
    this.#absolute = absolute;
    this.#durableFd = fd;
  }

  protected writeAll(offset: number, bytes: Uint8Array, durable: boolean, done: DiskCallback): void {
    const attempt = `write of ${bytes.length} bytes at ${offset} of ${this.path}`;
    let fd: number;
    try {
      fd = durable ? this.#durableFd : this.bufferedFd();
    } catch (cause) {
      return queueMicrotask(() => done(diskErrorOf(attempt, cause)));
    }
    let written = 0;
    const step = (): void => {
      fs.write(fd, bytes, written, bytes.length - written, offset + written, (cause, count) => {
        if (cause !== null) return done(diskErrorOf(attempt, cause));
        if (count === 0) return done(diskError(attempt, 'EIO', 'wrote 0 bytes'));
        written += count;
        if (written === bytes.length) done(null);
        else step();
      });
    };
    step();
  }

  protected sync(done: DiskCallback): void {
    fs.fdatasync(this.#durableFd, (cause) =>
      done(cause === null ? null : diskErrorOf(`barrier of ${this.path}`, cause)),
    );
  }

  protected readAll(offset: number, length: number, done: DiskReadCallback): void {
    const attempt = `read of ${length} bytes at ${offset} of ${this.path}`;
    const into = new Uint8Array(length);
    let got = 0;
    const step = (): void => {
      fs.read(this.#durableFd, into, got, length - got, offset + got, (cause, count) => {
        if (cause !== null) return done(diskErrorOf(attempt, cause), null);
        got += count;
        if (count === 0 || got === length) done(null, got === length ? into : into.subarray(0, got));
        else step();
      });
    };
    if (length === 0) queueMicrotask(() => done(null, into));
    else step();
  }

  protected bufferedFd(): number {
    if (this.#plainFd === CLOSED_FD) this.#plainFd = reopen(this.#durableFd, this.#absolute, O_RDWR);
    return this.#plainFd;
  }

  protected readFd(): number {
    return this.#durableFd;
  }

  protected syncFd(): number {
    return this.#durableFd;
  }

  protected override quiesced(): void {
    if (this.#plainFd === CLOSED_FD) return;
    fs.closeSync(this.#plainFd);
    this.#plainFd = CLOSED_FD;
  }

  protected release(): void {
    this.quiesced();
    fs.closeSync(this.#durableFd);
  }
}

/** VirtualDisk on node:fs with O_DSYNC: complete, portable, and the fallback of IoUringDisk. */
export class SyncDisk extends DiskBase {
  readonly kind = 'sync';

  /**
   * @param root existing directory; every path is relative to it
   * @param fallbackReason why a better disk was not taken, null when this one was asked for
   * @throws DiskFailure when the root is not a directory
   */
  constructor(root: string, fallbackReason: string | null = null) {
    super(root, fallbackReason);
  }

  protected openFile(path: string, absolute: string): DiskFileBase {
    const fd = fs.openSync(absolute, O_RDWR | O_DSYNC);
    return new SyncFile(path, absolute, fd, this.stats, this.onReleased);
  }
}
