/**
 * The control API (`@chronon/node/api`: import types only). Chaos is a part only where it was enabled at start; its code is loaded for that only.
 */
import { z } from 'zod';
import { appRouterPart } from './app-procedures.ts';
import type { ChaosRouter } from './chaos-router.ts';
import { ClusterView } from './cluster-status.ts';
import type { ApiHost } from './host.ts';
import { jsonable } from './jsonable.ts';
import { live } from './live.ts';
import { logRouter } from './log-procedures.ts';
import { snapshotRouter } from './snapshot-procedures.ts';
import { clusterStatus, outboxPage, replicaDetail } from './schema.ts';
import { createCallerFactory, router, viewerProcedure } from './trpc.ts';
import { decodeValue } from '@chronon/core/kernel/values';

const views = new WeakMap<ApiHost, ClusterView>();

function viewOf(host: ApiHost): ClusterView {
  let view = views.get(host);
  if (view === undefined) views.set(host, (view = new ClusterView(host)));
  return view;
}

const parts = {
  replica: router({
    status: viewerProcedure.output(replicaDetail).query(({ ctx }) => ctx.host.detail()),
  }),
  cluster: router({
    status: viewerProcedure.output(clusterStatus).query(({ ctx }) => viewOf(ctx.host).status()),
  }),
  log: logRouter,
  outbox: router({
    list: viewerProcedure
      .input(z.object({ limit: z.number().int().min(1).max(1000).default(200) }).optional())
      .output(outboxPage)
      .query(({ ctx, input }) => {
        const { counts, entries } = ctx.host.outbox(input?.limit ?? 200);
        return {
          replica: ctx.host.id,
          counts,
          entries: entries.map(({ id, index, sub, channel, payload, state, attempts, lastError }) => ({
            id,
            index: String(index),
            sub,
            channel,
            payload: readable(payload),
            state,
            attempts,
            lastError,
          })),
        };
      }),
  }),
  snapshots: snapshotRouter,
  app: appRouterPart,
  live,
};

/** A payload as a value where it is one, else base64. */
function readable(payload: Uint8Array): unknown {
  try {
    return jsonable(decodeValue(payload));
  } catch {
    return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('base64');
  }
}

function withChaos(chaos: ChaosRouter) {
  return router({ ...parts, chaos });
}

/** The type of the API, chaos included: a client that calls it where it is not enabled gets NOT_FOUND. */
export type AppRouter = ReturnType<typeof withChaos>;

/** The API of a replica; `chaos` null: its routes do not exist. */
export function createAppRouter(chaos: ChaosRouter | null): AppRouter {
  return chaos === null ? (router(parts) as unknown as AppRouter) : withChaos(chaos);
}

export { createCallerFactory };

export type { ChaosAnswer, ChaosList } from './chaos-router.ts';
export type { ApiErrorCode } from './errors.ts';
export type {
  ApiEvent,
  ClusterStatus,
  Lease,
  LiveFrame,
  LogEntry,
  LogRange,
  OutboxItem,
  PeerLink,
  ReplicaDetail,
  ReplicaSummary,
  SubmitResult,
} from './schema.ts';
