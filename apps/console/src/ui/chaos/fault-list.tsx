'use client';
import { HeartPulse, ShieldCheck } from 'lucide-react';
import type { ClusterFrame, Fault } from '../../lib/frame.ts';
import { count } from '../../lib/format.ts';
import { Hash } from '../hash.tsx';
import { Button, Panel } from '../parts.tsx';

/** A ring that empties as the lease runs out. */
function Ring({ share }: { share: number }) {
  const round = 2 * Math.PI * 8;
  return (
    <svg width="22" height="22" viewBox="0 0 22 22" aria-hidden className="shrink-0 -rotate-90">
      <circle cx="11" cy="11" r="8" fill="none" stroke="var(--line)" strokeWidth="3" />
      <circle
        cx="11"
        cy="11"
        r="8"
        fill="none"
        stroke="var(--warn)"
        strokeWidth="3"
        strokeDasharray={`${Math.max(0, Math.min(1, share)) * round} ${round}`}
      />
    </svg>
  );
}

export function faultName(fault: Fault): string {
  if (fault.kind === 'cut') return `link r${fault.replica} to r${fault.to} cut`;
  return `r${fault.replica} ${fault.kind === 'kill' ? 'killed' : 'paused'}`;
}

/** What is broken on purpose right now, with the time left; and, once nothing is, whether the replicas are one again. */
export function FaultList(props: {
  frame: ClusterFrame;
  sinceFrameMs: number;
  busy: boolean;
  onHeal: (fault: Fault) => void;
}) {
  const { frame, sinceFrameMs, busy, onHeal } = props;
  const { faults, agreed } = frame;
  const one = agreed !== null && agreed.replicas.length === frame.replicas.length && frame.mismatch === null;
  return (
    <Panel title="Active faults" meta={faults.length === 0 ? 'none' : `${faults.length}, each ends by itself`} flush>
      {faults.length === 0 && (
        <p className="flex items-start gap-2 px-4 py-3 text-muted" data-testid="converged" data-converged={one}>
          <ShieldCheck size={16} aria-hidden className={one ? 'tone-ok mt-0.5 shrink-0' : 'mt-0.5 shrink-0'} />
          {one ? (
            <span>
              Nothing is broken on purpose. All {frame.replicas.length} replicas had one digest at index{' '}
              {count(agreed.index)} <Hash value={agreed.digest} />
            </span>
          ) : (
            <span>Nothing is broken on purpose. Not all replicas were seen at one index yet.</span>
          )}
        </p>
      )}
      {faults.length > 0 && (
        <ul className="divide-y divide-line" aria-label="Active faults">
          {faults.map((fault) => {
            const left = Math.max(0, fault.remainingMs - sinceFrameMs);
            return (
              <li key={fault.key} className="flex items-center gap-3 px-4 py-2" data-testid={`fault-${fault.key}`}>
                <Ring share={left / Math.max(1, fault.ttlMs)} />
                <span className="min-w-0 flex-1">
                  <span className="font-medium">{faultName(fault)}</span>
                  <span className="block truncate text-xs text-muted">
                    <span className="font-mono">{Math.ceil(left / 1000)}</span> s left, stated by{' '}
                    {fault.statedBy.join(', ')}
                    {fault.reason && ` · ${fault.reason}`}
                  </span>
                </span>
                <Button
                  size="sm"
                  disabled={busy}
                  onClick={() => onHeal(fault)}
                  aria-label={`Heal: ${faultName(fault)}`}
                >
                  <HeartPulse size={13} aria-hidden /> Heal
                </Button>
              </li>
            );
          })}
        </ul>
      )}
    </Panel>
  );
}
