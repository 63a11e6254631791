/** What commands print: text for people (control characters made visible), or one JSON object with --json. Results on stdout, everything else on stderr. */
import { jsonable } from '../api/jsonable.ts';
import { EXIT } from './exit-codes.ts';

/** Exit status of a command whose reader closed early, as a shell shows it of tools that SIGPIPE ends. */
const BROKEN_PIPE = 128 + 13;

let outlives = false;

/** From here on a command goes on when whoever reads its output is gone. */
export function outliveReader(): void {
  outlives = true;
}

/** What becomes of a command that cannot print: it ends quietly where the reader of its results has read enough, with an error otherwise. */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (outlives) return;
    if (error.code === 'EPIPE') process.exit(BROKEN_PIPE);
    process.stderr.write(`chronon: E_OUTPUT: the output cannot be written: ${error.message}\n`);
    process.exit(EXIT.failed);
  });
  // Nobody hears what is said; the result counts all the same.
  process.stderr.on('error', () => undefined);
}

/** Text from outside must not steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (c) =>
    c === '\n' || c === '\t' ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function printLine(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(jsonable(value))}\n`);
}

export function say(text: string): void {
  process.stderr.write(`${printable(text)}\n`);
}

/** A value in one line. */
export function inline(value: unknown): string {
  return JSON.stringify(jsonable(value));
}

/** Rows in aligned columns. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
