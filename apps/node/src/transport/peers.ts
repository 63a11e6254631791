/**
 * PeerNetwork: the links of one replica to all others. The higher id of a pair dials; a broken link is dialled again with backoff and
 * jitter. Directed cuts (chaos) are enforced here, at the sender and at the receiver.
 *
 * Invariants: `send` never throws, never blocks and never delivers synchronously; at most one link a peer is used, the newest proven one;
 * whatever a stranger sends ends in a closed connection and a counter.
 */
import { createServer, connect, type Server, type Socket } from 'node:net';
import { sameBytes } from '@chronon/core/engine/hash';
import type { Identity } from '@chronon/core/vsr/identity';
import type { Logger } from 'pino';
import { RateLimit } from '../observe/rate-limit.ts';
import { ConnectionCaps } from './connection-caps.ts';
import type { Crc32c } from './crc-combine.ts';
import { encodeFrame, LINK, type WireFrame } from './framing.ts';
import type { Reject } from './handshake.ts';
import { listenOn, portOf } from './listen.ts';
import { PeerLink, type LinkEvents, type LinkIdentity, type LinkTimes } from './peer-link.ts';

export interface PeerAddress {
  readonly id: number;
  readonly host: string;
  readonly port: number;
}

/** Bytes of a message, and what bytes mean. */
export interface MessageCodec<M> {
  encode(message: M): readonly Uint8Array[];
  decode(bytes: Uint8Array): { readonly message: M } | { readonly error: string };
  /** True for messages that carry frames: they yield to the others. */
  isData(message: M): boolean;
  /** True for the messages that count before there is a cluster. */
  isBoot(message: M): boolean;
}

export interface PeerNetworkOptions<M> {
  readonly identity: LinkIdentity;
  /** All members but this one. */
  readonly peers: readonly PeerAddress[];
  readonly bindHost: string;
  readonly port: number;
  readonly crc32c: Crc32c;
  readonly codec: MessageCodec<M>;
  readonly log: Logger;
  /** In [0, 1): jitter of the redials. */
  random(): number;
  receive(from: number, message: M): void;
  /** The table of incarnations of a peer of this cluster that shook hands. */
  onIdentity(from: number, table: Identity): void;
  /** Chaos: is the directed link cut now. */
  isCut(from: number, to: number): boolean;
  readonly times?: LinkTimes;
}

/** What there is to say of the link to one peer. */
export interface PeerReport {
  readonly to: number;
  readonly connected: boolean;
  readonly cut: boolean;
  readonly rttMs: number | null;
  readonly queuedBytes: number;
  readonly droppedMessages: number;
  /** Since this process began. */
  readonly traffic: Readonly<PeerTraffic>;
  readonly info: string;
  readonly lastProblem: string | null;
}

/** Monotone counters of the traffic with one peer. */
export interface PeerTraffic {
  messagesSent: number;
  messagesReceived: number;
  bytesSent: number;
  bytesReceived: number;
  reconnects: number;
}

/** Monotone counters of the peer port. */
export interface PeerCounters {
  sent: number;
  received: number;
  bytesSent: number;
  bytesReceived: number;
  cutDropped: number;
  garbage: number;
  refused: number;
  reconnects: number;
}

/** Connections on the peer port at once, strangers included; and those of one address that have not proved themselves. */
export const PEER_CONNECTIONS_MAX = 64;
export const PEER_STRANGERS_PER_ADDRESS_MAX = 16;
const DIAL_DEADLINE_MS = 3000;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1000;
/** After a refused handshake, which does not mend itself. */
const BACKOFF_REFUSED_MS = 5000;

interface Peer {
  readonly address: PeerAddress;
  readonly dials: boolean;
  link: PeerLink | null;
  dialling: PeerLink | Socket | null;
  timer: NodeJS.Timeout | null;
  backoffMs: number;
  dropped: number;
  /** It was connected before. */
  met: boolean;
  readonly traffic: PeerTraffic;
  lastProblem: string | null;
}

export class PeerNetwork<M extends object> {
  readonly counters: PeerCounters = {
    sent: 0,
    received: 0,
    bytesSent: 0,
    bytesReceived: 0,
    cutDropped: 0,
    garbage: 0,
    refused: 0,
    reconnects: 0,
  };
  private readonly options: PeerNetworkOptions<M>;
  private readonly peers = new Map<number, Peer>();
  /** Accepted and not proven yet, with how to give their room back. */
  private readonly strangers = new Map<PeerLink, () => void>();
  private readonly caps = new ConnectionCaps(PEER_STRANGERS_PER_ADDRESS_MAX);
  private readonly server: Server;
  private readonly lineLimit = new RateLimit(5, 10_000);
  private readonly linkEvents: LinkEvents;
  private closed = false;
  /** The last message encoded: a broadcast encodes once. */
  private lastMessage: M | null = null;
  private lastFrame: WireFrame | null = null;

  constructor(options: PeerNetworkOptions<M>) {
    this.options = options;
    const self = options.identity.self;
    for (const address of options.peers) {
      this.peers.set(address.id, {
        address,
        dials: self > address.id,
        link: null,
        dialling: null,
        timer: null,
        backoffMs: BACKOFF_MIN_MS,
        dropped: 0,
        met: false,
        traffic: { messagesSent: 0, messagesReceived: 0, bytesSent: 0, bytesReceived: 0, reconnects: 0 },
        lastProblem: null,
      });
    }
    this.linkEvents = {
      onOpen: (link) => {
        this.onOpen(link);
      },
      onMessage: (link, content) => {
        this.onMessage(link, content);
      },
      onCutMessage: () => {
        this.counters.cutDropped++;
      },
      onClosed: (link, why, refused) => {
        this.onClosed(link, why, refused);
      },
      outgoingCut: (peer) => options.isCut(self, peer),
      incomingCut: (peer) => options.isCut(peer, self),
    };
    this.server = createServer({ noDelay: true }, (socket) => {
      const release = this.caps.admit(socket);
      if (release === null) {
        this.counters.refused++;
        socket.destroy();
        return;
      }
      this.strangers.set(this.link(socket, null), release);
    });
    this.server.maxConnections = PEER_CONNECTIONS_MAX;
    this.server.on('drop', () => {
      this.counters.refused++;
    });
  }

  /** Binds the peer port and starts dialling. */
  async listen(): Promise<void> {
    await listenOn(this.server, this.options.port, this.options.bindHost);
    this.server.on('error', (error) => {
      this.options.log.error({ err: error }, 'peer port');
    });
    for (const peer of this.peers.values()) if (peer.dials) this.dial(peer);
  }

  /** Sends to a peer, or drops. */
  send(to: number, message: M): void {
    const peer = this.peers.get(to);
    if (peer === undefined || this.closed) return;
    if (this.options.isCut(this.options.identity.self, to)) {
      this.counters.cutDropped++;
      return;
    }
    if (peer.link === null) {
      peer.dropped++;
      return;
    }
    if (this.lastMessage !== message || this.lastFrame === null) {
      this.lastFrame = encodeFrame(LINK.message, this.options.codec.encode(message), this.options.crc32c);
      this.lastMessage = message;
    }
    if (!peer.link.send(this.lastFrame, this.options.codec.isData(message))) {
      peer.dropped++;
      return;
    }
    this.counters.sent++;
    this.counters.bytesSent += this.lastFrame.bytes;
    peer.traffic.messagesSent++;
    peer.traffic.bytesSent += this.lastFrame.bytes;
  }

  /** The own table of incarnations was raised: links of those that it replaces end. */
  recheck(): void {
    for (const { link } of this.peers.values()) link?.recheck();
  }

  /** The port that was bound (for port 0). */
  get port(): number {
    return portOf(this.server, this.options.port);
  }

  report(): PeerReport[] {
    const self = this.options.identity.self;
    return [...this.peers.values()].map((peer) => ({
      to: peer.address.id,
      connected: peer.link !== null,
      cut: this.options.isCut(self, peer.address.id),
      rttMs: peer.link?.rttMs ?? null,
      queuedBytes: peer.link?.queuedBytes ?? 0,
      droppedMessages: peer.dropped,
      traffic: peer.traffic,
      info: peer.link?.peerInfo ?? '',
      lastProblem: peer.lastProblem,
    }));
  }

  close(): void {
    this.closed = true;
    this.server.close();
    for (const link of this.strangers.keys()) link.close('this replica stops');
    for (const peer of this.peers.values()) {
      if (peer.timer !== null) clearTimeout(peer.timer);
      peer.link?.close('this replica stops');
      if (peer.dialling instanceof PeerLink) peer.dialling.close('this replica stops');
      else peer.dialling?.destroy();
    }
  }

  private link(socket: Socket, peer: number | null): PeerLink {
    return new PeerLink(socket, this.options.identity, this.options.crc32c, peer, this.linkEvents, this.options.times);
  }

  private dial(peer: Peer): void {
    if (this.closed || peer.link !== null || peer.dialling !== null) return;
    const { host, port, id } = peer.address;
    const socket = connect({ host, port, noDelay: true });
    peer.dialling = socket;
    const failed = (why: string): void => {
      clearTimeout(deadline);
      socket.destroy();
      if (peer.dialling !== socket) return;
      peer.dialling = null;
      peer.lastProblem = why;
      this.redial(peer, BACKOFF_MAX_MS);
    };
    const onError = (error: Error): void => {
      failed(error.message);
    };
    const deadline = setTimeout(() => {
      failed(`no connection within ${DIAL_DEADLINE_MS} ms`);
    }, DIAL_DEADLINE_MS);
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(deadline);
      socket.off('error', onError);
      if (this.closed) socket.destroy();
      else peer.dialling = this.link(socket, id);
    });
  }

  private redial(peer: Peer, maxMs: number): void {
    if (this.closed || !peer.dials || peer.timer !== null) return;
    const waitMs = peer.backoffMs * (0.5 + this.options.random());
    peer.backoffMs = Math.min(2 * peer.backoffMs, maxMs);
    peer.timer = setTimeout(() => {
      peer.timer = null;
      this.dial(peer);
    }, waitMs);
  }

  private onOpen(link: PeerLink): void {
    this.strangers.get(link)?.();
    this.strangers.delete(link);
    const peer = this.peers.get(link.peer)!;
    const old = peer.link;
    if (old !== null && old.lively && !sameRun(old, link)) {
      link.refuseDuplicate();
      return;
    }
    peer.link = link;
    peer.dialling = null;
    peer.backoffMs = BACKOFF_MIN_MS;
    peer.lastProblem = null;
    if (peer.met) {
      this.counters.reconnects++;
      peer.traffic.reconnects++;
    }
    peer.met = true;
    this.options.log.info({ peer: link.peer, remote: link.remote, info: link.peerInfo }, 'peer connected');
    old?.close('replaced by a newer connection');
    if (!link.blank && link.peerTable !== null) this.options.onIdentity(link.peer, link.peerTable);
  }

  private onMessage(link: PeerLink, content: Uint8Array): void {
    this.counters.received++;
    this.counters.bytesReceived += content.length;
    const { traffic } = this.peers.get(link.peer)!;
    traffic.messagesReceived++;
    traffic.bytesReceived += content.length;
    const decoded = this.options.codec.decode(content);
    if ('error' in decoded) link.close(`message cannot be read: ${decoded.error}`);
    else if (link.blank && !this.options.codec.isBoot(decoded.message)) return;
    else this.options.receive(link.peer, decoded.message);
  }

  private onClosed(link: PeerLink, why: string, refused: Reject | null): void {
    this.strangers.delete(link);
    const proven = link.peer !== 0;
    if (refused !== null) this.counters.refused++;
    else if (!proven && link.role === 'accept') this.counters.garbage++;
    if (!this.closed && this.lineLimit.allow(performance.now())) {
      const level = proven ? 'info' : 'warn';
      const suppressed = this.lineLimit.takeSuppressed();
      this.options.log[level](
        { peer: link.peer || undefined, remote: link.remote, code: refused?.code, suppressed },
        `peer link ended: ${why}`,
      );
    }
    for (const peer of this.peers.values()) {
      if (peer.link === link) peer.link = null;
      else if (peer.dialling === link) peer.dialling = null;
      else continue;
      peer.lastProblem = why;
      if (refused !== null) peer.backoffMs = BACKOFF_REFUSED_MS;
      this.redial(peer, refused === null ? BACKOFF_MAX_MS : BACKOFF_REFUSED_MS);
    }
  }
}

function sameRun(a: PeerLink, b: PeerLink): boolean {
  return a.peerRun !== null && b.peerRun !== null && sameBytes(a.peerRun, b.peerRun);
}
