/** What the control API needs of the replica process: one interface, so that tests give a small one. */
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import type { ApplicationModule, OutboxCounts, OutboxEntry } from '@chronon/core/kernel/types';
import type { ReplicaHandle } from '@chronon/core/replica-contract';
import type { CallToken, Outcome, QueryOutcome } from '@chronon/core/vsr/client';
import type { EventRing } from '@chronon/core/replica-events';
import type { MemberConfig } from '../replica/config.ts';
import type { Leases } from '../replica/leases.ts';
import type { PeerApi } from './peer-api.ts';
import type { ReplicaDetail } from './schema.ts';

/** Commands and queries by the session client, as any other client's. */
export interface CallPort {
  submit(command: number, body: Uint8Array, timeoutMs: number, idempotencyKey?: string): Promise<Outcome>;
  resume(token: CallToken, timeoutMs: number): Promise<Outcome>;
  query(
    query: number,
    body: Uint8Array,
    consistency: 'linearizable' | 'stale',
    timeoutMs: number,
    maxLagMs?: number,
  ): Promise<QueryOutcome>;
}

/** What a replica asks of its parent process, by IPC. */
export interface SupervisorMessage {
  readonly type: 'chaos';
  readonly action: 'pause' | 'kill' | 'heal' | 'healAll';
  /** Replica the action is for; 0 for healAll. */
  readonly replica: number;
  /** 0 for heal and healAll. */
  readonly ttlMs: number;
  /** Empty for healAll. */
  readonly leaseId: string;
}

export interface ApiHost {
  readonly id: number;
  readonly members: readonly MemberConfig[];
  /** Random per process run: prefix of live event ids. */
  readonly epoch: string;
  readonly replica: Pick<ReplicaHandle, 'readLog' | 'snapshots'>;
  readonly app: ApplicationModule;
  readonly codec: FrameCodec;
  readonly events: EventRing;
  readonly leases: Leases;
  readonly peers: PeerApi;
  readonly calls: CallPort;
  readonly detail: () => ReplicaDetail;
  outbox(limit: number): { readonly counts: OutboxCounts; readonly entries: readonly OutboxEntry[] };
  monotonicMs(): number;
  /** Null: no parent to ask. Rejects when the parent cannot be reached. */
  askSupervisor: ((message: SupervisorMessage) => Promise<void>) | null;
}
