/** The session table against a naive one: every command executes at most once, and a table restored in between is the same table. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { ENVELOPE_BYTES } from '../engine/constants.ts';
import { KIND, writeEnvelope } from '../engine/frame.ts';
import { SOUND } from '../policy.ts';
import { EMPTY_BODY, REPLY, SESSION_WINDOW } from '../reply.ts';
import { CodecError } from './errors.ts';
import { FIRST_REQUEST, SessionTable } from './sessions.ts';

const newTable = (sessionsMax = 3): SessionTable => new SessionTable({ codec: nobleCodec, policy: SOUND, sessionsMax });

function payload(
  kind: 'command' | 'cancel',
  session: number,
  request: number,
  ackBelow: number,
  body: number,
): Uint8Array {
  const bytes = new Uint8Array(ENVELOPE_BYTES + 1);
  writeEnvelope(bytes, 0, KIND[kind], 1, session, request, ackBelow);
  bytes[ENVELOPE_BYTES] = body;
  return bytes;
}

/** What the Executor does with an entry, without an application. Returns the outcome in a word. */
function submit(
  table: SessionTable,
  index: number,
  kind: 'command' | 'cancel',
  session: number,
  request: number,
  ackBelow: number,
  body: number,
): string {
  const bytes = payload(kind, session, request, ackBelow, body);
  const answer = table.check(session, request, bytes, 0, bytes.length);
  if (answer.kind === 'reply') return `reply of ${answer.reply.index}`;
  if (answer.kind === 'refused') return `refused ${answer.reply.status}`;
  if (answer.kind === 'ahead') return `ahead of ${answer.next}`;
  const hash = new Uint8Array(16);
  nobleCodec.hash(bytes, 0, bytes.length, hash, 0);
  const status = kind === 'command' ? REPLY.ok : REPLY.cancelled;
  const entry = table.get(session)!;
  table.record(entry, request, index, status, EMPTY_BODY, ackBelow, kind === 'command' ? hash : null, 0);
  return 'executed';
}

type Step =
  | { readonly op: 'register' }
  | { readonly op: 'restore' }
  | {
      readonly op: 'submit';
      readonly kind: 'command' | 'cancel';
      readonly who: number;
      readonly request: number;
      readonly ack: number;
      readonly body: number;
    };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<Step>({ op: 'register' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ op: 'restore' }) },
  {
    weight: 12,
    arbitrary: fc.record({
      op: fc.constant('submit' as const),
      kind: fc.constantFrom<'command' | 'cancel'>('command', 'command', 'command', 'cancel'),
      who: fc.nat({ max: 4 }),
      request: fc.integer({ min: 1, max: 12 }),
      ack: fc.integer({ min: 1, max: 8 }),
      body: fc.nat({ max: 1 }),
    }),
  },
);

interface Naive {
  id: number;
  next: number;
  ack: number;
  done: Map<number, { index: number; body: number | null }>;
}

describe('SessionTable', () => {
  it('answers as a naive table does, through restores and evictions', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        let table = newTable();
        // In order of last commit, oldest first.
        let naive: Naive[] = [];
        const everyId: number[] = [];
        steps.forEach((s, i) => {
          const index = i + 1;
          if (s.op === 'register') {
            table.register(index);
            everyId.push(index);
            naive = [...naive, { id: index, next: FIRST_REQUEST, ack: FIRST_REQUEST, done: new Map() }].slice(-3);
          } else if (s.op === 'restore') {
            const copy = newTable();
            copy.restore(table.encode());
            expect(copy.encode()).toEqual(table.encode());
            table = copy;
          } else {
            const id = everyId[s.who % Math.max(1, everyId.length)] ?? 1000;
            const outcome = submit(table, index, s.kind, id, s.request, s.ack, s.body);
            expect(outcome).toBe(expected(naive, index, id, s));
            if (outcome === 'executed') naive = [...naive.filter((n) => n.id !== id), naive.find((n) => n.id === id)!];
          }
          expect([...table.ids()]).toEqual(naive.map((n) => n.id));
        });
      }),
      { numRuns: 300 },
    );
  });

  function expected(naive: Naive[], index: number, id: number, s: Step & { op: 'submit' }): string {
    const session = naive.find((n) => n.id === id);
    if (session === undefined) return `refused ${REPLY.evicted}`;
    if (s.request < session.ack) return `refused ${REPLY.sequence}`;
    const done = session.done.get(s.request);
    if (done !== undefined) {
      const same = s.kind === 'cancel' || done.body === null || done.body === s.body;
      return same ? `reply of ${done.index}` : `refused ${REPLY.mismatch}`;
    }
    const ack = Math.max(session.ack, Math.min(s.ack, session.next));
    if (s.request >= ack + SESSION_WINDOW) return `refused ${REPLY.sequence}`;
    if (s.request > session.next) return `ahead of ${session.next}`;
    session.done.set(s.request, { index, body: s.kind === 'cancel' ? null : s.body });
    session.next++;
    session.ack = ack;
    return 'executed';
  }

  it('a stream gives the bytes of when it was made, whatever is applied between its pieces', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.array(step, { maxLength: 30 }), (before, after) => {
        const tables = [newTable(4), newTable(4)];
        let index = 0;
        const play = (steps: readonly Step[], between: () => void): void => {
          for (const s of steps) {
            index++;
            for (const table of tables) {
              if (s.op === 'register') table.register(index);
              else if (s.op === 'submit') submit(table, index, s.kind, 1 + s.who, s.request, s.ack, s.body);
            }
            between();
          }
        };
        for (let i = 0; i < 3; i++) play([{ op: 'register' }], () => {});
        play(before, () => {});
        const expected = tables[1]!.encode();
        const stream = tables[0]!.stream(1);
        const got: number[] = [];
        play(after, () => got.push(...(stream.next() ?? [])));
        for (let piece = stream.next(); piece !== null; piece = stream.next()) got.push(...piece);
        expect(new Uint8Array(got)).toEqual(expected);
        expect(tables[0]!.encode()).toEqual(tables[1]!.encode());
      }),
      { numRuns: 200 },
    );
  });

  it('keeps a full window of replies and forgets what is acknowledged', () => {
    const table = newTable();
    table.register(1);
    for (let n = 1; n <= SESSION_WINDOW; n++) expect(submit(table, n + 1, 'command', 1, n, 1, 0)).toBe('executed');
    expect(submit(table, 900, 'command', 1, SESSION_WINDOW + 1, 1, 0)).toBe(`refused ${REPLY.sequence}`);
    const full = table.encode().length;
    expect(submit(table, 901, 'command', 1, SESSION_WINDOW + 1, SESSION_WINDOW + 1, 0)).toBe('executed');
    expect(table.encode().length).toBeLessThan(full / 50);
    expect(submit(table, 902, 'command', 1, 5, 1, 0)).toBe(`refused ${REPLY.sequence}`);
  });

  it('restore refuses any other bytes and changes nothing then', () => {
    const table = newTable();
    table.register(1);
    submit(table, 2, 'command', 1, 1, 1, 0);
    const bytes = table.encode();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat({ max: bytes.length - 1 }), (noise, cut) => {
        for (const bad of [noise, bytes.subarray(0, cut)]) {
          try {
            newTable().restore(bad);
          } catch (error) {
            expect(error).toBeInstanceOf(CodecError);
          }
        }
      }),
    );
    expect(() => table.restore(bytes.subarray(1))).toThrow(CodecError);
    expect(table.encode()).toEqual(bytes);
  });
});
