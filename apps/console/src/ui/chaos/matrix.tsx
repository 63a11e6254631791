'use client';
import { clsx } from 'clsx';
import { Ban, CircleHelp, Unplug } from 'lucide-react';
import { useRef, useState, type KeyboardEvent } from 'react';
import { linkName, type LinkView } from '../../lib/links.ts';
import { isolate, linkKey, type LinkKey } from '../../lib/partition.ts';

export type Draft = ReadonlyMap<LinkKey, 'cut' | 'heal'>;

interface Props {
  ids: readonly number[];
  links: ReadonlyMap<LinkKey, LinkView>;
  draft: Draft;
  primary: number | null;
  sinceFrameMs: number;
  disabled: boolean;
  /** Toggles these links in the draft, all together. */
  onToggle: (keys: readonly LinkKey[]) => void;
}

const ARROWS: Record<string, readonly [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** Directed links, sender by row and receiver by column. A click drafts a cut one way, with Shift both ways; a header isolates its replica. */
export function Matrix(props: Props) {
  const { ids, links, draft, primary, sinceFrameMs, disabled, onToggle } = props;
  const grid = useRef<HTMLTableElement>(null);
  const [focus, setFocus] = useState<LinkKey>(linkKey(ids[0]!, ids[1] ?? ids[0]!));
  const move = (event: KeyboardEvent, row: number, column: number) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const n = ids.length;
    let [r, c] = [(row + step[0] + n) % n, (column + step[1] + n) % n];
    if (r === c) [r, c] = [(r + step[0] + n) % n, (c + step[1] + n) % n];
    const key = linkKey(ids[r]!, ids[c]!);
    setFocus(key);
    grid.current?.querySelector<HTMLButtonElement>(`[data-link="${key}"]`)?.focus();
  };
  const label = (id: number) => (
    <>
      r{id}
      {id === primary && <span aria-hidden> ♛</span>}
    </>
  );
  return (
    <table
      ref={grid}
      role="grid"
      aria-label="Links between replicas"
      className="w-full table-fixed self-start border-separate border-spacing-1"
    >
      <thead>
        <tr role="row">
          <th className="w-16 text-left text-2xs font-normal text-faint">
            from ↓
            <br />
            to →
          </th>
          {ids.map((id) => (
            <th key={id} role="columnheader" scope="col" className="font-normal">
              <HeaderButton
                label={`isolate r${id}, column`}
                disabled={disabled}
                onClick={() => onToggle(isolate(id, ids))}
              >
                {label(id)}
              </HeaderButton>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {ids.map((from, row) => (
          <tr key={from} role="row">
            <th role="rowheader" scope="row" className="font-normal">
              <HeaderButton label={`isolate r${from}`} disabled={disabled} onClick={() => onToggle(isolate(from, ids))}>
                {label(from)}
              </HeaderButton>
            </th>
            {ids.map((to, column) => {
              if (from === to)
                return (
                  <td key={to} role="gridcell" aria-label={`r${from} itself`} className="h-14 rounded-md bg-raised" />
                );
              const key = linkKey(from, to);
              return (
                <td key={to} role="gridcell" aria-selected={draft.has(key)} className="p-0">
                  <Cell
                    link={links.get(key)!}
                    drafted={draft.get(key)}
                    sinceFrameMs={sinceFrameMs}
                    disabled={disabled}
                    tabIndex={key === focus ? 0 : -1}
                    onFocus={() => setFocus(key)}
                    onKeyDown={(event) => move(event, row, column)}
                    onClick={(both) => onToggle(both ? [key, linkKey(to, from)] : [key])}
                  />
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function HeaderButton(props: { label: string; disabled: boolean; onClick: () => void; children: React.ReactNode }) {
  return (
    <button
      type="button"
      aria-label={props.label}
      title={props.label}
      disabled={props.disabled}
      onClick={props.onClick}
      className="h-8 w-full rounded-md font-mono text-xs font-medium whitespace-nowrap hover:bg-raised disabled:opacity-60"
    >
      {props.children}
    </button>
  );
}

interface CellProps {
  link: LinkView;
  drafted: 'cut' | 'heal' | undefined;
  sinceFrameMs: number;
  disabled: boolean;
  tabIndex: number;
  onFocus: () => void;
  onKeyDown: (event: KeyboardEvent) => void;
  onClick: (both: boolean) => void;
}

const LOOK = {
  up: 'border-line bg-surface hover:border-line-strong',
  cut: 'border-bad text-bad bg-[color-mix(in_oklab,var(--bad)_12%,transparent)]',
  down: 'border-warn text-warn bg-[color-mix(in_oklab,var(--warn)_10%,transparent)]',
  unknown: 'border-line text-faint hatch',
} as const;

function Cell({ link, drafted, sinceFrameMs, disabled, tabIndex, onFocus, onKeyDown, onClick }: CellProps) {
  const name = linkName(link, sinceFrameMs);
  const left = Math.max(0, Math.ceil((link.remainingMs - sinceFrameMs) / 1000));
  const rtt = link.rttMs === null ? null : `${link.rttMs < 10 ? link.rttMs.toFixed(1) : Math.round(link.rttMs)} ms`;
  const about = `${drafted ? `draft: ${drafted}` : ''}${drafted && rtt ? ', ' : ''}${rtt ? `round trip ${rtt}` : ''}`;
  return (
    <button
      type="button"
      data-link={link.key}
      aria-label={name}
      title={about || undefined}
      // Not `disabled`: the focus must not be lost each time that the picture is a second old.
      aria-disabled={disabled}
      tabIndex={tabIndex}
      onFocus={onFocus}
      onKeyDown={onKeyDown}
      onClick={(event) => !disabled && onClick(event.shiftKey)}
      className={clsx(
        'flex h-14 w-full flex-col items-center justify-center gap-0.5 rounded-md border text-xs leading-4 aria-disabled:cursor-not-allowed',
        LOOK[link.state],
        drafted && 'stripe-draft border-dashed border-warn!',
      )}
    >
      {drafted ? (
        <span className="tone-warn rounded bg-surface px-1.5 font-semibold">
          {drafted === 'cut' ? 'will cut' : 'will heal'}
        </span>
      ) : link.state === 'cut' ? (
        <span className="inline-flex items-center gap-1 font-semibold">
          <Ban size={12} aria-hidden /> cut
        </span>
      ) : link.state === 'down' ? (
        <span className="inline-flex items-center gap-1 font-semibold">
          <Unplug size={12} aria-hidden /> down
        </span>
      ) : link.state === 'unknown' ? (
        <CircleHelp size={14} aria-hidden />
      ) : (
        <span className="tone-ok font-medium">up</span>
      )}
      <span
        // The round trip is drawn by CSS: it is no part of the button's name, and its title says it.
        data-rtt={link.state === 'cut' ? undefined : (rtt ?? undefined)}
        className={clsx(
          'font-mono text-2xs text-muted after:content-[attr(data-rtt)]',
          drafted && 'rounded bg-surface px-1',
        )}
      >
        {link.state === 'cut' ? `${left} s` : ''}
      </span>
    </button>
  );
}
