'use client';
import { clsx } from 'clsx';
import Link from 'next/link';
import { count } from '../../lib/format.ts';
import type { ClusterFrame } from '../../lib/frame.ts';
import { verdict } from '../../lib/verdict.ts';
import { Panel } from '../parts.tsx';

/** Counts of the replicated outbox, as the primary states them; else the replica that applied most. */
export function outboxSource(frame: ClusterFrame) {
  const { primary } = verdict(frame);
  const live = frame.replicas.filter((r) => r.reach === 'live' && r.detail);
  return (
    live.find((r) => r.id === primary) ??
    live.toSorted((a, b) => Number(b.detail!.applied ?? -1) - Number(a.detail!.applied ?? -1))[0] ??
    null
  );
}

export function OutboxTile({ frame }: { frame: ClusterFrame }) {
  const source = outboxSource(frame);
  const counts = source?.detail?.outbox;
  return (
    <Panel
      title="Outbox"
      meta={source ? `as r${source.id} states it` : 'no replica answers'}
      actions={
        <Link href="/outbox" className="text-xs font-medium text-accent hover:underline">
          Entries
        </Link>
      }
    >
      <dl className="grid grid-cols-3 gap-3">
        <Amount name="pending" value={counts?.pending} tone={counts && counts.pending > 0 ? 'tone-info' : ''} />
        <Amount name="acknowledged" value={counts?.acknowledged} tone="" />
        <Amount name="dead" value={counts?.dead} tone={counts && counts.dead > 0 ? 'tone-bad' : ''} />
      </dl>
      <p className="mt-3 text-xs text-muted">
        Effects leave the log once the entry that asked for them is committed and its digest confirmed. The file ledger
        keeps each key with its record: exactly once there.
      </p>
    </Panel>
  );
}

function Amount({ name, value, tone }: { name: string; value: number | undefined; tone: string }) {
  return (
    <div>
      <dt className="text-xs text-faint">{name}</dt>
      <dd className={clsx('font-mono text-lg font-medium', tone)}>{count(value ?? null)}</dd>
    </div>
  );
}
