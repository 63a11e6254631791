/** What the log benchmark says: its JSON, its table, and how the figures stand to the project's targets. */

import type { Spread } from '../lib/latency.ts';

/** Appends with `depth` promises outstanding, beside the raw device with writes of the same size just before: medians of the rounds. */
export interface Cell {
  readonly disk: string;
  readonly payloadBytes: number;
  readonly count: number;
  readonly depth: number;
  /** With sealing on the same thread, as all but `ratio`. */
  readonly entriesPerSecond: number;
  /** Of frames. */
  readonly megabytesPerSecond: number;
  readonly promisesPerSecond: number;
  /** Durable writes of frames and of tail records. */
  readonly writesPerPromise: number;
  readonly raw: Raw;
  /** Promises per second of frames sealed before, by what the raw device does in batches of that size, round by round. */
  readonly ratio: Spread;
  /** The same with sealing on the way. */
  readonly ratioSealing: Spread;
}

export interface Raw {
  readonly bytes: number;
  readonly perSecond: number;
  readonly p50us: number;
}

/** One append of 128 B at a time. */
export interface Lone {
  readonly disk: string;
  readonly promisesPerSecond: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly raw: Raw;
  /** Latency of a promise in latencies of one raw write. */
  readonly barriers: number;
  /** What the raw loop takes for a write and then one of a tail record's size in another file: nothing durable in this order is faster. */
  readonly rawPairP50us: number;
}

/** On one core, by processor time. */
export interface Sealing {
  readonly payloadBytes: number;
  readonly count: number;
  readonly entriesPerSecond: number;
  /** Of payload. */
  readonly megabytesPerSecond: number;
}

export interface MemoryRun {
  readonly gib: number;
  readonly megabytesPerSecond: number;
  readonly rssMegabytes: readonly number[];
  /** Highest resident size after the first quarter, over the highest within it, minus one. */
  readonly growth: number;
}

export interface LogReport {
  readonly benchmark: 'log';
  readonly machine: Record<string, unknown>;
  readonly directory: string;
  readonly codec: string;
  readonly parameters: Record<string, unknown>;
  readonly cells: readonly Cell[];
  readonly lone: readonly Lone[];
  readonly sealing: readonly Sealing[];
  readonly recovery: {
    readonly disk: string;
    readonly payloadBytes: number;
    readonly bytes: number;
    readonly ms: number;
    readonly megabytesPerSecond: number;
    readonly megabytesPerCpuSecond: number;
  };
  readonly memory: MemoryRun | null;
  readonly targets: readonly Target[];
}

export interface Target {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
}

/** Entries/s of the Rust implementation's log writer on another such machine: one barrier a promise, torn and damaged not told apart. */
const RUST: readonly { readonly payloadBytes: number; readonly count: number; readonly entriesPerSecond: number }[] = [
  { payloadBytes: 128, count: 1, entriesPerSecond: 5600 },
  { payloadBytes: 128, count: 64, entriesPerSecond: 290_000 },
  { payloadBytes: 128, count: 256, entriesPerSecond: 760_000 },
  { payloadBytes: 1024, count: 64, entriesPerSecond: 168_000 },
  { payloadBytes: 1024, count: 256, entriesPerSecond: 270_000 },
  { payloadBytes: 16_384, count: 64, entriesPerSecond: 45_000 },
];

export function targets(of: Pick<LogReport, 'cells' | 'lone' | 'sealing' | 'recovery' | 'memory'>): Target[] {
  const all: Target[] = [];
  for (const { disk, payloadBytes, count, ratio } of of.cells) {
    const share = count > 1 ? 0.8 : payloadBytes === 128 ? 0.85 : null;
    if (share === null) continue;
    const what = `${disk}, ${payloadBytes} B x ${count}: share of the raw device`;
    all.push({ what, target: `>= ${share}`, measured: String(ratio.median), met: ratio.median >= share });
  }
  for (const { disk, barriers } of of.lone) {
    const what = `${disk}, a lone append's promise, in raw writes`;
    all.push({ what, target: '<= 2.2', measured: String(barriers), met: barriers <= 2.2 });
  }
  for (const { payloadBytes, entriesPerSecond, megabytesPerSecond } of of.sealing) {
    const what = `encode + chain, ${payloadBytes} B, one core`;
    if (payloadBytes === 128)
      all.push({ what, target: '>= 400000/s', measured: `${entriesPerSecond}/s`, met: entriesPerSecond >= 400_000 });
    if (payloadBytes === 16_384)
      all.push({
        what,
        target: '>= 1000 MB/s',
        measured: `${megabytesPerSecond} MB/s`,
        met: megabytesPerSecond >= 1000,
      });
  }
  const { megabytesPerSecond: rate } = of.recovery;
  all.push({ what: 'recovery: scan and verify', target: '>= 700 MB/s', measured: `${rate} MB/s`, met: rate >= 700 });
  if (of.memory !== null) {
    const { gib, growth } = of.memory;
    const what = `memory over ${gib} GiB, growth after the first quarter`;
    all.push({ what, target: '<= 0.1', measured: String(growth), met: growth <= 0.1 });
  }
  for (const { payloadBytes, count, entriesPerSecond } of RUST) {
    const best = of.cells.filter((cell) => cell.payloadBytes === payloadBytes && cell.count === count);
    if (best.length === 0) continue;
    const measured = Math.max(...best.map((cell) => cell.entriesPerSecond));
    const what = `${payloadBytes} B x ${count}: the Rust writer (reference, another machine)`;
    const target = `> ${entriesPerSecond}/s`;
    all.push({ what, target, measured: `${measured}/s`, met: measured > entriesPerSecond });
  }
  return all;
}

export function table(report: LogReport): string {
  const { cells, lone, sealing, recovery, memory } = report;
  const lines = [JSON.stringify(report.machine), `codec ${report.codec}`, ''];
  lines.push(
    ...columns([
      [
        'disk',
        'payload x batch',
        'entries/s',
        'MB/s',
        'promises/s',
        'writes each',
        'raw writes/s of the same bytes',
        'share',
        'with sealing',
      ],
      ...cells.map((cell) => [
        cell.disk,
        `${cell.payloadBytes} x ${cell.count}`,
        String(cell.entriesPerSecond),
        String(cell.megabytesPerSecond),
        String(cell.promisesPerSecond),
        String(cell.writesPerPromise),
        `${cell.raw.perSecond} of ${cell.raw.bytes}`,
        `${cell.ratio.median} (${cell.ratio.min}..${cell.ratio.max})`,
        `${cell.ratioSealing.median} (${cell.ratioSealing.min}..${cell.ratioSealing.max})`,
      ]),
    ]),
    '',
  );
  for (const { disk, promisesPerSecond, p50us, p99us, raw, barriers, rawPairP50us } of lone)
    lines.push(
      `${disk}: a lone append of 128 B: ${promisesPerSecond} promises/s, p50 ${p50us} us, p99 ${p99us} us: ${barriers} raw writes of ${raw.p50us} us (the raw loop, frames then record: ${rawPairP50us} us)`,
    );
  for (const { payloadBytes, count, entriesPerSecond, megabytesPerSecond } of sealing)
    lines.push(
      `encode + chain ${payloadBytes} B x ${count}: ${entriesPerSecond} entries/s, ${megabytesPerSecond} MB/s a core`,
    );
  lines.push(
    `recovery of ${Math.round(recovery.bytes / 1e6)} MB of ${recovery.payloadBytes} B entries: ${recovery.ms} ms, ${recovery.megabytesPerSecond} MB/s (${recovery.megabytesPerCpuSecond} MB per second of processor)`,
  );
  if (memory !== null)
    lines.push(
      `memory over ${memory.gib} GiB at ${memory.megabytesPerSecond} MB/s: ${memory.rssMegabytes[0]} to ${Math.max(...memory.rssMegabytes)} MB resident, growth ${memory.growth}`,
    );
  const rows = report.targets.map(({ what, target, measured, met }) => [
    met ? 'met' : 'NOT MET',
    what,
    target,
    measured,
  ]);
  return [...lines, '', ...columns([['', 'target', '', 'measured'], ...rows])].join('\n');
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) =>
    cells
      .map((text, i) => text.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
}
