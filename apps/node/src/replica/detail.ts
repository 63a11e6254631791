/** ReplicaDetail: everything one replica says of itself, from the replica's status and its process. */
import type { Environment } from '@chronon/core/engine/log-contract';
import type { ApplicationModule } from '@chronon/core/kernel/types';
import type { ReplicaStatus } from '@chronon/core/replica-contract';
import { statusDetail } from '@chronon/core/replica-detail';
import type { ReplicaDetail } from '../api/schema.ts';
import type { BuildInfo } from '../transport/handshake.ts';
import type { PeerReport } from '../transport/peers.ts';
import type { Leases } from './leases.ts';

export interface DetailSources {
  readonly url: string;
  readonly app: ApplicationModule;
  readonly environment: Environment;
  readonly chaosEnabled: boolean;
  readonly fileSystem: string | null;
  readonly build: BuildInfo;
  readonly leases: Leases;
  readonly notes: readonly string[];
  status(): ReplicaStatus;
  links(): readonly PeerReport[];
  monotonicMs(): number;
}

export function buildDetail(sources: DetailSources): ReplicaDetail {
  const status = sources.status();
  const links = sources.links();
  const { log, disk } = status;
  const cpu = process.cpuUsage();
  return {
    pid: process.pid,
    url: sources.url,
    ...statusDetail(status, sources.monotonicMs()),
    uptimeMs: process.uptime() * 1000,
    disk: {
      kind: disk.kind,
      fallbackReason: disk.fallbackReason,
      writes: log.disk.writes,
      bytesWritten: log.disk.bytesWritten,
      barriers: log.disk.barriers,
      fileSystem: sources.fileSystem,
    },
    app: { name: sources.app.name, version: sources.app.version },
    chaosEnabled: sources.chaosEnabled,
    environment: sources.environment,
    leases: sources.leases.list(),
    links: links.map(({ to, connected, cut, rttMs, queuedBytes, droppedMessages, traffic }) => ({
      to,
      connected,
      cut,
      rttMs,
      queuedBytes,
      droppedMessages,
      traffic: { ...traffic },
    })),
    notes: [...status.notes, ...sources.notes, ...links.flatMap((link) => peerNotes(link, sources.build))],
    node: process.version,
    cpuMs: (cpu.user + cpu.system) / 1000,
    rssBytes: process.memoryUsage.rss(),
  };
}

/** How a peer's software differs from ours: shown, never refused. */
function peerNotes(link: PeerReport, own: BuildInfo): string[] {
  if (link.info === '') return [];
  let peer: Partial<BuildInfo>;
  try {
    peer = JSON.parse(link.info) as Partial<BuildInfo>;
  } catch {
    return [`r${link.to} sends build info that cannot be read`];
  }
  return (Object.keys(own) as (keyof BuildInfo)[])
    .filter((key) => peer[key] !== own[key])
    .map((key) => `r${link.to} runs ${key} ${String(peer[key]).slice(0, 64)}, this replica ${String(own[key])}`);
}
