/** `log.range` (frames exactly as on this replica's medium) and `log.entries` (decoded for people). */
import { fromJson } from '@chronon/core/engine/commit-index';
import { FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { ENVELOPE_BYTES } from '@chronon/core/engine/constants';
import { envelope, frame, KIND, SCHEMA } from '@chronon/core/engine/frame';
import { toHex } from '@chronon/core/engine/hash';
import { z } from 'zod';
import { apiError } from './errors.ts';
import type { ApiHost } from './host.ts';
import { jsonable } from './jsonable.ts';
import { index, logEntry, logRange, type LogEntry, type LogRange } from './schema.ts';
import { router, viewerProcedure } from './trpc.ts';

/** Most raw bytes of one answer. */
export const RANGE_BYTES_MAX = 1024 * 1024;
export const ENTRIES_MAX = 500;

type ReadResult = Parameters<Parameters<ApiHost['replica']['readLog']>[2]>[0];

const KIND_NAMES = new Map<number, string>(Object.entries(KIND).map(([name, number]) => [number, name]));

export const logRouter = router({
  range: viewerProcedure
    .input(z.object({ from: index, maxBytes: z.number().int().min(1).max(RANGE_BYTES_MAX).default(262_144) }))
    .output(logRange)
    .query(({ ctx, input }) => readRange(ctx.host, safeIndex(input.from), input.maxBytes)),

  entries: viewerProcedure
    .input(
      z.object({
        /** First index; null: the newest `limit` entries. */
        from: index.nullable().default(null),
        limit: z.number().int().min(1).max(ENTRIES_MAX).default(100),
      }),
    )
    .output(
      z.object({
        entries: z.array(logEntry),
        fault: logRange.shape.fault,
        commit: logRange.shape.commit,
        last: logRange.shape.last,
      }),
    )
    .query(({ ctx, input }) => readEntries(ctx.host, input.from, input.limit)),
});

/** A decimal string as an index this system can have. */
function safeIndex(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw apiError('E_INPUT', `index ${text} is above 2^53`);
  return value;
}

function read(host: ApiHost, from: number, maxBytes: number): Promise<ReadResult> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(apiError('E_LOG_READ', 'the disk did not answer within 5 s')), 5000);
    host.replica.readLog(from, maxBytes, (result) => {
      clearTimeout(timer);
      resolve(result);
    });
  });
}

async function readRange(host: ApiHost, from: number, maxBytes: number): Promise<LogRange> {
  const result = await read(host, from, maxBytes);
  const { commit, last } = host.detail();
  const none: LogRange = { replica: host.id, from: String(from), count: 0, frames: '', commit, last, fault: null };
  if (result.kind === 'none') return none;
  if (result.kind === 'compacted') return { ...none, fault: { index: String(result.first), kind: 'compacted' } };
  if (result.kind === 'faulty') return { ...none, fault: { index: String(result.index), kind: result.fault } };
  const { bytes, count } = result;
  return { ...none, count, frames: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') };
}

async function readEntries(
  host: ApiHost,
  from: string | null,
  limit: number,
): Promise<{ entries: LogEntry[]; fault: LogRange['fault']; commit: LogRange['commit']; last: LogRange['last'] }> {
  const { commit, last } = host.detail();
  let at = from === null ? Math.max(0, fromJson(last) + 1 - limit) : safeIndex(from);
  const entries: LogEntry[] = [];
  let fault: LogRange['fault'] = null;
  while (entries.length < limit && fault === null) {
    const result = await read(host, at, RANGE_BYTES_MAX);
    if (result.kind === 'none') break;
    if (result.kind === 'compacted') at = result.first;
    else if (result.kind === 'faulty') fault = { index: String(result.index), kind: result.fault };
    else {
      let offset = 0;
      for (let i = 0; i < result.count && entries.length < limit; i++) {
        entries.push(entryOf(host, result.bytes, offset));
        offset += frame.size(result.bytes, offset);
      }
      at += result.count;
    }
  }
  return { entries, fault, commit, last };
}

/** One frame in words. */
function entryOf(host: ApiHost, bytes: Uint8Array, at: number): LogEntry {
  const payload = at + FRAME_HEADER_BYTES;
  const payloadBytes = frame.payloadSize(bytes, at);
  const hash = new Uint8Array(16);
  host.codec.hash(bytes, at + 4, payload + payloadBytes, hash, 0);
  const enveloped = frame.schema(bytes, at) === SCHEMA.envelope && payloadBytes >= ENVELOPE_BYTES;
  const kind = enveloped ? envelope.kind(bytes, payload) : -1;
  const fromClient = kind === KIND.command || kind === KIND.register || kind === KIND.cancel;
  const base = {
    index: String(frame.index(bytes, at)),
    view: String(frame.view(bytes, at)),
    kind: KIND_NAMES.get(kind) ?? (enveloped ? `kind-${kind}` : 'raw'),
    timeMs: (frame.timeHigh(bytes, at) * 2 ** 32 + frame.timeLow(bytes, at)) / 1e6,
    payloadBytes,
    session: fromClient ? String(envelope.client(bytes, payload)) : null,
    request: fromClient ? String(envelope.request(bytes, payload)) : null,
    hash: toHex(hash),
    prevHash: toHex(frame.prevHash(bytes, at)),
  };
  if (kind !== KIND.command) return { ...base, command: null, input: null };
  const number = envelope.command(bytes, payload);
  const found = Object.entries(host.app.commands).find(([, spec]) => spec.number === number);
  if (found === undefined) return { ...base, command: `#${number}`, input: null };
  try {
    return {
      ...base,
      command: found[0],
      input: jsonable(found[1].decode(envelope.body(bytes, payload, payloadBytes))),
    };
  } catch {
    return { ...base, command: found[0], input: null };
  }
}
