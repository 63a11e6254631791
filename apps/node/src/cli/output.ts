/** What commands print: text for people (control characters made visible), or one JSON object with --json. Results on stdout, everything else on stderr. */
import { jsonable } from '../api/jsonable.ts';

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
