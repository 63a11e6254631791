'use client';
/** React's side of the live store. */
import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
  type ReactNode,
} from 'react';
import type { ClusterFrame } from '../lib/frame.ts';
import { freshness, type Freshness } from '../lib/freshness.ts';
import { LiveStore, type LiveSnapshot } from './store.ts';
import { openStream } from './stream.ts';

const Context = createContext<LiveStore | null>(null);

export function LiveProvider({ initial, children }: { initial: ClusterFrame | null; children: ReactNode }) {
  const [store] = useState(() => new LiveStore(initial));
  useEffect(() => openStream(store), [store]);
  return <Context value={store}>{children}</Context>;
}

export function useLiveStore(): LiveStore {
  const store = useContext(Context);
  if (!store) throw new Error('useLiveStore outside LiveProvider');
  return store;
}

export function useLive(): LiveSnapshot {
  const store = useLiveStore();
  return useSyncExternalStore(store.subscribe, store.snapshot, store.serverSnapshot);
}

/** Part of the snapshot that must be a scalar or stable: re-renders only when it changes. */
export function useLiveValue<T>(select: (snapshot: LiveSnapshot) => T): T {
  const store = useLiveStore();
  const get = useCallback(() => select(store.snapshot()), [store, select]);
  const getServer = useCallback(() => select(store.serverSnapshot()), [store, select]);
  return useSyncExternalStore(store.subscribe, get, getServer);
}

/** performance.now(), renewed every `ms`; 0 on the server and at hydration. */
export function useNow(ms: number): number {
  const [now, setNow] = useState(0);
  useEffect(() => {
    setNow(performance.now());
    const timer = setInterval(() => {
      if (!document.hidden) setNow(performance.now());
    }, ms);
    return () => clearInterval(timer);
  }, [ms]);
  return now;
}

/** How fresh the newest frame is, and how many milliseconds to add to the ages it states. */
export function useFreshness(): Freshness & { readonly sinceFrameMs: number } {
  const { frame, receivedAt, link, paused, heldEvents } = useLive();
  const now = useNow(250);
  // For the frame that came with the page this is the time since the page began to load.
  const sinceFrameMs = now === 0 ? 0 : Math.max(0, now - receivedAt);
  return useMemo(
    () => ({
      ...freshness({ hasFrame: frame !== null, streamed: receivedAt > 0, sinceFrameMs, link, paused, heldEvents }),
      sinceFrameMs,
    }),
    [frame, receivedAt, sinceFrameMs, link, paused, heldEvents],
  );
}
