/** State of each directed link, from what its sender states. */
import type { ClusterFrame } from './frame.ts';
import { linkKey, type LinkKey } from './partition.ts';

export interface LinkView {
  readonly key: LinkKey;
  readonly from: number;
  readonly to: number;
  readonly state: 'up' | 'cut' | 'down' | 'unknown';
  /** Milliseconds until the cut ends by itself, at the moment of the frame. */
  readonly remainingMs: number;
  readonly rttMs: number | null;
  readonly dropped: number;
}

export function links(frame: ClusterFrame): Map<LinkKey, LinkView> {
  const out = new Map<LinkKey, LinkView>();
  for (const sender of frame.replicas) {
    for (const { id: to } of frame.replicas) {
      if (to === sender.id) continue;
      const key = linkKey(sender.id, to);
      const fault = frame.faults.find((f) => f.kind === 'cut' && f.replica === sender.id && f.to === to);
      const link = sender.reach === 'live' ? sender.detail?.links.find((l) => l.to === to) : undefined;
      const state = fault ? 'cut' : !link ? 'unknown' : link.cut ? 'cut' : link.connected ? 'up' : 'down';
      out.set(key, {
        key,
        from: sender.id,
        to,
        state,
        remainingMs: fault?.remainingMs ?? 0,
        rttMs: link?.rttMs ?? null,
        dropped: link?.droppedMessages ?? 0,
      });
    }
  }
  return out;
}

/** How a screen reader, and a test, calls the link. */
export function linkName(link: LinkView, sinceFrameMs: number): string {
  const name = `link r${link.from} to r${link.to}`;
  if (link.state !== 'cut') return `${name}, ${link.state}`;
  return `${name}, cut, ${Math.max(0, Math.ceil((link.remainingMs - sinceFrameMs) / 1000))} s left`;
}
