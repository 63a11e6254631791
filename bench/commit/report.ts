/** What the commit benchmark prints. */
import { spread, type Spread } from '../lib/latency.ts';
import { REFERENCES } from './references.ts';
import type { ChrononRun, Run } from './run.ts';

/** All runs with one number of puts in flight. */
export interface Cell {
  readonly inFlight: number;
  readonly sessions: number;
  readonly raw: readonly RawLoop[];
  readonly chronon: readonly ChrononRun[];
  readonly bare: readonly Run[];
  readonly etcd: readonly Run[];
}

export type RawLoop = { readonly bytes: number } & (
  | { readonly perSecond: number; readonly p50us: number; readonly p99us: number }
  | { readonly problem: string }
);

/** One system in one cell, over its runs. */
export interface Summary {
  readonly putsPerSecond: Spread;
  readonly p50Ms: Spread;
  readonly p95Ms: Spread;
  readonly p99Ms: Spread;
  /** Processor time a put, microseconds, median of the runs. */
  readonly cpuUsPerPut: { readonly load: number; readonly primary: number; readonly backups: number };
  readonly putsPerBarrier: number;
  readonly bytesPerPut: number;
  readonly errors: number;
}

export function summary(runs: readonly Run[]): Summary | null {
  if (runs.length === 0) return null;
  const median = (of: (run: Run) => number, digits: number): number => spread(runs.map(of), digits).median;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return {
    putsPerSecond: spread(runs.map((run) => run.putsPerSecond)),
    p50Ms: spread(
      runs.map((run) => run.latencyMs.p50),
      3,
    ),
    p95Ms: spread(
      runs.map((run) => run.latencyMs.p95),
      3,
    ),
    p99Ms: spread(
      runs.map((run) => run.latencyMs.p99),
      3,
    ),
    cpuUsPerPut: {
      load: median((run) => (run.cpuMs.load * 1000) / run.puts, 1),
      primary: median((run) => (run.cpuMs.primary * 1000) / run.puts, 1),
      backups: median((run) => (sum(run.cpuMs.backups) * 1000) / run.puts, 1),
    },
    putsPerBarrier: median((run) => run.acknowledged / run.disk.barriers, 1),
    bytesPerPut: median((run) => run.disk.bytes / run.acknowledged, 0),
    errors: sum(runs.flatMap((run) => Object.values(run.errors))),
  };
}

/** Chronon / the other system: of the medians, and the lowest and highest of the pairs of runs that stood side by side. */
export function ratio(cell: Cell, to: 'bare' | 'etcd' = 'bare'): Spread | null {
  const pairs = cell.chronon.flatMap((run, i) => {
    const other = cell[to][i];
    return other === undefined ? [] : [run.putsPerSecond / other.putsPerSecond];
  });
  return pairs.length === 0 ? null : spread(pairs, 2);
}

/** The table for people. */
export function table(cells: readonly Cell[]): string {
  const rows: string[][] = [
    [
      'in flight',
      'system',
      'puts/s (min..max)',
      'p50 ms',
      'p95 ms',
      'p99 ms',
      'CPU us/put load+primary+backups',
      'puts/barrier',
      'B/put',
      'ratio',
    ],
  ];
  for (const cell of cells) {
    rows.push(...row(cell.inFlight, 'Chronon', summary(cell.chronon), ratioText(ratio(cell), '')));
    rows.push(...row(cell.inFlight, 'bare pipeline', summary(cell.bare), '1'));
    rows.push(...row(cell.inFlight, 'etcd', summary(cell.etcd), ratioText(ratio(cell, 'etcd'), 'Chronon is ')));
    for (const { name, putsPerSecond, p50Ms } of REFERENCES) {
      const puts = putsPerSecond[cell.inFlight];
      if (puts !== undefined)
        rows.push([
          String(cell.inFlight),
          `[${name}]`,
          String(puts),
          String(p50Ms[cell.inFlight] ?? ''),
          '',
          '',
          '',
          '',
          '',
          '',
        ]);
    }
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells_) => cells_[column]!.length)));
  const lines = rows.map((cells_) =>
    cells_
      .map((text, i) => text.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
  const raw = cells.flatMap((cell) =>
    cell.raw.map((loop) => {
      const what =
        'problem' in loop ? loop.problem : `${loop.perSecond} writes/s, p50 ${loop.p50us} us, p99 ${loop.p99us} us`;
      return `raw device before ${cell.inFlight} in flight: ${loop.bytes} B O_DIRECT|O_DSYNC, one at a time: ${what}`;
    }),
  );
  return [...lines, '', ...raw, ...REFERENCES.map(({ name, note }) => `[${name}]: ${note}`)].join('\n');
}

function ratioText(of: Spread | null, prefix: string): string {
  return of === null ? '' : `${prefix}${of.median} (${of.min}..${of.max})`;
}

function row(inFlight: number, name: string, of: Summary | null, ratioText: string): string[][] {
  if (of === null) return [];
  const { putsPerSecond: puts, cpuUsPerPut: cpu } = of;
  return [
    [
      String(inFlight),
      name,
      `${puts.median} (${puts.min}..${puts.max})`,
      String(of.p50Ms.median),
      String(of.p95Ms.median),
      String(of.p99Ms.median),
      `${cpu.load} + ${cpu.primary} + ${cpu.backups}`,
      Number.isFinite(of.putsPerBarrier) ? String(of.putsPerBarrier) : '',
      of.bytesPerPut === 0 ? '' : String(of.bytesPerPut),
      ratioText,
    ],
  ];
}
