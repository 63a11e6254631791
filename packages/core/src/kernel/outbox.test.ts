/** The outbox and the entries that move it: order, bounds, late acknowledgements, canonical bytes, and codecs that survive anything. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import {
  decodeEffectAcks,
  decodeEffectDeaths,
  decodeEffectFailures,
  encodeEffectAcks,
  encodeEffectDeaths,
  encodeEffectFailures,
} from './effect-entries.ts';
import { CodecError } from './errors.ts';
import { ACKNOWLEDGED_KEPT, effectPlace, Outbox } from './outbox.ts';

const CLUSTER = new Uint8Array(16).fill(9);
const HASH = new Uint8Array(16).fill(4);

function newOutbox(): Outbox {
  return new Outbox({ codec: nobleCodec, clusterId: CLUSTER, pendingMax: 1000 });
}

function filled(count: number): Outbox {
  const outbox = newOutbox();
  for (let i = 0; i < count; i++) outbox.add(10 + i, 0, HASH, 0, 'c', new Uint8Array([i]));
  return outbox;
}

const refs = (outbox: Outbox): number[] => [...outbox.pending()].map((entry) => entry.index);

describe('Outbox', () => {
  it('gives each effect an id of cluster, chain hash and position', () => {
    const outbox = newOutbox();
    outbox.add(5, 0, HASH, 0, 'c', new Uint8Array(0));
    outbox.add(5, 1, HASH, 0, 'c', new Uint8Array(0));
    outbox.add(
      6,
      0,
      HASH.map((b) => b + 1),
      0,
      'c',
      new Uint8Array(0),
    );
    const other = new Outbox({ codec: nobleCodec, clusterId: HASH, pendingMax: 10 });
    other.add(5, 0, HASH, 0, 'c', new Uint8Array(0));
    const ids = [...outbox.pending(), ...other.pending()].map((entry) => entry.id);
    expect(new Set(ids).size).toBe(4);
    expect(ids.every((id) => /^[0-9a-f]{32}$/.test(id))).toBe(true);
  });

  it('keeps index order and moves effects by entries only', () => {
    const outbox = filled(4);
    outbox.fail({ index: 11, sub: 0, attempt: 1, notBefore: 99, error: 'no route' });
    outbox.acknowledge({ index: 10, sub: 0 });
    outbox.bury({ index: 12, sub: 0, attempt: 1, error: 'gone' });
    outbox.fail({ index: 11, sub: 0, attempt: 1, notBefore: 500, error: 'the same report again' });
    expect(refs(outbox)).toEqual([11, 13]);
    expect(outbox.pendingAt(effectPlace(11, 0))).toMatchObject({ attempts: 1, notBefore: 99, lastError: 'no route' });
    expect(outbox.counts).toEqual({ pending: 2, acknowledged: 1, dead: 1 });
    expect(outbox.list(10).map((entry) => entry.state)).toEqual(['pending', 'pending', 'dead', 'acknowledged']);
  });

  it('a second report changes nothing; an acknowledgement that comes after the burial counts', () => {
    const outbox = filled(1);
    const ref = { index: 10, sub: 0 };
    outbox.bury({ ...ref, attempt: 1, error: 'x' });
    outbox.acknowledge(ref);
    outbox.acknowledge(ref);
    outbox.bury({ ...ref, attempt: 1, error: 'x' });
    outbox.fail({ ...ref, attempt: 1, notBefore: 1, error: 'x' });
    expect(outbox.counts).toEqual({ pending: 0, acknowledged: 1, dead: 0 });
  });

  it('keeps a bounded memory of what was acknowledged', () => {
    const outbox = filled(ACKNOWLEDGED_KEPT + 20);
    for (let i = 0; i < ACKNOWLEDGED_KEPT + 20; i++) outbox.acknowledge({ index: 10 + i, sub: 0 });
    expect(outbox.list(10_000)).toHaveLength(ACKNOWLEDGED_KEPT);
    expect(outbox.counts.acknowledged).toBe(ACKNOWLEDGED_KEPT + 20);
  });

  it('rust-14: a restored outbox has what waited, and goes on byte for byte as the original', () => {
    const move = fc.tuple(fc.constantFrom('ack', 'fail', 'bury'), fc.nat({ max: 12 }));
    const play = (outbox: Outbox, moves: readonly (readonly [string, number])[]): void => {
      for (const [kind, i] of moves) {
        const ref = { index: 10 + i, sub: 0 };
        if (kind === 'ack') outbox.acknowledge(ref);
        else if (kind === 'fail') outbox.fail({ ...ref, attempt: 1, notBefore: 5, error: 'f' });
        else outbox.bury({ ...ref, attempt: 1, error: 'b' });
      }
    };
    fc.assert(
      fc.property(fc.array(move), fc.array(move), (before, after) => {
        const original = filled(10);
        play(original, before);
        const copy = newOutbox();
        const bytes = original.encode();
        copy.restore(bytes);
        expect(refs(copy)).toEqual(refs(original));
        play(original, after);
        // What is read meanwhile is the outbox of before.
        const stream = copy.stream(1);
        const got: number[] = [];
        for (const one of after) {
          got.push(...(stream.next() ?? []));
          play(copy, [one]);
          expect(copy.firstPendingIndex()).toBe(refs(copy)[0] ?? null);
        }
        for (let piece = stream.next(); piece !== null; piece = stream.next()) got.push(...piece);
        expect(new Uint8Array(got)).toEqual(bytes);
        expect(copy.encode()).toEqual(original.encode());
        expect(copy.firstPendingIndex()).toBe(refs(copy)[0] ?? null);
        expect(copy.list(100)).toEqual(original.list(100));
      }),
    );
  });

  it('restore refuses any other bytes and changes nothing then', () => {
    const outbox = filled(2);
    const bytes = outbox.encode();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat({ max: bytes.length - 1 }), (noise, cut) => {
        for (const bad of [noise, bytes.subarray(0, cut)]) {
          const target = filled(2);
          try {
            target.restore(bad);
          } catch (error) {
            expect(error).toBeInstanceOf(CodecError);
            expect(target.encode()).toEqual(bytes);
          }
        }
      }),
    );
  });
});

describe('effect entries', () => {
  const ref = fc.record({ index: fc.nat(), sub: fc.nat({ max: 63 }) });
  const error = fc.string({ unit: 'grapheme', maxLength: 50 });
  const some = { minLength: 1, maxLength: 20 };

  it('decode what was encoded', () => {
    fc.assert(
      fc.property(
        fc.array(ref, some),
        fc.array(fc.record({ index: fc.nat(), sub: fc.nat(), attempt: fc.nat(), notBefore: fc.nat(), error }), some),
        (acks, failures) => {
          expect(decodeEffectAcks(encodeEffectAcks(acks))).toEqual(acks);
          expect(decodeEffectFailures(encodeEffectFailures(failures))).toEqual(failures);
          const deaths = failures.map(({ index, sub, attempt, error: text }) => ({ index, sub, attempt, error: text }));
          expect(decodeEffectDeaths(encodeEffectDeaths(deaths))).toEqual(deaths);
        },
      ),
    );
  });

  it('cut what a sink may say, lone surrogates included', () => {
    const [death] = decodeEffectDeaths(
      encodeEffectDeaths([{ index: 1, sub: 0, attempt: 1, error: `\ud800${'x'.repeat(999)}` }]),
    );
    expect(death!.error).toBe(`?${'x'.repeat(199)}`);
  });

  it('any bytes are a batch or a CodecError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        for (const decode of [decodeEffectAcks, decodeEffectFailures, decodeEffectDeaths]) {
          try {
            expect(decode(bytes).length).toBeGreaterThan(0);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(CodecError);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});
