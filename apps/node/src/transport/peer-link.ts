/**
 * PeerLink: one TCP connection to a peer, from the first byte to the last. Handshake under a deadline, then frames both ways, a ping a
 * second, and an end with a reason.
 *
 * Invariants: `onOpen` comes at most once and before any `onMessage`; `onClosed` comes exactly once; nothing the peer sends can throw.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Identity } from '@chronon/core/vsr/identity';
import type { Crc32c } from './crc-combine.ts';
import { BODY_BYTES_MAX, encodeFrame, FrameReader, LINK, type LinkKind, type WireFrame } from './framing.ts';
import {
  CHALLENGE_BYTES,
  checkHello,
  checkTable,
  decodeHello,
  decodeReject,
  encodeHello,
  encodeReject,
  isBlank,
  isReject,
  NO_CLUSTER,
  proofOf,
  PROTOCOL_VERSION,
  reject,
  sameProof,
  type Hello,
  type HelloExpectation,
  type Reject,
} from './handshake.ts';
import { SendQueue } from './send-queue.ts';

/** Patience of a link. A link with so many pings' time of silence, or with one unfinished frame, is given up. */
export interface LinkTimes {
  readonly handshakeMs: number;
  readonly pingMs: number;
}
export const LINK_TIMES: LinkTimes = { handshakeMs: 5000, pingMs: 1000 };
const SILENCE_PINGS_MAX = 6;
const RTT_SAMPLES = 60;

/** Who this end is. */
export interface LinkIdentity {
  readonly self: number;
  readonly members: readonly number[];
  /** Null: no cluster yet. */
  readonly clusterId: Uint8Array | null;
  /** Incarnations and generation, at the moment of a handshake. */
  table(): Identity;
  readonly runNonce: Uint8Array;
  readonly secret: Uint8Array;
  /** Build info, JSON. */
  readonly info: string;
}

export interface LinkEvents {
  onOpen(link: PeerLink): void;
  onMessage(link: PeerLink, content: Uint8Array): void;
  /** A message arrived on a link that is cut by chaos, and is dropped. */
  onCutMessage(): void;
  /** `refused`: the handshake was refused, by us or by the peer. */
  onClosed(link: PeerLink, why: string, refused: Reject | null): void;
  /** Links are cut by chaos: what leaves and what arrives is dropped. */
  outgoingCut(peer: number): boolean;
  incomingCut(peer: number): boolean;
}

export class PeerLink {
  /** Proven id of the peer; 0 until the handshake is done. */
  peer = 0;
  peerInfo = '';
  /** The table of the peer's handshake. */
  peerTable: Identity | null = null;
  /** One of the two ends belongs to no cluster yet: nothing but boot messages counts. */
  blank = true;
  readonly role: 'dial' | 'accept';
  readonly remote: string;
  private readonly socket: Socket;
  private readonly crc32c: Crc32c;
  private readonly identity: LinkIdentity;
  private readonly events: LinkEvents;
  private readonly times: LinkTimes;
  private readonly expectedPeer: number | null;
  private readonly reader: FrameReader;
  private readonly queue: SendQueue;
  private readonly challenge = randomBytes(CHALLENGE_BYTES);
  private state: 'hello' | 'proof' | 'open' | 'closed' = 'hello';
  private ownHello: Uint8Array | null = null;
  private peerHello: { readonly bytes: Uint8Array; readonly hello: Hello } | null = null;
  private readonly deadline: NodeJS.Timeout;
  private pinger: NodeJS.Timeout | null = null;
  private silentPings = 0;
  private stuckPings = 0;
  private framesSeen = 0;
  private readonly rtts: number[] = [];

  /** Takes over `socket`, which must be connected. `peer`: who was dialled, null when accepting. */
  constructor(
    socket: Socket,
    identity: LinkIdentity,
    crc32c: Crc32c,
    peer: number | null,
    events: LinkEvents,
    times: LinkTimes = LINK_TIMES,
  ) {
    this.socket = socket;
    this.times = times;
    this.identity = identity;
    this.crc32c = crc32c;
    this.events = events;
    this.expectedPeer = peer;
    this.role = peer === null ? 'accept' : 'dial';
    this.remote = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
    this.queue = new SendQueue(socket);
    this.reader = new FrameReader(crc32c, (kind, content) => {
      this.onFrame(kind, content);
    });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Uint8Array) => {
      const problem = this.reader.push(chunk);
      if (problem !== null) this.close(problem);
    });
    socket.on('error', (error) => {
      this.close(error.message);
    });
    socket.on('close', () => {
      this.close('connection closed by the peer');
    });
    this.deadline = setTimeout(() => {
      this.close(`no handshake within ${times.handshakeMs} ms`);
    }, times.handshakeMs);
    if (peer !== null) this.sendHello(peer);
  }

  get open(): boolean {
    return this.state === 'open';
  }

  get queuedBytes(): number {
    return this.queue.queuedBytes;
  }

  get dropped(): number {
    return this.queue.dropped;
  }

  /** Random per process run of the peer; null before its hello. */
  get peerRun(): Uint8Array | null {
    return this.peerHello?.hello.runNonce ?? null;
  }

  /** True while the peer was heard within the last pings. */
  get lively(): boolean {
    return this.state === 'open' && this.silentPings <= 1;
  }

  /** Ends an open link because another process with the peer's id has a living one. */
  refuseDuplicate(): void {
    this.refuse(reject('E_DUP_NODE', `another process is r${this.peer} already, and alive`));
  }

  /** Median round trip of the last minute, ms; null when none was measured. */
  get rttMs(): number | null {
    if (this.rtts.length === 0) return null;
    const sorted = [...this.rtts].sort((a, b) => a - b);
    return sorted[sorted.length >> 1]!;
  }

  /** Sends a framed protocol message; false when it was dropped. */
  send(frame: WireFrame, isData: boolean): boolean {
    return this.state === 'open' && this.queue.send(frame, isData);
  }

  /** Ends the link; the reason goes to onClosed. */
  close(why: string, refused: Reject | null = null): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    clearTimeout(this.deadline);
    if (this.pinger !== null) clearInterval(this.pinger);
    this.reader.stop();
    if (refused === null) this.socket.destroy();
    else this.socket.end(() => this.socket.destroy());
    this.events.onClosed(this, why, refused);
  }

  private write(kind: LinkKind, content: Uint8Array): void {
    this.queue.send(encodeFrame(kind, [content], this.crc32c), false);
  }

  private sendHello(to: number): void {
    const { self, clusterId, runNonce, info } = this.identity;
    this.ownHello = encodeHello({
      table: this.identity.table(),
      versionMin: PROTOCOL_VERSION.min,
      versionMax: PROTOCOL_VERSION.max,
      clusterId: clusterId ?? NO_CLUSTER,
      from: self,
      to,
      runNonce,
      challenge: this.challenge,
      info,
    });
    this.write(LINK.hello, this.ownHello);
  }

  private refuse(why: Reject): void {
    // The reject must leave before the socket ends: uncorked writes are flushed by end().
    this.socket.write(Buffer.concat(encodeFrame(LINK.reject, [encodeReject(why)], this.crc32c).chunks));
    this.close(`${why.code}: ${why.message}`, why);
  }

  private onFrame(kind: number, content: Uint8Array): void {
    if (this.state === 'open') this.onOpenFrame(kind, content);
    else if (kind === LINK.reject) {
      const why = decodeReject(content);
      this.close(`refused by the peer: ${why.code}: ${why.message}`, why);
    } else if (this.state === 'hello' && kind === LINK.hello) this.onHello(content);
    else if (this.state === 'proof' && kind === LINK.proof) this.onProof(content);
    else this.refuse(reject('E_HANDSHAKE', `frame kind ${kind} does not belong here`));
  }

  private onHello(content: Uint8Array): void {
    const hello = decodeHello(content);
    if (isReject(hello)) return this.refuse(hello);
    const problem = checkHello(hello, this.expectation());
    if (problem !== null) return this.refuse(problem);
    this.peerHello = { bytes: content.slice(), hello };
    this.state = 'proof';
    if (this.role === 'accept') {
      this.sendHello(hello.from);
      this.write(LINK.proof, this.proof('accept'));
    }
  }

  private expectation(): HelloExpectation {
    const { self, members, clusterId } = this.identity;
    return { clusterId: clusterId ?? NO_CLUSTER, self, members, table: this.identity.table(), peer: this.expectedPeer };
  }

  private proof(role: 'dial' | 'accept'): Uint8Array {
    const own = this.ownHello!;
    const peer = this.peerHello!.bytes;
    const dialHello = this.role === 'dial' ? own : peer;
    const acceptHello = this.role === 'dial' ? peer : own;
    return proofOf(this.identity.secret, role, dialHello, acceptHello);
  }

  private onProof(content: Uint8Array): void {
    const expected = this.proof(this.role === 'dial' ? 'accept' : 'dial');
    if (!sameProof(content, expected)) {
      return this.refuse(reject('E_PEER_SECRET', 'the peer does not know the peer secret of this cluster'));
    }
    if (this.role === 'dial') this.write(LINK.proof, this.proof('dial'));
    const stale = checkTable(this.peerHello!.hello, this.expectation());
    if (stale !== null) return this.refuse(stale);
    this.peer = this.peerHello!.hello.from;
    this.peerInfo = this.peerHello!.hello.info;
    this.peerTable = this.peerHello!.hello.table;
    this.blank = this.identity.clusterId === null || isBlank(this.peerHello!.hello.clusterId);
    this.state = 'open';
    this.reader.limit = BODY_BYTES_MAX;
    clearTimeout(this.deadline);
    this.pinger = setInterval(() => {
      this.onPingTime();
    }, this.times.pingMs);
    this.events.onOpen(this);
  }

  /** The own table was raised meanwhile: an incarnation of the peer that it replaces is hung up on; when it dials again, it is refused and told why. */
  recheck(): void {
    if (this.state !== 'open') return;
    const stale = checkTable(this.peerHello!.hello, this.expectation());
    if (stale !== null) this.close(stale.message);
  }

  private onOpenFrame(kind: number, content: Uint8Array): void {
    if (this.events.incomingCut(this.peer)) {
      if (kind === LINK.message) this.events.onCutMessage();
      return;
    }
    if (kind === LINK.message) this.events.onMessage(this, content);
    else if (kind === LINK.ping) {
      if (content.length === 8 && !this.events.outgoingCut(this.peer)) this.write(LINK.pong, content);
    } else if (kind === LINK.pong) this.onPong(content);
    else if (kind === LINK.reject) {
      const why = decodeReject(content);
      this.close(`refused by the peer: ${why.code}: ${why.message}`, why);
    } else this.close(`frame kind ${kind} is unknown`);
  }

  private onPong(content: Uint8Array): void {
    if (content.length !== 8) return;
    const sentMs = Buffer.from(content.buffer, content.byteOffset, 8).readDoubleLE(0);
    const rttMs = performance.now() - sentMs;
    if (!(rttMs >= 0 && rttMs < 60_000)) return;
    if (this.rtts.length === RTT_SAMPLES) this.rtts.shift();
    this.rtts.push(rttMs);
  }

  /** Half-open connections and frames that never end are noticed here, not by TCP. A cut link is silent on purpose. */
  private onPingTime(): void {
    const { frames, partial } = this.reader;
    const silent =
      frames === this.framesSeen && !this.events.incomingCut(this.peer) && !this.events.outgoingCut(this.peer);
    this.silentPings = silent ? this.silentPings + 1 : 0;
    this.stuckPings = partial && frames === this.framesSeen ? this.stuckPings + 1 : 0;
    this.framesSeen = frames;
    if (Math.max(this.silentPings, this.stuckPings) >= SILENCE_PINGS_MAX) {
      this.close(`nothing heard for ${(SILENCE_PINGS_MAX * this.times.pingMs) / 1000} s`);
      return;
    }
    if (this.events.outgoingCut(this.peer)) return;
    const now = Buffer.alloc(8);
    now.writeDoubleLE(performance.now());
    this.write(LINK.ping, now);
  }
}
