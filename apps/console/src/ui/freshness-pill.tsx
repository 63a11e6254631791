'use client';
import { CircleDot, CirclePause, Hourglass, Loader, Pause, Play, Radio, Unplug } from 'lucide-react';
import { useEffect, useState } from 'react';
import { useFreshness, useLiveStore, useLiveValue } from '../live/live.tsx';
import type { FreshnessState } from '../lib/freshness.ts';
import type { Tone } from './parts.tsx';

const LOOK: Record<FreshnessState, { icon: typeof Radio; tone: Tone }> = {
  live: { icon: CircleDot, tone: 'ok' },
  lagging: { icon: Hourglass, tone: 'warn' },
  stale: { icon: Hourglass, tone: 'warn' },
  offline: { icon: Unplug, tone: 'bad' },
  connecting: { icon: Loader, tone: 'mute' },
  paused: { icon: CirclePause, tone: 'info' },
};

/** How old what this page shows is. Always visible; only a change of state is announced. */
export function FreshnessPill() {
  const { state, label } = useFreshness();
  const { icon: Icon, tone } = LOOK[state];
  const [announced, setAnnounced] = useState('');
  useEffect(() => setAnnounced(`data is ${state}`), [state]);
  return (
    <span
      className={`tone-${tone} soft inline-flex h-7 items-center gap-1.5 rounded-md px-2 font-mono text-xs font-medium whitespace-nowrap`}
      data-testid="freshness"
      data-state={state}
      title="age of the newest frame from the console's server"
    >
      <Icon size={13} aria-hidden className="shrink-0" />
      <span aria-hidden>{label}</span>
      <span className="sr-only" role="status">
        {announced}
      </span>
    </span>
  );
}

export function PauseButton() {
  const store = useLiveStore();
  const paused = useLiveValue((s) => s.paused);
  return (
    <button
      type="button"
      onClick={() => store.setPaused(!paused)}
      aria-label={paused ? 'Go back to live' : 'Pause updates'}
      title={paused ? 'Back to live (L)' : 'Pause (Space)'}
      className="inline-flex size-7 items-center justify-center rounded-md text-muted hover:bg-raised hover:text-text"
    >
      {paused ? <Play size={14} aria-hidden /> : <Pause size={14} aria-hidden />}
    </button>
  );
}
