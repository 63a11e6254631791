/** Prometheus metrics of one replica: read from its status and counters when they are asked for, so that nothing is kept twice. */
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { ReplicaDetail } from '../api/schema.ts';
import type { GatewayCounters } from '../transport/gateway.ts';
import type { PeerCounters } from '../transport/peers.ts';

export interface MetricsSources {
  detail(): ReplicaDetail;
  readonly peers: Readonly<PeerCounters>;
  readonly gateway: Readonly<GatewayCounters>;
  connections(): number;
}

type Values = Readonly<Record<string, readonly [help: string, value: number]>>;

/** An index as a number; -1 for none. */
function number(index: string | null): number {
  return index === null ? -1 : Number(index);
}

function secondsSincePass({ scrub }: ReplicaDetail): number {
  return scrub.msSinceLastPass === null ? -1 : scrub.msSinceLastPass / 1000;
}

function faultyEntries({ faulty }: ReplicaDetail): number {
  return faulty.reduce((sum, { from, to }) => sum + Number(to) - Number(from) + 1, 0);
}

function replicaValues(detail: ReplicaDetail): Values {
  return {
    view: ['Current view', Number(detail.view)],
    primary: [
      '1 when this replica is the normal primary',
      detail.role === 'primary' && detail.status === 'normal' ? 1 : 0,
    ],
    normal: ['1 in status normal', detail.status === 'normal' ? 1 : 0],
    diverged: ['1 when the execution digest differs from the majority', detail.diverged === null ? 0 : 1],
    read_only: ['1 when there is no space for the log', detail.readOnly ? 1 : 0],
    commit_index: ['Commit index, -1 for none', number(detail.commit)],
    applied_index: ['Applied index, -1 for none', number(detail.applied)],
    durable_index: ['Durable index, -1 for none', number(detail.durable)],
    last_index: ['Last index of the log, -1 for none', number(detail.last)],
    view_changes_total: ['View changes since start', detail.viewChanges],
    sessions: ['Client sessions', detail.sessions],
    queue_requests: ['Requests that wait for the pipeline', detail.queue],
    outbox_pending: ['Effects not yet acknowledged', detail.outbox.pending],
    outbox_dead: ['Dead letters', detail.outbox.dead],
    disk_writes_total: ['Disk writes', detail.disk.writes],
    disk_written_bytes_total: ['Bytes written', detail.disk.bytesWritten],
    disk_barriers_total: ['Barriers completed', detail.disk.barriers],
    scrub_passes_total: ['Passes of the scrubber over everything stored', detail.scrub.passes],
    scrub_pass_bytes: ['Bytes read in this pass', detail.scrub.bytes],
    scrub_damaged_total: ['Damaged entries and copies the scrubber found', detail.scrub.damaged],
    scrub_repaired_total: ['Of them whole again', detail.scrub.repaired],
    scrub_seconds_since_pass: ['Seconds since the last pass ended, -1 before', secondsSincePass(detail)],
    faulty_entries: ['Entries known to be damaged now', faultyEntries(detail)],
    chaos_leases: ['Faults in force here', detail.leases.length],
  };
}

export class Metrics {
  private readonly registry = new Registry();
  private readonly gauges = new Map<string, Gauge>();
  private readonly rtt: Gauge;
  private readonly connected: Gauge;
  private readonly links = new Map<string, Gauge>();
  private readonly sources: MetricsSources;

  constructor(sources: MetricsSources) {
    this.sources = sources;
    collectDefaultMetrics({ register: this.registry });
    this.rtt = new Gauge({
      name: 'chronon_peer_rtt_ms',
      help: 'Median round trip to a peer',
      labelNames: ['peer'],
      registers: [this.registry],
    });
    this.connected = new Gauge({
      name: 'chronon_peer_connected',
      help: '1 with a link to the peer',
      labelNames: ['peer'],
      registers: [this.registry],
    });
  }

  async text(): Promise<{ readonly type: string; readonly text: string }> {
    const { peers, gateway } = this.sources;
    const detail = this.sources.detail();
    this.set(replicaValues(detail));
    for (const [name, value] of Object.entries(peers))
      this.set({ [`peer_${snake(name)}_total`]: [`Peer port: ${name}`, value] });
    for (const [name, value] of Object.entries(gateway))
      this.set({ [`gateway_${snake(name)}_total`]: [`Client port: ${name}`, value] });
    this.set({ gateway_connections: ['Client connections', this.sources.connections()] });
    for (const link of detail.links) {
      this.connected.set({ peer: `r${link.to}` }, link.connected ? 1 : 0);
      if (link.rttMs !== null) this.rtt.set({ peer: `r${link.to}` }, link.rttMs);
      this.link(link.to, 'queued_bytes', link.queuedBytes);
      this.link(link.to, 'dropped_messages_total', link.droppedMessages);
      for (const [name, value] of Object.entries(link.traffic)) this.link(link.to, `${snake(name)}_total`, value);
    }
    return { type: this.registry.contentType, text: await this.registry.metrics() };
  }

  private link(to: number, name: string, value: number): void {
    let gauge = this.links.get(name);
    if (gauge === undefined) {
      const help = `Peer link: ${name.replaceAll('_', ' ')}`;
      gauge = new Gauge({ name: `chronon_peer_link_${name}`, help, labelNames: ['peer'], registers: [this.registry] });
      this.links.set(name, gauge);
    }
    gauge.set({ peer: `r${to}` }, value);
  }

  private set(values: Values): void {
    for (const [name, [help, value]] of Object.entries(values)) {
      let gauge = this.gauges.get(name);
      if (gauge === undefined) {
        gauge = new Gauge({ name: `chronon_${name}`, help, registers: [this.registry] });
        this.gauges.set(name, gauge);
      }
      gauge.set(value);
    }
  }
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
