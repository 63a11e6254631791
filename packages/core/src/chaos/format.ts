/** Formats the directory of a replica that runs without a first boot: in tests and benchmarks. */
import { blankManifest } from '../engine/blank-manifest.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { LogStore } from '../engine/log-store.ts';
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
  const founders = Array.from({ length: replicas }, () => bootId);
  const manifest = blankManifest({ clusterId, replicaId, bootId, founders, environment: 'dev' });
  return LogStore.format(disk, codec, manifest)?.message ?? null;
}
