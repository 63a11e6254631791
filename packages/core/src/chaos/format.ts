/** Formats the directory of a simulated machine before its first start. */
import { NONE } from '../engine/commit-index.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { HeaderSuffix } from '../engine/header-suffix.ts';
import { LogStore } from '../engine/log-store.ts';
import type { ManifestState } from '../engine/log-contract.ts';
import type { VirtualDisk } from '../engine/virtual-disk.ts';

export interface FormatOptions {
  readonly clusterId: Uint8Array;
  readonly replicaId: number;
  readonly replicas: number;
  readonly bootId: Uint8Array;
}

/** Makes an empty log in view 0. Returns what went wrong, or null. */
export function formatMachine(disk: VirtualDisk, codec: FrameCodec, options: FormatOptions): string | null {
  const { clusterId, replicaId, replicas, bootId } = options;
  const members = Array.from({ length: replicas }, (_, i) => i + 1);
  const manifest: ManifestState = {
    clusterId,
    replicaId,
    bootId,
    incarnations: members.map(() => 0),
    environment: 'dev',
    generation: 0,
    epoch: 0,
    members,
    view: 0,
    logView: 0,
    headers: HeaderSuffix.EMPTY,
    checkpoint: { index: NONE, hash: new Uint8Array(16), digest: new Uint8Array(16) },
  };
  return LogStore.format(disk, codec, manifest)?.message ?? null;
}
