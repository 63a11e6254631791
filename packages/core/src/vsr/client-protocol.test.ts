/** Bytes of the client protocol: golden records, and whatever else arrives is a reason, never an exception. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { ENVELOPE_BYTES } from '../engine/constants.ts';
import { envelope, keyBytes, keyProblem, KIND, writeEnvelope, writeKey } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { REPLY } from '../reply.ts';
import {
  type ClientMessage,
  clientMessageBytes,
  type ClientRecord,
  CONSISTENCY,
  decodeClientMessages,
  decodeClientRecords,
  decodeRedirect,
  decodeRetryAfter,
  encodeQuery,
  encodeRedirect,
  encodeRetryAfter,
  payloadProblem,
  REFUSAL,
  refusal,
  requestRecordBytes,
  TO_CLIENT,
  writeClientMessage,
  writeRequestHead,
} from './client-protocol.ts';

const utf8 = new TextEncoder();

function requestRecord(kind: 'command' | 'register' | 'cancel', body = '', key: string | null = null): Uint8Array {
  const text = utf8.encode(body);
  const keyed = key === null ? null : utf8.encode(key);
  const size = ENVELOPE_BYTES + keyBytes(keyed) + text.length;
  const out = new Uint8Array(requestRecordBytes(size));
  const payload = writeRequestHead(out, 0, size);
  writeEnvelope(out, payload, KIND[kind], kind === 'command' ? 7 : 0, 100, 3, 2);
  if (kind === 'command') out.set(text, writeKey(out, payload, keyed));
  return out;
}

function written(message: ClientMessage): Uint8Array {
  const out = new Uint8Array(clientMessageBytes(message));
  expect(writeClientMessage(out, 0, message)).toBe(out.length);
  return out;
}

function records(bytes: Uint8Array): { readonly problem: string | null; readonly records: ClientRecord[] } {
  const found: ClientRecord[] = [];
  const problem = decodeClientRecords(bytes, (record) => found.push(record));
  return { problem, records: found };
}

const reply: ClientMessage = {
  type: TO_CLIENT.reply,
  status: REPLY.rejected,
  session: 100,
  request: 3,
  index: at(2 ** 33),
  body: utf8.encode('no'),
};
const busy = refusal(TO_CLIENT.refusal, REFUSAL.busy, 100, 3, encodeRetryAfter(250));
const moved = refusal(TO_CLIENT.queryRefusal, REFUSAL.notPrimary, 0, 9, encodeRedirect(5, 2));

const GOLDEN: readonly (readonly [string, Uint8Array, string])[] = [
  [
    'command',
    requestRecord('command', 'hi'),
    '2a0000000100000000000000010100000700000064000000000000000300000000000000020000000000000068' + '69',
  ],
  [
    'command with an idempotency key',
    requestRecord('command', 'hi', 'k1'),
    '2d00000001000000000000000101010007000000640000000000000003000000000000000200000000000000026b316869',
  ],
  [
    'cancel',
    requestRecord('cancel'),
    '2800000001000000000000000301000000000000640000000000000003000000000000000200000000000000',
  ],
  [
    'linearizable query',
    encodeQuery(4, 9, CONSISTENCY.linearizable, utf8.encode('q')),
    '190000000200000004000000090000000000000' + '0ffffffff0000000071',
  ],
  [
    'stale query with a bound',
    encodeQuery(4, 9, CONSISTENCY.stale, utf8.encode('q'), 200),
    '190000000201000004000000090000000000000' + '0c80000000000000071',
  ],
  ['reply', written(reply), '220000000101000000000000640000000000000003000000000000000100000002000000' + '6e6f'],
  [
    'busy with a retry-after',
    written(busy),
    '240000000201000000000000640000000000000003000000000000000000000000000000fa000000',
  ],
  [
    'redirect',
    written(moved),
    '30000000040200000000000000000000000000000900000000000000000000000000000005000000000000000200000000000000',
  ],
];

describe('client protocol', () => {
  it.each(GOLDEN)('golden bytes of a %s', (_name, bytes, hex) => {
    expect(toHex(bytes)).toBe(hex);
  });

  it('records survive the wire, several in one message', () => {
    const one = requestRecord('command', 'hi', 'k1');
    const two = encodeQuery(4, 9, CONSISTENCY.stale, utf8.encode('q'), 200);
    const read = records(Uint8Array.from([...one, ...two]));
    expect(read.problem).toBeNull();
    const [first, second] = read.records;
    const { payload } = first as ClientRecord & { type: 'request' };
    expect(payloadProblem(payload)).toBeNull();
    expect(new TextDecoder().decode(envelope.key(payload, 0)!)).toBe('k1');
    expect(new TextDecoder().decode(envelope.body(payload, 0, payload.length))).toBe('hi');
    expect(second).toMatchObject({ type: 'query', consistency: 1, query: 4, nonce: 9, maxLagMs: 200 });
  });

  it('messages survive the wire', () => {
    for (const message of [reply, busy, moved, { ...reply, index: NONE }]) {
      const got: ClientMessage[] = [];
      expect(decodeClientMessages(written(message), (m) => got.push(m))).toBeNull();
      expect(got).toEqual([message]);
    }
    expect(decodeRetryAfter(busy.body)).toBe(250);
    expect(decodeRetryAfter(new Uint8Array(3))).toBe(0);
    expect(decodeRedirect(moved.body)).toEqual({ view: 5, primary: 2 });
    expect(decodeRedirect(new Uint8Array(15))).toBeNull();
  });

  it.each([
    ['no bytes', ''],
    ['too long', 'k'.repeat(65)],
  ])('an idempotency key of %s is refused', (_name, key) => {
    const payload = requestRecord('command', 'x', key).subarray(12);
    expect(payloadProblem(payload)).toContain('1 to 64 bytes');
  });

  it('a key that reaches beyond the payload, unknown flags and a keyed cancel are refused', () => {
    const payload = requestRecord('command', '', 'k1').slice(12);
    payload[32] = 40;
    expect(payloadProblem(payload)).toBe('the idempotency key is cut off');
    payload[2] = 2;
    expect(payloadProblem(payload)).toBe('envelope flags 2 are unknown');
    const cancel = requestRecord('cancel').slice(12);
    cancel[2] = 1;
    expect(keyProblem(cancel, 0, cancel.length)).toBe('envelope flags 1 are unknown');
  });

  it('anything else gives a reason, never an exception, and nothing that was not there', () => {
    const good = GOLDEN.map(([, bytes]) => bytes);
    const edits = fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(
        fc.nat(good.length - 1),
        edits,
        fc.nat(60),
        fc.uint8Array({ maxLength: 40 }),
        (which, changes, cut, tail) => {
          const bytes = Uint8Array.from([...good[which]!.subarray(0, cut), ...tail]);
          for (const [i, value] of changes) if (i < bytes.length) bytes[i] = value;
          let size = 0;
          const problem = decodeClientRecords(bytes, (record) => {
            size += record.type === 'request' ? record.payload.length : record.body.length;
            if (record.type === 'request') payloadProblem(record.payload);
          });
          expect(problem === null || problem.length > 0).toBe(true);
          expect(size).toBeLessThanOrEqual(bytes.length);
          const back: number[] = [];
          const wrong = decodeClientMessages(bytes, (message) => back.push(...written(message)));
          if (wrong === null) expect(back.length).toBe(bytes.length);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
