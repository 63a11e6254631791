'use client';
import { useQuery } from '@tanstack/react-query';
import { ChevronFirst, ChevronLast, ChevronLeft, ChevronRight, Rows3 } from 'lucide-react';
import { useMemo, useState } from 'react';
import { api, messageOf, type Outputs } from '../../live/api.ts';
import { useLive } from '../../live/live.tsx';
import { count } from '../../lib/format.ts';
import { verdict } from '../../lib/verdict.ts';
import { Button, Empty, PageTitle, Panel, Problem } from '../parts.tsx';
import { ReplicaPicker } from '../replica-picker.tsx';
import { EntryDrawer } from './entry-drawer.tsx';
import { Lanes } from './lanes.tsx';
import { LogTable } from './log-table.tsx';

export type Entry = Outputs['log']['entries']['entries'][number];

const PAGE = 50;
const FOLLOW_MS = 1_000;

/** The log of one replica, newest page first, with the lanes of all of them above. */
export function LogPage() {
  const { frame } = useLive();
  const primary = useMemo(() => verdict(frame).primary, [frame]);
  const [picked, setPicked] = useState<number | null>(null);
  /** First index of the page; null follows the head. */
  const [from, setFrom] = useState<number | null>(null);
  const [open, setOpen] = useState<Entry | null>(null);
  const replica =
    picked ?? primary ?? frame?.replicas.find((r) => r.reach === 'live')?.id ?? frame?.replicas[0]?.id ?? null;
  const last = frame?.replicas.find((r) => r.id === replica)?.detail?.last ?? null;
  const head = last === null ? -1 : Number(last);
  /** Where this replica's log begins: what is below is in a snapshot. */
  const first = Number(frame?.replicas.find((r) => r.id === replica)?.detail?.first ?? 0);
  const page = useQuery({
    queryKey: ['log', replica, from],
    // Following the head is one query that is asked again and again; a page that is looked at stays.
    queryFn: () => api.log.entries.query({ replica: replica!, from: from === null ? null : String(from), limit: PAGE }),
    enabled: replica !== null && head >= 0,
    placeholderData: (previous, query) => (query?.queryKey[1] === replica ? previous : undefined),
    refetchInterval: from === null ? FOLLOW_MS : false,
  });
  const start = from ?? Number(page.data?.entries[0]?.index ?? 0);
  const rows = useMemo(() => (page.data?.entries ?? []).toReversed(), [page.data]);
  const go = (index: number) => setFrom(Math.max(first, Math.min(index, Math.max(first, head - PAGE + 1))));
  return (
    <>
      <PageTitle title="Log">One log, hash-chained; every replica must hold the same bytes.</PageTitle>
      {frame && <Lanes frame={frame} onPick={(id, index) => (setPicked(id), go(Math.max(0, index - PAGE / 2)))} />}
      <Panel
        title="Entries"
        meta={
          replica === null
            ? undefined
            : `on r${replica}${rows.length > 0 ? `, ${count(rows.at(-1)!.index)} to ${count(rows[0]!.index)} of ${count(last)}` : ''}`
        }
        actions={
          <>
            <GoTo onGo={(index) => go(index)} />
            {frame && replica !== null && (
              <ReplicaPicker replicas={frame.replicas} value={replica} onChange={setPicked} />
            )}
          </>
        }
        flush
      >
        {page.isError && <Problem message={messageOf(page.error)} retry={() => void page.refetch()} />}
        {head < 0 && !page.isError && (
          <Empty title="The log is empty" icon={<Rows3 size={22} aria-hidden />}>
            The first entry is the primary&apos;s no-op; commands follow. Submit one on the overview.
          </Empty>
        )}
        {head >= 0 && page.isPending && !page.isError && (
          <div className="flex flex-col gap-2 p-4" role="status" aria-busy="true" aria-label="loading entries">
            {Array.from({ length: 12 }, (_, row) => (
              <div key={row} className="skeleton h-5" />
            ))}
          </div>
        )}
        {page.data?.fault && (
          <Problem
            message={
              page.data.fault.kind === 'compacted'
                ? `r${replica} holds the log from index ${count(page.data.fault.index)} on; what is below is in a snapshot`
                : `r${replica} has no intact frame at index ${count(page.data.fault.index)} (${page.data.fault.kind}); it is repaired from a peer`
            }
          />
        )}
        {first > 0 && (from ?? start) <= first && (
          <p className="border-b border-line px-4 py-2 text-muted">
            r{replica} holds the log from index {count(first)} on: what is below the checkpoint is in its snapshots.
          </p>
        )}
        {rows.length > 0 && <LogTable rows={rows} commit={commitOf(frame, replica)} onOpen={setOpen} />}
        {head >= 0 && (
          <footer className="flex flex-wrap items-center gap-2 border-t border-line px-4 py-2">
            <Button size="sm" onClick={() => go(first)} disabled={start <= first} aria-label="First page">
              <ChevronFirst size={14} aria-hidden />
            </Button>
            <Button size="sm" onClick={() => go(start - PAGE)} disabled={start <= first}>
              <ChevronLeft size={14} aria-hidden /> Older
            </Button>
            <Button size="sm" onClick={() => go(start + PAGE)} disabled={from === null || start + PAGE > head}>
              Newer <ChevronRight size={14} aria-hidden />
            </Button>
            <Button size="sm" onClick={() => setFrom(null)} aria-pressed={from === null}>
              <ChevronLast size={14} aria-hidden /> {from === null ? 'Following the head' : 'Follow the head'}
            </Button>
          </footer>
        )}
      </Panel>
      {open && replica !== null && <EntryDrawer replica={replica} entry={open} onClose={() => setOpen(null)} />}
    </>
  );
}

function commitOf(frame: ReturnType<typeof useLive>['frame'], replica: number | null): number {
  return Number(frame?.replicas.find((r) => r.id === replica)?.detail?.commit ?? -1);
}

function GoTo({ onGo }: { onGo: (index: number) => void }) {
  const [text, setText] = useState('');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (/^\d{1,15}$/.test(text)) onGo(Number(text));
      }}
    >
      <input
        aria-label="Go to index"
        placeholder="go to index"
        inputMode="numeric"
        value={text}
        onChange={(event) => setText(event.target.value.replace(/\D/g, ''))}
        className="field h-7 w-28 font-mono text-xs"
      />
    </form>
  );
}
