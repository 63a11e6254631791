/** How old what the page shows is, in one word. Two missed pings make it stale; ten seconds make it offline. */
export type FreshnessState = 'connecting' | 'live' | 'lagging' | 'stale' | 'offline' | 'paused';

export interface Freshness {
  readonly state: FreshnessState;
  readonly label: string;
  /** Controls that could harm are off: what they would act on is not known. */
  readonly safe: boolean;
}

const LAGGING_MS = 1_000;
const STALE_MS = 2_500;
const OFFLINE_MS = 10_000;

export function freshness(input: {
  hasFrame: boolean;
  /** A frame of the stream has arrived, not only the one that came with the page. */
  streamed: boolean;
  sinceFrameMs: number;
  link: 'connecting' | 'open' | 'down';
  paused: boolean;
  heldEvents: number;
}): Freshness {
  const { hasFrame, streamed, sinceFrameMs: age, link, paused, heldEvents } = input;
  if (paused)
    return { state: 'paused', label: `PAUSED by you (+${heldEvents.toLocaleString('en-US')} events)`, safe: false };
  if (!hasFrame) {
    if (link === 'down') return { state: 'offline', label: 'OFFLINE', safe: false };
    return { state: 'connecting', label: 'CONNECTING', safe: false };
  }
  if (!streamed && age < STALE_MS) return { state: 'connecting', label: 'CONNECTING', safe: false };
  if (age >= OFFLINE_MS) return { state: 'offline', label: `OFFLINE ${clock(age)}`, safe: false };
  if (age >= STALE_MS) return { state: 'stale', label: `STALE ${clock(age)}`, safe: false };
  if (age >= LAGGING_MS) return { state: 'lagging', label: `LAGGING ${(age / 1000).toFixed(1)} s`, safe: true };
  return { state: 'live', label: `LIVE ${(age / 1000).toFixed(1)} s`, safe: true };
}

/** mm:ss, or h:mm:ss. */
export function clock(ms: number): string {
  const total = Math.floor(ms / 1000);
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const pad = (n: number) => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${pad(m)}:${pad(s)}`;
}
