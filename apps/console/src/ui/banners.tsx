'use client';
import { FlaskConical, Unplug } from 'lucide-react';
import Link from 'next/link';
import { useFreshness, useLive } from '../live/live.tsx';
import { clock } from '../lib/freshness.ts';
import { duration } from '../lib/format.ts';

/** What must be known on every page: nothing arrives any more, or somebody broke something on purpose. */
export function Banners() {
  const { frame, skippedEvents } = useLive();
  const { state, sinceFrameMs } = useFreshness();
  const faults = frame?.faults ?? [];
  const longest = Math.max(0, ...faults.map((fault) => fault.remainingMs - sinceFrameMs));
  return (
    <>
      {(state === 'offline' || state === 'stale') && (
        <div
          role="alert"
          className={`${state === 'offline' ? 'tone-bad' : 'tone-warn'} soft flex items-center gap-2 px-4 py-2 text-[0.8125rem]`}
        >
          <Unplug size={15} aria-hidden className="shrink-0" />
          <span className="min-w-0 flex-1">
            No news from the console for {clock(sinceFrameMs)}. What you see is the last picture; controls that could
            harm are off.
          </span>
          <button type="button" className="shrink-0 font-medium underline" onClick={() => window.location.reload()}>
            Retry now
          </button>
        </div>
      )}
      {faults.length > 0 && (
        <div className="tone-warn soft flex flex-wrap items-center gap-x-2 gap-y-1 px-4 py-1.5 text-[0.8125rem]">
          <FlaskConical size={15} aria-hidden className="shrink-0" />
          <span className="min-w-0 flex-1">
            {faults.length === 1 ? '1 fault is active' : `${faults.length} faults are active`} on purpose; the last one
            ends in {duration(longest)}.
          </span>
          <Link href="/chaos" className="shrink-0 font-medium underline">
            See and heal
          </Link>
        </div>
      )}
      {skippedEvents > 0 && (
        <div className="tone-info soft px-4 py-1.5 text-xs">
          Resynced: {skippedEvents.toLocaleString('en-US')} events skipped.
        </div>
      )}
    </>
  );
}
