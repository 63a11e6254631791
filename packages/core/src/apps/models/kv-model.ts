/** Naive kv: a Map from hex to hex. Inputs and results as `kvCommands` decodes them (text where it is UTF-8, else bytes). */
import { fromHex, toHex } from '../../engine/hash.ts';
import { utf8Decode, utf8Encode } from '../../kernel/utf8.ts';
import { invalid, type Model, type ModelResult, ok } from './model.ts';

type Text = string | Uint8Array;

export class KvModel implements Model {
  readonly name = 'kv';
  private readonly rows: Map<string, string>;

  constructor(rows: ReadonlyMap<string, string> = new Map()) {
    this.rows = new Map(rows);
  }

  step(command: number, input: unknown): ModelResult {
    const fields = input as Record<string, Text | null>;
    const key = hex(fields['key'] as Text);
    const now = this.rows.get(key);
    if (command === 1) return this.put(key, fields['value'] as Text, null);
    if (command === 2) {
      this.rows.delete(key);
      return ok(now !== undefined);
    }
    if (command === 3) {
      const expected = fields['expected'] as Text | null;
      if (expected === null ? now !== undefined : now !== hex(expected)) return ok(false);
      return this.put(key, fields['value'] as Text, true);
    }
    return command === 4 ? ok(readable(now)) : invalid();
  }

  private put(key: string, value: Text, result: unknown): ModelResult {
    this.rows.set(key, hex(value));
    return ok(result);
  }

  query(query: number, input: unknown): ModelResult {
    if (query === 2) return ok(this.rows.size);
    if (query !== 1) return invalid();
    return ok(readable(this.rows.get(hex((input as { key: Text }).key))));
  }

  clone(): KvModel {
    return new KvModel(this.rows);
  }

  fingerprint(): string {
    return [...this.rows].map(([key, value]) => `${key}=${value}`).join('\n');
  }
}

function hex(text: Text): string {
  return toHex(typeof text === 'string' ? utf8Encode(text) : text);
}

function readable(value: string | undefined): Text | null {
  if (value === undefined) return null;
  const bytes = fromHex(value);
  try {
    return utf8Decode(bytes, 0, bytes.length);
  } catch {
    return bytes;
  }
}
