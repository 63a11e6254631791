'use client';
import { clsx } from 'clsx';
import { CircleDashed, CircleOff, Crown, RefreshCw, UserRound } from 'lucide-react';
import { useFreshness } from '../../live/live.tsx';
import { agreement } from '../../lib/agreement.ts';
import { count, duration } from '../../lib/format.ts';
import type { ClusterFrame, ReplicaDetail, ReplicaView } from '../../lib/frame.ts';
import { Hash } from '../hash.tsx';
import { Panel, Tag, type Tone } from '../parts.tsx';
import { Watermarks, watermarkScale } from './watermarks.tsx';

const HEAD = [
  'Replica',
  'Status',
  'View',
  'Commit',
  'Applied',
  'Durable',
  'Last',
  'Position',
  'Digest',
  'Disk',
  'Answer',
];

/** One row a replica: what it says of itself, how old that is, and whether its digest equals the others'. */
export function ReplicaTable({ frame }: { frame: ClusterFrame }) {
  const live = frame.replicas.filter((r) => r.reach === 'live').length;
  const scale = watermarkScale(frame);
  return (
    <Panel title="Replicas" meta={`${live} of ${frame.replicas.length} answer`} flush>
      <div role="table" aria-label="Replicas" className="text-[0.8125rem]">
        <div
          role="row"
          className="hidden grid-cols-(--cols) gap-x-3 border-b border-line px-4 py-1.5 text-xs text-faint xl:grid"
        >
          {HEAD.map((name, i) => (
            <div role="columnheader" key={name} className={i >= 2 && i <= 6 ? 'text-right' : ''}>
              {name}
            </div>
          ))}
        </div>
        {frame.replicas.map((replica) => (
          <ReplicaRow key={replica.id} replica={replica} frame={frame} scale={scale} />
        ))}
      </div>
    </Panel>
  );
}

type RowProps = { replica: ReplicaView; frame: ClusterFrame; scale: ReturnType<typeof watermarkScale> };

function ReplicaRow({ replica, frame, scale }: RowProps) {
  const { sinceFrameMs, state } = useFreshness();
  const { detail } = replica;
  const gone = replica.reach !== 'live' || state === 'stale' || state === 'offline';
  const ageMs = replica.ageMs === null ? null : replica.ageMs + sinceFrameMs;
  return (
    <div
      role="row"
      data-testid={`replica-${replica.id}`}
      data-role={detail?.role ?? 'none'}
      data-reach={replica.reach}
      className={clsx(
        'grid grid-cols-3 items-center gap-x-3 gap-y-2 border-b border-line px-4 py-3 last:border-b-0 sm:grid-cols-5 xl:grid-cols-(--cols) xl:py-2',
        gone && 'hatch',
      )}
    >
      <Cell className="col-span-2 sm:col-span-2 xl:col-span-1">
        <Who replica={replica} dim={gone} />
      </Cell>
      <Cell className="text-right sm:text-left">
        <StatusTag replica={replica} gone={gone} />
      </Cell>
      <Num name="View" value={detail?.view} dim={gone} />
      <Num name="Commit" value={detail?.commit} dim={gone} />
      <Num name="Applied" value={detail?.applied} dim={gone} />
      <Num name="Durable" value={detail?.durable} dim={gone} />
      <Num name="Last" value={detail?.last} dim={gone} />
      <Cell className="col-span-3 sm:col-span-2 xl:col-span-1">
        {detail ? <Watermarks detail={detail} scale={scale} dim={gone} /> : <span className="text-faint">–</span>}
      </Cell>
      <Cell>{detail && <Digest frame={frame} detail={detail} gone={gone} />}</Cell>
      <Cell className={gone ? 'text-faint' : ''}>{detail && <Disk detail={detail} />}</Cell>
      <Cell className="text-xs">
        {replica.reach === 'live' && !gone ? (
          <span className="text-muted" title={`answered in ${replica.answeredInMs?.toFixed(0)} ms`}>
            {ageMs === null ? '–' : `${(ageMs / 1000).toFixed(1)} s ago`}
          </span>
        ) : (
          <span className="tone-bad font-medium" title={replica.error ?? undefined}>
            {ageMs === null ? 'never answered' : `last seen ${duration(ageMs)} ago`}
            {replica.process && replica.process.state !== 'running' && (
              <span className="block font-normal text-muted">process {replica.process.state}</span>
            )}
          </span>
        )}
      </Cell>
    </div>
  );
}

function Cell({ children, className }: { children?: React.ReactNode; className?: string }) {
  return (
    <div role="cell" className={clsx('min-w-0', className)}>
      {children}
    </div>
  );
}

function Num({ name, value, dim }: { name: string; value: string | null | undefined; dim: boolean }) {
  return (
    <div role="cell" className={clsx('min-w-0 xl:text-right', dim && 'text-faint')}>
      <span className="block text-2xs text-faint xl:hidden">{name}</span>
      <span className="font-mono" data-field={name.toLowerCase()}>
        {count(value)}
      </span>
    </div>
  );
}

function Who({ replica, dim }: { replica: ReplicaView; dim: boolean }) {
  const detail = replica.detail;
  const primary = detail?.role === 'primary';
  const Icon = dim ? CircleOff : primary ? Crown : detail?.role === 'backup' ? UserRound : CircleDashed;
  return (
    <span className="flex items-center gap-2">
      <Icon
        size={15}
        aria-hidden
        className={clsx('shrink-0', dim ? 'text-faint' : primary ? 'text-accent' : 'text-muted')}
      />
      <span className="font-semibold">r{replica.id}</span>
      <span className={clsx('truncate', dim ? 'text-faint' : primary ? 'font-medium text-accent' : 'text-muted')}>
        {detail ? `${dim ? 'was ' : ''}${detail.role === 'none' ? 'no role' : detail.role}` : 'unknown'}
      </span>
    </span>
  );
}

function StatusTag({ replica, gone }: { replica: ReplicaView; gone: boolean }) {
  const detail = replica.detail;
  if (replica.reach !== 'live' || !detail) return <Tag tone="bad">unreachable</Tag>;
  if (gone) return <Tag tone="mute">was {detail.status}</Tag>;
  const tone: Tone = detail.diverged !== null ? 'bad' : detail.status === 'normal' ? 'ok' : 'warn';
  const word = detail.diverged !== null ? 'quarantined' : detail.status;
  const extra = detail.readOnly ? ', read-only' : detail.abdicated ? ', stepped down' : '';
  return (
    <Tag tone={tone} title={detail.notes.join('\n') || undefined}>
      {detail.status !== 'normal' && <RefreshCw size={11} aria-hidden />}
      {word}
      {extra}
    </Tag>
  );
}

function Digest({ frame, detail, gone }: { frame: ClusterFrame; detail: ReplicaDetail; gone: boolean }) {
  const { tone, word, detail: why } = agreement(frame, detail);
  return (
    <span className="flex items-center gap-x-1.5 whitespace-nowrap" title={why}>
      <span className={`tone-${gone ? 'mute' : tone} text-xs font-medium`}>
        {tone === 'ok' ? '= ' : tone === 'bad' ? '≠ ' : ''}
        {word}
      </span>
      <Hash value={detail.digest} />
    </span>
  );
}

function Disk({ detail }: { detail: ReplicaDetail }) {
  const { kind, fallbackReason, fileSystem, barriers } = detail.disk;
  return (
    <span
      className="block min-w-0 text-xs leading-4"
      title={`${count(barriers)} barriers on ${fileSystem ?? 'unknown file system'}${fallbackReason ? `\n${fallbackReason}` : ''}`}
    >
      <span className="font-mono">{kind}</span> <span className="text-faint">{fileSystem}</span>
      {fallbackReason && <span className="tone-warn block truncate">fallback: {fallbackReason}</span>}
    </span>
  );
}
