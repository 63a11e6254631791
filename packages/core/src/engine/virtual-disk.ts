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

/** The same, for a read: it failed, or gave nothing that can be believed. */
export class ReadFailure extends DiskFailure {}

/** Runs a task that reads and writes nothing. */
export function reading<T>(task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (error instanceof DiskFailure) throw new ReadFailure(error);
    throw error;
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
  /** The next long `readSync` of this disk will be of the first `length` bytes of this file (0: will not): it may be begun beside what else goes on. */
  prefetch(length: number): void;
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

/** One durable write of a chain: whole blocks, within the file's size. `bytes` does not change before `callback`. */
export interface ChainLink {
  readonly file: DiskFile;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly callback: DiskCallback;
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
  /**
   * Durable writes in a row: each begins only when the one before it is on stable storage, without the program's help where the disk can. Each
   * link's callback comes as that of `write`, in order; behind a link that failed none begins, and each ends with that error.
   */
  writeChain(links: readonly ChainLink[]): void;
  /**
   * Memory, zeroed, from the start of which this disk writes without copying where it can; any other is as right. It may be used as long as it is
   * referenced, also after `close`.
   */
  allocate(bytes: number): Uint8Array;
  /** Bytes the file system still has, or null when unknown. */
  freeBytes(): number | null;
  /** Closes every file; calls in flight end with ECLOSED or their result. */
  close(): void;
}

/** `writeChain` by plain writes: each begins when the one before it has completed. */
export function writeInTurn(links: readonly ChainLink[], position = 0): void {
  const link = links[position];
  if (link === undefined) return;
  link.file.write(link.offset, link.bytes, true, (error) => {
    if (error === null) writeInTurn(links, position + 1);
    link.callback(error);
    if (error !== null) endUnbegun(links, position + 1, error);
  });
}

/** Ends the links from `position` on, which are not begun because of `error`. */
export function endUnbegun(links: readonly ChainLink[], position: number, error: DiskError): void {
  for (const { callback, file } of links.slice(position)) callback(unbegun(file.path, error));
}

/** What a link behind the one that failed with `error` ends with. */
export function unbegun(path: string, error: DiskError): DiskError {
  return { code: error.code, message: `write of ${path} was not begun: ${error.message}` };
}
