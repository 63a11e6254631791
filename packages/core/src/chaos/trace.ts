/**
 * Trace: a running hash of everything that happened, and, when asked for, the events themselves as JSON lines. Two runs of one seed must end with
 * one hash: that is the self-test of determinism.
 */
import type { EventQueue } from './event-queue.ts';

export type TraceFields = Readonly<Record<string, string | number | boolean | null>>;

export class Trace {
  // As signed words from the start: a field that once held more is a number on the heap for ever.
  private low = 0x811c9dc5 | 0;
  private high = 0x9e3779b9 | 0;
  private readonly queue: EventQueue;
  private readonly sink: ((line: string) => void) | null;

  constructor(queue: EventQueue, sink: ((line: string) => void) | null) {
    this.queue = queue;
    this.sink = sink;
  }

  /** True when events are written out; callers may then say more. */
  get verbose(): boolean {
    return this.sink !== null;
  }

  mix(a: number, b: number): void {
    this.low = Math.imul(this.low ^ a, 0x01000193) ^ (this.low >>> 15);
    this.high = (Math.imul(this.high ^ b ^ this.queue.now, 0x85ebca6b) + this.low) | 0;
  }

  /** Mixes length and a sample of the bytes in. */
  mixBytes(a: number, bytes: Uint8Array): void {
    let h = bytes.length;
    for (let i = 0; i < bytes.length; i += 7) h = Math.imul(h ^ bytes[i]!, 0x01000193);
    this.mix(a, h);
  }

  /** Notes an event: it counts in the hash, and stands in the trace file. */
  event(kind: string, fields: TraceFields): void {
    this.mix(kind.length, 1);
    for (const name in fields) this.mixValue(fields[name]!);
    if (this.sink !== null) this.sink(JSON.stringify({ t: this.queue.now / 1000, kind, ...fields }));
  }

  /** Only written out, not hashed. */
  note(kind: string, fields: TraceFields): void {
    if (this.sink !== null) this.sink(JSON.stringify({ t: this.queue.now / 1000, kind, ...fields }));
  }

  /** 16 hex digits. */
  hash(): string {
    return hex(this.high) + hex(this.low);
  }

  private mixValue(value: string | number | boolean | null): void {
    if (typeof value === 'number') this.mix(value | 0, Math.floor(value / 0x1_0000_0000) | 0);
    else if (typeof value === 'string') for (let i = 0; i < value.length; i++) this.mix(value.charCodeAt(i), i);
    else this.mix(value === true ? 1 : 0, 2);
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}
