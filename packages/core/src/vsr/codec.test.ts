/** Bytes of the replica messages: what is encoded is decoded equal, and anything else is a reason, never an exception. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { nobleCodec } from '../engine/codec/noble.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import { frameBytes, KIND, writeEnvelope, writeHeader } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix, writeHeaderRecord } from '../engine/header-suffix.ts';
import { decodeMessage, encodeMessage, FAULTY_RANGES_MAX } from './codec.ts';
import { BOOT, type Message, type MessageType } from './messages.ts';

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

function headers(count = 3): HeaderSuffix {
  const source = batch(4, count);
  const bytes = new Uint8Array(count * HEADER_RECORD_BYTES);
  for (let i = 0; i < count; i++) writeHeaderRecord(source, 4 + i, bytes, i * HEADER_RECORD_BYTES);
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
    runs: [11, 12, 0],
    applied: NONE,
    digest: hash,
    confirmed: at(1),
    confirmedDigest: hash,
  },
  {
    type: 'commitOk',
    view: 3,
    round: 7,
    run: 12,
    durable: at(2),
    applied: at(1),
    digestIndex: NONE,
    digest: hash,
    wallUs: 1_700_000_000_000_001,
    oldest: 2,
    newest: 4,
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
    logView: 7,
    base: at(3),
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
    logView: 0,
    base: NONE,
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
    lacks: at(50),
    held: [
      { index: 50, state: hash, file: hash, confirmed: false },
      { index: 100, state: hash, file: new Uint8Array(16), confirmed: true },
    ],
  },
  { type: 'snapshotReport', view: 0, first: 0, lacks: NONE, held: [] },
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

/** One of each type, small. What stands on the wire does not change unnoticed: a change here is a change of MESSAGE_VERSION once anything is released. */
const GOLDEN: Readonly<Record<MessageType, string>> = {
  prepare: [
    '0101000000000000030000000000000000000000000000007baaadd42800000000000000000000000300000000000000',
    '000000000000000000000000000000000000000000000000c0a5e055407a79de37b01ad2662a76430a00000000000000',
    '000002000000000001010000010000000200000000000000000000000000000000000000000000000000000000000000',
  ].join(''),
  prepareOk: ['02010000000000000300000000000000000000000000000002000000000000000102030405060708090a0b0c0d0e0f10'].join(
    '',
  ),
  commit: [
    '0301000000000000030000000000000001000000000000000300000000000000070000000000000003000000000000',
    '0007000000000000000500000000000000000000000000000003000000000000000b000000000000000c0000000000',
    '0000000000000000000000000000000000000102030405060708090a0b0c0d0e0f1002000000000000000102030405',
    '060708090a0b0c0d0e0f10',
  ].join(''),
  commitOk: [
    '0401000000000000030000000000000007000000000000000c00000000000000030000000000000002000000000000',
    '0000000000000000000102030405060708090a0b0c0d0e0f1001401e18240a060002000000000000000400000000000000',
  ].join(''),
  startViewChange: ['05010000000000000000000000010000'].join(''),
  doViewChange: [
    '06010000000000000900000000000000030000000000000007000000000000000102030405060708090a0b0c0d0e0f10',
    '000000000000000006000000000000000700000000000000010000000000000003000000000000000000000000000000',
    '010000000000000000000000000000000200000000000000010000000000000002000000000000000400000000000000',
    '0100000000000000e8508a77280000000400000000000000030000000000000000000000000000000102030405060708',
    '090a0b0c0d0e0f10c0a5e055407a79de37b01ad2662a76430a000000000000000000020000000000bd45d33abdc9e4c6',
    '69dd2aedcf4739fb',
  ].join(''),
  startView: [
    '070100000000000009000000000000000700000000000000040000000000000007000000000000000102030405060708',
    '090a0b0c0d0e0f100500000000000000',
    '050000000000000006000000000000000100000000000000030000000000000000000000000000000200000000000000',
    '000000000000000004000000000000000100000000000000e8508a772800000004000000000000000300000000000000',
    '00000000000000000102030405060708090a0b0c0d0e0f10c0a5e055407a79de37b01ad2662a76430a00000000000000',
    '0000020000000000bd45d33abdc9e4c669dd2aedcf4739fb',
  ].join(''),
  requestStartView: ['080100000000000009000000000000000500000000000000'].join(''),
  boot: [
    '0b010000000000000000000000000000030000000000000001000000000000000102030405060708090a0b0c0d0e0f10',
    '0102030405060708090a0b0c0d0e0f100200000000000000080000000000000003000000000000000100000000000000',
    '020000000000000001000000000000000102030405060708090a0b0c0d0e0f1000000000000000000000000000000000',
    '0102030405060708090a0b0c0d0e0f10',
  ].join(''),
  getState: ['09010000000000000900000000000000000000000000000007000000000000000300000000000000'].join(''),
  newState: [
    '0a0100000000000009000000000000000300000000000000010000000000000002000000000000000300000000000000',
    '0100000000000000262817a9280000000100000000000000030000000000000000000000000000000102030405060708',
    '090a0b0c0d0e0f10c0a5e055407a79de37b01ad2662a76430a0000000000000000000200000000000101000001000000',
    '0200000000000000000000000000000000000000000000000000000000000000',
  ].join(''),
  snapshotReport: [
    '0c0100000000000009000000000000003c00000000000000330000000000000002000000000000003200000000000000',
    '0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f1000000000000000006400000000000000',
    '0102030405060708090a0b0c0d0e0f10000000000000000000000000000000000100000000000000',
  ].join(''),
  getSnapshot: [
    '0d01000000000000090000000000000064000000000000000102030405060708090a0b0c0d0e0f100010000000000000',
    '00000200000000000300000000000000',
  ].join(''),
  snapshotPart: ['0e010000000000000900000000000000640000000000000000100000000000000300000000000000010203'].join(''),
};

function golden(type: MessageType): Message {
  const message = MESSAGES.find((m) => m.type === type)!;
  switch (message.type) {
    case 'prepare':
      return { ...message, batch: batch(0, 1) };
    case 'newState':
      return { ...message, batch: batch(1, 1) };
    case 'doViewChange':
    case 'startView':
      return { ...message, headers: headers(1) };
    default:
      return message;
  }
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

  it.each(Object.keys(GOLDEN) as MessageType[])('golden bytes of %s', (type) => {
    expect(toHex(wire(golden(type)))).toBe(GOLDEN[type]);
    expect(decodeMessage(wire(golden(type)), nobleCodec)).toEqual({ message: golden(type) });
  });

  it('names its reasons by type', () => {
    const bytes = wire({ type: 'requestStartView', view: 9, nonce: 5 });
    const decoded = (at: number, value: number): unknown => {
      const changed = bytes.slice();
      changed[at] = value;
      return decodeMessage(changed, nobleCodec);
    };
    expect(decoded(1, 9)).toEqual({ code: 'E_MESSAGE_VERSION', error: 'message version 9, this replica speaks 1' });
    expect(decoded(0, 200)).toEqual({ code: 'E_MESSAGE_TYPE', error: 'message type 200 is unknown' });
    expect(decoded(5, 1)).toMatchObject({ code: 'E_MESSAGE' });
    expect(decoded(15, 1)).toMatchObject({ code: 'E_MESSAGE' });
  });

  it('a mutated message is refused or is another message that encodes to the same bytes', () => {
    const wires = MESSAGES.map(wire);
    const edit = fc.record({
      which: fc.nat(wires.length - 1),
      from: fc.nat(wires.length - 1),
      edits: fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { maxLength: 4 }),
      cut: fc.nat(700),
      splice: fc.nat(700),
    });
    fc.assert(
      fc.property(edit, ({ which, from, edits, cut, splice }) => {
        const tail = splice > 400 ? new Uint8Array(0) : wires[from]!.subarray(splice);
        const bytes = Uint8Array.from([...wires[which]!.subarray(0, cut), ...tail]);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        const decoded = decodeMessage(bytes, nobleCodec);
        if ('message' in decoded) expect(toHex(wire(decoded.message))).toBe(toHex(bytes));
        else expect(decoded.code).toMatch(/^E_MESSAGE/);
      }),
      { numRuns: 5000 },
    );
  });

  it('counts are checked before anything is allocated for them', () => {
    const huge = wire(golden('doViewChange'));
    // Behind type, view, log view, head, hash, commit, present, promised and generation stands the count of incarnations.
    const at = 16 + 8 + 8 + 16 + 4 * 8;
    huge.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0], at);
    expect(decodeMessage(huge, nobleCodec)).toMatchObject({ code: 'E_MESSAGE' });
    const ranges = Array.from({ length: FAULTY_RANGES_MAX + 1 }, (_, i) => ({ from: i, to: i }));
    const message = { ...(golden('doViewChange') as Message & { type: 'doViewChange' }), faulty: ranges };
    expect(decodeMessage(wire(message), nobleCodec)).toMatchObject({ code: 'E_MESSAGE' });
  });
});
