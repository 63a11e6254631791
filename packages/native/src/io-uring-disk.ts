/**
 * IoUringDisk: VirtualDisk on io_uring and O_DIRECT (Linux). Bytes stand in page-aligned memory of the addon (the log gathers its frames there,
 * what others write is copied once) and go from there to the device without the page cache; a durable write is one request with RWF_DSYNC, a barrier one fdatasync
 * request. No thread of libuv's pool is held while the device works.
 *
 * Frames and their tail record (`writeChain`) are one submission of linked requests: the kernel begins the second when the first is
 * durable, without a turn of the event loop in between.
 *
 * A write larger than PIECE_BYTES goes in pieces at once; when it is durable, one fdatasync after the last piece makes it so.
 * The blocking calls, and everything with names, go through node:fs on a second, buffered descriptor, which exists only
 * between the first of them and the next barrier.
 */
import fs from 'node:fs';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import {
  type ChainLink,
  DiskFailure,
  type DiskCallback,
  type DiskFile,
  type DiskReadCallback,
  type DiskStats,
  writeInTurn,
} from '@chronon/core/engine/virtual-disk';
import { DiskBase, reopen } from './disk-base.ts';
import { diskErrorOfErrno } from './disk-error.ts';
import { DiskFileBase } from './disk-file-base.ts';
import type { NativeBinding, NativeRing } from './native-binding.ts';
import { explain } from './probe.ts';
import { attemptOf, type ChainFile, chainThrough, PIECE_BYTES } from './ring-chain.ts';
import { AGAIN, RingQueue } from './ring-queue.ts';

/** Requests the ring can have at once; more wait their turn. */
export const RING_REQUESTS = 128;
/**
 * Page-aligned memory of one disk, in bytes: the log's two buffers of its longest write, its tail records, and a snapshot's and a spare segment's writes
 * beside them.
 */
export const RING_ARENA_BYTES = 4 * PIECE_BYTES + 16 * BLOCK_BYTES;

/** Blocking reads from this size on go past the page cache. */
const LONG_READ_BYTES = 256 * 1024;
const { O_DIRECT, O_RDWR } = fs.constants;
const CLOSED_FD = -1;

class IoUringFile extends DiskFileBase {
  readonly #absolute: string;
  readonly #queue: RingQueue;
  /** O_DIRECT, for the life of the file. */
  readonly directFd: number;
  /** Buffered; CLOSED_FD unless a blocking call needed it since the last barrier. */
  #bufferedFd = CLOSED_FD;

  constructor(
    path: string,
    absolute: string,
    fd: number,
    queue: RingQueue,
    stats: DiskStats,
    onReleased: (file: DiskFileBase) => void,
  ) {
    super(path, fd, stats, onReleased);
    this.#absolute = absolute;
    this.#queue = queue;
    this.directFd = fd;
  }

  protected writeAll(offset: number, bytes: Uint8Array, durable: boolean, done: DiskCallback): void {
    const attempt = attemptOf(this.path, offset, bytes);
    if (bytes.length <= PIECE_BYTES) {
      this.#queue.write(this.directFd, offset, bytes, 0, bytes.length, durable, (result) => {
        done(result < 0 ? diskErrorOfErrno(attempt, result) : null);
      });
      return;
    }
    let left = Math.ceil(bytes.length / PIECE_BYTES);
    let worst = 0;
    const onPiece = (result: number): void => {
      if (result < 0 && worst === 0) worst = result;
      if (--left > 0) return;
      if (worst < 0) done(diskErrorOfErrno(attempt, worst));
      else if (durable) this.sync(done);
      else done(null);
    };
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, bytes.length - at);
      this.#queue.write(this.directFd, offset + at, bytes, at, length, false, onPiece);
    }
  }

  protected sync(done: DiskCallback): void {
    this.#queue.sync(this.directFd, (result) => {
      done(result < 0 ? diskErrorOfErrno(`barrier of ${this.path}`, result) : null);
    });
  }

  protected readAll(offset: number, length: number, done: DiskReadCallback): void {
    const attempt = `read of ${length} bytes at ${offset} of ${this.path}`;
    const into = new Uint8Array(length);
    if (length === 0) return queueMicrotask(() => done(null, into));
    let got = 0;
    const step = (): void => {
      // The device reads whole blocks: round outwards, and skip what was not asked for.
      const skip = (offset + got) % BLOCK_BYTES;
      const wanted = skip + length - got;
      const blocks = Math.min(PIECE_BYTES, Math.ceil(wanted / BLOCK_BYTES) * BLOCK_BYTES);
      this.#queue.read(this.directFd, offset + got - skip, blocks, (result, token) => {
        if (result < 0) return done(diskErrorOfErrno(attempt, result), null);
        got += this.#queue.take(token, into, got, skip);
        if (got === length || result < blocks) done(null, got === length ? into : into.subarray(0, got));
        else step();
      });
    };
    step();
  }

  override prefetch(length: number): void {
    if (length >= LONG_READ_BYTES || length === 0) this.#queue.prefetch(this.directFd, 0, length);
  }

  /** A start reads whole segments: past the page cache that costs a third, and it is what the medium says. */
  protected override readLong(offset: number, into: Uint8Array): number {
    if (into.length < LONG_READ_BYTES || offset % BLOCK_BYTES !== 0) return 0;
    const count = this.#queue.readBlocking(this.directFd, offset, into);
    if (count >= 0) return count;
    if (count === AGAIN) return 0;
    throw new DiskFailure(diskErrorOfErrno(`read of ${into.length} bytes at ${offset} of ${this.path}`, count));
  }

  protected readFd(): number {
    return this.bufferedFd();
  }

  protected bufferedFd(): number {
    // It is written by.
    this.prefetch(0);
    if (this.#bufferedFd === CLOSED_FD) this.#bufferedFd = reopen(this.directFd, this.#absolute, O_RDWR);
    return this.#bufferedFd;
  }

  protected syncFd(): number {
    return this.directFd;
  }

  protected override quiesced(): void {
    if (this.#bufferedFd === CLOSED_FD) return;
    fs.closeSync(this.#bufferedFd);
    this.#bufferedFd = CLOSED_FD;
  }

  protected release(): void {
    // Its number may be another file's next.
    this.prefetch(0);
    this.quiesced();
    fs.closeSync(this.directFd);
  }
}

/** VirtualDisk on io_uring + O_DIRECT. Use `openDisk`, which probes first and falls back to SyncDisk. */
export class IoUringDisk extends DiskBase {
  readonly kind = 'io_uring';
  /** The native ring: its `state()` is for `chronon doctor` and tests. */
  readonly ring: NativeRing;
  readonly #queue: RingQueue;

  /**
   * @param root existing directory on a file system with O_DIRECT
   * @param options set-up choices of the ring, for benchmarks (cpp/ring.h, RingOption)
   * @throws DiskFailure when the root is no directory or the kernel refuses a ring
   */
  constructor(root: string, binding: NativeBinding, options = 0) {
    super(root, null);
    try {
      this.ring = new binding.Ring(RING_REQUESTS, RING_ARENA_BYTES, options);
    } catch (cause) {
      const errno = (cause as { readonly errno?: number }).errno ?? 0;
      const { code } = diskErrorOfErrno('io_uring_setup', errno);
      throw new DiskFailure({ code, message: explain('io_uring_setup', errno) });
    }
    this.#queue = new RingQueue(this.ring);
  }

  protected openFile(path: string, absolute: string): DiskFileBase {
    const fd = fs.openSync(absolute, O_RDWR | O_DIRECT);
    return new IoUringFile(path, absolute, fd, this.#queue, this.stats, this.onReleased);
  }

  /** One submission of linked requests; in turn where a link may not begin or is too long for a request, or the ring has no room. */
  override writeChain(links: readonly ChainLink[]): void {
    const descriptor = (file: DiskFile): ChainFile | null =>
      file instanceof IoUringFile ? { file, fd: file.directFd } : null;
    if (!chainThrough(this.#queue, links, descriptor)) writeInTurn(links);
  }

  override allocate(bytes: number): Uint8Array {
    return this.#queue.allocate(bytes) ?? super.allocate(bytes);
  }

  protected override closed(): void {
    this.#queue.close();
  }
}
