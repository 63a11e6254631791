'use client';
import { Activity } from 'lucide-react';
import { useLive, useNow } from '../../live/live.tsx';
import { absoluteTime, duration, timeOfDay } from '../../lib/format.ts';
import { Empty, Panel } from '../parts.tsx';

const GLYPH = { info: '○', ok: '●', warn: '▲', bad: '✕' } as const;

/** What changed since this console looks, newest first. */
export function EventsPanel({ limit }: { limit: number }) {
  const { events, frame } = useLive();
  useNow(1_000);
  const shown = events.slice(-limit).reverse();
  return (
    <Panel title="Recent events" meta={events.length > limit ? `last ${limit} of ${events.length}` : undefined} flush>
      {shown.length === 0 ? (
        <Empty title="Nothing has happened yet" icon={<Activity size={20} aria-hidden />}>
          View changes, restarts, faults and repairs appear here.
        </Empty>
      ) : (
        <ol className="divide-y divide-line" aria-label="Events, newest first">
          {shown.map((event) => (
            <li key={event.seq} className="flex items-baseline gap-2.5 px-4 py-1.5">
              <span className={`tone-${event.tone} w-3 shrink-0 text-center text-xs`} aria-hidden>
                {GLYPH[event.tone]}
              </span>
              <span className="min-w-0 flex-1 break-words">{event.text}</span>
              <time
                dateTime={absoluteTime(event.atMs)}
                title={`${timeOfDay(event.atMs)} · ${absoluteTime(event.atMs)}`}
                className="shrink-0 text-xs text-faint"
                suppressHydrationWarning
              >
                {duration((frame?.atMs ?? event.atMs) - event.atMs)} ago
              </time>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
