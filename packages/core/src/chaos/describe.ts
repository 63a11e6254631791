/** Messages in a few words, for trace files. */
import { toHex } from '../engine/hash.ts';
import type { Message } from '../vsr/messages.ts';
import type { TraceFields } from './trace.ts';

/** What `from` says to `to`: numbers as they are, hashes as their first digits, frames and headers as ranges. */
export function describe(from: number, to: number, message: Message): TraceFields {
  const fields: Record<string, string | number | boolean | null> = { from, to };
  for (const [name, value] of Object.entries(message) as [string, unknown][]) {
    const key = name in fields ? `asked-${name}` : name;
    if (value instanceof Uint8Array) fields[key] = toHex(value).slice(0, 8);
    else if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string') fields[key] = value;
  }
  if ((message.type === 'prepare' || message.type === 'newState') && message.batch !== null) {
    const { batch } = message;
    fields['frames'] =
      `${batch.first}..${batch.last} views ${batch.viewOf(batch.first)}..${batch.viewOf(batch.last)} ${toHex(batch.lastHash).slice(0, 8)}`;
  }
  if (message.type === 'doViewChange' || message.type === 'startView') {
    fields['headers'] = `${message.headers.first}..${message.headers.last}`;
  }
  if (message.type === 'doViewChange')
    fields['faulty'] = message.faulty.map((hole) => `${hole.from}..${hole.to}`).join(' ');
  return fields;
}
