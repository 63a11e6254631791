/**
 * First boot by one hand: whoever has all n directories gives them their boot ids at once, instead of the replicas telling each other (core, vsr/first-boot.ts).
 * Formats a data directory: the cluster's description, then every replica's directory, then the mark that all of it is there. A crash in between leaves
 * no mark, and the next start begins again; nothing has run until then.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { blankManifest } from '@chronon/core/engine/blank-manifest';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { fromHex } from '@chronon/core/engine/hash';
import type { ManifestState } from '@chronon/core/engine/log-contract';
import { LogStore } from '@chronon/core/engine/log-store';
import { decodeManifest, MANIFEST_PATHS } from '@chronon/core/engine/manifest';
import { SyncDisk } from '@chronon/native/sync-disk';
import { syncDirectory } from './atomic-file.ts';
import { writeCluster, type ClusterFile } from './cluster-file.ts';
import { Failure } from './failure.ts';
import * as layout from './layout.ts';

/** Formats every replica of a local cluster under `dataDir`. */
export function formatCluster(dataDir: string, cluster: ClusterFile): void {
  writeCluster(dataDir, { ...cluster, formatted: false });
  for (let id = 1; id <= cluster.replicas; id++) formatReplica(layout.replicaDir(dataDir, id), cluster, id);
  syncDirectory(dataDir);
  writeCluster(dataDir, { ...cluster, formatted: true });
}

/** What a replica's directory says of its cluster; null while it has no manifest. May be asked while the replica runs: one copy is always whole. */
export function manifestOf(directory: string): ManifestState | null {
  for (const path of MANIFEST_PATHS) {
    try {
      const decoded = decodeManifest(fs.readFileSync(join(directory, path)), nobleCodec);
      if (decoded.kind === 'ok') return decoded.state;
    } catch {
      // The other one.
    }
  }
  return null;
}

/** Formats one replica's directory; what an unfinished format left in it is removed. */
export function formatReplica(directory: string, cluster: ClusterFile, id: number): void {
  const founders = cluster.founders.map(fromHex);
  fs.rmSync(directory, { recursive: true, force: true });
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  const disk = new SyncDisk(directory);
  try {
    const facts = { clusterId: fromHex(cluster.clusterId), replicaId: id, founders, environment: cluster.environment };
    const manifest = blankManifest({ ...facts, bootId: founders[id - 1]! });
    const refused = LogStore.format(disk, nobleCodec, manifest);
    if (refused !== null) throw new Failure(refused.code, `${directory}: ${refused.message}`);
  } finally {
    disk.close();
  }
}
