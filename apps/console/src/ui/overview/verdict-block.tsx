'use client';
import { useFreshness } from '../../live/live.tsx';
import { count, duration, rate } from '../../lib/format.ts';
import type { ClusterFrame } from '../../lib/frame.ts';
import type { Verdict } from '../../lib/verdict.ts';
import { Hash } from '../hash.tsx';
import { Sparkline } from '../sparkline.tsx';
import { VERDICT_TONE, VerdictIcon } from '../verdict-chip.tsx';

const EMPTY = '–';

/** The one sentence, why it is so, and the four numbers behind it. */
export function VerdictBlock({ frame, verdict }: { frame: ClusterFrame; verdict: Verdict }) {
  const { state } = useFreshness();
  const old = state === 'stale' || state === 'offline';
  const tone = old ? 'mute' : VERDICT_TONE[verdict.level];
  return (
    <section
      aria-label="Verdict"
      className={`relative overflow-hidden rounded-lg border border-line bg-surface ${old ? 'hatch' : ''}`}
    >
      <div className={`tone-${tone} absolute inset-y-0 left-0 w-1 bg-current`} aria-hidden />
      <div className="px-5 pt-4 pb-4 sm:pl-6">
        <p className={`tone-${tone} flex items-center gap-1.5 text-xs font-semibold`}>
          <VerdictIcon level={old ? 'unknown' : verdict.level} size={15} /> {verdict.title}
          {old && <span className="text-muted">as of the last picture</span>}
        </p>
        <h1
          data-testid="verdict"
          data-level={verdict.level}
          className="mt-1 text-lg leading-7 font-medium tracking-tight text-balance sm:text-xl"
        >
          {verdict.sentence}
        </h1>
        {verdict.reasons.length > 0 && (
          <ul className="mt-2 flex flex-col gap-0.5 text-muted" aria-label="Reasons">
            {verdict.reasons.slice(0, 6).map((reason) => (
              <li key={reason} className="flex gap-2">
                <span aria-hidden className="text-faint">
                  ·
                </span>
                <span className="min-w-0 break-words">{reason}</span>
              </li>
            ))}
          </ul>
        )}
      </div>
      <dl className="grid grid-cols-2 border-t border-line sm:grid-cols-4 [&>div]:border-line [&>div]:px-5 [&>div]:py-3 sm:[&>div:not(:last-child)]:border-r sm:[&>div:first-child]:pl-6 max-sm:[&>div:nth-child(-n+2)]:border-b max-sm:[&>div:nth-child(odd)]:border-r">
        <Figure name="Commit index" value={count(verdict.commit)}>
          greatest that any replica knows
        </Figure>
        <div className="min-w-0">
          <dt className="text-xs text-faint">Commits a second</dt>
          <dd className="flex items-end gap-3">
            <span className="font-mono text-lg leading-7 font-medium">{rate(frame.commitsPerSecond)}</span>
            <span className="min-w-0 flex-1">
              <Sparkline values={frame.history} label={historyLabel(frame.history)} />
            </span>
          </dd>
        </div>
        <Figure
          name="Primary and view"
          value={verdict.primary === null ? 'none' : `r${verdict.primary} · view ${count(verdict.view)}`}
        >
          {verdict.sinceViewChangeMs === null
            ? 'no view change yet'
            : `last view change ${duration(verdict.sinceViewChangeMs)} ago`}
        </Figure>
        <Figure name="Digests compared at" value={frame.agreed ? count(frame.agreed.index) : EMPTY}>
          {frame.agreed ? (
            <span className="inline-flex items-center gap-1.5">
              {frame.agreed.replicas.map((id) => `r${id}`).join(' = ')} <Hash value={frame.agreed.digest} />
            </span>
          ) : (
            'no two replicas seen at one index yet'
          )}
        </Figure>
      </dl>
    </section>
  );
}

function historyLabel(history: readonly (number | null)[]): string {
  const known = history.filter((value) => value !== null);
  if (known.length === 0) return 'no commits observed in the last minute';
  return `commits a second over the last minute: at most ${count(Math.max(...known))}, ${count(known.reduce((a, b) => a + b, 0))} in all`;
}

function Figure({ name, value, children }: { name: string; value: string; children: React.ReactNode }) {
  return (
    <div className="min-w-0">
      <dt className="text-xs text-faint">{name}</dt>
      <dd>
        <span className="font-mono text-lg leading-7 font-medium">{value}</span>
        <span className="block text-xs leading-4 text-muted">{children}</span>
      </dd>
    </div>
  );
}
