/**
 * SyncDisk: VirtualDisk on plain node:fs. The data path is a descriptor opened with O_DSYNC, so that a durable write is one
 * system call and its completion is the promise (visible in /proc/PID/fdinfo).
 *
 * With the addon the log's own writes (from memory of `allocate`) are made by two threads of it, on a second descriptor, with O_DIRECT and O_DSYNC, where the
 * file system has that: frames and their tail record are one hand-over (`writeChain`), and go to the device from where they were gathered, where libuv's pool
 * takes a turn of the event loop for each and the page cache a copy in small pages. Everything else, and all of it without the addon, goes through libuv's pool.
 *
 * A speculative write (segment pre-writing, snapshots) must not pay a flush for each
 * call: it uses another, plain descriptor, and the barrier's fdatasync makes it durable. That descriptor exists only between
 * the first speculative write and the barrier that covers it, so an active segment is open with O_DSYNC alone.
 *
 * Honest limit: reads may be served by the page cache, not the medium.
 */
import fs from 'node:fs';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import {
  type ChainLink,
  type DiskCallback,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
  writeInTurn,
} from '@chronon/core/engine/virtual-disk';
import { DiskBase, reopen } from './disk-base.ts';
import { diskError, diskErrorOf, diskErrorOfErrno } from './disk-error.ts';
import { DiskFileBase } from './disk-file-base.ts';
import type { NativeBinding } from './native-binding.ts';
import { attemptOf, type ChainFile, chainThrough, PIECE_BYTES } from './ring-chain.ts';
import { RingQueue } from './ring-queue.ts';

const { O_DIRECT, O_DSYNC, O_RDWR, O_WRONLY } = fs.constants;
const CLOSED_FD = -1;
/** O_DIRECT was refused. */
const REFUSED_FD = -2;
/** RingOption kThreads (cpp/ring.h). */
export const THREADS = 4;
/** Chains and writes that the threads have been given at once; more wait their turn. */
const THREAD_REQUESTS = 16;
/** The log's two buffers of its longest write, and its tail records. */
const THREAD_ARENA_BYTES = 2 * PIECE_BYTES + 16 * BLOCK_BYTES;

class SyncFile extends DiskFileBase {
  readonly #absolute: string;
  /** O_DSYNC, for the life of the file. */
  readonly #durableFd: number;
  /** Plain; CLOSED_FD while nothing speculative is outstanding. */
  #plainFd = CLOSED_FD;
  /** O_DIRECT and O_DSYNC, for the threads; CLOSED_FD until the log writes. */
  #directFd = CLOSED_FD;
  readonly #queue: RingQueue | null;

  constructor(
    path: string,
    absolute: string,
    fd: number,
    queue: RingQueue | null,
    stats: DiskStats,
    onReleased: (file: DiskFileBase) => void,
  ) {
    super(path, fd, stats, onReleased);
    this.#absolute = absolute;
    this.#durableFd = fd;
    this.#queue = queue;
  }

  /** The descriptor by which the threads write `bytes`, or null when they cannot. */
  directFd(bytes: Uint8Array): number | null {
    if (this.#queue === null || !this.#queue.holds(bytes) || bytes.length > PIECE_BYTES) return null;
    if (this.#directFd === CLOSED_FD) {
      try {
        this.#directFd = reopen(this.#durableFd, this.#absolute, O_WRONLY | O_DIRECT | O_DSYNC);
      } catch {
        // A file system without it (or no descriptors left): the plain way is as durable.
        this.#directFd = REFUSED_FD;
      }
    }
    return this.#directFd === REFUSED_FD ? null : this.#directFd;
  }

  protected writeAll(offset: number, bytes: Uint8Array, durable: boolean, done: DiskCallback): void {
    const attempt = attemptOf(this.path, offset, bytes);
    const direct = durable ? this.directFd(bytes) : null;
    if (direct !== null) {
      this.#queue!.write(direct, offset, bytes, 0, bytes.length, true, (result) =>
        done(result < 0 ? diskErrorOfErrno(attempt, result) : null),
      );
      return;
    }
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
    if (this.#directFd >= 0) fs.closeSync(this.#directFd);
    fs.closeSync(this.#durableFd);
  }
}

/** VirtualDisk on node:fs with O_DSYNC: complete, portable, and the fallback of IoUringDisk. */
export class SyncDisk extends DiskBase {
  readonly kind = 'sync';
  /** Null: without the addon, or where it has no threads. */
  readonly #queue: RingQueue | null;

  /**
   * @param root existing directory; every path is relative to it
   * @param fallbackReason why a better disk was not taken, null when this one was asked for
   * @param binding the addon, whose threads write the log; null: libuv's pool does
   * @throws DiskFailure when the root is not a directory
   */
  constructor(root: string, fallbackReason: string | null = null, binding: NativeBinding | null = null) {
    super(root, fallbackReason);
    this.#queue = binding === null ? null : threads(binding);
  }

  /** The threads make the second write when the first is durable; in turn where they cannot. */
  override writeChain(links: readonly ChainLink[]): void {
    const descriptor = (file: DiskFile, bytes: Uint8Array): ChainFile | null => {
      const fd = file instanceof SyncFile ? file.directFd(bytes) : null;
      return fd === null ? null : { file: file as SyncFile, fd };
    };
    if (this.#queue === null || !chainThrough(this.#queue, links, descriptor)) writeInTurn(links);
  }

  override allocate(bytes: number): Uint8Array {
    return this.#queue?.allocate(bytes) ?? super.allocate(bytes);
  }

  protected openFile(path: string, absolute: string): DiskFileBase {
    const fd = fs.openSync(absolute, O_RDWR | O_DSYNC);
    return new SyncFile(path, absolute, fd, this.#queue, this.stats, this.onReleased);
  }

  protected override closed(): void {
    this.#queue?.close();
  }
}

function threads(binding: NativeBinding): RingQueue | null {
  try {
    return new RingQueue(new binding.Ring(THREAD_REQUESTS, THREAD_ARENA_BYTES, THREADS));
  } catch {
    // No threads or memory to be had: libuv's pool is as right.
    return null;
  }
}
