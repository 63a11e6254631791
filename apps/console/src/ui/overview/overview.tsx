'use client';
import { useMemo } from 'react';
import { useLive } from '../../live/live.tsx';
import { verdict } from '../../lib/verdict.ts';
import { EventsPanel } from './events-panel.tsx';
import { OutboxTile } from './outbox-tile.tsx';
import { ReplicaTable } from './replica-table.tsx';
import { SubmitBox } from './submit-box.tsx';
import { VerdictBlock } from './verdict-block.tsx';

export function Overview() {
  const { frame } = useLive();
  const now = useMemo(() => verdict(frame), [frame]);
  if (!frame) return <OverviewSkeleton />;
  return (
    <>
      <VerdictBlock frame={frame} verdict={now} />
      <ReplicaTable frame={frame} />
      <div className="grid gap-4 lg:grid-cols-3">
        <SubmitBox />
        <OutboxTile frame={frame} />
        <EventsPanel limit={9} />
      </div>
    </>
  );
}

function OverviewSkeleton() {
  return (
    <div role="status" aria-busy="true" aria-label="waiting for the first answer" className="flex flex-col gap-4">
      <div className="rounded-lg border border-line bg-surface p-5">
        <div className="skeleton h-7 w-3/4" />
        <div className="skeleton mt-4 h-4 w-1/2" />
        <div className="skeleton mt-6 h-9 w-full" />
      </div>
      <div className="flex flex-col gap-3 rounded-lg border border-line bg-surface p-5">
        {[0, 1, 2].map((row) => (
          <div key={row} className="skeleton h-8 w-full" />
        ))}
      </div>
    </div>
  );
}
