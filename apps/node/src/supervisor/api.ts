/**
 * The supervisor's control API: tRPC under /trpc, the same guards and bearer token as a replica's. It answers also when every replica is
 * dead. Where a replica's API has a procedure of the same name (cluster.status, chaos.*), the answer has the same shape.
 */
import { createServer, type Server } from 'node:http';
import { initTRPC } from '@trpc/server';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { z } from 'zod';
import { apiError, ApiFault } from '../api/errors.ts';
import { clusterStatus, lease, leaseInput, replicaId, type ClusterStatus } from '../api/schema.ts';
import { TTL_MS_MAX, TTL_MS_MIN } from '../replica/leases.ts';
import { tokenOf, type Authenticator } from '../transport/auth.ts';
import { guard, HTTP_BODY_BYTES_MAX, LOOPBACK_HOSTS } from '../transport/http-guard.ts';
import type { ReplicaSupervisor } from './replica-supervisor.ts';

const processReport = z.object({
  id: replicaId,
  pid: z.number().int().nullable(),
  state: z.enum(['starting', 'running', 'paused', 'waiting', 'stopped', 'held', 'refused']),
  restarts: z.number().int(),
  /** Why it is in this state. */
  reason: z.string(),
  lease: lease.nullable(),
});

/** Answer of `supervisor.status`. */
export const supervisorStatus = z.object({
  pid: z.number().int(),
  clusterId: z.string(),
  dataDir: z.string(),
  app: z.string(),
  environment: z.enum(['dev', 'production']),
  chaosEnabled: z.boolean(),
  processes: z.array(processReport),
  console: z
    .object({ url: z.string(), pid: z.number().int().nullable(), state: z.string(), reason: z.string() })
    .nullable(),
});
export type SupervisorStatus = z.infer<typeof supervisorStatus>;

/** Answer of every order to a process. */
export const processes = z.array(processReport);

export const acknowledged = z.object({
  leaseId: z.string(),
  acks: z.array(z.object({ replica: z.number(), ok: z.boolean(), message: z.string() })),
});

export interface SupervisorHost {
  readonly replicas: ReplicaSupervisor;
  status(): SupervisorStatus;
  clusterStatus(): Promise<ClusterStatus>;
  /** Replaces a lost replica of this machine: its directory is set aside and it joins anew. Where the old one is now, or null. */
  recover(id: number): Promise<string | null>;
  /** Null: there is no console. */
  loginUrl(): string | null;
}

const t = initTRPC.context<{ readonly host: SupervisorHost }>().create({
  errorFormatter: ({ shape, error }) => {
    const { stack: _stack, ...data } = shape.data;
    return { ...shape, data: { ...data, chronon: error.cause instanceof ApiFault ? error.cause.code : error.code } };
  },
});
const one = z.object({ replica: replicaId });
const ttlMs = z.number().int().min(TTL_MS_MIN).max(TTL_MS_MAX);

function requireReplica(host: SupervisorHost, id: number): void {
  if (!host.replicas.has(id)) throw apiError('E_MEMBER', `r${id} is not under this supervisor`);
}

function requireChaos(host: SupervisorHost): void {
  if (!host.status().chaosEnabled) throw apiError('E_ROLE', 'chaos is not enabled here (start with --enable-chaos)');
}

/** An order to one process; answers with all of them. */
function order<S extends z.ZodType<{ replica: number }>>(
  input: S,
  run: (host: SupervisorHost, input: z.output<S>) => Promise<void> | void,
) {
  return t.procedure
    .input(input)
    .output(processes)
    .mutation(async ({ ctx, input: value }) => {
      requireReplica(ctx.host, (value as { replica: number }).replica);
      await run(ctx.host, value as z.output<S>);
      return ctx.host.replicas.reports();
    });
}

function acks(count: number, leaseId: string): z.infer<typeof acknowledged> {
  return { leaseId, acks: [{ replica: 0, ok: true, message: `${count} ended` }] };
}

export const supervisorRouter = t.router({
  supervisor: t.router({ status: t.procedure.output(supervisorStatus).query(({ ctx }) => ctx.host.status()) }),
  cluster: t.router({ status: t.procedure.output(clusterStatus).query(({ ctx }) => ctx.host.clusterStatus()) }),
  replica: t.router({
    start: order(one, (host, { replica }) => {
      host.replicas.start(replica);
    }),
    stop: order(one, (host, { replica }) => host.replicas.stop(replica)),
    kill: order(one.extend({ ttlMs: ttlMs.nullable().default(null) }), (host, input) =>
      host.replicas.kill(input.replica, input.ttlMs, 'by command'),
    ),
    pause: order(one.extend({ ttlMs: ttlMs.default(30_000) }), (host, input) => {
      if (!host.replicas.pause(input.replica, input.ttlMs, 'by command'))
        throw apiError('E_UNREACHABLE', `r${input.replica} does not run`);
    }),
    recover: t.procedure
      .input(one)
      .output(z.object({ setAside: z.string().nullable() }))
      .mutation(async ({ ctx, input }) => {
        requireReplica(ctx.host, input.replica);
        return { setAside: await ctx.host.recover(input.replica) };
      }),
    resume: order(one, (host, { replica }) => {
      host.replicas.resume(replica);
    }),
  }),
  chaos: t.router({
    /** Process leases only: links are cut and healed by the replicas. */
    list: t.procedure
      .output(
        z.object({
          leases: z.array(lease.extend({ enforcedBy: z.array(replicaId) })),
          unreachable: z.array(replicaId),
        }),
      )
      .query(({ ctx }) => ({
        leases: ctx.host.replicas.leases().map((l) => ({ ...l, enforcedBy: [l.replica] })),
        unreachable: [],
      })),
    pause: t.procedure
      .input(leaseInput)
      .output(acknowledged)
      .mutation(({ ctx, input }) => {
        requireChaos(ctx.host);
        requireReplica(ctx.host, input.replica);
        if (!ctx.host.replicas.pause(input.replica, input.ttlMs, input.reason))
          throw apiError('E_UNREACHABLE', `r${input.replica} does not run`);
        return acks(1, '');
      }),
    kill: t.procedure
      .input(leaseInput)
      .output(acknowledged)
      .mutation(async ({ ctx, input }) => {
        requireChaos(ctx.host);
        requireReplica(ctx.host, input.replica);
        await ctx.host.replicas.kill(input.replica, input.ttlMs, input.reason);
        return acks(1, '');
      }),
    heal: t.procedure
      .input(z.object({ id: z.string().max(64) }))
      .output(acknowledged)
      .mutation(({ ctx, input }) => acks(ctx.host.replicas.heal(input.id), input.id)),
    healAll: t.procedure.output(acknowledged).mutation(({ ctx }) => acks(ctx.host.replicas.heal(null), '')),
  }),
  console: t.router({
    login: t.procedure
      .output(z.object({ url: z.string().nullable() }))
      .mutation(({ ctx }) => ({ url: ctx.host.loginUrl() })),
  }),
});
export type SupervisorRouter = typeof supervisorRouter;

/** Where the API listens: loopback, or for one replica in a container its network, under its host name there. */
export interface SupervisorAddress {
  readonly bindHost: string;
  readonly port: number;
  /** Host names beside loopback by which it may be called. */
  readonly names: readonly string[];
}

export async function serveSupervisor(
  host: SupervisorHost,
  address: SupervisorAddress,
  auth: Authenticator,
): Promise<Server> {
  const trpc = createHTTPHandler({
    router: supervisorRouter,
    basePath: '/trpc/',
    maxBodySize: HTTP_BODY_BYTES_MAX,
    createContext: () => ({ host }),
  });
  const rules = { hosts: new Set<string>([...LOOPBACK_HOSTS, ...address.names]), origins: new Set<string>() };
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 30_000 }, (request, response) => {
    response.setHeader('cache-control', 'no-store');
    const refused = guard(request, rules);
    const problem =
      refused ??
      (auth.authenticate(tokenOf(request.headers)) === null
        ? { status: 401, code: 'E_TOKEN', message: 'a valid bearer token is needed' }
        : (request.url ?? '').startsWith('/trpc/')
          ? null
          : { status: 404, code: 'E_PATH', message: 'the API is under /trpc' });
    if (problem === null) return trpc(request, response);
    response.writeHead(problem.status, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify({ code: problem.code, message: problem.message }));
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.bindHost, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return server;
}
