/**
 * Records what clients do as JSON lines that `chronon check` reads (core/chaos/checker/history.ts). The order of the lines is the order of real time: all
 * clients of one run are in this process.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import { once } from 'node:events';

/** How a call ended. */
export interface CallEnd {
  /** `fail`: it never happened; `info`: nobody knows. */
  readonly type: 'ok' | 'fail' | 'info';
  readonly value?: unknown;
  readonly rejected?: boolean;
  readonly session?: number;
  readonly number?: number;
  readonly index?: number;
  readonly error?: string;
}

export class HistoryRecorder {
  private readonly file: WriteStream;
  private readonly failed: Promise<never>;
  private readonly startedNs = process.hrtime.bigint();
  private calls = 0;

  /** Truncates `path`. */
  constructor(path: string) {
    this.file = createWriteStream(path);
    this.failed = once(this.file, 'error').then(([error]) => {
      throw new Error(`the history cannot be written: ${(error as Error).message}`);
    });
    this.failed.catch(() => {});
  }

  /** A client makes a call. Returns what `end` takes. */
  invoke(client: number, f: string, key: string | null, value: unknown): number {
    const op = ++this.calls;
    this.write({ type: 'invoke', client, op, f, key, value });
    return op;
  }

  end(client: number, op: number, end: CallEnd): void {
    this.write({ ...end, client, op });
  }

  /** Everything is in the file. Rejects when it could not be written. */
  async close(): Promise<void> {
    await Promise.race([this.failed, new Promise<void>((resolve) => this.file.end(resolve))]);
  }

  private write(fields: object): void {
    const time = Number(process.hrtime.bigint() - this.startedNs);
    this.file.write(`${JSON.stringify({ ...fields, time })}\n`);
  }
}
