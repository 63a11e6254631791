/**
 * LedgerSink: the built-in sink. It keeps each effect as one line of an append-only file, with its key and its fence, so that an effect that is
 * run again is found and not written twice, and a deposed primary is refused.
 *
 * Lines (JSON, each ends with a newline):
 *   {"key","generation","view","index","channel","payload"}   payload: base64 of the bytes as emitted
 *   {"fence":{"generation","view"}}                            a newer primary was here and had nothing to write
 *
 * Invariants: one line a key; the fences of the lines never go back; `done(null)` only after the line is durable (or was found). Decisions are taken
 * inside LedgerFile.exchange, on what all writers wrote: several processes may share one file.
 */
import { decodeBase64, encodeBase64 } from './base64.ts';
import { compareFences, type EffectRun, type EffectSink, type Fence } from './effect-sink.ts';

/** One effect as the ledger keeps it. */
export interface LedgerRecord extends Fence {
  readonly key: string;
  readonly index: number;
  readonly channel: string;
  readonly payload: Uint8Array;
}

/** The file, as the sink needs it. */
export interface LedgerFile {
  /**
   * Under an exclusive lock: hands over the whole lines that anybody appended since the last exchange of this object (all of them the first time,
   * its own included), appends the text that `decide` returns (whole lines, or '') and makes it durable, then calls `done`. When the file does not
   * end with a newline (a torn append), a newline is appended first. After an error nothing is known of what was appended: the next exchange shows.
   */
  exchange(decide: (fresh: readonly string[]) => string, done: (error: string | null) => void): void;
}

/** The error of a sink that has seen a newer primary. */
export const FENCED = 'E_FENCED';

interface Waiting {
  readonly effect: EffectRun;
  readonly done: (error: string | null) => void;
}

export class LedgerSink implements EffectSink {
  readonly name = 'ledger';
  private readonly file: LedgerFile;
  private readonly keys = new Set<string>();
  private greatest: Fence = { generation: 0, view: 0 };
  private queue: Waiting[] = [];
  private busy = false;
  private damagedLines = 0;

  constructor(file: LedgerFile) {
    this.file = file;
  }

  /** Records known so far. */
  get size(): number {
    return this.keys.size;
  }

  /** Lines that could not be read: what a torn append left. */
  get damaged(): number {
    return this.damagedLines;
  }

  run(effect: EffectRun, done: (error: string | null) => void): void {
    this.queue.push({ effect, done });
    if (!this.busy) this.flush();
  }

  /** All effects that wait go in one exchange. */
  private flush(): void {
    const batch = this.queue;
    if (batch.length === 0) return;
    this.queue = [];
    this.busy = true;
    let outcomes: (string | null)[] = [];
    const decide = (fresh: readonly string[]): string => {
      for (const line of fresh) this.learn(line);
      const planned = this.plan(batch);
      outcomes = planned.outcomes;
      return planned.text;
    };
    this.file.exchange(decide, (error) => {
      this.busy = false;
      batch.forEach(({ done }, i) => done(outcomes[i] ?? error));
      if (!this.busy) this.flush();
    });
  }

  /** What to append, and what each effect of the batch comes to once that is durable. State changes only by lines that are read back. */
  private plan(batch: readonly Waiting[]): { text: string; outcomes: (string | null)[] } {
    const written = new Set<string>();
    let recorded = this.greatest;
    let seen = this.greatest;
    let text = '';
    const outcomes = batch.map(({ effect }) => {
      if (compareFences(effect.fence, seen) < 0) return FENCED;
      seen = effect.fence;
      if (this.keys.has(effect.key) || written.has(effect.key)) return null;
      written.add(effect.key);
      recorded = effect.fence;
      text += encodeLedgerRecord(effect);
      return null;
    });
    const { generation, view } = seen;
    if (compareFences(seen, recorded) > 0) text += `${JSON.stringify({ fence: { generation, view } })}\n`;
    return { text, outcomes };
  }

  private learn(line: string): void {
    const parsed = decodeLedgerLine(line);
    if (parsed === null) {
      this.damagedLines++;
      return;
    }
    if ('key' in parsed) this.keys.add(parsed.key);
    if (compareFences(parsed, this.greatest) > 0) this.greatest = { generation: parsed.generation, view: parsed.view };
  }
}

/** The line of an effect, newline included. */
export function encodeLedgerRecord(effect: Pick<EffectRun, 'key' | 'fence' | 'index' | 'channel' | 'payload'>): string {
  const { key, fence, index, channel, payload } = effect;
  const { generation, view } = fence;
  return `${JSON.stringify({ key, generation, view, index, channel, payload: encodeBase64(payload) })}\n`;
}

/** A line as a record or a fence, or null for anything else. */
export function decodeLedgerLine(line: string): LedgerRecord | Fence | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const record = value as Record<string, unknown>;
  if ('fence' in record) return fenceOf(record['fence']);
  const fence = fenceOf(record);
  const { key, index, channel, payload } = record;
  const named = typeof key === 'string' && /^[0-9a-f]{32}$/.test(key) && typeof channel === 'string';
  if (fence === null || !named || !isCount(index) || typeof payload !== 'string') return null;
  const bytes = decodeBase64(payload);
  return bytes === null ? null : { key, ...fence, index, channel, payload: bytes };
}

function fenceOf(value: unknown): Fence | null {
  if (typeof value !== 'object' || value === null) return null;
  const { generation, view } = value as Record<string, unknown>;
  return isCount(generation) && isCount(view) ? { generation, view } : null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A ledger in memory, shared by any number of processes: for the simulator and tests. Every append is durable at once. */
export class MemoryLedger {
  /** All lines ever appended. */
  readonly lines: string[] = [];
  private readonly defer: (task: () => void) => void;

  /** `defer` runs the completion of an exchange; at once when not given. */
  constructor(defer: (task: () => void) => void = (task) => task()) {
    this.defer = defer;
  }

  /** The file as one process sees it. */
  open(): LedgerFile {
    let read = 0;
    return {
      exchange: (decide, done) => {
        const text = decide(this.lines.slice(read));
        read = this.lines.length;
        this.lines.push(...text.split('\n').slice(0, -1));
        this.defer(() => done(null));
      },
    };
  }

  /** The effects recorded, in order. */
  records(): LedgerRecord[] {
    return this.lines.flatMap((line) => {
      const parsed = decodeLedgerLine(line);
      return parsed !== null && 'key' in parsed ? [parsed] : [];
    });
  }
}
