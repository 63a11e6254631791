/** A small ApiHost for tests of the API: a real application, an empty log, no cluster behind it. */
import { randomBytes } from 'node:crypto';
import { builtInApplication } from '@chronon/core/apps/index';
import { NONE } from '@chronon/core/engine/commit-index';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import type { ApiHost, SupervisorMessage } from '../api/host.ts';
import type { PeerApi } from '../api/peer-api.ts';
import type { ReplicaDetail } from '../api/schema.ts';
import { EventRing } from '@chronon/core/replica-events';
import { Leases } from '../replica/leases.ts';

export interface FakeHost extends ApiHost {
  readonly asked: SupervisorMessage[];
  detailChange: Partial<ReplicaDetail>;
}

/** Nobody answers. */
const noPeers: PeerApi = {
  query: () => Promise.resolve({ ok: false, code: 'E_UNREACHABLE', message: 'refused' }),
  mutate: () => Promise.resolve({ ok: false, code: 'E_UNREACHABLE', message: 'refused' }),
};

export function fakeHost(change: Partial<ApiHost> = {}): FakeHost {
  const asked: SupervisorMessage[] = [];
  const events = new EventRing(1, () => 1000);
  const leases = new Leases(
    () => performance.now(),
    () => undefined,
  );
  const host: FakeHost = {
    id: 1,
    members: [1, 2, 3].map((id) => ({ id, host: '127.0.0.1', peerPort: 1, apiPort: 2, clientPort: 3 })),
    epoch: randomBytes(4).toString('hex'),
    replica: {
      readLog: (_, __, callback) => setImmediate(() => callback({ kind: 'none' })),
      snapshots: { list: () => [], create: () => false, verify: (callback) => setImmediate(() => callback([])) },
    },
    app: builtInApplication('bank')!,
    codec: { backend: 'noble' } as FrameCodec,
    events,
    leases,
    peers: noPeers,
    calls: {
      submit: (_, body) =>
        Promise.resolve({ kind: 'ok', index: 7, body: body.slice(0, 0), token: { session: 1, request: 1 } }),
      resume: (token) => Promise.resolve({ kind: 'unknown', message: 'not in time', token }),
      query: () => Promise.resolve({ kind: 'ok', index: NONE, body: new Uint8Array(0) }),
    },
    detail: () => ({ ...fakeDetail(), leases: leases.list(), ...host.detailChange }),
    outbox: () => ({ counts: { pending: 0, acknowledged: 0, dead: 0 }, entries: [] }),
    monotonicMs: () => performance.now(),
    askSupervisor: (message) => {
      asked.push(message);
      return Promise.resolve();
    },
    asked,
    detailChange: {},
    ...change,
  };
  return host;
}

export function fakeDetail(): ReplicaDetail {
  return {
    id: 1,
    pid: 4242,
    url: 'http://127.0.0.1:2',
    role: 'primary',
    status: 'normal',
    view: '3',
    commit: '9',
    applied: '9',
    durable: '10',
    last: '10',
    digest: '00'.repeat(16),
    logView: '3',
    clusterId: '11'.repeat(16),
    primary: 1,
    serving: true,
    abdicated: false,
    checkpoint: null,
    first: '0',
    fetching: null,
    headHash: '22'.repeat(16),
    confirmedDigest: null,
    diverged: null,
    faulty: [],
    readOnly: false,
    sessions: 0,
    queue: 0,
    outbox: { pending: 0, acknowledged: 0, dead: 0 },
    viewChanges: 0,
    msSinceViewChange: null,
    uptimeMs: 1,
    disk: { kind: 'sync', fallbackReason: null, writes: 0, bytesWritten: 0, barriers: 0, fileSystem: 'ext4' },
    scrub: {
      phase: 'rest',
      passes: 1,
      position: '10',
      bytes: 4096,
      ofBytes: 4096,
      msSinceLastPass: 5,
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
  };
}
