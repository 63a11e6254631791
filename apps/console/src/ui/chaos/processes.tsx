'use client';
import { Pause, Skull } from 'lucide-react';
import { useState } from 'react';
import type { ClusterFrame } from '../../lib/frame.ts';
import { expect } from '../../lib/partition.ts';
import { Confirm } from '../confirm.tsx';
import { Button, Panel, Tag } from '../parts.tsx';

type Ask = { kind: 'pause' | 'kill'; replica: number };

/** Pause and kill, one replica a row; each asks first and says what to expect. */
export function Processes(props: {
  frame: ClusterFrame;
  primary: number | null;
  disabled: boolean;
  why: string | null;
  ttlText: string;
  onStop: (kind: 'pause' | 'kill', replica: number) => void;
}) {
  const { frame, primary, disabled, why, ttlText, onStop } = props;
  const [ask, setAsk] = useState<Ask | null>(null);
  const ids = frame.replicas.map((r) => r.id);
  const out = frame.replicas.filter((r) => r.reach !== 'live').map((r) => r.id);
  return (
    <Panel title="Processes" meta="SIGSTOP and SIGKILL of the real process" flush>
      <ul className="divide-y divide-line">
        {frame.replicas.map(({ id, reach, detail }) => {
          const fault = frame.faults.find((f) => f.kind !== 'cut' && f.replica === id);
          const off = disabled || reach !== 'live' || fault !== undefined;
          return (
            <li key={id} className="flex flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2">
              <span className="font-semibold">r{id}</span>
              <span className="text-muted">
                {reach === 'live' ? detail?.role : 'silent'}
                {typeof detail?.pid === 'number' && reach === 'live' && (
                  <span className="ml-2 font-mono text-xs text-faint">pid {detail.pid}</span>
                )}
              </span>
              {fault && <Tag tone="warn">{fault.kind === 'kill' ? 'killed' : 'paused'}</Tag>}
              <span className="ml-auto flex gap-2">
                <Button
                  size="sm"
                  disabled={off}
                  title={why ?? undefined}
                  aria-label={`Pause r${id}`}
                  onClick={() => setAsk({ kind: 'pause', replica: id })}
                >
                  <Pause size={13} aria-hidden /> Pause
                </Button>
                <Button
                  size="sm"
                  disabled={off}
                  title={why ?? undefined}
                  aria-label={`Kill r${id}`}
                  onClick={() => setAsk({ kind: 'kill', replica: id })}
                >
                  <Skull size={13} aria-hidden /> Kill
                </Button>
              </span>
            </li>
          );
        })}
      </ul>
      {ask && (
        <Confirm
          title={`${ask.kind === 'kill' ? 'Kill' : 'Pause'} r${ask.replica}${ask.replica === primary ? ', the primary' : ''}?`}
          action={`${ask.kind === 'kill' ? 'Kill' : 'Pause'} r${ask.replica}`}
          onConfirm={() => onStop(ask.kind, ask.replica)}
          onClose={() => setAsk(null)}
        >
          <p>
            The process gets {ask.kind === 'kill' ? 'SIGKILL and stays down' : 'SIGSTOP and stays so'} for {ttlText}, or
            until it is healed.
          </p>
          {expect(ids, primary, new Set(), [...new Set([...out, ask.replica])]).lines.map((line) => (
            <p key={line} className="mt-1">
              {line}
            </p>
          ))}
        </Confirm>
      )}
    </Panel>
  );
}
