/** The ledger: one line a key, the fence, torn lines, several writers on one file. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase64, encodeBase64 } from './base64.ts';
import { CancelSignal, type EffectRun } from './effect-sink.ts';
import {
  decodeLedgerLine,
  encodeLedgerRecord,
  FENCED,
  type LedgerFile,
  LedgerSink,
  MemoryLedger,
} from './ledger-sink.ts';

function effect(key: number, view = 1, generation = 0): EffectRun {
  return {
    key: key.toString(16).padStart(32, '0'),
    fence: { generation, view },
    index: key,
    channel: 'receipts',
    payload: new Uint8Array([key]),
    attempt: 1,
    signal: new CancelSignal(),
  };
}

function run(sink: LedgerSink, call: EffectRun): string | null | undefined {
  let outcome: string | null | undefined;
  sink.run(call, (error) => {
    expect(outcome).toBeUndefined();
    outcome = error;
  });
  return outcome;
}

describe('LedgerSink', () => {
  it('records an effect once, whoever runs it again', () => {
    const ledger = new MemoryLedger();
    const first = new LedgerSink(ledger.open());
    const second = new LedgerSink(ledger.open());
    expect(run(first, effect(1))).toBeNull();
    expect(run(first, effect(1))).toBeNull();
    expect(run(second, effect(1, 2))).toBeNull();
    expect(run(second, effect(2, 2))).toBeNull();
    expect(ledger.records().map((record) => record.index)).toEqual([1, 2]);
  });

  it('rust-14: refuses a token strictly smaller than the greatest it has seen, not an older index', () => {
    const ledger = new MemoryLedger();
    const old = new LedgerSink(ledger.open());
    const now = new LedgerSink(ledger.open());
    expect(run(old, effect(5, 1))).toBeNull();
    expect(run(now, effect(6, 2))).toBeNull();
    expect(run(old, effect(7, 1))).toBe(FENCED);
    expect(run(now, effect(4, 2))).toBeNull();
    expect(run(now, effect(8, 1, 1))).toBeNull();
    expect(run(now, effect(9, 2, 0))).toBe(FENCED);
    expect(ledger.records().map((record) => record.index)).toEqual([5, 6, 4, 8]);
  });

  it('remembers a fence that had nothing to write, over a restart', () => {
    const ledger = new MemoryLedger();
    run(new LedgerSink(ledger.open()), effect(1, 1));
    expect(run(new LedgerSink(ledger.open()), effect(1, 3))).toBeNull();
    expect(run(new LedgerSink(ledger.open()), effect(2, 2))).toBe(FENCED);
    expect(ledger.records()).toHaveLength(1);
  });

  it('gathers what comes while an append is under way', () => {
    const tasks: (() => void)[] = [];
    const ledger = new MemoryLedger((task) => tasks.push(task));
    const sink = new LedgerSink(ledger.open());
    const done: (string | null)[] = [];
    for (let key = 1; key <= 10; key++) sink.run(effect(key), (error) => done.push(error));
    sink.run(effect(3), (error) => done.push(error));
    expect([ledger.lines.length, tasks.length]).toEqual([1, 1]);
    while (tasks.length > 0) tasks.shift()!();
    expect(done).toEqual(Array.from({ length: 11 }, () => null));
    expect(ledger.records().map((record) => record.index)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('after a failed append, what was written is found and what was not is written', () => {
    const ledger = new MemoryLedger();
    const good = ledger.open();
    let fault: 'none' | 'before' | 'after' = 'none';
    const file: LedgerFile = {
      exchange(decide, done) {
        if (fault === 'before') return done('EIO');
        good.exchange(decide, (error) => done(fault === 'after' ? 'EIO' : error));
      },
    };
    const sink = new LedgerSink(file);
    fault = 'before';
    expect(run(sink, effect(1))).toBe('EIO');
    fault = 'after';
    expect(run(sink, effect(2))).toBe('EIO');
    fault = 'none';
    expect([run(sink, effect(1)), run(sink, effect(2))]).toEqual([null, null]);
    expect(ledger.records().map((record) => record.index)).toEqual([2, 1]);
  });

  it('steps over torn lines and counts them', () => {
    const ledger = new MemoryLedger();
    const line = encodeLedgerRecord(effect(1)).trimEnd();
    ledger.lines.push(line, line.slice(0, 40), '', '[]', '{"key":"x"}');
    const sink = new LedgerSink(ledger.open());
    expect(run(sink, effect(1))).toBeNull();
    expect([sink.size, sink.damaged, ledger.records().length]).toEqual([1, 4, 1]);
  });

  it('lines come back as they were, and nothing else is one', () => {
    const call = effect(77, 3, 2);
    expect(decodeLedgerLine(encodeLedgerRecord(call))).toEqual({
      key: call.key,
      generation: 2,
      view: 3,
      index: 77,
      channel: 'receipts',
      payload: call.payload,
    });
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        expect(decodeLedgerLine(text)).toBeNull();
      }),
    );
  });
});

it('base64 agrees with the runtime, both ways', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.string({ maxLength: 12 }), (bytes, text) => {
      const encoded = encodeBase64(bytes);
      expect(encoded).toBe(btoa(String.fromCharCode(...bytes)));
      expect(decodeBase64(encoded)).toEqual(bytes);
      const decoded = decodeBase64(text);
      if (decoded !== null) expect(encodeBase64(decoded)).toBe(text);
    }),
  );
});
