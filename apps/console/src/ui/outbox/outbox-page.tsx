'use client';
import { useQuery } from '@tanstack/react-query';
import { CircleCheck, Clock, PackageCheck, Skull } from 'lucide-react';
import { useState } from 'react';
import { api, messageOf, type Outputs } from '../../live/api.ts';
import { useLive } from '../../live/live.tsx';
import { count } from '../../lib/format.ts';
import { Hash } from '../hash.tsx';
import { outboxSource } from '../overview/outbox-tile.tsx';
import { Button, Empty, PageTitle, Panel, Problem, Tag, type Tone } from '../parts.tsx';
import { ReplicaPicker } from '../replica-picker.tsx';

type Item = Outputs['outbox']['list']['entries'][number];
type State = Item['state'];

const STATES: Record<State, { tone: Tone; icon: typeof Clock; says: string }> = {
  pending: { tone: 'warn', icon: Clock, says: 'committed, not yet run or not yet acknowledged' },
  acknowledged: { tone: 'ok', icon: CircleCheck, says: 'the acknowledgement is itself a committed entry' },
  dead: { tone: 'bad', icon: Skull, says: 'out of attempts; kept for a person to look at' },
};

/** Per sink, what may truthfully be promised: the words of the kernel's documentation. */
const PROMISES = [
  ['file ledger (built in): key and fence kept with the record', 'exactly once'],
  ['schedule, follow-up command, fetch result', 'exactly once: it never leaves the log'],
  ['HTTP with Idempotency-Key and fence headers', 'effectively once if the receiver keeps the key'],
  ['plain HTTP, mail', 'at least once, or at most once by mode'],
] as const;

/** The replicated outbox: what left the log, what waits, and what may be promised about it. */
export function OutboxPage() {
  const { frame } = useLive();
  const [picked, setPicked] = useState<number | null>(null);
  const [filter, setFilter] = useState<State | null>(null);
  const replica = picked ?? (frame ? (outboxSource(frame)?.id ?? frame.replicas[0]?.id ?? null) : null);
  const page = useQuery({
    queryKey: ['outbox', replica],
    queryFn: () => api.outbox.list.query({ replica: replica!, limit: 500 }),
    enabled: replica !== null,
    refetchInterval: 1_000,
    placeholderData: (last) => last,
  });
  const entries = (page.data?.entries ?? []).filter((entry) => filter === null || entry.state === filter);
  return (
    <>
      <PageTitle title="Outbox">
        Effects of committed entries, in index order. Replicated state: every replica has the same.
      </PageTitle>
      <div className="grid grid-cols-3 gap-2 sm:gap-4" role="group" aria-label="Filter by state">
        {(Object.keys(STATES) as State[]).map((state) => {
          const { tone, icon: Icon, says } = STATES[state];
          return (
            <button
              key={state}
              type="button"
              aria-pressed={filter === state}
              onClick={() => setFilter(filter === state ? null : state)}
              className={`min-w-0 rounded-lg border bg-surface p-3 text-left sm:p-4 ${filter === state ? 'border-accent' : 'border-line hover:border-line-strong'}`}
            >
              <span className={`tone-${tone} flex items-center gap-1.5 text-xs font-medium`}>
                <Icon size={14} aria-hidden /> {state}
              </span>
              <span className="mt-1 block font-mono text-xl font-medium">
                {count(page.data?.counts[state] ?? null)}
              </span>
              <span className="hidden text-xs text-muted sm:block">{says}</span>
            </button>
          );
        })}
      </div>
      <Panel
        title="Entries"
        meta={page.data ? `as r${page.data.replica} states them${filter ? `, ${filter} only` : ''}` : undefined}
        actions={
          frame && replica !== null && <ReplicaPicker replicas={frame.replicas} value={replica} onChange={setPicked} />
        }
        flush
      >
        {page.isError && <Problem message={messageOf(page.error)} retry={() => void page.refetch()} />}
        {page.isPending && !page.isError && <Rows />}
        {page.data && entries.length === 0 && (
          <Empty
            title={filter ? `No ${filter} effect` : 'The outbox is empty'}
            icon={<PackageCheck size={22} aria-hidden />}
          >
            {filter ? (
              <Button size="sm" onClick={() => setFilter(null)}>
                Clear the filter
              </Button>
            ) : (
              'A committed transfer emits a receipt; it appears here as pending and turns to acknowledged once the ledger has it.'
            )}
          </Empty>
        )}
        {entries.length > 0 && <Table entries={entries} />}
      </Panel>
      <Panel title="What may be promised">
        <p className="max-w-prose text-muted">
          An effect runs on the primary only, under a fence (generation, view), with a key that stays the same over
          retries. What that comes to depends on who receives it:
        </p>
        <dl className="mt-3 grid gap-x-6 gap-y-1 sm:grid-cols-[minmax(0,1fr)_auto]">
          {PROMISES.map(([sink, promise]) => (
            <div key={sink} className="contents">
              <dt className="text-muted">{sink}</dt>
              <dd className="mb-1 font-medium sm:mb-0">{promise}</dd>
            </div>
          ))}
        </dl>
      </Panel>
    </>
  );
}

function Rows() {
  return (
    <div className="flex flex-col gap-2 p-4" role="status" aria-busy="true" aria-label="loading entries">
      {[0, 1, 2, 3, 4].map((row) => (
        <div key={row} className="skeleton h-6" />
      ))}
    </div>
  );
}

function Table({ entries }: { entries: readonly Item[] }) {
  return (
    <div className="overflow-x-auto" tabIndex={0} role="region" aria-label="Outbox entries">
      <table className="w-full min-w-[44rem] border-collapse text-left">
        <thead className="text-xs text-faint">
          <tr className="border-b border-line [&>th]:px-3 [&>th]:py-1.5 [&>th]:font-normal [&>th:first-child]:pl-4">
            <th className="text-right">Index</th>
            <th>State</th>
            <th>Channel</th>
            <th>Key</th>
            <th className="text-right">Failed</th>
            <th>Payload</th>
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {entries.map((entry) => (
            <tr key={entry.id} className="align-baseline [&>td]:px-3 [&>td]:py-1 [&>td:first-child]:pl-4">
              <td className="text-right font-mono">{count(entry.index)}</td>
              <td>
                <Tag tone={STATES[entry.state].tone}>{entry.state}</Tag>
              </td>
              <td>{entry.channel}</td>
              <td>
                <Hash value={entry.id} />
              </td>
              <td className="text-right font-mono">{entry.attempts}</td>
              <td className="max-w-[28rem] truncate font-mono text-xs text-muted" title={JSON.stringify(entry.payload)}>
                {JSON.stringify(entry.payload)}
                {entry.lastError && <span className="tone-bad ml-2">{entry.lastError}</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
