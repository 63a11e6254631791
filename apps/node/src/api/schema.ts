/**
 * Shapes of the control API (tRPC, zod in and out). 64-bit numbers are decimal strings, null = none; bytes are base64. The console and the CLI
 * know the API by these types only.
 */
import { z } from 'zod';

export const index = z.string().regex(/^\d{1,20}$/);
export const indexOrNone = index.nullable();
export const replicaId = z.number().int().min(1).max(7);

/** One replica in `chronon status --json`: keep this stable. */
export const replicaSummary = z.object({
  id: replicaId,
  pid: z.number().int().nullable(),
  url: z.string(),
  role: z.enum(['primary', 'backup', 'standby', 'none']),
  status: z.enum(['normal', 'view-change', 'recovering', 'recovering-head', 'unreachable']),
  view: index,
  commit: indexOrNone,
  applied: indexOrNone,
  durable: indexOrNone,
  last: indexOrNone,
  digest: z.string(),
});
export type ReplicaSummary = z.infer<typeof replicaSummary>;

export const clusterStatus = z.object({
  clusterId: z.string(),
  /** Of the highest view whose primary is normal; null when there is none. */
  view: indexOrNone,
  primary: replicaId.nullable(),
  replicas: z.array(replicaSummary),
});
export type ClusterStatus = z.infer<typeof clusterStatus>;

/** One active fault, as the replica that enforces it states it. */
export const lease = z.object({
  id: z.string(),
  kind: z.enum(['cut', 'pause', 'kill']),
  /** Replica at which it is enforced (sender of a cut link; the process paused or killed). */
  replica: replicaId,
  /** Receiver of a cut link, else null. */
  to: replicaId.nullable(),
  reason: z.string(),
  /** Milliseconds left. */
  remainingMs: z.number(),
  ttlMs: z.number(),
});
export type Lease = z.infer<typeof lease>;

export const peerLink = z.object({
  to: replicaId,
  connected: z.boolean(),
  cut: z.boolean(),
  /** Median round trip of the last minute, ms; null when unknown. */
  rttMs: z.number().nullable(),
  queuedBytes: z.number(),
  droppedMessages: z.number(),
  /** Since the process began. */
  traffic: z.object({
    messagesSent: z.number(),
    messagesReceived: z.number(),
    bytesSent: z.number(),
    bytesReceived: z.number(),
    reconnects: z.number(),
  }),
});
export type PeerLink = z.infer<typeof peerLink>;

export const replicaEvent = z.object({
  /** Rising per process run. */
  seq: z.number().int(),
  atMs: z.number(),
  replica: replicaId,
  kind: z.string(),
  text: z.string(),
});
export type ApiEvent = z.infer<typeof replicaEvent>;

/** Everything one replica says of itself. */
export const replicaDetail = replicaSummary.extend({
  logView: index,
  clusterId: z.string(),
  primary: replicaId,
  serving: z.boolean(),
  abdicated: z.boolean(),
  checkpoint: indexOrNone,
  /** First index that the log holds: what is below is in the checkpoint's snapshot. */
  first: index,
  /** The snapshot that is being fetched from another replica. */
  fetching: z.object({ index, source: replicaId, chunks: z.number().int() }).nullable(),
  headHash: z.string(),
  confirmedDigest: indexOrNone,
  diverged: z.string().nullable(),
  faulty: z.array(z.object({ from: index, to: index })),
  readOnly: z.boolean(),
  sessions: z.number(),
  queue: z.number(),
  outbox: z.object({ pending: z.number(), acknowledged: z.number(), dead: z.number() }),
  viewChanges: z.number(),
  msSinceViewChange: z.number().nullable(),
  uptimeMs: z.number(),
  disk: z.object({
    kind: z.string(),
    fallbackReason: z.string().nullable(),
    writes: z.number(),
    bytesWritten: z.number(),
    barriers: z.number(),
    fileSystem: z.string().nullable(),
  }),
  scrub: z.object({
    /** What the scrubber does now; `rest` between two passes, `off` when it is not wanted. */
    phase: z.enum(['off', 'rest', 'manifest', 'tail', 'log', 'snapshots']),
    /** Passes finished since start. */
    passes: z.number(),
    /** Last entry looked at in this pass. */
    position: indexOrNone,
    bytes: z.number(),
    ofBytes: z.number(),
    msSinceLastPass: z.number().nullable(),
    damaged: z.number(),
    repaired: z.number(),
  }),
  codec: z.string(),
  app: z.object({ name: z.string(), version: z.number() }),
  /** The version of the application that commands run as (null while this replica has executed none: it is not known here yet), and those that its program runs. */
  versions: z.object({ active: z.number().nullable(), oldest: z.number(), newest: z.number() }),
  chaosEnabled: z.boolean(),
  environment: z.enum(['dev', 'production']),
  leases: z.array(lease),
  links: z.array(peerLink),
  notes: z.array(z.string()),
  node: z.string(),
  cpuMs: z.number(),
  rssBytes: z.number(),
});
export type ReplicaDetail = z.infer<typeof replicaDetail>;

/** The snapshots on a replica's disk, oldest first. */
export const snapshotList = z.object({
  replica: replicaId,
  /** First index that its log holds. */
  first: index,
  snapshots: z.array(
    z.object({
      index,
      /** Execution digest of the state, hex. */
      state: z.string(),
      /** Digest of the file, hex: equal on all replicas. */
      file: z.string(),
      /** A quorum has reported the same. */
      confirmed: z.boolean(),
    }),
  ),
});
export type SnapshotList = z.infer<typeof snapshotList>;

export const snapshotCheck = z.object({
  replica: replicaId,
  checked: z.number().int(),
  damage: z.array(z.object({ file: z.string(), fault: z.string() })),
});

/** `log.range`: frames as they are on this replica's disk. The browser trusts none of it but the bytes. */
export const logRange = z.object({
  replica: replicaId,
  from: index,
  count: z.number().int(),
  /** Frames back to back, base64. Empty when there are none from `from` on. */
  frames: z.string(),
  /** Commit and last index of this replica when it answered. */
  commit: indexOrNone,
  last: indexOrNone,
  /** Set when the medium did not give an intact frame: the raw bytes stop before it. */
  fault: z.object({ index, kind: z.string() }).nullable(),
});
export type LogRange = z.infer<typeof logRange>;

/** `log.entries`: decoded for people. */
export const logEntry = z.object({
  index,
  view: index,
  kind: z.string(),
  timeMs: z.number(),
  payloadBytes: z.number(),
  session: index.nullable(),
  request: index.nullable(),
  /** Command name and input where the application can read it. */
  command: z.string().nullable(),
  input: z.unknown(),
  hash: z.string(),
  prevHash: z.string(),
});
export type LogEntry = z.infer<typeof logEntry>;

export const outboxEntry = z.object({
  id: z.string(),
  index,
  sub: z.number(),
  channel: z.string(),
  payload: z.unknown(),
  state: z.enum(['pending', 'acknowledged', 'dead']),
  attempts: z.number(),
  lastError: z.string().nullable(),
});
export type OutboxItem = z.infer<typeof outboxEntry>;

export const outboxPage = z.object({
  replica: replicaId,
  counts: z.object({ pending: z.number(), acknowledged: z.number(), dead: z.number() }),
  entries: z.array(outboxEntry),
});

/** What a submit came to. */
export const submitResult = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('ok'), index, result: z.unknown() }),
  z.object({ outcome: z.literal('rejected'), code: z.string(), data: z.unknown(), index: indexOrNone }),
  z.object({
    outcome: z.literal('unknown'),
    message: z.string(),
    session: index.nullable(),
    request: index.nullable(),
    /** Learns the outcome later (`app.resume`, `chronon submit --resume`); null when nothing was sent from here. */
    token: z.string().nullable(),
  }),
]);
export type SubmitResult = z.infer<typeof submitResult>;

export const cutInput = z.object({
  /** Directed links to cut; each is enforced at its sender and its receiver. */
  from: replicaId,
  to: replicaId,
  ttlMs: z.number().int().min(100).max(600_000).default(30_000),
  reason: z.string().max(200).default(''),
});
export const leaseInput = z.object({
  replica: replicaId,
  ttlMs: z.number().int().min(100).max(600_000).default(30_000),
  reason: z.string().max(200).default(''),
});

/** One frame of the live subscription. */
export const liveFrame = z.object({ detail: replicaDetail, events: z.array(replicaEvent), droppedEvents: z.number() });
export type LiveFrame = z.infer<typeof liveFrame>;
