/** Bytes of the replica messages: what is encoded is decoded equal, and anything else is a reason, never an exception. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { nobleCodec } from '../engine/codec/noble.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import { frameBytes, KIND, writeEnvelope, writeHeader } from '../engine/frame.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix, writeHeaderRecord } from '../engine/header-suffix.ts';
import { decodeMessage, encodeMessage } from './codec.ts';
import { BOOT, type Message } from './messages.ts';

const hash = new Uint8Array(16).map((_, i) => i + 1);

function batch(first: number, count: number): FrameBatch {
  const size = frameBytes(40);
  const bytes = new Uint8Array(size * count);
  for (let i = 0; i < count; i++) {
    writeHeader(bytes, i * size, 40, first + i, 3, 10 + i, 0, 0);
    writeEnvelope(bytes, i * size + 80, KIND.command, 1, 2, i, 0);
  }
  const chain = first === 0 ? new Uint8Array(16) : hash.slice();
  nobleCodec.seal(bytes, 0, bytes.length, chain);
  return new FrameBatch(bytes, count, chain);
}

function headers(): HeaderSuffix {
  const source = batch(4, 3);
  const bytes = new Uint8Array(3 * HEADER_RECORD_BYTES);
  for (let i = 0; i < 3; i++) writeHeaderRecord(source, 4 + i, bytes, i * HEADER_RECORD_BYTES);
  return new HeaderSuffix(4, bytes);
}

const MESSAGES: readonly Message[] = [
  { type: 'prepare', view: 3, commit: NONE, batch: batch(0, 3) },
  { type: 'prepareOk', view: 3, first: 0, last: 2, hash },
  {
    type: 'commit',
    view: 3,
    commit: at(0),
    head: at(2),
    round: 7,
    answered: [7, 5, 0],
    applied: NONE,
    digest: hash,
    confirmed: at(1),
    confirmedDigest: hash,
  },
  {
    type: 'commitOk',
    view: 3,
    round: 7,
    durable: at(2),
    applied: at(1),
    digestIndex: NONE,
    digest: hash,
    wallUs: 1_700_000_000_000_001,
  },
  { type: 'startViewChange', view: 2 ** 40 },
  {
    type: 'doViewChange',
    view: 9,
    logView: 3,
    head: at(6),
    headHash: hash,
    commit: NONE,
    present: at(5),
    promised: at(6),
    faulty: [{ from: 1, to: 2 }],
    headers: headers(),
    generation: 1,
    incarnations: [0, 1, 0],
  },
  {
    type: 'startView',
    view: 9,
    head: at(6),
    headHash: hash,
    commit: at(4),
    headers: headers(),
    nonce: 5,
    acked: at(5),
    generation: 1,
    incarnations: [0, 2, 0],
  },
  {
    type: 'startView',
    view: 1,
    head: NONE,
    headHash: new Uint8Array(16),
    commit: NONE,
    headers: HeaderSuffix.EMPTY,
    nonce: 0,
    acked: NONE,
    generation: 0,
    incarnations: [0],
  },
  { type: 'requestStartView', view: 9, nonce: 5 },
  {
    type: 'boot',
    view: 0,
    kind: BOOT.admitted,
    environment: 'production',
    bootId: hash,
    clusterId: hash,
    founders: [hash, new Uint8Array(16), hash],
    generation: 2,
    incarnations: [1, 2, 1],
    through: at(7),
  },
  { type: 'getState', view: 9, from: 0, to: 7, nonce: 3 },
  { type: 'newState', view: 9, nonce: 3, canonical: true, commit: at(1), head: at(2), first: 1, batch: batch(1, 2) },
  { type: 'newState', view: 9, nonce: 3, canonical: false, commit: NONE, head: NONE, first: 90, batch: null },
  {
    type: 'snapshotReport',
    view: 9,
    first: 60,
    confirmed: at(100),
    held: [
      { index: 50, state: hash, file: hash },
      { index: 100, state: hash, file: new Uint8Array(16) },
    ],
  },
  { type: 'snapshotReport', view: 0, first: 0, confirmed: NONE, held: [] },
  { type: 'getSnapshot', view: 9, index: 100, file: hash, offset: 4096, length: 131_072, nonce: 3 },
  { type: 'snapshotPart', view: 9, index: 100, offset: 4096, nonce: 3, bytes: new Uint8Array([1, 2, 3]) },
  { type: 'snapshotPart', view: 9, index: 100, offset: 0, nonce: 3, bytes: new Uint8Array(0) },
];

function wire(message: Message): Uint8Array {
  const chunks = encodeMessage(message);
  const out = new Uint8Array(chunks.reduce((sum, c) => sum + c.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

describe('message codec', () => {
  it.each(MESSAGES.map((m) => [m.type, m] as const))('%s survives the wire', (_type, message) => {
    expect(decodeMessage(wire(message), nobleCodec)).toEqual({ message });
  });

  it.each(MESSAGES.map((m) => [m.type, m] as const))(
    '%s cut off anywhere is refused or carries fewer whole frames',
    (_type, message) => {
      const bytes = wire(message);
      for (let length = 0; length < bytes.length; length++) {
        const decoded = decodeMessage(bytes.subarray(0, length), nobleCodec);
        if ('message' in decoded) expect(['prepare', 'newState', 'snapshotPart']).toContain(message.type);
        else expect(decoded.error.length).toBeGreaterThan(0);
      }
    },
  );

  it('a flipped bit in a frame is refused', () => {
    const bytes = wire(MESSAGES[0]!);
    for (let i = 24; i < bytes.length; i++) {
      const bad = bytes.slice();
      bad[i] = bad[i]! ^ 0x10;
      expect('error' in decodeMessage(bad, nobleCodec)).toBe(true);
    }
  });

  it('anything else gives a reason, never an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 0, max: 12 }), (noise, type) => {
        const bytes = noise.slice();
        if (bytes.length > 1) bytes.set([type, 1]);
        const decoded = decodeMessage(bytes, nobleCodec);
        return 'message' in decoded || decoded.error.length > 0;
      }),
      { numRuns: 2000 },
    );
  });
});
