/**
 * The HTTP server of the control API: guards, tRPC over HTTP (subscriptions by SSE) and over WebSocket, /health, /metrics.
 *
 * Invariants: nothing but /health is answered without a token; no handler runs before the guard; bodies, headers, connections and
 * their times are bounded.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { applyWSSHandler } from '@trpc/server/adapters/ws';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import { hasRole, tokenOf, type Authenticator, type Principal } from '../transport/auth.ts';
import {
  guard,
  HTTP_BODY_BYTES_MAX,
  onClientError,
  type GuardRules,
  type HttpRefusal,
} from '../transport/http-guard.ts';
import { limitConnections } from '../transport/connection-caps.ts';
import { listenOn, portOf } from '../transport/listen.ts';
import { admitUpgrade, isRefusal, refuseUpgrade } from '../transport/upgrade.ts';
import type { ApiHost } from './host.ts';
import type { AppRouter } from './router.ts';
import type { ApiContext } from './trpc.ts';

const CONNECTIONS_MAX = 256;
/** Of one address: the console, the supervisor and a person's tools may share one. */
const CONNECTIONS_PER_ADDRESS_MAX = 192;
const REQUESTS_PER_SOCKET_MAX = 10_000;
const PREFIX = '/trpc/';

export interface ApiServerOptions {
  readonly bindHost: string;
  readonly port: number;
  readonly host: ApiHost;
  readonly router: AppRouter;
  readonly auth: Authenticator;
  readonly rules: GuardRules;
  readonly log: Logger;
  /** True once the replica runs. */
  healthy(): boolean;
  /** Text of the metrics and its content type. */
  metrics(): Promise<{ readonly type: string; readonly text: string }>;
}

export class ApiServer {
  private readonly options: ApiServerOptions;
  private readonly server: Server;
  private readonly sockets: WebSocketServer;
  private readonly principals = new WeakMap<IncomingMessage, Principal>();
  private readonly trpc: (request: IncomingMessage, response: ServerResponse) => void;

  constructor(options: ApiServerOptions) {
    this.options = options;
    const createContext = ({ req }: { req: IncomingMessage }): ApiContext => {
      const principal = this.principals.get(req);
      if (principal === undefined) throw new Error('a request without a principal reached tRPC');
      return { host: options.host, principal };
    };
    this.trpc = createHTTPHandler({
      router: options.router,
      basePath: PREFIX,
      maxBodySize: HTTP_BODY_BYTES_MAX,
      createContext,
      onError: ({ error, path }) => {
        if (error.code === 'INTERNAL_SERVER_ERROR') options.log.error({ err: error, path }, 'api');
      },
    });
    this.server = createServer(
      { headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 15_000, connectionsCheckingInterval: 2000 },
      (request, response) => {
        this.onRequest(request, response);
      },
    );
    limitConnections(this.server, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
    this.server.maxRequestsPerSocket = REQUESTS_PER_SOCKET_MAX;
    this.server.on('clientError', onClientError);
    this.sockets = new WebSocketServer({
      noServer: true,
      maxPayload: HTTP_BODY_BYTES_MAX,
      perMessageDeflate: false,
      handleProtocols: (protocols) => (protocols.has('chronon') ? 'chronon' : false),
    });
    applyWSSHandler({
      wss: this.sockets,
      router: options.router,
      createContext,
      keepAlive: { enabled: true, pingMs: 10_000, pongWaitMs: 5000 },
    });
    this.server.on('upgrade', (request, socket, head) => {
      const admitted = request.url?.startsWith('/trpc')
        ? admitUpgrade(request, options.rules, options.auth, 'viewer')
        : ({ status: 400, code: 'E_PATH', message: 'WebSocket is served under /trpc' } satisfies HttpRefusal);
      if (isRefusal(admitted)) {
        refuseUpgrade(socket, admitted);
        return;
      }
      this.principals.set(request, admitted);
      this.sockets.handleUpgrade(request, socket, head, (client) => {
        client.on('error', () => client.terminate());
        this.sockets.emit('connection', client, request);
      });
    });
  }

  async listen(): Promise<void> {
    await listenOn(this.server, this.options.port, this.options.bindHost);
  }

  get port(): number {
    return portOf(this.server, this.options.port);
  }

  close(): void {
    for (const client of this.sockets.clients) client.terminate();
    this.server.close();
    this.server.closeAllConnections();
  }

  private onRequest(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader('x-content-type-options', 'nosniff');
    response.setHeader('cache-control', 'no-store');
    const { rules, auth } = this.options;
    const refused = guard(request, rules);
    if (refused !== null) return refuse(response, refused);
    const path = (request.url ?? '/').split('?')[0]!;
    if (path === '/health') {
      const healthy = this.options.healthy();
      return answer(response, healthy ? 200 : 503, { status: healthy ? 'ok' : 'starting' });
    }
    const principal = auth.authenticate(tokenOf(request.headers));
    if (principal === null) {
      response.setHeader('www-authenticate', 'Bearer');
      return refuse(response, { status: 401, code: 'E_TOKEN', message: 'a valid bearer token is needed' });
    }
    if (path === '/metrics') return void this.sendMetrics(principal, response);
    if (!path.startsWith(PREFIX))
      return answer(response, 404, { code: 'E_PATH', message: 'there is nothing here; the API is under /trpc' });
    this.principals.set(request, principal);
    this.trpc(request, response);
  }

  private async sendMetrics(principal: Principal, response: ServerResponse): Promise<void> {
    if (!hasRole(principal, 'viewer'))
      return refuse(response, { status: 403, code: 'E_ROLE', message: 'role viewer is needed' });
    const { type, text } = await this.options.metrics();
    response.writeHead(200, { 'content-type': type });
    response.end(text);
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function refuse(response: ServerResponse, { status, code, message }: HttpRefusal): void {
  response.setHeader('connection', 'close');
  answer(response, status, { code, message });
}
