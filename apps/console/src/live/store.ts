/**
 * The newest frame, outside React. Components read it with `useSyncExternalStore`; nothing of a frame lives in React state.
 *
 * Invariants: at most one published snapshot a frame; a paused store keeps receiving and counts what it holds back; bounded events.
 */
import type { ClusterEvent, ClusterFrame } from '../lib/frame.ts';

const EVENTS_MAX = 200;
/** A hidden page has nobody to draw for. */
const HIDDEN_MS = 1_000;

export type LinkState = 'connecting' | 'open' | 'down';

export interface LiveSnapshot {
  readonly frame: ClusterFrame | null;
  /** performance.now() at which `frame` arrived; 0 for the frame that came with the page. */
  readonly receivedAt: number;
  /** Newest last. */
  readonly events: readonly ClusterEvent[];
  readonly link: LinkState;
  readonly paused: boolean;
  /** Events received since the pause. */
  readonly heldEvents: number;
  /** Events lost between two frames, in all. */
  readonly skippedEvents: number;
}

export class LiveStore {
  #snapshot: LiveSnapshot;
  readonly #initial: LiveSnapshot;
  #held: { frame: ClusterFrame; receivedAt: number } | null = null;
  #heldEvents: ClusterEvent[] = [];
  readonly #listeners = new Set<() => void>();
  #publishedAt = 0;

  constructor(initial: ClusterFrame | null) {
    this.#initial = {
      frame: initial,
      receivedAt: 0,
      events: initial?.events ?? [],
      link: 'connecting',
      paused: false,
      heldEvents: 0,
      skippedEvents: 0,
    };
    this.#snapshot = this.#initial;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly snapshot = (): LiveSnapshot => this.#snapshot;
  /** What the server rendered, for hydration. */
  readonly serverSnapshot = (): LiveSnapshot => this.#initial;

  #publish(change: Partial<LiveSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }

  receive(frame: ClusterFrame): void {
    const now = performance.now();
    const { frame: last, paused } = this.#snapshot;
    const fresh = this.#newEvents(frame, last);
    if (paused) {
      this.#held = { frame, receivedAt: now };
      this.#heldEvents = [...this.#heldEvents, ...fresh].slice(-EVENTS_MAX);
      this.#publish({ heldEvents: this.#snapshot.heldEvents + fresh.length, link: 'open' });
      return;
    }
    if (document.hidden && now - this.#publishedAt < HIDDEN_MS && fresh.length === 0) return;
    this.#publishedAt = now;
    const known = last?.epoch === frame.epoch ? this.#snapshot.events : [];
    const events = fresh.length > 0 || known.length === 0 ? [...known, ...fresh].slice(-EVENTS_MAX) : known;
    const skippedEvents = this.#snapshot.skippedEvents + frame.skippedEvents;
    this.#publish({ frame, receivedAt: now, events, link: 'open', skippedEvents });
  }

  #newEvents(frame: ClusterFrame, last: ClusterFrame | null): readonly ClusterEvent[] {
    const known = [...this.#snapshot.events, ...this.#heldEvents];
    const seen = last?.epoch === frame.epoch ? (known.at(-1)?.seq ?? 0) : 0;
    return frame.events.filter((event) => event.seq > seen);
  }

  setLink(link: LinkState): void {
    if (link !== this.#snapshot.link) this.#publish({ link });
  }

  setPaused(paused: boolean): void {
    if (paused === this.#snapshot.paused) return;
    if (paused) return this.#publish({ paused, heldEvents: 0 });
    const held = this.#held;
    const events = [...this.#snapshot.events, ...this.#heldEvents].slice(-EVENTS_MAX);
    this.#held = null;
    this.#heldEvents = [];
    this.#publish({ paused, heldEvents: 0, events, ...held });
  }
}
