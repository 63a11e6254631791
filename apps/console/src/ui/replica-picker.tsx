'use client';
import { clsx } from 'clsx';
import type { ReplicaView } from '../lib/frame.ts';

/** Chooses the replica whose view of the world a page shows. */
export function ReplicaPicker(props: {
  replicas: readonly ReplicaView[];
  value: number;
  onChange: (id: number) => void;
}) {
  const { replicas, value, onChange } = props;
  return (
    <div role="radiogroup" aria-label="Replica" className="flex rounded-md border border-line-strong p-0.5">
      {replicas.map(({ id, reach, detail }) => (
        <button
          key={id}
          type="button"
          role="radio"
          aria-checked={id === value}
          title={reach === 'live' ? (detail?.role ?? '') : 'does not answer'}
          onClick={() => onChange(id)}
          className={clsx(
            'h-6.5 min-w-9 rounded px-2 font-mono text-xs font-medium',
            id === value ? 'bg-accent text-on-accent' : 'text-muted hover:bg-raised hover:text-text',
            reach !== 'live' && 'line-through',
          )}
        >
          r{id}
        </button>
      ))}
    </div>
  );
}
