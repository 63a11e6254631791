/**
 * The one place that chooses a disk: io_uring where it works, SyncDisk with the reason where it does not.
 */
import { DiskFailure, type VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { IoUringDisk } from './io-uring-disk.ts';
import { loadNative } from './native-binding.ts';
import { probe } from './probe.ts';
import { SyncDisk } from './sync-disk.ts';

export interface OpenDiskOptions {
  /** Existing directory; every path of the disk is relative to it. */
  readonly root: string;
  /** `auto` takes io_uring where it works and else SyncDisk with a `fallbackReason`. */
  readonly kind: 'auto' | 'sync' | 'io_uring';
}

/**
 * Opens the disk of a directory.
 *
 * @throws DiskFailure when the root is no directory, or `kind` is 'io_uring' and that does not work here (with the reason)
 */
export function openDisk({ root, kind }: OpenDiskOptions): VirtualDisk {
  const { binding, reason } = loadNative();
  if (kind === 'sync') return new SyncDisk(root, null, binding);
  const fallback = (why: string): VirtualDisk => {
    if (kind === 'auto') return new SyncDisk(root, why, binding);
    throw new DiskFailure({ code: 'EOTHER', message: `io_uring was asked for and is not available: ${why}` });
  };
  if (binding === null) return fallback(reason);
  const probed = probe(root);
  if (!probed.ok) return fallback(probed.reason ?? 'unknown');
  try {
    return new IoUringDisk(root, binding);
  } catch (cause) {
    return fallback(cause instanceof Error ? cause.message : String(cause));
  }
}
