import { CircleCheck, CircleHelp, OctagonX, Split, TriangleAlert } from 'lucide-react';
import type { VerdictLevel } from '../lib/verdict.ts';
import type { Tone } from './parts.tsx';

export const VERDICT_TONE: Record<VerdictLevel, Tone> = {
  committing: 'ok',
  degraded: 'warn',
  'no-quorum': 'bad',
  diverged: 'bad',
  unknown: 'mute',
};

const ICON = {
  committing: CircleCheck,
  degraded: TriangleAlert,
  'no-quorum': OctagonX,
  diverged: Split,
  unknown: CircleHelp,
} as const;

export function VerdictIcon({ level, size = 14 }: { level: VerdictLevel; size?: number }) {
  const Icon = ICON[level];
  return <Icon size={size} aria-hidden className="shrink-0" strokeWidth={2.25} />;
}

export function VerdictChip({ level, title }: { level: VerdictLevel; title: string }) {
  return (
    <span
      className={`tone-${VERDICT_TONE[level]} soft inline-flex h-7 items-center gap-1.5 rounded-md px-2 text-[0.8125rem] font-semibold whitespace-nowrap`}
    >
      <VerdictIcon level={level} />
      {title}
    </span>
  );
}
