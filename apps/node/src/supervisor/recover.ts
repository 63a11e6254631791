/**
 * The directory's side of `chronon recover`: what is left of a lost replica is set aside, never deleted, and a blank directory is prepared that joins the
 * cluster as a new incarnation (core, replica-boot.ts).
 *
 * Invariants: a directory that is prepared already stays as it is, so the command may be run again; nobody else has the directory meanwhile.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { MANIFEST_PATHS } from '@chronon/core/engine/manifest';
import { BOOT_PATH, decodeBootFile, writeBootFile } from '@chronon/core/replica-boot';
import { LockFailure, lockDirectory } from '@chronon/native/lock';
import { SyncDisk } from '@chronon/native/sync-disk';
import { syncDirectory } from './atomic-file.ts';
import { CLUSTER_FILE, prepareDirectory, readCluster, writeCluster, type ClusterFile } from './cluster-file.ts';
import { Failure, usage } from './failure.ts';
import { replicaDir } from './layout.ts';

/** Description of the cluster in `dataDir`; a lost one is taken over from the data directory of another replica. */
export function clusterOf(dataDir: string, like: string | null): ClusterFile {
  const known = readCluster(dataDir);
  if (known !== null) return known;
  const source = like === null ? null : readCluster(like);
  if (source === null) {
    throw new Failure(
      'E_NOT_FORMATTED',
      `${join(dataDir, CLUSTER_FILE)} is gone as well: name the data directory of another replica with --like`,
    );
  }
  prepareDirectory(dataDir);
  writeCluster(dataDir, source);
  return source;
}

/** Prepares `DIR/r<ID>` to join. Returns where the old one is now; null when there was nothing (or it is prepared already). */
export async function prepareRecovery(dataDir: string, cluster: ClusterFile, id: number): Promise<string | null> {
  if (id > cluster.replicas) throw usage(`there is no replica r${id} in a cluster of ${cluster.replicas}`);
  if (cluster.replicas === 1) throw usage('a cluster of one has nobody to recover from');
  const directory = replicaDir(dataDir, id);
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  let lock;
  try {
    lock = await lockDirectory(directory);
  } catch (error) {
    if (!(error instanceof LockFailure)) throw error;
    throw new Failure(error.code === 'E_LOCKED' ? 'E_LOCKED' : 'E_DIRECTORY', `${error.message}; stop r${id} first`);
  }
  try {
    return isPrepared(directory) ? null : prepare(directory);
  } finally {
    lock.release();
  }
}

/** A boot file alone says nothing: a replica that was refused at first boot has left one of its own. */
function isPrepared(directory: string): boolean {
  const names = fs.readdirSync(directory);
  if (!names.includes(BOOT_PATH) || names.some((name) => (MANIFEST_PATHS as readonly string[]).includes(name)))
    return false;
  return decodeBootFile(fs.readFileSync(join(directory, BOOT_PATH)))?.join === true;
}

function prepare(directory: string): string | null {
  const left = fs.readdirSync(directory).filter((name) => !/^lock(\.|$)/.test(name));
  let aside: string | null = null;
  if (left.length > 0) {
    aside = freeName(directory);
    fs.renameSync(directory, aside);
    fs.mkdirSync(directory, { mode: 0o700 });
    syncDirectory(join(directory, '..'));
  }
  const disk = new SyncDisk(directory);
  try {
    writeBootFile(disk, { bootId: new Uint8Array(randomBytes(16)), join: true });
  } finally {
    disk.close();
  }
  return aside;
}

/** First free name for a directory that is set aside. */
export function freeName(directory: string): string {
  for (let n = 1; ; n++) {
    const name = `${directory}.lost-${n}`;
    if (!fs.existsSync(name)) return name;
  }
}
