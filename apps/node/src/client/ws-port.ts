/**
 * SessionPort over WebSocket connections to the client gateways: one connection at a time, binary messages both ways.
 *
 * Invariants: after `disconnect` no event of that connection reaches the session client; a connection that cannot be made is reported once.
 */
import type { SessionPort } from '@chronon/core/vsr/client';
import { WebSocket } from 'ws';

export interface GatewayAddress {
  readonly id: number;
  /** `ws://host:port/` */
  readonly url: string;
}

export interface PortEvents {
  onConnected(replica: number): void;
  onDisconnected(replica: number): void;
  onMessage(replica: number, bytes: Uint8Array): void;
  flush(): void;
}

/** Same bound as the gateway's buffers: nothing a replica sends is larger. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const HANDSHAKE_TIMEOUT_MS = 2000;

/**
 * Masks protect proxies from what a web page makes a browser send; this is no browser, and all it sends is behind a bearer token. A mask of zeros spares
 * both ends a pass over every byte, a twelfth of a busy primary's time.
 */
const noMask = (mask: Buffer): void => void mask.fill(0);

export class WsPort implements SessionPort {
  /** Why the last connection was refused or lost, for messages to people. */
  lastProblem: string | null = null;
  private readonly addresses: ReadonlyMap<number, string>;
  private readonly token: string;
  private readonly events: PortEvents;
  private socket: WebSocket | null = null;

  constructor(addresses: readonly GatewayAddress[], token: string, events: PortEvents) {
    this.addresses = new Map(addresses.map(({ id, url }) => [id, url]));
    this.token = token;
    this.events = events;
  }

  connect(replica: number): void {
    this.drop();
    const socket = new WebSocket(this.addresses.get(replica) ?? 'ws://unknown/', {
      headers: { authorization: `Bearer ${this.token}` },
      perMessageDeflate: false,
      generateMask: noMask,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxPayload: MESSAGE_BYTES_MAX,
    });
    this.socket = socket;
    socket.on('open', () => {
      if (this.socket === socket) this.events.onConnected(replica);
    });
    socket.on('message', (data: Buffer) => {
      if (this.socket === socket) this.events.onMessage(replica, data);
    });
    socket.on('unexpected-response', (request, response) => {
      this.lastProblem = `r${replica} refused the connection: HTTP ${response.statusCode ?? 0}`;
      request.destroy();
      this.lost(socket, replica);
    });
    socket.on('error', (error) => {
      this.lastProblem = `r${replica}: ${error.message}`;
    });
    socket.on('close', (code, reason) => {
      if (reason.length > 0) this.lastProblem = `r${replica} closed the connection: ${reason.toString()} (${code})`;
      this.lost(socket, replica);
    });
  }

  disconnect(): void {
    this.drop();
  }

  send(_replica: number, bytes: Uint8Array): void {
    const { socket } = this;
    if (socket !== null && socket.readyState === WebSocket.OPEN) socket.send(bytes, { binary: true });
  }

  wantFlush(): void {
    process.nextTick(() => {
      this.events.flush();
    });
  }

  private lost(socket: WebSocket, replica: number): void {
    if (this.socket !== socket) return;
    this.socket = null;
    this.events.onDisconnected(replica);
  }

  private drop(): void {
    const { socket } = this;
    if (socket === null) return;
    this.socket = null;
    // A socket closed while connecting reports an error; nobody listens to this one any more.
    socket.on('error', () => undefined);
    if (socket.readyState === WebSocket.CONNECTING) socket.terminate();
    else socket.close(1000);
    setTimeout(() => {
      socket.terminate();
    }, 1000).unref();
  }
}
