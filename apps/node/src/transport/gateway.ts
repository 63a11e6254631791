/**
 * Gateway: the client port. Binary records (core/vsr/client-protocol.ts) over WebSocket frames; requests go straight to the replica, replies
 * are gathered and leave once a turn.
 *
 * Invariants: nothing of a connection reaches the replica before its token is checked; a connection's unsent bytes are bounded (a slow
 * consumer is closed); malformed records close the connection and nothing else.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { at, NONE } from '@chronon/core/engine/commit-index';
import {
  clientMessageBytes,
  decodeClientRecords,
  TO_CLIENT,
  writeClientMessage,
  type ClientMessage,
  type ClientRecord,
} from '@chronon/core/vsr/client-protocol';
import type { Logger } from 'pino';
import { WebSocketServer, type WebSocket } from 'ws';
import { RateLimit } from '../observe/rate-limit.ts';
import { hasRole, type Authenticator, type Principal } from './auth.ts';
import { limitConnections } from './connection-caps.ts';
import { plain } from './framing.ts';
import { onClientError, type GuardRules } from './http-guard.ts';
import { listenOn, portOf } from './listen.ts';
import { admitUpgrade, isRefusal, refuseUpgrade } from './upgrade.ts';

/** Largest message of a client, in bytes. */
export const CLIENT_MESSAGE_BYTES_MAX = 8 * 1024 * 1024;
/** Unsent bytes after which a consumer is too slow. */
export const CLIENT_BUFFER_BYTES_MAX = 16 * 1024 * 1024;
export const CLIENT_CONNECTIONS_MAX = 1024;
/** Of one address: half of all, so that one machine never shuts the others out. */
export const CLIENT_CONNECTIONS_PER_ADDRESS_MAX = CLIENT_CONNECTIONS_MAX / 2;
const PING_EVERY_MS = 15_000;

/** WebSocket close codes of this protocol. */
export const CLOSE = { stopping: 1001, malformed: 1007, forbidden: 1008, slow: 1013 } as const;

export interface GatewayOptions {
  readonly bindHost: string;
  readonly port: number;
  readonly replicaId: number;
  readonly clusterId: Uint8Array;
  readonly auth: Authenticator;
  readonly rules: GuardRules;
  readonly log: Logger;
  readonly connectionsMax?: number;
  readonly connectionsPerAddressMax?: number;
  readonly bufferBytesMax?: number;
  request(origin: number, payload: Uint8Array): void;
  query(origin: number, nonce: number, query: number, body: Uint8Array, consistency: number, maxLagMs: number): void;
  disconnect(origin: number): void;
}

export interface GatewayCounters {
  accepted: number;
  refused: number;
  malformed: number;
  slow: number;
  requests: number;
  queries: number;
  replies: number;
}

interface Connection {
  readonly origin: number;
  readonly socket: WebSocket;
  readonly principal: Principal;
  outgoing: ClientMessage[];
  alive: boolean;
}

export class Gateway {
  readonly counters: GatewayCounters = {
    accepted: 0,
    refused: 0,
    malformed: 0,
    slow: 0,
    requests: 0,
    queries: 0,
    replies: 0,
  };
  private readonly options: GatewayOptions;
  private readonly server: Server;
  private readonly sockets: WebSocketServer;
  private readonly connections = new Map<number, Connection>();
  /** Connections with something to send this turn. */
  private dirty: Connection[] = [];
  private lastOrigin = 0;
  private view = 0;
  private primary = 0;
  private readonly pinger: NodeJS.Timeout;
  private readonly lineLimit = new RateLimit(5, 10_000);

  constructor(options: GatewayOptions) {
    this.options = options;
    this.server = createServer(
      { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 2000 },
      (_, response) => {
        response.writeHead(426, { 'content-type': 'application/json', upgrade: 'websocket' });
        response.end('{"code":"E_UPGRADE","message":"this is the client port: WebSocket only"}');
      },
    );
    const perAddressMax = options.connectionsPerAddressMax ?? CLIENT_CONNECTIONS_PER_ADDRESS_MAX;
    limitConnections(this.server, 2 * (options.connectionsMax ?? CLIENT_CONNECTIONS_MAX), perAddressMax, () => {
      this.counters.refused++;
    });
    this.server.maxRequestsPerSocket = 100;
    this.sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: CLIENT_MESSAGE_BYTES_MAX,
      handleProtocols: (protocols) => (protocols.has('chronon') ? 'chronon' : false),
    });
    this.server.on('clientError', (error, socket) => {
      this.counters.malformed++;
      onClientError(error, socket);
    });
    this.server.on('upgrade', (request, socket, head) => {
      this.onUpgrade(request, socket, head);
    });
    this.pinger = setInterval(() => {
      this.ping();
    }, PING_EVERY_MS);
  }

  async listen(): Promise<void> {
    await listenOn(this.server, this.options.port, this.options.bindHost);
  }

  get port(): number {
    return portOf(this.server, this.options.port);
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** Sends a record to a connection at the end of this turn; one that is gone is ignored. */
  reply(origin: number, message: ClientMessage): void {
    const connection = this.connections.get(origin);
    if (connection === undefined) return;
    this.counters.replies++;
    if (connection.outgoing.length === 0) {
      if (this.dirty.length === 0) {
        process.nextTick(() => {
          this.flush();
        });
      }
      this.dirty.push(connection);
    }
    connection.outgoing.push(message);
  }

  /** Tells every client who is primary; `primary` 0: unknown. */
  announce(view: number, primary: number): void {
    if (view === this.view && primary === this.primary) return;
    this.view = view;
    this.primary = primary;
    for (const origin of this.connections.keys()) this.reply(origin, this.hello());
  }

  close(): void {
    clearInterval(this.pinger);
    this.flush();
    for (const { socket } of this.connections.values()) socket.close(CLOSE.stopping, 'this replica stops');
    this.server.close();
    this.server.closeAllConnections();
  }

  private hello(): ClientMessage {
    return {
      type: TO_CLIENT.hello,
      status: 0,
      session: this.view,
      request: this.options.replicaId,
      index: this.primary === 0 ? NONE : at(this.primary),
      body: this.options.clusterId,
    };
  }

  private onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { rules, auth } = this.options;
    const admitted = admitUpgrade(request, rules, auth, 'viewer');
    if (isRefusal(admitted)) {
      this.counters.refused++;
      refuseUpgrade(socket, admitted);
      return;
    }
    if (this.connections.size >= (this.options.connectionsMax ?? CLIENT_CONNECTIONS_MAX)) {
      this.counters.refused++;
      refuseUpgrade(socket, {
        status: 503,
        code: 'E_CONNECTIONS',
        message: 'this replica has no room for more client connections',
      });
      return;
    }
    this.sockets.handleUpgrade(request, socket, head, (client) => {
      this.onConnection(client, admitted);
    });
  }

  private onConnection(socket: WebSocket, principal: Principal): void {
    const connection: Connection = { origin: ++this.lastOrigin, socket, principal, outgoing: [], alive: true };
    this.connections.set(connection.origin, connection);
    this.counters.accepted++;
    const mayRequest = hasRole(principal, 'operator');
    const onRecord = (record: ClientRecord): void => {
      // It is being closed (maybe by the record before this one): its requests would be kept for nobody.
      if (!this.connections.has(connection.origin)) return;
      if (record.type === 'query') {
        this.counters.queries++;
        const { nonce, query, body, consistency, maxLagMs } = record;
        this.options.query(connection.origin, nonce, query, body, consistency, maxLagMs);
      } else if (mayRequest) {
        this.counters.requests++;
        this.options.request(connection.origin, record.payload);
      } else this.drop(connection, CLOSE.forbidden, 'E_ROLE: requests need role operator');
    };
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (!this.connections.has(connection.origin)) return;
      connection.alive = true;
      const problem = isBinary ? decodeClientRecords(plain(data), onRecord) : 'text where binary records belong';
      if (problem === null) return;
      this.counters.malformed++;
      this.drop(connection, CLOSE.malformed, `E_RECORD: ${problem}`);
    });
    socket.on('pong', () => {
      connection.alive = true;
    });
    socket.on('error', (error) => {
      this.counters.malformed++;
      this.drop(connection, CLOSE.malformed, error.message);
    });
    socket.on('close', () => {
      if (this.connections.delete(connection.origin)) this.options.disconnect(connection.origin);
    });
    this.reply(connection.origin, this.hello());
  }

  private drop(connection: Connection, code: number, why: string): void {
    if (!this.connections.delete(connection.origin)) return;
    if (this.lineLimit.allow(performance.now())) {
      this.options.log.warn(
        {
          origin: connection.origin,
          principal: connection.principal.name,
          suppressed: this.lineLimit.takeSuppressed(),
        },
        `client connection closed: ${why}`,
      );
    }
    this.options.disconnect(connection.origin);
    connection.outgoing = [];
    connection.socket.close(code, why.slice(0, 120));
    // A peer that does not answer the close would linger.
    setTimeout(() => connection.socket.terminate(), 1000).unref();
  }

  /** One WebSocket frame a connection and turn. */
  private flush(): void {
    const { dirty } = this;
    this.dirty = [];
    for (const connection of dirty) {
      const messages = connection.outgoing;
      connection.outgoing = [];
      if (messages.length === 0 || connection.socket.readyState !== connection.socket.OPEN) continue;
      let bytes = 0;
      for (const message of messages) bytes += clientMessageBytes(message);
      if (connection.socket.bufferedAmount + bytes > (this.options.bufferBytesMax ?? CLIENT_BUFFER_BYTES_MAX)) {
        this.counters.slow++;
        this.drop(connection, CLOSE.slow, 'E_SLOW_CONSUMER: replies are not read');
        continue;
      }
      const out = Buffer.allocUnsafe(bytes);
      let offset = 0;
      for (const message of messages) offset = writeClientMessage(out, offset, message);
      connection.socket.send(out, { binary: true });
    }
  }

  private ping(): void {
    for (const connection of this.connections.values()) {
      if (!connection.alive) {
        connection.socket.terminate();
        continue;
      }
      connection.alive = false;
      connection.socket.ping();
    }
  }
}
