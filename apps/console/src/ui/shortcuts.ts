'use client';
import { useRouter } from 'next/navigation';
import { useEffect } from 'react';
import { useLiveStore } from '../live/live.tsx';

const GO: Record<string, string> = { o: '/', l: '/log', u: '/outbox', v: '/verify', c: '/chaos' };
const CHORD_MS = 1_200;

/** Single keys outside of inputs: `g` + letter goes to a page, Space pauses, `L` is back to live. */
export function useShortcuts(): void {
  const router = useRouter();
  const store = useLiveStore();
  useEffect(() => {
    let chordUntil = 0;
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (target.closest('input, textarea, select, button, a, [role=grid], dialog, [contenteditable]')) {
        if (event.key === ' ' || target.closest('input, textarea, select')) return;
      }
      const key = event.key.toLowerCase();
      if (performance.now() < chordUntil && GO[key]) {
        chordUntil = 0;
        router.push(GO[key]);
      } else if (key === 'g') chordUntil = performance.now() + CHORD_MS;
      else if (key === 'l') store.setPaused(false);
      else if (key === ' ') {
        event.preventDefault();
        store.setPaused(!store.snapshot().paused);
      }
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [router, store]);
}
