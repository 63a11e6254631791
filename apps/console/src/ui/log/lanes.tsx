'use client';
/**
 * Replica Lanes: one lane a replica over the last entries. A cell is one entry as that replica's log states it; its colour is its view. Drawn on a
 * canvas from the newest frame and the newest entries; the table twin says the same in words.
 */
import { useQueries } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState } from 'react';
import { api } from '../../live/api.ts';
import type { ClusterFrame } from '../../lib/frame.ts';
import { count } from '../../lib/format.ts';
import { Button, Panel } from '../parts.tsx';
import { cellAt, drawLanes, laneHeight, type Lane } from './lanes-draw.ts';

export const LANE_CELLS = 240;
const REFRESH_MS = 1_000;

export function Lanes({ frame, onPick }: { frame: ClusterFrame; onPick: (replica: number, index: number) => void }) {
  const [twin, setTwin] = useState(false);
  const canvas = useRef<HTMLCanvasElement>(null);
  const head = Math.max(-1, ...frame.replicas.map((r) => Number(r.detail?.last ?? -1)));
  const results = useQueries({
    queries: frame.replicas.map((r) => ({
      queryKey: ['lane', r.id],
      queryFn: () => api.log.entries.query({ replica: r.id, from: null, limit: LANE_CELLS }),
      enabled: r.reach === 'live' && head >= 0,
      refetchInterval: REFRESH_MS,
      retry: false,
    })),
  });
  const lanes: Lane[] = frame.replicas.map((r, i) => ({
    id: r.id,
    live: r.reach === 'live',
    primary: r.detail?.role === 'primary',
    applied: Number(r.detail?.applied ?? -1),
    commit: Number(r.detail?.commit ?? -1),
    durable: Number(r.detail?.durable ?? -1),
    last: Number(r.detail?.last ?? -1),
    entries: results[i]?.data?.entries ?? [],
  }));
  // The picture stands on the newest entries that were fetched; marks that have moved on since stay at its right edge.
  const fetched = Math.max(-1, ...lanes.map((lane) => Number(lane.entries.at(-1)?.index ?? -1)));
  const low = Math.max(0, (fetched < 0 ? head : fetched) - LANE_CELLS + 1);
  const axis = useMemo(() => ({ low, high: low + LANE_CELLS - 1 }), [low]);
  useCanvas(canvas, () => drawLanes(canvas.current!, lanes, axis), [frame, results]);
  if (head < 0) return null;
  const differing = firstDifference(lanes);
  return (
    <Panel
      title="Replica lanes"
      meta={`index ${count(axis.low)} to ${count(axis.high)}`}
      actions={
        <Button size="sm" aria-pressed={twin} onClick={() => setTwin(!twin)}>
          {twin ? 'As a picture' : 'As a table'}
        </Button>
      }
    >
      {twin ? (
        <LaneTable lanes={lanes} />
      ) : (
        <canvas
          ref={canvas}
          height={laneHeight(lanes.length)}
          role="img"
          aria-label={summary(lanes)}
          className="block w-full"
          onClick={(event) => {
            const hit = cellAt(event.currentTarget, event.nativeEvent.offsetX, event.nativeEvent.offsetY, lanes, axis);
            if (hit) onPick(hit.replica, hit.index);
          }}
        />
      )}
      <p className="mt-2 flex flex-wrap gap-x-4 gap-y-1 text-xs text-muted">
        <span>colour: view of the entry</span>
        <span>│ applied</span>
        <span>┆ commit</span>
        <span>┊ durable</span>
        <span>▷ last</span>
        <span className={differing === null ? '' : 'tone-bad font-medium'}>
          {differing === null
            ? 'stated hashes are equal where lanes overlap (stated, not checked: see Verify)'
            : `stated hashes differ from index ${count(differing)} on`}
        </span>
      </p>
    </Panel>
  );
}

/** Draws in one animation frame after each change, and again when the size or the theme changes. */
function useCanvas(ref: React.RefObject<HTMLCanvasElement | null>, draw: () => void, deps: unknown[]): void {
  const latest = useRef(draw);
  latest.current = draw;
  useEffect(() => {
    const id = requestAnimationFrame(() => ref.current && latest.current());
    return () => cancelAnimationFrame(id);
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- the caller states what a new picture depends on
  }, deps);
  useEffect(() => {
    const again = () => ref.current && latest.current();
    const observer = new ResizeObserver(again);
    if (ref.current) observer.observe(ref.current);
    const dark = window.matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', again);
    window.addEventListener('chronon-theme', again);
    return () => {
      observer.disconnect();
      dark.removeEventListener('change', again);
      window.removeEventListener('chronon-theme', again);
    };
  }, [ref]);
}

/** First index at which two lanes state different hashes. */
export function firstDifference(lanes: readonly Lane[]): number | null {
  const seen = new Map<string, string>();
  let first: number | null = null;
  for (const lane of lanes) {
    for (const { index, hash } of lane.entries) {
      if (Number(index) > lane.commit) continue;
      const known = seen.get(index);
      if (known === undefined) seen.set(index, hash);
      else if (known !== hash && (first === null || Number(index) < first)) first = Number(index);
    }
  }
  return first;
}

function summary(lanes: readonly Lane[]): string {
  return lanes
    .map(
      (l) =>
        `r${l.id}${l.live ? '' : ' (silent)'}: applied ${count(l.applied)}, commit ${count(l.commit)}, durable ${count(l.durable)}, last ${count(l.last)}`,
    )
    .join('; ');
}

function LaneTable({ lanes }: { lanes: readonly Lane[] }) {
  return (
    <table className="w-full text-left">
      <thead className="text-xs text-faint">
        <tr className="[&>th]:py-1 [&>th]:font-normal">
          <th>Replica</th>
          <th>Applied</th>
          <th>Commit</th>
          <th>Durable</th>
          <th>Last</th>
          <th>Views in these entries</th>
        </tr>
      </thead>
      <tbody className="font-mono">
        {lanes.map((lane) => (
          <tr key={lane.id} className="[&>td]:py-1">
            <td>
              r{lane.id}
              {lane.live ? '' : ' (silent)'}
            </td>
            <td>{count(lane.applied)}</td>
            <td>{count(lane.commit)}</td>
            <td>{count(lane.durable)}</td>
            <td>{count(lane.last)}</td>
            <td>{[...new Set(lane.entries.map((entry) => entry.view))].join(', ') || '–'}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
