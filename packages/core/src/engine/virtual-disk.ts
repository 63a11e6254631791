/**
 * VirtualDisk: the one door to stable storage. Writes are speculative until a barrier; a failed barrier is fatal and never
 * retried. Implementations: SyncDisk and IoUringDisk (`@chronon/native`), SimDisk (`chaos/`); one contract test for all.
 *
 * Two faces:
 *  - blocking calls (`...Sync`, `list`, `open`) are used only while a replica opens its directory, before its first message;
 *  - everything afterwards is asynchronous with a callback (no promise a write; the simulator stays synchronous inside).
 *
 * Invariants a caller keeps: asynchronous write offsets and lengths are multiples of BLOCK_BYTES; the bytes of a write do not
 * change before its callback; paths are relative to the disk's root directory and use '/'.
 */

/** Closed set of what can go wrong with a disk call. */
export type DiskErrorCode = 'EIO' | 'ENOSPC' | 'ENOENT' | 'EACCES' | 'ECLOSED' | 'EOTHER';

export interface DiskError {
  readonly code: DiskErrorCode;
  /** What was attempted, on which file and offset, and what the system said. */
  readonly message: string;
}

/** Thrown by the blocking calls only. */
export class DiskFailure extends Error {
  override readonly name = 'DiskFailure';
  readonly code: DiskErrorCode;
  constructor(error: DiskError) {
    super(error.message);
    this.code = error.code;
  }
}

/** Called exactly once, never from inside the call that got it. `error` is null on success. */
export type DiskCallback = (error: DiskError | null) => void;
export type DiskReadCallback = (error: DiskError | null, bytes: Uint8Array | null) => void;

export type DiskKind = 'sync' | 'io_uring' | 'simulated';

/** Monotone counters since open. */
export interface DiskStats {
  writes: number;
  bytesWritten: number;
  /** Barriers completed: explicit ones and durable writes. */
  barriers: number;
  reads: number;
  bytesRead: number;
}

export interface DiskFile {
  readonly path: string;
  /** Size in bytes. */
  size(): number;
  /** Reads up to `into.length` bytes at `offset`; returns how many there were (short only at the end of the file). Blocking. */
  readSync(offset: number, into: Uint8Array): number;
  /** Writes all bytes at any offset (speculative). Blocking. */
  writeSync(offset: number, bytes: Uint8Array): void;
  /** Makes every completed write to this file durable, its size included. Blocking. */
  barrierSync(): void;
  /**
   * Writes whole blocks. With `durable` the callback means: these bytes are on stable storage (O_DSYNC / RWF_DSYNC; other
   * speculative writes are not promised). Short writes are continued by the disk. A durable write within the file's size only.
   */
  write(offset: number, bytes: Uint8Array, durable: boolean, callback: DiskCallback): void;
  /** Makes every write to this file that completed before this call durable. */
  barrier(callback: DiskCallback): void;
  /** Reads `length` bytes at `offset` from the medium as it is; fewer only at the end of the file. */
  read(offset: number, length: number, callback: DiskReadCallback): void;
  close(): void;
}

export interface VirtualDisk {
  readonly kind: DiskKind;
  /** Why this is not the preferred disk ("io_uring_setup: EPERM, seccomp?"), null when it is. */
  readonly fallbackReason: string | null;
  readonly stats: Readonly<DiskStats>;
  /** Opens a file; with `create` an empty one is made when there is none. Throws DiskFailure (ENOENT, EACCES, ...). Blocking. */
  open(path: string, options?: { readonly create?: boolean }): DiskFile;
  /** Names in a directory, sorted; empty when the directory does not exist. Blocking. */
  list(directory: string): string[];
  /** Makes a directory and its parents. Blocking; follow with syncDirectorySync of the parent. */
  mkdirSync(directory: string): void;
  renameSync(from: string, to: string): void;
  unlinkSync(path: string): void;
  syncDirectorySync(directory: string): void;
  rename(from: string, to: string, callback: DiskCallback): void;
  unlink(path: string, callback: DiskCallback): void;
  syncDirectory(directory: string, callback: DiskCallback): void;
  /** Bytes the file system still has, or null when unknown. */
  freeBytes(): number | null;
  /** Closes every file; calls in flight end with ECLOSED or their result. */
  close(): void;
}
