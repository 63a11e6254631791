/** Builders for the console's unit tests: a healthy replica, a frame of several, and a chained log of real frames. */
import { FRAME_HEADER_BYTES, HASH_BYTES } from '@chronon/core/engine/constants';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { frameBytes, writeEnvelope, writeHeader, KIND } from '@chronon/core/engine/frame';
import type { ClusterFrame, ReplicaDetail, ReplicaView } from './lib/frame.ts';

export function detail(id: number, change: Partial<ReplicaDetail> = {}): ReplicaDetail {
  return {
    id,
    pid: 1000 + id,
    url: `http://127.0.0.1:${4000 + id}`,
    role: id === 2 ? 'primary' : 'backup',
    status: 'normal',
    view: '41',
    commit: '184220',
    applied: '184220',
    durable: '184220',
    last: '184220',
    digest: 'aa',
    logView: '41',
    clusterId: '00',
    primary: 2,
    serving: id === 2,
    abdicated: false,
    checkpoint: null,
    first: '0',
    fetching: null,
    headHash: '',
    confirmedDigest: null,
    diverged: null,
    faulty: [],
    readOnly: false,
    sessions: 0,
    queue: 0,
    outbox: { pending: 0, acknowledged: 0, dead: 0 },
    viewChanges: 1,
    msSinceViewChange: 720_000,
    uptimeMs: 1_000,
    disk: { kind: 'sync', fallbackReason: null, writes: 0, bytesWritten: 0, barriers: 0, fileSystem: 'ext4' },
    scrub: {
      phase: 'rest',
      passes: 1,
      position: '184220',
      bytes: 4096,
      ofBytes: 4096,
      msSinceLastPass: 5_000,
      damaged: 0,
      repaired: 0,
    },
    codec: 'noble',
    app: { name: 'bank', version: 1 },
    versions: { active: 1, oldest: 1, newest: 1 },
    chaosEnabled: true,
    environment: 'dev',
    leases: [],
    links: [],
    notes: [],
    node: 'v20',
    cpuMs: 0,
    rssBytes: 0,
    ...change,
  } as ReplicaDetail;
}

export function view(one: ReplicaDetail | number): ReplicaView {
  const known = typeof one === 'object' ? one : null;
  return {
    id: known?.id ?? (one as number),
    url: '',
    reach: known ? 'live' : 'silent',
    ageMs: known ? 100 : 9_000,
    error: known ? null : 'connection refused',
    answeredInMs: 1,
    detail: known,
    process: null,
  };
}

export function frameOf(replicas: readonly ReplicaView[], change: Partial<ClusterFrame> = {}): ClusterFrame {
  return {
    epoch: 'e',
    seq: 1,
    atMs: 0,
    replicas,
    faults: [],
    commitsPerSecond: null,
    history: [],
    agreed: null,
    mismatch: null,
    events: [],
    skippedEvents: 0,
    ...change,
  };
}

/** Frames of a log of `count` commands from index 0, with the offset of each. `salt` makes another log of the same length. */
export function logBytes(count: number, salt = 0, saltFrom = 0): { bytes: Uint8Array; offsets: number[] } {
  const bodyBytes = 24;
  const size = frameBytes(32 + bodyBytes);
  const bytes = new Uint8Array(size * count);
  const offsets: number[] = [];
  for (let i = 0; i < count; i++) {
    const at = i * size;
    offsets.push(at);
    writeHeader(bytes, at, 32 + bodyBytes, i, 1, 1000 + i, 0, 0);
    writeEnvelope(bytes, at + FRAME_HEADER_BYTES, KIND.command, 3, 7, i, 0);
    bytes.fill(
      65 + (i % 26) + (i >= saltFrom ? salt : 0),
      at + FRAME_HEADER_BYTES + 32,
      at + FRAME_HEADER_BYTES + 32 + bodyBytes,
    );
  }
  nobleCodec.seal(bytes, 0, bytes.length, new Uint8Array(HASH_BYTES));
  return { bytes, offsets };
}
