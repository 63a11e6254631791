'use client';
import { count, timeOfDay, absoluteTime } from '../../lib/format.ts';
import { Hash } from '../hash.tsx';
import type { Entry } from './log-page.tsx';

/** A view's colour: a cycle of six. The number always stands beside it. */
export function viewColour(view: number): string {
  return `var(--view-${view % 6})`;
}

export function LogTable({
  rows,
  commit,
  onOpen,
}: {
  rows: readonly Entry[];
  commit: number;
  onOpen: (entry: Entry) => void;
}) {
  return (
    <div className="overflow-x-auto" tabIndex={0} role="region" aria-label="Log entries">
      <table className="w-full min-w-[46rem] border-collapse text-left">
        <thead className="text-xs text-faint">
          <tr className="border-b border-line [&>th]:px-3 [&>th]:py-1.5 [&>th]:font-normal [&>th:first-child]:pl-4">
            <th className="text-right">Index</th>
            <th>View</th>
            <th>Kind</th>
            <th>Command</th>
            <th>Session</th>
            <th>Block time</th>
            <th>Hash</th>
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {rows.map((entry) => (
            <tr key={entry.index} className="hover:bg-raised [&>td]:px-3 [&>td]:py-0.5 [&>td:first-child]:pl-4">
              <td className="text-right">
                <button
                  type="button"
                  onClick={() => onOpen(entry)}
                  className="min-h-6 rounded font-mono font-medium text-accent hover:underline"
                  aria-label={`Entry ${count(entry.index)}`}
                >
                  {count(entry.index)}
                </button>
              </td>
              <td className="whitespace-nowrap">
                <svg width="8" height="8" aria-hidden className="mr-1.5 inline">
                  <rect width="8" height="8" rx="2" fill={viewColour(Number(entry.view))} />
                </svg>
                <span className="font-mono">{count(entry.view)}</span>
              </td>
              <td className="whitespace-nowrap">
                {entry.kind}
                {Number(entry.index) > commit && <span className="tone-warn ml-1.5 text-xs">not committed</span>}
              </td>
              <td className="max-w-[24rem] truncate">
                {entry.command && <span className="font-medium">{entry.command} </span>}
                {entry.input !== null && entry.input !== undefined && (
                  <span className="font-mono text-xs text-muted" title={JSON.stringify(entry.input)}>
                    {JSON.stringify(entry.input)}
                  </span>
                )}
              </td>
              <td className="font-mono text-xs whitespace-nowrap text-muted">
                {entry.session === null ? '–' : `${entry.session}#${entry.request ?? '?'}`}
              </td>
              <td className="font-mono text-xs whitespace-nowrap text-muted" title={absoluteTime(entry.timeMs)}>
                {timeOfDay(entry.timeMs)}
              </td>
              <td>
                <Hash value={entry.hash} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
