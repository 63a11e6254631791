/** What an Executor is made of: the application, the cluster, the replicated limits, and where local reports go. */
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { Policy } from '../policy.ts';
import type { ApplicationModule, LogEffect } from './types.ts';

/** Replicated limits: equal on all replicas of a cluster. */
export interface ReplicatedLimits {
  readonly sessionsMax?: number;
  readonly outboxPendingMax?: number;
  readonly keyRetentionMs?: number;
  readonly keysMax?: number;
}

export interface ExecutorOptions<State> extends ReplicatedLimits {
  /** Name, versions and application of a module. */
  readonly module: Pick<ApplicationModule<State>, 'name' | 'version' | 'oldestVersion' | 'application'>;
  readonly clusterId: Uint8Array;
  readonly codec: FrameCodec;
  readonly policy?: Policy;
  readonly digestRing?: number;
  /** Bytes that a snapshot encodes at a time; local. */
  readonly snapshotPieceBytes?: number;
  /** `reject`: an application that throws costs its command only; `halt`: it stops the replica. */
  readonly onFault?: 'reject' | 'halt';
  /** Local and not replicated: what an application threw. */
  readonly reportFault?: (index: number, error: unknown) => void;
  /** The entry at `index` activated this version, or (`ran` false) its migration threw and the old one stays. */
  readonly reportVersion?: (index: number, version: number, ran: boolean) => void;
  /** Log effects of applied entries; the primary prints them, best effort. */
  readonly reportLog?: (index: number, effect: LogEffect) => void;
}
