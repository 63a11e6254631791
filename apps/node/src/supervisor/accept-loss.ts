/**
 * `chronon recover --accept-loss`: a majority of directories is lost, or an index that nobody can settle. One directory is declared to be the log, in a new generation; every
 * other member becomes a copy of it. Runs while nothing else does.
 *
 * Invariants: nothing is deleted: every directory is set aside (the kept one as a copy) before anything changes; whatever belongs to an older generation is refused from then on; what is given
 * up is said before, index by index as far as anybody knows.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { NO_JUNCTION } from '@chronon/core/engine/blank-manifest';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { type CommitIndex, NONE } from '@chronon/core/engine/commit-index';
import type { ManifestState, RecoveredLog } from '@chronon/core/engine/log-contract';
import { LogStore } from '@chronon/core/engine/log-store';
import { decodeManifest, encodeManifest, MANIFEST_PATHS } from '@chronon/core/engine/manifest';
import { recover } from '@chronon/core/engine/recovery';
import { SOUND } from '@chronon/core/policy';
import { DEFAULT_CONFIG } from '@chronon/core/replica-contract';
import { SyncDisk } from '@chronon/native/sync-disk';
import { syncDirectory } from './atomic-file.ts';
import type { ClusterFile } from './cluster-file.ts';
import { Failure } from './failure.ts';
import { replicaDir } from './layout.ts';
import { freeName } from './recover.ts';

/** What one directory would keep. */
export interface Survivor {
  readonly id: number;
  readonly manifest: ManifestState;
  readonly recovered: RecoveredLog;
  /** Last index of what is whole here. */
  readonly keep: CommitIndex;
}

export interface Inspection {
  readonly survivors: readonly Survivor[];
  /** Directories that cannot be kept, and why. */
  readonly lost: readonly { readonly id: number; readonly why: string }[];
}

/** Looks at every directory; changes nothing. */
export function inspect(dataDir: string, cluster: ClusterFile): Inspection {
  const survivors: Survivor[] = [];
  const lost: { id: number; why: string }[] = [];
  for (let id = 1; id <= cluster.replicas; id++) {
    const directory = replicaDir(dataDir, id);
    if (!fs.existsSync(directory)) {
      lost.push({ id, why: 'its directory is gone' });
      continue;
    }
    const disk = new SyncDisk(directory);
    try {
      const expect = { clusterId: new Uint8Array(Buffer.from(cluster.clusterId, 'hex')), replicaId: id };
      const options = {
        disk,
        codec: nobleCodec,
        expect,
        pipelineMax: DEFAULT_CONFIG.pipelineMax,
        lossAccepted: true,
      };
      const found = recover({ ...options, policy: SOUND });
      if ('refusal' in found) lost.push({ id, why: `${found.refusal.code}: ${found.refusal.message}` });
      else if (!found.recovered.connected)
        lost.push({ id, why: 'its frames do not connect to what it had stored of the log' });
      else survivors.push(survivor(id, found.manifest, found.recovered));
    } finally {
      disk.close();
    }
  }
  return { survivors, lost };
}

function survivor(id: number, manifest: ManifestState, recovered: RecoveredLog): Survivor {
  const { index } = manifest.checkpoint;
  const hole = recovered.faulty.find((range) => range.to > index);
  const cut = hole === undefined ? recovered.end : Math.max(index, hole.from - 1);
  return { id, manifest, recovered, keep: cut as CommitIndex };
}

/** The directory that keeps most: highest generation, then log view, then what is whole. */
export function bestOf(survivors: readonly Survivor[]): Survivor | null {
  const order = (a: Survivor, b: Survivor): number =>
    b.manifest.generation - a.manifest.generation || b.manifest.logView - a.manifest.logView || b.keep - a.keep;
  return [...survivors].sort(order)[0] ?? null;
}

/** What is given up when `kept` is the log, in sentences. */
export function lossOf(kept: Survivor, { survivors, lost }: Inspection): string[] {
  const { recovered, keep, id } = kept;
  const lines = [`the log of r${id} through index ${keep} becomes the log of the cluster`];
  const known = Math.max(
    recovered.head,
    recovered.promised,
    ...survivors.map((s) => Math.max(s.recovered.head, s.keep)),
  );
  if (known > keep) {
    lines.push(
      `indexes ${keep + 1}..${known} are given up: they are known of, and acknowledged commands may be among them`,
    );
    for (const other of survivors)
      if (other.keep > keep)
        lines.push(`r${other.id} holds whole entries through index ${other.keep}: --keep r${other.id} would lose less`);
  }
  if (lost.length > 0)
    lines.push(
      `what only ${lost.map((l) => `r${l.id}`).join(', ')} held is lost as well, and nobody can say how much that is`,
    );
  if (known <= keep && lost.length === 0) lines.push('nothing that any directory knows of is given up');
  return lines;
}

/** Makes `kept` the log of a new generation, and every other directory a copy of it. Returns where the old directories are. */
export async function acceptLoss(
  dataDir: string,
  cluster: ClusterFile,
  kept: Survivor,
  view: number,
): Promise<readonly { readonly id: number; readonly aside: string }[]> {
  const directory = replicaDir(dataDir, kept.id);
  const asides: { id: number; aside: string }[] = [{ id: kept.id, aside: freeName(directory) }];
  fs.cpSync(directory, asides[0]!.aside, { recursive: true });
  await newGeneration(directory, kept, view);
  for (let id = 1; id <= cluster.replicas; id++) {
    if (id === kept.id) continue;
    const target = replicaDir(dataDir, id);
    if (fs.existsSync(target)) {
      const aside = freeName(target);
      fs.renameSync(target, aside);
      asides.push({ id, aside });
    }
    copyAs(directory, target, id);
  }
  syncDirectory(dataDir);
  return asides;
}

/** Cuts the log and stores the raised generation, as an install of the engine does: manifest, tail record, log. */
async function newGeneration(directory: string, kept: Survivor, view: number): Promise<void> {
  const disk = new SyncDisk(directory);
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (code: string, message: string): void => reject(new Failure(code, `${directory}: ${message}`, 1));
      const opened = LogStore.open({
        disk,
        codec: nobleCodec,
        events: {
          onDurable: () => undefined,
          onDamaged: () => undefined,
          onSpace: () => undefined,
          onFatal: (f) => fail(f.code, f.message),
        },
        expect: { clusterId: kept.manifest.clusterId, replicaId: kept.id },
        segmentBytes: DEFAULT_CONFIG.segmentBytes,
        pipelineMax: DEFAULT_CONFIG.pipelineMax,
        lossAccepted: true,
      });
      if ('refusal' in opened) return fail(opened.refusal.code, opened.refusal.message);
      const { manifest, recovered } = kept;
      const raised: ManifestState = {
        ...manifest,
        generation: manifest.generation + 1,
        incarnations: manifest.incarnations.map((value, i) => (manifest.members[i] === kept.id ? value : value + 1)),
        // Nobody is left to wait for: what is kept is the log.
        standbyThrough: NONE,
        view,
        logView: view,
        headers: recovered.ownHeaders.slice(0, kept.keep),
        junction: NO_JUNCTION,
      };
      opened.store.install(raised, kept.keep, kept.keep, () => {
        opened.store.close();
        resolve();
      });
    });
  } finally {
    disk.close();
  }
}

/** A copy of a directory, as that of another member. */
function copyAs(source: string, target: string, id: number): void {
  fs.cpSync(source, target, { recursive: true, filter: (path) => !/\/lock(\.[^/]*)?$/.test(path) });
  const bootId = new Uint8Array(randomBytes(16));
  for (const name of MANIFEST_PATHS) {
    const decoded = decodeManifest(new Uint8Array(fs.readFileSync(join(source, name))), nobleCodec);
    if (decoded.kind !== 'ok') throw new Failure('E_MANIFEST', `${join(source, name)} cannot be read back`, 1);
    const bytes = encodeManifest({ ...decoded.state, replicaId: id, bootId }, decoded.sequence, nobleCodec);
    fs.writeFileSync(join(target, name), bytes);
  }
  syncAll(target);
}

function syncAll(directory: string): void {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) syncAll(path);
    else syncDirectory(path);
  }
  syncDirectory(directory);
}
