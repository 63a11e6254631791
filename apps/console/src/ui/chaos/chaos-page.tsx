'use client';
import { useMutation } from '@tanstack/react-query';
import { FlaskConical, HeartPulse } from 'lucide-react';
import { useEffect, useMemo, useState } from 'react';
import { api, messageOf } from '../../live/api.ts';
import { useFreshness, useLive } from '../../live/live.tsx';
import { links as linksOf } from '../../lib/links.ts';
import { between, expect, isolate, linkOf, type LinkKey } from '../../lib/partition.ts';
import { majority, verdict } from '../../lib/verdict.ts';
import { EventsPanel } from '../overview/events-panel.tsx';
import { Button, PageTitle, Panel, Problem } from '../parts.tsx';
import { FaultList } from './fault-list.tsx';
import { Matrix, type Draft } from './matrix.tsx';
import { Processes } from './processes.tsx';

const TTLS = [
  [10_000, '10 s'],
  [30_000, '30 s'],
  [60_000, '1 min'],
  [120_000, '2 min'],
  [300_000, '5 min'],
  [600_000, '10 min'],
] as const;

/** Break the cluster on purpose, and watch it stay right. Every fault is a lease that the replicas themselves end. */
export function ChaosPage() {
  const { frame } = useLive();
  const { safe, state, sinceFrameMs } = useFreshness();
  const [draft, setDraft] = useState<Draft>(new Map());
  const [ttlMs, setTtlMs] = useState(30_000);
  const now = useMemo(() => verdict(frame), [frame]);
  const apply = useMutation({
    mutationFn: () => applyDraft(draft, frame!.faults, ttlMs),
    onSuccess: () => setDraft(new Map()),
  });
  const stop = useMutation({
    mutationFn: ({ kind, replica }: { kind: 'pause' | 'kill'; replica: number }) =>
      api.chaos[kind].mutate({ replica, ttlMs, reason: 'console' }),
  });
  const heal = useMutation({ mutationFn: (ids: string[]) => api.chaos.heal.mutate({ ids }) });
  const healAll = useMutation({ mutationFn: () => api.chaos.healAll.mutate(), onSuccess: () => setDraft(new Map()) });
  const { mutate: doHealAll } = healAll;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.shiftKey && event.key === 'H' && !(event.target as HTMLElement).closest('input, textarea, select'))
        doHealAll();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [doHealAll]);

  const known = frame?.replicas.some((r) => r.detail) ?? false;
  const enabled = frame?.replicas.some((r) => r.detail?.chaosEnabled) ?? false;
  const why = !known
    ? 'no replica has answered yet'
    : !enabled
      ? 'chaos is off: start the cluster with --enable-chaos, on data formatted dev'
      : !safe
        ? `the picture is ${state}: what a fault would act on is not known`
        : null;
  const ttlText = TTLS.find(([ms]) => ms === ttlMs)![1];
  return (
    <>
      <PageTitle title="Chaos">
        Real faults on real processes. Each is a lease: it ends by itself, also when this page is gone.
      </PageTitle>
      <div className="relative overflow-hidden rounded-lg border border-line bg-surface">
        <div className="hazard h-1.5" aria-hidden />
        <div className="flex flex-wrap items-center gap-3 px-4 py-3">
          <p className="flex min-w-0 flex-1 basis-64 items-center gap-2 text-muted">
            <FlaskConical size={16} aria-hidden className="tone-warn shrink-0" />
            {why === null
              ? 'Chaos is enabled: what you apply here breaks this cluster’s links and processes.'
              : `Disabled: ${why}.`}
          </p>
          <Button tone="danger" size="lg" onClick={() => doHealAll()} title="Shift+H" className="max-sm:w-full">
            <HeartPulse size={17} aria-hidden /> {healAll.isPending ? 'Healing…' : 'Heal all'}
          </Button>
        </div>
      </div>
      <Outcome mutations={[apply, stop, heal, healAll]} />
      {!frame ? (
        <div className="skeleton h-72" role="status" aria-busy="true" aria-label="waiting for the first answer" />
      ) : (
        <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1.5fr)_minmax(0,1fr)]">
          <div className="flex min-w-0 flex-col gap-4">
            <Links
              draft={draft}
              setDraft={setDraft}
              disabled={why !== null}
              why={why}
              ttlMs={ttlMs}
              setTtlMs={setTtlMs}
              busy={apply.isPending}
              onApply={() => apply.mutate()}
              primary={now.primary}
            />
            <Processes
              frame={frame}
              primary={now.primary}
              disabled={why !== null}
              why={why}
              ttlText={ttlText}
              onStop={(kind, replica) => stop.mutate({ kind, replica })}
            />
          </div>
          <div className="flex min-w-0 flex-col gap-4">
            <FaultList
              frame={frame}
              sinceFrameMs={sinceFrameMs}
              busy={heal.isPending}
              onHeal={(fault) => heal.mutate([...fault.ids])}
            />
            <EventsPanel limit={10} />
          </div>
        </div>
      )}
    </>
  );
}

async function applyDraft(draft: Draft, faults: readonly { key: string; ids: readonly string[] }[], ttlMs: number) {
  const of = (what: 'cut' | 'heal') => [...draft].filter(([, kind]) => kind === what).map(([key]) => linkOf(key));
  const heals = of('heal').flatMap(({ from, to }) => faults.find(({ key }) => key === `cut:${from}:${to}`)?.ids ?? []);
  if (heals.length > 0) await api.chaos.heal.mutate({ ids: heals });
  const cuts = of('cut');
  if (cuts.length > 0) return api.chaos.cut.mutate({ links: cuts, ttlMs, reason: 'console' });
  return null;
}

/** What the last actions came to, when somebody did not take part. */
function Outcome({
  mutations,
}: {
  mutations: readonly {
    error: unknown;
    data?: { failed: readonly { who: string; why: string }[] } | null | undefined;
  }[];
}) {
  const lines = mutations.flatMap(({ error, data }) => [
    ...(error ? [messageOf(error)] : []),
    ...(data?.failed ?? []).map(
      ({ who, why }) => `${who} did not take part: ${why}. A lease that it holds ends by itself.`,
    ),
  ]);
  return lines.length === 0 ? null : (
    <div className="-my-2">
      {[...new Set(lines)].map((line) => (
        <Problem key={line} message={line} />
      ))}
    </div>
  );
}

function Links(props: {
  draft: Draft;
  setDraft: (draft: Draft) => void;
  disabled: boolean;
  why: string | null;
  ttlMs: number;
  setTtlMs: (ms: number) => void;
  busy: boolean;
  onApply: () => void;
  primary: number | null;
}) {
  const { draft, setDraft, disabled, why, ttlMs, setTtlMs, busy, onApply, primary } = props;
  const { frame } = useLive();
  const { sinceFrameMs } = useFreshness();
  const links = useMemo(() => linksOf(frame!), [frame]);
  const ids = frame!.replicas.map((r) => r.id);
  const toggle = (keys: readonly LinkKey[]) => {
    const next = new Map(draft);
    const all = keys.every((key) => next.has(key));
    for (const key of keys) {
      if (all) next.delete(key);
      else next.set(key, links.get(key)?.state === 'cut' ? 'heal' : 'cut');
    }
    setDraft(next);
  };
  const preset = (keys: readonly LinkKey[]) =>
    setDraft(new Map(keys.filter((key) => links.get(key)?.state !== 'cut').map((key) => [key, 'cut'])));
  const after = new Set(
    [...links.values()]
      .filter(({ key, state }) => (state === 'cut' ? draft.get(key) !== 'heal' : draft.get(key) === 'cut'))
      .map(({ key }) => key),
  );
  const out = frame!.replicas.filter((r) => r.reach !== 'live').map((r) => r.id);
  const effect = expect(ids, primary, after, out);
  const others = ids.filter((id) => id !== primary);
  const minority =
    primary === null
      ? ids.slice(0, ids.length - majority(ids.length))
      : [primary, ...others].slice(0, ids.length - majority(ids.length));
  return (
    <Panel
      title="Links"
      meta="click: one way · Shift+click: both ways · header: isolate"
      actions={
        <>
          <Button size="sm" disabled={disabled || primary === null} onClick={() => preset(isolate(primary!, ids))}>
            Isolate primary
          </Button>
          <Button
            size="sm"
            disabled={disabled || ids.length < 3}
            onClick={() =>
              preset(
                between(
                  minority,
                  ids.filter((id) => !minority.includes(id)),
                ),
              )
            }
          >
            Majority | minority
          </Button>
        </>
      }
    >
      <div className="grid gap-4 sm:grid-cols-[minmax(0,1.4fr)_minmax(0,1fr)]">
        <Matrix
          ids={ids}
          links={links}
          draft={draft}
          primary={primary}
          sinceFrameMs={sinceFrameMs}
          disabled={disabled}
          onToggle={toggle}
        />
        <div className="flex min-w-0 flex-col gap-3">
          <section
            aria-label="What to expect"
            className="rounded-md border border-line bg-raised p-3"
            aria-live="polite"
          >
            <p className="text-xs text-faint">{draft.size > 0 ? 'After Apply' : 'Now'}</p>
            <p className="font-mono font-medium">{effect.sides || 'nobody is up'}</p>
            {effect.lines.map((line) => (
              <p key={line} className={`mt-1 ${effect.tone === 'bad' ? 'tone-bad font-medium' : 'text-muted'}`}>
                {line}
              </p>
            ))}
          </section>
          <label className="flex items-center justify-between gap-2">
            <span className="text-muted">Ends by itself after</span>
            <select
              className="field"
              value={ttlMs}
              disabled={disabled}
              onChange={(event) => setTtlMs(Number(event.target.value))}
            >
              {TTLS.map(([ms, text]) => (
                <option key={ms} value={ms}>
                  {text}
                </option>
              ))}
            </select>
          </label>
          <div className="flex gap-2">
            <Button
              tone="primary"
              className="flex-1"
              disabled={disabled || draft.size === 0 || busy}
              title={why ?? undefined}
              onClick={onApply}
            >
              {busy
                ? 'Applying…'
                : draft.size > 0
                  ? `Apply ${draft.size} ${draft.size === 1 ? 'change' : 'changes'}`
                  : 'Apply'}
            </Button>
            <Button disabled={draft.size === 0} onClick={() => setDraft(new Map())}>
              Discard
            </Button>
          </div>
        </div>
      </div>
    </Panel>
  );
}
