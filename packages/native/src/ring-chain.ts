/**
 * Chains of durable writes through a ring, as both real disks write frames and their tail record: one submission of linked requests, of which the second
 * begins when the first is durable, without a turn of the event loop in between.
 */
import { WRITE_BYTES_MAX } from '@chronon/core/engine/durability-worker';
import { type ChainLink, type DiskError, type DiskFile, unbegun } from '@chronon/core/engine/virtual-disk';
import { diskErrorOfErrno } from './disk-error.ts';
import type { DiskFileBase, WriteEnd } from './disk-file-base.ts';
import type { ChainPart, RingQueue } from './ring-queue.ts';

/** Longest single request, in bytes: a whole write of the log. */
export const PIECE_BYTES = WRITE_BYTES_MAX;

/** A file of a chain, and the descriptor by which the ring writes it. */
export interface ChainFile {
  readonly file: DiskFileBase;
  readonly fd: number;
}

/** What an error says was attempted. */
export function attemptOf(path: string, offset: number, bytes: Uint8Array): string {
  return `write of ${bytes.length} bytes at ${offset} of ${path}`;
}

/**
 * False when a link may not begin, is too long for a request, or cannot be written by the ring (`descriptor` gives null), or the ring has no room: nothing
 * is begun then.
 */
export function chainThrough(
  queue: RingQueue,
  links: readonly ChainLink[],
  descriptor: (file: DiskFile, bytes: Uint8Array) => ChainFile | null,
): boolean {
  const parts: ChainPart[] = [];
  const files: DiskFileBase[] = [];
  const ends: WriteEnd[] = [];
  let failed: DiskError | null = null;
  for (const [position, { file: linked, offset, bytes }] of links.entries()) {
    const by = bytes.length > PIECE_BYTES ? null : descriptor(linked, bytes);
    if (by === null || !by.file.mayWrite(offset, bytes)) return false;
    const { file, fd } = by;
    const done = (result: number): void => {
      const end = ends[position]!;
      if (result >= 0) end(null, true);
      else if (failed !== null) end(unbegun(file.path, failed), false);
      else end((failed = diskErrorOfErrno(attemptOf(file.path, offset, bytes), result)), true);
    };
    files.push(file);
    parts.push({ fd, offset, bytes, done });
  }
  if (!queue.writeChain(parts)) return false;
  for (const [position, { offset, bytes, callback }] of links.entries())
    ends.push(files[position]!.begun(offset, bytes, true, callback));
  return true;
}
