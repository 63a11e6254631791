/**
 * Formatting a directory.
 *
 * Invariant: the manifest appears whole or not at all, and last, so that a crash in the middle leaves a directory that says it is not formatted.
 */
import type { FrameCodec } from './frame-codec.ts';
import type { ManifestState, Refusal } from './log-contract.ts';
import { encodeManifest, MANIFEST_PATHS } from './manifest.ts';
import { formatTail } from './recovery-open.ts';
import { remainsOf } from './recovery.ts';
import { LOG_DIRECTORY } from './segment.ts';
import { DiskFailure, type VirtualDisk } from './virtual-disk.ts';

/** Writes tail record and manifest. Null on success. Blocking. */
export function formatDirectory(disk: VirtualDisk, codec: FrameCodec, manifest: ManifestState): Refusal | null {
  try {
    const present = disk.list('').filter((name) => (MANIFEST_PATHS as readonly string[]).includes(name));
    if (present.length > 0) {
      return {
        code: 'E_MANIFEST',
        message: `the directory is formatted already (${present.join(', ')}): nothing was changed`,
      };
    }
    const remains = remainsOf(disk);
    if (remains !== null) {
      return {
        code: 'E_MANIFEST_MISSING',
        message: `the directory holds ${remains}: nothing was changed; restore its manifest, or give an empty directory`,
      };
    }
    disk.mkdirSync(LOG_DIRECTORY);
    disk.mkdirSync('snapshots');
    disk.syncDirectorySync('');
    formatTail(disk, manifest.clusterId, manifest.logView);
    const bytes = encodeManifest(manifest, 1, codec);
    for (const path of MANIFEST_PATHS) {
      const file = disk.open(`${path}.new`, { create: true });
      file.writeSync(0, bytes);
      file.barrierSync();
      file.close();
      disk.renameSync(`${path}.new`, path);
      disk.syncDirectorySync('');
    }
    return null;
  } catch (error) {
    if (!(error instanceof DiskFailure)) throw error;
    return { code: 'E_IO_WRITE', message: `the directory cannot be formatted: ${error.message}` };
  }
}
