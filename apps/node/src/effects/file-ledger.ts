/**
 * FileLedger: the file behind the built-in sink (core/kernel/ledger-sink.ts, which decides about keys and fences). One file, shared by all replicas
 * of a data directory; an exchange is one locked read of what others appended, one append, one barrier.
 *
 * Invariants: nothing is decided before the file was read to its end under the lock; `done(null)` comes after a barrier of ours over everything that was
 * read or written (whoever wrote what we found may have died before its own barrier); after a failed barrier nothing succeeds any more.
 */
import fs from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { LedgerFile } from '@chronon/core/kernel/ledger-sink';
import { withFileLock } from './file-lock.ts';

const READ_BYTES = 1024 * 1024;
/** How long another process may hold the lock before the effects of this exchange fail (and are tried again later). */
export const LEDGER_LOCK_WAIT_MS = 5000;
const NEWLINE = 10;

export class FileLedger implements LedgerFile {
  private readonly path: string;
  private file: fs.FileHandle | null = null;
  /** Lines below this offset were handed over. */
  private offset = 0;
  private poison: string | null = null;

  constructor(path: string) {
    this.path = path;
  }

  exchange(decide: (fresh: readonly string[]) => string, done: (error: string | null) => void): void {
    this.exchangeLocked(decide).then(
      () => done(null),
      (error: unknown) => done(error instanceof Error ? error.message : String(error)),
    );
  }

  /** Closes the file; later exchanges fail. */
  async close(): Promise<void> {
    this.poison ??= 'the ledger is closed';
    const { file } = this;
    this.file = null;
    await file?.close();
  }

  private async exchangeLocked(decide: (fresh: readonly string[]) => string): Promise<void> {
    if (this.poison !== null) throw new Error(this.poison);
    if (this.file === null) mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    await withFileLock(`${this.path}.lock`, LEDGER_LOCK_WAIT_MS, async () => {
      this.file ??= await this.open();
      const { lines, torn } = await this.readNew(this.file);
      const text = `${torn ? '\n' : ''}${decide(lines)}`;
      if (text.length > 0) await this.append(this.file, text);
      if (text.length > 0 || lines.length > 0) await this.barrier(this.file);
    });
  }

  private async open(): Promise<fs.FileHandle> {
    const file = await fs.open(this.path, 'a+', 0o600);
    const directory = await fs.open(dirname(this.path), 'r');
    await directory.sync();
    await directory.close();
    return file;
  }

  /** Lines from `offset` on. A last line without its end was torn by a kill: it is handed over as it is, and ended by our append. */
  private async readNew(file: fs.FileHandle): Promise<{ lines: string[]; torn: boolean }> {
    const { size } = await file.stat();
    if (size < this.offset)
      throw new Error(`E_LEDGER: ${this.path} became shorter (${size} bytes, ${this.offset} were read)`);
    const lines: string[] = [];
    let at = this.offset;
    let rest = Buffer.alloc(0);
    while (at < size) {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(Math.min(READ_BYTES, size - at)), 0, null, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      const chunk = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        lines.push(chunk.toString('utf8', start, end));
        start = end + 1;
      }
      rest = chunk.subarray(start);
    }
    const torn = rest.length > 0;
    if (torn) lines.push(rest.toString('utf8'));
    this.offset = at + (torn ? 1 : 0);
    return { lines, torn };
  }

  private async append(file: fs.FileHandle, text: string): Promise<void> {
    const bytes = Buffer.from(text, 'utf8');
    for (let written = 0; written < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, written, bytes.length - written);
      written += bytesWritten;
    }
  }

  private async barrier(file: fs.FileHandle): Promise<void> {
    try {
      await file.datasync();
    } catch (error) {
      this.poison = `E_FSYNC: ${this.path}: ${(error as Error).message}; the ledger takes nothing more from this process`;
      throw new Error(this.poison);
    }
  }
}
