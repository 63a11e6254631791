/** Where a replica stands against the others, drawn: applied (solid), commit (dashed), durable (dotted), last (arrow). */
import type { ClusterFrame, ReplicaDetail } from '../../lib/frame.ts';
import { count } from '../../lib/format.ts';

const WIDTH = 160;
const HEIGHT = 16;
const WINDOW_MIN = 64;

export interface WatermarkScale {
  readonly low: number;
  readonly high: number;
}

const numbers = (detail: ReplicaDetail) =>
  [detail.commit, detail.applied, detail.durable, detail.last].map((value) => (value === null ? -1 : Number(value)));

/** All rows share one scale: from somewhat behind the last replica to the head of the foremost. */
export function watermarkScale(frame: ClusterFrame): WatermarkScale {
  const all = frame.replicas.flatMap((r) => (r.detail ? numbers(r.detail) : []));
  if (all.length === 0) return { low: 0, high: 1 };
  const high = Math.max(...all);
  const span = Math.max(WINDOW_MIN, (high - Math.min(...all)) * 1.25);
  return { low: high - span, high };
}

export function Watermarks({ detail, scale, dim }: { detail: ReplicaDetail; scale: WatermarkScale; dim: boolean }) {
  const [commit, applied, durable, last] = numbers(detail) as [number, number, number, number];
  const x = (value: number) => 1 + Math.max(0, (value - scale.low) / (scale.high - scale.low)) * (WIDTH - 8);
  const behind = scale.high - applied;
  const words = `r${detail.id}: applied ${count(detail.applied)}, committed ${count(detail.commit)}, durable ${count(detail.durable)}, last ${count(detail.last)}; ${count(behind)} behind the head`;
  const colour = dim ? 'var(--faint)' : 'var(--accent)';
  return (
    <span className="flex items-center gap-2" title={words}>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={words}
        className="h-4 min-w-0 flex-1"
      >
        <rect x="1" y="6" width={WIDTH - 8} height="4" rx="2" fill="var(--line)" />
        <rect x="1" y="6" width={Math.max(0, x(applied) - 1)} height="4" rx="2" fill={colour} />
        <line
          x1={x(durable)}
          x2={x(durable)}
          y1="2"
          y2="14"
          stroke="var(--text)"
          strokeWidth="1.5"
          strokeDasharray="1.5 1.5"
        />
        <line x1={x(commit)} x2={x(commit)} y1="1" y2="15" stroke={colour} strokeWidth="2" strokeDasharray="4 2" />
        <path d={`M${x(last)} 3 l5 5 l-5 5`} fill="none" stroke="var(--text)" strokeWidth="1.5" />
      </svg>
      <span className="w-14 shrink-0 text-right font-mono text-xs text-muted">
        {dim ? '' : behind > 0 ? `−${count(behind)}` : 'at head'}
      </span>
    </span>
  );
}
