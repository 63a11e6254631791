'use client';
import { useQuery } from '@tanstack/react-query';
import { X } from 'lucide-react';
import { useEffect, useMemo, useRef } from 'react';
import { api, messageOf } from '../../live/api.ts';
import { absoluteTime, bytes, count } from '../../lib/format.ts';
import { fromBase64, hexDump, rawFields } from '../../lib/raw-frame.ts';
import { Hash } from '../hash.tsx';
import { Button, Problem } from '../parts.tsx';
import type { Entry } from './log-page.tsx';

const LINES_MAX = 256;

/** One entry as its bytes say it: header fields and payload, parsed here from the replica's raw frame. */
export function EntryDrawer({ replica, entry, onClose }: { replica: number; entry: Entry; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const raw = useQuery({
    queryKey: ['raw', replica, entry.index],
    queryFn: () => api.log.range.query({ replica, from: entry.index, maxBytes: 65_536 }),
    staleTime: 60_000,
  });
  const frame = useMemo(() => (raw.data ? fromBase64(raw.data.frames) : null), [raw.data]);
  const fields = frame ? rawFields(frame) : null;
  return (
    <dialog
      ref={dialog}
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
      aria-labelledby="entry-title"
      className="my-0 mr-0 ml-auto h-dvh max-h-dvh w-full max-w-xl border-l border-line bg-surface text-text"
    >
      <div className="flex h-full flex-col">
        <header className="flex items-center gap-3 border-b border-line px-5 py-3">
          <h2 id="entry-title" className="text-base font-semibold">
            Entry <span className="font-mono">{count(entry.index)}</span>
          </h2>
          <span className="text-muted">as r{replica} has it</span>
          <Button tone="ghost" size="sm" className="ml-auto" aria-label="Close" onClick={() => dialog.current?.close()}>
            <X size={15} aria-hidden />
          </Button>
        </header>
        <div
          className="min-h-0 flex-1 overflow-y-auto px-5 py-4"
          tabIndex={0}
          role="region"
          aria-label="Fields of the entry"
        >
          <dl className="grid grid-cols-[7rem_minmax(0,1fr)] gap-x-3 gap-y-1">
            <Row name="kind">{entry.kind}</Row>
            <Row name="view">{count(entry.view)}</Row>
            {entry.command && <Row name="command">{entry.command}</Row>}
            {entry.input !== null && entry.input !== undefined && (
              <Row name="input">
                <code className="font-mono text-xs break-all">{JSON.stringify(entry.input)}</code>
              </Row>
            )}
            <Row name="block time">
              <span className="font-mono text-xs">{absoluteTime(entry.timeMs)}</span>
            </Row>
            <Row name="payload">{bytes(entry.payloadBytes)}</Row>
            <Row name="chain hash">
              <Hash value={entry.hash} full />
            </Row>
            <Row name="previous">
              <Hash value={entry.prevHash} full />
            </Row>
          </dl>
          <h3 className="mt-6 mb-2 text-xs font-semibold text-muted">Header, 80 bytes</h3>
          {raw.isError && <Problem message={messageOf(raw.error)} retry={() => void raw.refetch()} />}
          {raw.isPending && <div className="skeleton h-48" aria-busy="true" />}
          {raw.data?.fault && (
            <Problem
              message={
                raw.data.fault.kind === 'compacted'
                  ? `below the checkpoint: r${replica} holds the log from index ${raw.data.fault.index} on`
                  : `r${replica} has no intact frame at index ${raw.data.fault.index}: ${raw.data.fault.kind}`
              }
            />
          )}
          {raw.data && !raw.data.fault && !fields && (
            <p className="text-muted">r{replica} gave no bytes for this index.</p>
          )}
          {fields && (
            <table className="w-full text-left">
              <tbody>
                {fields.map((field) => (
                  <tr key={field.name} className="align-baseline">
                    <td className="w-16 py-px font-mono text-xs text-faint">{field.bytes}</td>
                    <td className="w-36 py-px text-muted">{field.name}</td>
                    <td className="py-px font-mono text-xs break-all">{field.value}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          {frame && fields && (
            <>
              <h3 className="mt-6 mb-2 text-xs font-semibold text-muted">Payload (envelope dimmed)</h3>
              <pre className="overflow-x-auto font-mono text-xs leading-5">
                {hexDump(frame, LINES_MAX).map((line) => (
                  <div key={line.offset} className={line.envelope ? 'text-faint' : ''}>
                    <span className="text-faint">{line.offset}</span> {line.hex.padEnd(47)} {line.text}
                  </div>
                ))}
              </pre>
            </>
          )}
        </div>
      </div>
    </dialog>
  );
}

function Row({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt className="text-muted">{name}</dt>
      <dd className="min-w-0">{children}</dd>
    </>
  );
}
