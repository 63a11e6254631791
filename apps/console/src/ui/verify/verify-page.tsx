'use client';
import { CircleCheck, CircleHelp, LoaderCircle, OctagonX, ShieldCheck } from 'lucide-react';
import { useEffect, useRef } from 'react';
import { useFreshness, useLive } from '../../live/live.tsx';
import { bytes, count, duration, timeOfDay } from '../../lib/format.ts';
import { judge, type Judgement, type LaneReport, type VerifyReport } from '../../worker/protocol.ts';
import { Hash } from '../hash.tsx';
import { Bar, Button, PageTitle, Panel, Tag, type Tone } from '../parts.tsx';
import { ScrubPanel } from './scrub-panel.tsx';
import { useVerification, type Run } from './use-verification.ts';

const LOOK: Record<Judgement['level'], { tone: Tone; icon: typeof CircleCheck; word: string }> = {
  verified: { tone: 'ok', icon: CircleCheck, word: 'Verified' },
  fault: { tone: 'bad', icon: OctagonX, word: 'Does not verify' },
  'not-verified': { tone: 'warn', icon: CircleHelp, word: 'Not verified' },
  running: { tone: 'info', icon: LoaderCircle, word: 'Verifying' },
};

/** Re-computes every hash of every replica's log in this browser. Green is only ever its own arithmetic. */
export function VerifyPage() {
  const { frame } = useLive();
  const { safe } = useFreshness();
  const { run, start } = useVerification();
  const ids = frame?.replicas.map((r) => r.id) ?? [];
  const target = Math.max(
    -1,
    ...(frame?.replicas ?? []).map((r) => (r.reach === 'live' ? Number(r.detail?.commit ?? -1) : -1)),
  );
  const begin = () => start(ids, target);
  const begun = useRef(false);
  useEffect(() => {
    if (begun.current || frame === null || frame.replicas.every((r) => r.reach === 'never')) return;
    begun.current = true;
    start(
      frame.replicas.map((r) => r.id),
      target,
    );
  }, [frame, target, start]);
  const running = run.report !== null && !run.report.finished && run.problem === null;
  return (
    <>
      <PageTitle title="Verify">This browser asks each replica for its raw log and checks every byte itself.</PageTitle>
      <Result run={run} waiting={frame === null} behind={behind(run.report, target)} />
      <Panel
        title="Replicas"
        meta={run.report ? `target index ${count(run.report.target < 0 ? null : run.report.target)}` : undefined}
        actions={
          <Button tone="primary" onClick={begin} disabled={!safe || running || ids.length === 0}>
            <ShieldCheck size={14} aria-hidden /> {running ? 'Verifying…' : 'Verify again from index 0'}
          </Button>
        }
        flush
      >
        {run.report ? (
          <ul className="divide-y divide-line">
            {run.report.lanes.map((lane) => (
              <LaneRow key={lane.replica} lane={lane} first={run.report!.first} target={run.report!.target} />
            ))}
          </ul>
        ) : (
          <div className="flex flex-col gap-3 p-4" role="status" aria-busy="true" aria-label="waiting for the replicas">
            {[0, 1, 2].map((row) => (
              <div key={row} className="skeleton h-9" />
            ))}
          </div>
        )}
      </Panel>
      {frame && <ScrubPanel frame={frame} />}
      <Panel title="What is checked">
        <ul className="grid max-w-4xl gap-x-8 gap-y-1 text-muted sm:grid-cols-2">
          <li>CRC32C of each header</li>
          <li>BLAKE3 of each payload against the header</li>
          <li>BLAKE3 chain: each entry names the hash of the one before it, from 16 zero bytes at index 0</li>
          <li>each index follows the one before it, without a gap</li>
          <li>the chain hashes of all replicas are equal at every index</li>
          <li>no hash field of the API is used: only the raw bytes</li>
        </ul>
        <p className="mt-3 max-w-prose text-xs text-faint">
          An answer that is empty, stalled, cut short or missing makes the result “not verified”, never green. What this
          page cannot know: that the bytes it was sent are the ones on the disk.{' '}
          <code className="font-mono">chronon log verify</code> on the machine itself checks that.
        </p>
      </Panel>
    </>
  );
}

/** Entries committed since the run's target was chosen. */
function behind(report: VerifyReport | null, commit: number): number {
  return report?.finished ? Math.max(0, commit - report.target) : 0;
}

function Result({ run, waiting, behind: newer }: { run: Run; waiting: boolean; behind: number }) {
  const judgement: Judgement = run.problem
    ? { level: 'not-verified', sentence: 'Not verified.', details: [run.problem] }
    : run.report
      ? judge(run.report)
      : {
          level: 'running',
          sentence: waiting ? 'Waiting for the first answer of the cluster…' : 'Starting…',
          details: [],
        };
  const { tone, icon: Icon, word } = LOOK[judgement.level];
  return (
    <section
      aria-label="Result"
      className="relative overflow-hidden rounded-lg border border-line bg-surface px-5 py-4 sm:pl-6"
    >
      <div className={`tone-${tone} absolute inset-y-0 left-0 w-1 bg-current`} aria-hidden />
      <p className={`tone-${tone} flex items-center gap-1.5 text-xs font-semibold`}>
        <Icon size={15} aria-hidden className={judgement.level === 'running' ? 'animate-spin' : ''} /> {word}
      </p>
      <p
        data-testid="verify-result"
        data-level={judgement.level}
        aria-live="polite"
        className="mt-1 text-base leading-6 font-medium break-words sm:text-lg"
      >
        {judgement.sentence}
      </p>
      {judgement.details.length > 0 && (
        <ul className="mt-2 flex flex-col gap-0.5 text-muted">
          {judgement.details.map((line) => (
            <li key={line} className="break-words">
              {line}
            </li>
          ))}
        </ul>
      )}
      {run.report?.finished && (
        <p className="mt-2 text-xs text-faint">
          {run.finishedAtMs !== null && `at ${timeOfDay(run.finishedAtMs)}, `}took {duration(run.report.elapsedMs)}
          {newer > 0 && `; ${count(newer)} entries were committed since and are not covered`}
        </p>
      )}
    </section>
  );
}

const LANE_LOOK: Record<LaneReport['state'], { tone: Tone; word: string }> = {
  verifying: { tone: 'info', word: 'verifying' },
  waiting: { tone: 'warn', word: 'waiting' },
  reached: { tone: 'ok', word: 'reached the target' },
  fault: { tone: 'bad', word: 'fault' },
  'given-up': { tone: 'warn', word: 'not verified' },
};

function LaneRow({ lane, first, target }: { lane: LaneReport; first: number; target: number }) {
  const { tone, word } = LANE_LOOK[lane.state];
  const share = target < 0 ? 0 : (lane.verified + 1) / (target + 1);
  return (
    <li className="flex flex-col gap-1.5 px-4 py-2.5" data-testid={`lane-${lane.replica}`} data-state={lane.state}>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <span className="w-8 font-semibold">r{lane.replica}</span>
        <Tag tone={tone}>{word}</Tag>
        <span className="font-mono">
          {lane.bytes === 0 ? 'nothing verified' : `${count(first)}..${count(lane.verified)}`}
        </span>
        <span className="text-muted">{bytes(lane.bytes)}</span>
        <span className="ml-auto">
          <Hash value={lane.hash} />
        </span>
      </div>
      <Bar tone={tone} share={share} label="of the target verified" />
      {(lane.fault || lane.why) && (
        <p className={`tone-${tone} text-xs break-words`}>
          {lane.fault ? `index ${count(lane.fault.index)}: ${lane.fault.what}` : lane.why}
        </p>
      )}
    </li>
  );
}
