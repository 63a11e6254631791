/**
 * `chaos.*`: faults on purpose, each a lease. Any replica takes the order and passes it on to those that enforce it: a cut to both its ends,
 * pause and kill to the parent process of the target. Loaded only where chaos was enabled at start on data formatted `dev`.
 *
 * Invariants: every fault has a TTL enforced where it acts; heal and healAll need no view of the cluster and reach every replica that answers.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { RateLimit } from '../observe/rate-limit.ts';
import { TTL_MS_MAX, TTL_MS_MIN, type LeaseRequest } from '../replica/leases.ts';
import { apiError } from './errors.ts';
import type { ApiHost, SupervisorMessage } from './host.ts';
import { cutInput, lease, leaseInput, replicaId, type Lease } from './schema.ts';
import { chaosProcedure, peerProcedure, router, viewerProcedure } from './trpc.ts';

const FORWARD_TIMEOUT_MS = 1500;
/** Faults a replica takes orders for, a second. */
const ORDERS_PER_SECOND = 50;

const leaseId = z.string().regex(/^[0-9a-f-]{8,64}$/);
const leaseRequest = z.object({
  id: leaseId,
  kind: z.enum(['cut', 'pause', 'kill']),
  replica: replicaId,
  to: replicaId.nullable(),
  reason: z.string().max(200),
  ttlMs: z.number().int().min(TTL_MS_MIN).max(TTL_MS_MAX),
});
const ack = z.object({ replica: replicaId, ok: z.boolean(), message: z.string() });
const chaosAnswer = z.object({ leaseId: z.string(), acks: z.array(ack) });
/** What became of an order: one line for each replica that had to take it. */
export type ChaosAnswer = z.infer<typeof chaosAnswer>;
type Ack = z.infer<typeof ack>;

const chaosList = z.object({
  leases: z.array(lease.extend({ enforcedBy: z.array(replicaId) })),
  /** Replicas that did not answer: their leases are not known, and end by themselves. */
  unreachable: z.array(replicaId),
});
export type ChaosList = z.infer<typeof chaosList>;

const limits = new WeakMap<ApiHost, RateLimit>();

const orderProcedure = chaosProcedure.use(({ ctx, next }) => {
  let limit = limits.get(ctx.host);
  if (limit === undefined) limits.set(ctx.host, (limit = new RateLimit(ORDERS_PER_SECOND, 1000)));
  if (!limit.allow(ctx.host.monotonicMs())) throw apiError('E_RATE', `more than ${ORDERS_PER_SECOND} orders a second`);
  return next();
});

export const chaosRouter = router({
  /** Cuts the directed link from -> to. */
  cut: orderProcedure
    .input(cutInput)
    .output(chaosAnswer)
    .mutation(async ({ ctx, input }) => {
      const { from, to, ttlMs, reason } = input;
      if (from === to) throw apiError('E_MEMBER', 'a replica has no link to itself');
      const request: LeaseRequest = { id: randomUUID(), kind: 'cut', replica: from, to, reason, ttlMs };
      return order(ctx.host, request, [from, to]);
    }),

  /** Stops the process of a replica (SIGSTOP) until the lease ends. */
  pause: orderProcedure
    .input(leaseInput)
    .output(chaosAnswer)
    .mutation(({ ctx, input }) => orderProcess(ctx.host, 'pause', input)),

  /** Kills the process of a replica (SIGKILL); it is started again when the lease ends. */
  kill: orderProcedure
    .input(leaseInput)
    .output(chaosAnswer)
    .mutation(({ ctx, input }) => orderProcess(ctx.host, 'kill', input)),

  /** Ends one fault, wherever it is enforced. */
  heal: chaosProcedure
    .input(z.object({ id: leaseId }))
    .output(chaosAnswer)
    .mutation(async ({ ctx, input }) => {
      const acks = await toAll(ctx.host, 'chaos.release', { id: input.id }, (host) => releaseHere(host, input.id));
      return { leaseId: input.id, acks };
    }),

  /** Ends every fault. Always possible, never rate limited. */
  healAll: chaosProcedure.output(chaosAnswer).mutation(async ({ ctx }) => {
    const acks = await toAll(ctx.host, 'chaos.release', { id: null }, (host) => releaseHere(host, null));
    return { leaseId: '', acks };
  }),

  /** Active faults of the whole cluster. */
  list: viewerProcedure.output(chaosList).query(({ ctx }) => listAll(ctx.host)),

  /** Leases of this replica. */
  local: viewerProcedure.output(z.array(lease)).query(({ ctx }) => ctx.host.leases.list()),

  /** Between replicas: enforce this lease here. */
  enforce: peerProcedure
    .input(leaseRequest)
    .output(ack)
    .mutation(({ ctx, input }) => applyHere(ctx.host, input)),

  /** Between replicas: end one lease here, or all. */
  release: peerProcedure
    .input(z.object({ id: leaseId.nullable() }))
    .output(ack)
    .mutation(({ ctx, input }) => releaseHere(ctx.host, input.id)),
});
export type ChaosRouter = typeof chaosRouter;

/** Has the lease enforced at each of `targets`. */
async function order(host: ApiHost, request: LeaseRequest, targets: readonly number[]): Promise<ChaosAnswer> {
  const members = targets.map((id) => {
    const member = host.members.find((one) => one.id === id);
    if (member === undefined) throw apiError('E_MEMBER', `r${id} is no member of this cluster`);
    return member;
  });
  const acks = await Promise.all(
    members.map(async (member): Promise<Ack> => {
      if (member.id === host.id) return applyHere(host, request);
      const answer = await host.peers.mutate(member, 'chaos.enforce', request, ack, FORWARD_TIMEOUT_MS);
      return answer.ok ? answer.value : { replica: member.id, ok: false, message: answer.message };
    }),
  );
  if (acks.every((one) => !one.ok))
    throw apiError('E_UNREACHABLE', acks.map((one) => `r${one.replica}: ${one.message}`).join('; '));
  return { leaseId: request.id, acks };
}

async function orderProcess(
  host: ApiHost,
  kind: 'pause' | 'kill',
  input: z.output<typeof leaseInput>,
): Promise<ChaosAnswer> {
  const request: LeaseRequest = {
    id: randomUUID(),
    kind,
    replica: input.replica,
    to: null,
    reason: input.reason,
    ttlMs: input.ttlMs,
  };
  const answer = await order(host, request, [input.replica]);
  // The target cannot speak for itself any more: its lease is remembered here.
  if (input.replica !== host.id) host.leases.add(request);
  return answer;
}

async function applyHere(host: ApiHost, request: LeaseRequest): Promise<Ack> {
  if (request.kind !== 'cut') {
    const { kind, id, ttlMs } = request;
    await askSupervisor(host, { type: 'chaos', action: kind, replica: host.id, ttlMs, leaseId: id });
    host.events.add('chaos', `${kind} of r${host.id} for ${ttlMs} ms`);
    return { replica: host.id, ok: true, message: 'passed on to the supervisor' };
  }
  const problem = host.leases.add(request);
  if (problem !== null) throw apiError(problem, `r${host.id} does not take the lease ${request.id}`);
  host.events.add('chaos', `link r${request.replica} to r${request.to ?? 0} cut for ${request.ttlMs} ms`);
  return { replica: host.id, ok: true, message: 'in force' };
}

async function askSupervisor(host: ApiHost, message: SupervisorMessage): Promise<void> {
  if (host.askSupervisor === null)
    throw apiError('E_NO_SUPERVISOR', `r${host.id} was started without a supervisor that could do that`);
  try {
    await host.askSupervisor(message);
  } catch (error) {
    throw apiError('E_NO_SUPERVISOR', error instanceof Error ? error.message : String(error));
  }
}

async function releaseHere(host: ApiHost, id: string | null): Promise<Ack> {
  const released = id === null ? host.leases.releaseAll() : host.leases.release(id) ? 1 : 0;
  if (host.askSupervisor !== null) {
    const message: SupervisorMessage = {
      type: 'chaos',
      action: id === null ? 'healAll' : 'heal',
      replica: 0,
      ttlMs: 0,
      leaseId: id ?? '',
    };
    await host.askSupervisor(message).catch(() => undefined);
  }
  return { replica: host.id, ok: true, message: `${released} ended` };
}

async function toAll(
  host: ApiHost,
  path: string,
  input: unknown,
  here: (host: ApiHost) => Promise<Ack>,
): Promise<Ack[]> {
  return Promise.all(
    host.members.map(async (member): Promise<Ack> => {
      if (member.id === host.id) return here(host);
      const answer = await host.peers.mutate(member, path, input, ack, FORWARD_TIMEOUT_MS);
      return answer.ok ? answer.value : { replica: member.id, ok: false, message: answer.message };
    }),
  );
}

async function listAll(host: ApiHost): Promise<ChaosList> {
  const found = new Map<string, Lease & { enforcedBy: number[] }>();
  const unreachable: number[] = [];
  await Promise.all(
    host.members.map(async (member) => {
      const answer =
        member.id === host.id
          ? { ok: true as const, value: host.leases.list() }
          : await host.peers.query(member, 'chaos.local', z.array(lease), FORWARD_TIMEOUT_MS);
      if (!answer.ok) {
        unreachable.push(member.id);
        return;
      }
      for (const one of answer.value) {
        const known = found.get(one.id);
        if (known === undefined) found.set(one.id, { ...one, enforcedBy: [member.id] });
        else {
          known.enforcedBy.push(member.id);
          known.remainingMs = Math.max(known.remainingMs, one.remainingMs);
        }
      }
    }),
  );
  for (const one of found.values()) one.enforcedBy.sort((a, b) => a - b);
  return { leases: [...found.values()], unreachable: unreachable.sort((a, b) => a - b) };
}
