/**
 * Histories as files: Jepsen's `etcd_*.log` lines, porcupine's `kv` EDN-like lines, and our own JSON lines. Each gives the same operations.
 *
 * Our lines: `{"type":"invoke"|"ok"|"fail"|"info","client":C,"op":N,"f":NAME,"key":K,"value":V}`; `op` pairs a line with its invocation (without it a
 * client has one call at a time); `rejected:true`: executed and refused; `index`: where it stands in the log. Other fields are for people.
 *
 * Invariants: the order of lines is the order of real time; `fail` never happened; `info`, and what never ends, may happen at any later time or never.
 */
import { HistoryError, numbered, type Operation } from './operation.ts';

export const HISTORY_FORMATS = ['auto', 'jepsen', 'porcupine', 'json'] as const;
export type HistoryFormat = (typeof HISTORY_FORMATS)[number];

interface Event {
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly client: string;
  readonly op: string;
  readonly f: string;
  readonly key: string | null;
  readonly value: unknown;
  readonly rejected: boolean;
  readonly index: number | null;
}

type LineParser = (line: string) => Event | null;

/** Reads a history. Throws HistoryError naming the line. */
export function parseHistory(content: string, format: HistoryFormat = 'auto'): Operation[] {
  const lines = content.split('\n');
  const parse = PARSERS[format === 'auto' ? formatOf(lines) : format];
  const calls = new Map<string, { readonly event: Event; readonly at: number }>();
  const operations: Omit<Operation, 'id'>[] = [];
  const end = (call: { event: Event; at: number }, event: Event | null, at: number): void => {
    const { client, f, key, value } = call.event;
    const known = event !== null && event.type !== 'info';
    operations.push({
      client,
      f,
      key,
      input: value,
      output: known ? { rejected: event.rejected, value: event.value } : null,
      invoked: call.at,
      returned: known ? at : Number.POSITIVE_INFINITY,
      index: event?.index ?? null,
    });
  };
  lines.forEach((line, at) => {
    const event = parseLine(parse, line, at + 1);
    if (event === null) return;
    const call = calls.get(event.op);
    if (event.type === 'invoke') {
      if (call !== undefined) throw new HistoryError(`line ${at + 1}: ${event.op} is invoked while it is under way`);
      calls.set(event.op, { event, at });
      return;
    }
    if (call === undefined) throw new HistoryError(`line ${at + 1}: ${event.op} ends without having been invoked`);
    calls.delete(event.op);
    if (event.type !== 'fail') end(call, event, at);
  });
  for (const call of calls.values()) end(call, null, lines.length);
  return numbered(operations);
}

/** What the first lines look like. */
function formatOf(lines: readonly string[]): Exclude<HistoryFormat, 'auto'> {
  const first = lines.find((line) => line.trim() !== '') ?? '';
  if (first.startsWith('{:')) return 'porcupine';
  return first.trimStart().startsWith('{') ? 'json' : 'jepsen';
}

function parseLine(parse: LineParser, line: string, number: number): Event | null {
  try {
    return line.trim() === '' ? null : parse(line);
  } catch (error) {
    throw new HistoryError(`line ${number}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const JEPSEN = /^INFO\s+jepsen\.util - (\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$/;
const CAS = /^\[(\d+) (\d+)\]$/;

/** A cas that failed was executed and did not fit; a read or write that failed did not happen. */
function parseJepsen(line: string): Event | null {
  const match = JEPSEN.exec(line.trim());
  if (match === null) {
    if (line.includes('jepsen.util - ')) throw new HistoryError('not an operation on a register');
    return null;
  }
  const [, client, type, f, rest] = match as unknown as [string, string, Event['type'], string, string];
  const base = { client, op: client, f, key: null, rejected: false, index: null };
  if (f === 'cas' && (type === 'ok' || type === 'fail')) return { ...base, type: 'ok', value: type === 'ok' };
  return { ...base, type, value: type === 'ok' && f !== 'read' ? null : jepsenValue(rest) };
}

function jepsenValue(rest: string): unknown {
  if (rest === 'nil' || rest === ':timed-out') return null;
  const cas = CAS.exec(rest);
  if (cas !== null) return { from: Number(cas[1]), to: Number(cas[2]) };
  if (!/^-?\d+$/.test(rest)) throw new HistoryError(`${JSON.stringify(rest)} is no value of a register`);
  return Number(rest);
}

const PORCUPINE =
  /^\{:process (\d+), :type :(invoke|ok|fail|info), :f :(get|put|append), :key "([^"]*)", :value (nil|"[^"]*")\}$/;

function parsePorcupine(line: string): Event | null {
  const match = PORCUPINE.exec(line.trim());
  if (match === null) throw new HistoryError('not a line of a porcupine history');
  const [, client, type, f, key, quoted] = match as unknown as [string, string, Event['type'], string, string, string];
  const value = quoted === 'nil' ? null : quoted.slice(1, -1);
  const seen = f === 'get' ? (value === '' ? null : value) : null;
  return { type, client, op: client, f, key, value: type === 'ok' ? seen : value, rejected: false, index: null };
}

function parseJson(line: string): Event | null {
  const raw = JSON.parse(line) as Record<string, unknown> | null;
  if (typeof raw !== 'object' || raw === null) throw new HistoryError('not a JSON object');
  const { type, client, op, f, key, value, rejected, index } = raw;
  if (type === 'note') return null;
  if (type !== 'invoke' && type !== 'ok' && type !== 'fail' && type !== 'info')
    throw new HistoryError(`"type" is invoke, ok, fail, info or note, not ${JSON.stringify(type)}`);
  if (typeof client !== 'string' && typeof client !== 'number') throw new HistoryError('"client" is missing');
  if (type === 'invoke' && typeof f !== 'string') throw new HistoryError('"f" is missing');
  return {
    type,
    client: String(client),
    op: typeof op === 'string' || typeof op === 'number' ? String(op) : `of ${client}`,
    f: typeof f === 'string' ? f : '',
    key: typeof key === 'string' ? key : null,
    value: value ?? null,
    rejected: rejected === true,
    index: typeof index === 'number' ? index : null,
  };
}

const PARSERS: Readonly<Record<Exclude<HistoryFormat, 'auto'>, LineParser>> = {
  jepsen: parseJepsen,
  porcupine: parsePorcupine,
  json: parseJson,
};
