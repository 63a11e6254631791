/** The data directory of a replica: made, locked, formatted where that was asked for, its file system named. */
import { randomBytes } from 'node:crypto';
import { accessSync, constants, mkdirSync, statfsSync, statSync } from 'node:fs';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { NONE } from '@chronon/core/engine/commit-index';
import { HeaderSuffix } from '@chronon/core/engine/header-suffix';
import type { ManifestState } from '@chronon/core/engine/log-contract';
import { LogStore } from '@chronon/core/engine/log-store';
import type { VirtualDisk } from '@chronon/core/engine/virtual-disk';
import type { ReplicaConfig } from '@chronon/core/replica-contract';
import { LockFailure, lockDirectory, type DirectoryLock } from '@chronon/native/lock';

/** What keeps a process from having the directory. */
export interface DirectoryProblem {
  readonly code: 'E_DIRECTORY' | 'E_LOCKED' | 'E_NOT_FORMATTED';
  readonly message: string;
}

/** Takes the directory for this process's life; makes it when it may be formatted. */
export async function takeDirectory(path: string, mayCreate: boolean): Promise<DirectoryLock | DirectoryProblem> {
  try {
    if (mayCreate) mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) return { code: 'E_DIRECTORY', message: `${path} is no directory` };
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { code: 'E_NOT_FORMATTED', message: `${path} does not exist` };
    return { code: 'E_DIRECTORY', message: `${path} cannot be used: ${message}` };
  }
  try {
    return await lockDirectory(path);
  } catch (error) {
    if (!(error instanceof LockFailure)) throw error;
    if (error.code === 'E_LOCKED') return { code: 'E_LOCKED', message: error.message };
    return { code: 'E_DIRECTORY', message: error.message };
  }
}

export function isProblem(value: DirectoryLock | DirectoryProblem): value is DirectoryProblem {
  return 'code' in value;
}

/** Manifest of a replica that has promised nothing yet. */
export function blankManifest(
  clusterId: Uint8Array,
  replicaId: number,
  replicas: number,
  environment: ManifestState['environment'],
): ManifestState {
  const members = Array.from({ length: replicas }, (_, i) => i + 1);
  return {
    clusterId,
    replicaId,
    bootId: Uint8Array.from(randomBytes(16)),
    incarnations: members.map(() => 1),
    environment,
    generation: 0,
    epoch: 0,
    members,
    view: 0,
    logView: 0,
    headers: HeaderSuffix.EMPTY,
    checkpoint: { index: NONE, hash: new Uint8Array(16), digest: new Uint8Array(16) },
  };
}

/** Formats the directory unless it holds something already. Returns what went wrong, or null. */
export function formatIfBlank(
  disk: VirtualDisk,
  codec: FrameCodec,
  config: ReplicaConfig,
  replicas: number,
  environment: ManifestState['environment'],
): string | null {
  const holds = disk.list('.').filter((name) => !/^lock(\.|$)/.test(name) && !/^\.?probe|\.tmp$/.test(name));
  if (holds.length > 0) return null;
  const manifest = blankManifest(config.clusterId!, config.replicaId, replicas, environment);
  const refusal = LogStore.format(disk, codec, manifest);
  return refusal === null ? null : refusal.message;
}

const FILE_SYSTEMS = new Map<number, string>([
  [0xef53, 'ext'],
  [0x5846_5342, 'xfs'],
  [0x9123_683e, 'btrfs'],
  [0x0102_1994, 'tmpfs'],
  [0x8584_58f6, 'ramfs'],
  [0x794c_7630, 'overlay'],
  [0x6969, 'nfs'],
  [0x2fc1_2fc1, 'zfs'],
  [0xf2f5_2010, 'f2fs'],
  [0x6573_5546, 'fuse'],
]);

/** Name of the file system a path is on, null when unknown. */
export function fileSystemOf(path: string): string | null {
  try {
    const { type } = statfsSync(path);
    return FILE_SYSTEMS.get(type) ?? `0x${type.toString(16)}`;
  } catch {
    return null;
  }
}
