/**
 * The three ports of a replica process: peer links, client gateway, control API, each connected to the replica.
 */
import { randomBytes } from 'node:crypto';
import type { Replica } from '@chronon/core/replica';
import type { Message } from '@chronon/core/vsr/messages';
import type { ChaosRouter } from '../api/chaos-router.ts';
import type { ApiHost, CallPort } from '../api/host.ts';
import { httpPeerApi } from '../api/peer-api.ts';
import { createAppRouter } from '../api/router.ts';
import { ApiServer } from '../api/server.ts';
import { connect } from '../client/connect.ts';
import { Metrics } from '../observe/metrics.ts';
import { Authenticator, peerToken } from '../transport/auth.ts';
import { Gateway } from '../transport/gateway.ts';
import { buildInfo, type BuildInfo } from '../transport/handshake.ts';
import { LOOPBACK_HOSTS, type GuardRules } from '../transport/http-guard.ts';
import type { PeerNetwork } from '../transport/peers.ts';
import { apiUrl, clientUrl, selfOf, type ReplicaFile } from './config.ts';
import { buildDetail, type DetailSources } from './detail.ts';
import { fileSystemOf } from './directory.ts';
import type { Ground, Outlets } from './ground.ts';
import { callPort, supervisorPort } from './outside.ts';
import { bind, listenToPeers } from './peer-ports.ts';

const monotonicMs = (): number => performance.now();

/** Binds the three ports and connects them to the replica; returns how to close them. */
export async function serve(ground: Ground, replica: Replica, outlets: Outlets): Promise<() => void> {
  const { file, log, halt, app } = ground;
  const secret = Buffer.from(file.peerSecret, 'utf8');
  const auth = new Authenticator(file.tokens, secret);
  const rules: GuardRules = { hosts: allowedHosts(file), origins: new Set() };
  const self = selfOf(file);
  const build = buildInfo(app.name, app.version);
  const peers = await listenToPeers(ground, {
    clusterId: replica.store.manifest.clusterId,
    identity: () => replica.node.state.manifest,
    receive: (from, message) => replica.receive(from, message),
    onIdentity: (from, table) => replica.learnIdentity(from, table),
  });
  const gateway = gatewayOf(ground, replica, auth, rules);
  outlets.peers = peers;
  outlets.gateway = gateway;
  const calls = callPort(() => {
    const gateways = file.members.map((member) => ({ id: member.id, url: clientUrl(member) }));
    return connect(gateways, { token: peerToken(secret) });
  });
  const host = apiHost(ground, replica, { peers, calls, build, token: peerToken(secret) });
  const metrics = new Metrics({
    detail: host.detail,
    peers: peers.counters,
    gateway: gateway.counters,
    connections: () => gateway.connectionCount,
  });
  const api = new ApiServer({
    bindHost: file.bindHost,
    port: self.apiPort,
    host,
    router: createAppRouter(await chaosRouterOf(file)),
    auth,
    rules,
    log,
    healthy: () => true,
    metrics: () => metrics.text(),
  });
  await bind('client', self.clientPort, gateway, halt);
  await bind('API', self.apiPort, api, halt);
  announce(gateway, replica);
  return () => {
    calls.close();
    api.close();
    gateway.close();
    peers.close();
  };
}

/** Clients are told of a primary only while this replica is in a normal view. */
export function announce(gateway: Gateway | null, replica: Replica | null): void {
  if (gateway === null || replica === null) return;
  const { view, primary, status } = replica.status();
  gateway.announce(view, status === 'normal' ? primary : 0);
}

function allowedHosts(file: ReplicaFile): Set<string> {
  const names = [...file.members.map((member) => member.host), ...file.allowedHosts].map((name) => name.toLowerCase());
  return new Set([
    ...LOOPBACK_HOSTS,
    ...names.map((name) => (name.includes(':') && !name.startsWith('[') ? `[${name}]` : name)),
  ]);
}

function gatewayOf(ground: Ground, replica: Replica, auth: Authenticator, rules: GuardRules): Gateway {
  const { file, log } = ground;
  return new Gateway({
    bindHost: file.bindHost,
    port: selfOf(file).clientPort,
    replicaId: file.id,
    clusterId: replica.store.manifest.clusterId,
    auth,
    rules,
    log,
    request: (origin, payload) => {
      replica.request(origin, payload);
    },
    query: (origin, nonce, query, body, consistency, maxLagMs) => {
      replica.query(origin, nonce, query, body, consistency, maxLagMs);
    },
    disconnect: (origin) => {
      replica.disconnect(origin);
    },
  });
}

function apiHost(
  ground: Ground,
  replica: Replica,
  parts: {
    readonly peers: PeerNetwork<Message>;
    readonly calls: CallPort;
    readonly build: BuildInfo;
    readonly token: string;
  },
): ApiHost {
  const { file, app, codec, events, leases, notes } = ground;
  const sources: DetailSources = {
    url: apiUrl(selfOf(file)),
    app,
    environment: replica.store.manifest.environment,
    chaosEnabled: file.enableChaos,
    fileSystem: fileSystemOf(file.dataDir),
    build: parts.build,
    leases,
    notes,
    status: () => replica.status(),
    links: () => parts.peers.report(),
    monotonicMs,
  };
  return {
    id: file.id,
    members: file.members,
    epoch: randomBytes(6).toString('hex'),
    replica,
    app,
    codec,
    events,
    leases,
    peers: httpPeerApi(parts.token),
    calls: parts.calls,
    detail: () => buildDetail(sources),
    outbox: (limit) => ({ counts: replica.executor.outbox.counts, entries: replica.executor.outbox.list(limit) }),
    monotonicMs,
    askSupervisor: supervisorPort(),
  };
}

/** Chaos code is loaded only where it was asked for at start. */
async function chaosRouterOf(file: ReplicaFile): Promise<ChaosRouter | null> {
  if (!file.enableChaos) return null;
  const { chaosRouter } = await import('../api/chaos-router.ts');
  return chaosRouter;
}
