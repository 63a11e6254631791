/** What browsers may ask of the console: zod in, one typed answer out. Sessions and origins are checked before this (guard.ts). */
import { initTRPC, tracked } from '@trpc/server';
import { z } from 'zod';
import type { ClusterFrame } from '../lib/frame.ts';
import { config } from './config.ts';
import * as faults from './faults.ts';
import { poller } from './poller.ts';
import { asConsoleError, replicaApi } from './replica-client.ts';

const PING_MS = 1_000;
/** Frames reach a browser at most this often. */
const FRAME_MS = 200;
const FRAME_IDLE_MS = 1_000;

const t = initTRPC.create({
  sse: { ping: { enabled: true, intervalMs: PING_MS }, client: { reconnectAfterInactivityMs: 3_000 } },
});

const replica = z
  .number()
  .int()
  .refine((id) => config().replicas.some((r) => r.id === id), 'no such replica');
const index = z.string().regex(/^\d{1,20}$/);
const call = z.object({ name: z.string().min(1).max(100), input: z.unknown() });
const lease = {
  ttlMs: z.number().int().min(1_000).max(600_000),
  reason: z.string().max(200).default(''),
};

async function ask<T>(target: number, run: (api: ReturnType<typeof replicaApi>) => Promise<T>): Promise<T> {
  try {
    return await run(replicaApi(target));
  } catch (error) {
    throw asConsoleError(`r${target}`, error);
  }
}

/** Runs against the replica that is primary as far as this console sees, else against the others in turn. */
async function askAny<T>(run: (api: ReturnType<typeof replicaApi>) => Promise<T>): Promise<T> {
  const { replicas } = poller().frame(Number.MAX_SAFE_INTEGER);
  const ranked = replicas.toSorted((a, b) => rank(b) - rank(a));
  return ask(ranked[0]!.id, run);
}

function rank(view: ClusterFrame['replicas'][number]): number {
  if (view.reach !== 'live' || !view.detail) return 0;
  return view.detail.role === 'primary' && view.detail.serving ? 2 : 1;
}

export const consoleRouter = t.router({
  /** The one event stream. A frame's id is `epoch:event`; a browser that comes back with it gets only newer events. */
  live: t.procedure
    .input(z.object({ lastEventId: z.string().max(100).nullish() }).optional())
    .subscription(async function* ({ input, signal }) {
      const source = poller();
      const [epoch, event] = (input?.lastEventId ?? '').split(':');
      let since = epoch === source.epoch ? Number(event) || 0 : 0;
      const release = source.watch();
      try {
        while (!signal?.aborted) {
          const frame = source.frame(since);
          since = frame.events.at(-1)?.seq ?? since;
          yield tracked(`${frame.epoch}:${since}`, frame);
          await new Promise((resolve) => setTimeout(resolve, FRAME_MS));
          await source.changed(FRAME_IDLE_MS, signal);
        }
      } finally {
        release();
      }
    }),

  log: t.router({
    entries: t.procedure
      .input(z.object({ replica, from: index.nullable(), limit: z.number().int().min(1).max(500) }))
      .query(({ input }) =>
        ask(input.replica, (api) => api.log.entries.query({ from: input.from, limit: input.limit })),
      ),
    /** Raw frames, passed on as they came. The browser believes none of it but the bytes. */
    range: t.procedure
      .input(z.object({ replica, from: index, maxBytes: z.number().int().min(1).max(1_048_576) }))
      .query(({ input }) =>
        ask(input.replica, (api) => api.log.range.query({ from: input.from, maxBytes: input.maxBytes })),
      ),
  }),

  outbox: t.router({
    list: t.procedure
      .input(z.object({ replica, limit: z.number().int().min(1).max(1000) }))
      .query(({ input }) => ask(input.replica, (api) => api.outbox.list.query({ limit: input.limit }))),
  }),

  app: t.router({
    describe: t.procedure.query(() => askAny((api) => api.app.describe.query())),
    submit: t.procedure.input(call).mutation(({ input }) => askAny((api) => api.app.submit.mutate(input))),
    query: t.procedure.input(call).mutation(({ input }) => askAny((api) => api.app.query.query(input))),
  }),

  chaos: t.router({
    cut: t.procedure
      .input(
        z.object({
          links: z
            .array(z.object({ from: replica, to: replica }))
            .min(1)
            .max(42),
          ...lease,
        }),
      )
      .mutation(({ input }) => faults.cut(input.links, input.ttlMs, input.reason)),
    pause: t.procedure
      .input(z.object({ replica, ...lease }))
      .mutation(({ input }) => faults.stop('pause', input.replica, input.ttlMs, input.reason)),
    kill: t.procedure
      .input(z.object({ replica, ...lease }))
      .mutation(({ input }) => faults.stop('kill', input.replica, input.ttlMs, input.reason)),
    heal: t.procedure
      .input(z.object({ ids: z.array(z.string().max(200)).min(1).max(100) }))
      .mutation(({ input }) => faults.heal(input.ids)),
    healAll: t.procedure.mutation(() => faults.healAll()),
  }),
});

export type ConsoleRouter = typeof consoleRouter;
