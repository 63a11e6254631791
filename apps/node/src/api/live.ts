/**
 * `live`: one subscription that carries everything a page shows of this replica. Frames at most five a second when something changed, one a second
 * otherwise; events from the ring, with the number of those that were lost.
 *
 * Invariants: a subscriber holds no queue: it is at one position of the bounded event ring and gets the newest state when it is ready for it; an id
 * `${epoch}:${seq}` resumes behind seq in the same process run, and starts anew in another.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { tracked } from '@trpc/server';
import { z } from 'zod';
import { apiError } from './errors.ts';
import type { ApiHost } from './host.ts';
import type { LiveFrame, ReplicaDetail } from './schema.ts';
import { viewerProcedure } from './trpc.ts';

const CHANGE_EVERY_MS = 200;
const IDLE_EVERY_MS = 1000;
const SUBSCRIBERS_MAX = 64;
const EVENTS_PER_FRAME_MAX = 256;

/** Subscribers of each host. */
const subscribers = new WeakMap<ApiHost, number>();

export const live = viewerProcedure
  .input(z.object({ lastEventId: z.string().max(100).nullish() }).optional())
  .subscription(async function* ({ ctx, input, signal }) {
    const { host } = ctx;
    const count = subscribers.get(host) ?? 0;
    if (count >= SUBSCRIBERS_MAX) throw apiError('E_SUBSCRIBERS', `${SUBSCRIBERS_MAX} subscribers are here already`);
    subscribers.set(host, count + 1);
    try {
      let cursor = resumeAt(host, input?.lastEventId ?? null);
      let lastKey = '';
      let lastMs = Number.NEGATIVE_INFINITY;
      while (signal?.aborted !== true) {
        const detail = host.detail();
        const key = changeKey(detail, host.events.last);
        const now = host.monotonicMs();
        if (key !== lastKey || now - lastMs >= IDLE_EVERY_MS) {
          lastKey = key;
          lastMs = now;
          const { events, dropped } = host.events.after(cursor, EVENTS_PER_FRAME_MAX);
          cursor = host.events.last;
          const frame: LiveFrame = { detail, events, droppedEvents: dropped };
          yield tracked(`${host.epoch}:${cursor}`, frame);
        }
        await pause(CHANGE_EVERY_MS, signal);
      }
    } finally {
      subscribers.set(host, (subscribers.get(host) ?? 1) - 1);
    }
  });

/** Position in the ring: behind the id of the same process run, else before the oldest event. */
function resumeAt(host: ApiHost, lastEventId: string | null): number {
  const [epoch, seq] = (lastEventId ?? '').split(':');
  const position = Number(seq);
  if (epoch !== host.epoch || !Number.isSafeInteger(position) || position < 0 || position > host.events.last) {
    return Math.max(0, host.events.last - EVENTS_PER_FRAME_MAX);
  }
  return position;
}

/** Equal keys: nothing changed that a person would want to see at once. */
function changeKey(detail: ReplicaDetail, lastEvent: number): string {
  const { role, status, view, commit, applied, durable, last, serving, leases, links } = detail;
  const linkKey = links.map((link) => `${link.connected ? 1 : 0}${link.cut ? 1 : 0}`).join('');
  return [role, status, view, commit, applied, durable, last, serving, leases.length, linkKey, lastEvent].join('|');
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { ...(signal && { signal }), ref: false }).catch(() => undefined);
}
