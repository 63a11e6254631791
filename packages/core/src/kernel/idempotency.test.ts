/** Durable idempotency keys: docs/protocol.md, "Clients and sessions": beside sessions, for callers that outlive a process. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { KIND } from '../engine/frame.ts';
import { REPLY, type Reply } from '../reply.ts';
import { CodecError, InvalidCommand } from './errors.ts';
import { Executor } from './executor.ts';
import type { ExecutorOptions } from './executor-options.ts';
import { IDEMPOTENCY_FULL, KeyTable } from './idempotency.ts';
import { LogBuilder } from './testing/log-builder.ts';
import { type Table, Tables } from './table.ts';
import type { ChrApplication } from './types.ts';
import { decodeValue, encodeValue } from './values.ts';

class CounterState extends Tables {
  readonly rows: Table<string, number> = this.table('rows');
}

/** Adds its body; rejects 13, does not know negative numbers. */
const counter: ChrApplication<CounterState> = {
  genesis: () => new CounterState(),
  apply(state, event, ctx) {
    const add = decodeValue(event.body) as number;
    if (add < 0) throw new InvalidCommand('negative');
    const sum = (state.rows.get('sum') ?? 0) + add;
    state.rows.set('sum', sum);
    if (add === 13) ctx.reject('Unlucky');
    return { state, result: encodeValue(sum) };
  },
  query: (state) => encodeValue(state.rows.get('sum') ?? 0),
  snapshot: (state) => state.encode(),
  restore(bytes) {
    const state = new CounterState();
    state.restore(bytes);
    return state;
  },
};

const keyOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function harness(options: Partial<ExecutorOptions<CounterState>> = {}) {
  const make = (): Executor<CounterState> =>
    new Executor({
      module: { name: 'counter', version: 1, application: counter },
      clusterId: new Uint8Array(16),
      codec: nobleCodec,
      digestRing: 64,
      ...options,
    });
  let executor = make();
  const log = new LogBuilder(nobleCodec);
  const run = (): Reply => {
    const batch = log.take();
    let last: Reply | null = null;
    executor.apply(batch, batch.first, batch.last, (reply) => {
      last = reply;
    });
    return last!;
  };
  log.add(KIND.noop);
  /** One process of a caller: a session of its own. */
  const process = (): ((key: string | null, add: number) => Reply) => {
    const session = log.add(KIND.register, { request: 1 });
    run();
    let request = 0;
    return (key, add) => {
      request++;
      const fields = { command: 1, client: session, request, ackBelow: request, body: encodeValue(add) };
      log.add(KIND.command, key === null ? fields : { ...fields, key: keyOf(key) });
      return run();
    };
  };
  return {
    log,
    process,
    sum: (): unknown => decodeValue(executor.query(1, encodeValue(null)).body),
    keys: (): number => executor.keyCount,
    restart: (): void => {
      const { sections: stream, digest } = executor.snapshot();
      const sections = stream.collect();
      const at = { index: executor.applied, chainHash: executor.appliedHash, digest };
      executor = make();
      executor.restore(at, sections);
      expect(executor.snapshot().sections.collect()).toEqual(sections);
    },
  };
}

describe('idempotency keys', () => {
  it('a caller that outlives its process gets the first outcome, and nothing runs twice', () => {
    const { process, sum } = harness();
    const first = process()('order-1', 5);
    const again = process()('order-1', 5);
    expect(again).toMatchObject({ status: REPLY.ok, index: first.index });
    expect(decodeValue(again.body)).toBe(5);
    expect(sum()).toBe(5);
  });

  it('the same key with another payload is IdempotencyConflict and changes nothing', () => {
    const { process, sum } = harness();
    const call = process();
    call('order-1', 5);
    expect(call('order-1', 6).status).toBe(REPLY.conflict);
    expect(sum()).toBe(5);
    expect(call('order-2', 6).status).toBe(REPLY.ok);
  });

  it('a business rejection is an outcome too; a command that nobody understands binds nothing', () => {
    const { process, sum, keys } = harness();
    const call = process();
    const first = call('a', 13);
    expect(call('a', 13)).toMatchObject({ status: REPLY.rejected, index: first.index, body: first.body });
    expect(call('b', -1).status).toBe(REPLY.invalid);
    expect(call('b', 2).status).toBe(REPLY.ok);
    expect([sum(), keys()]).toEqual([2, 2]);
  });

  it('a key is kept for its retention in block time, not longer', () => {
    const { log, process, sum, keys } = harness({ keyRetentionMs: 1000 });
    const call = process();
    call('order-1', 5);
    log.wait(990);
    call('order-1', 5);
    expect(sum()).toBe(5);
    log.wait(1000);
    expect(call('order-1', 5).status).toBe(REPLY.ok);
    expect([sum(), keys()]).toEqual([10, 1]);
  });

  it('a full table refuses a new key rather than forget one early, and takes it once an old one expired', () => {
    const { log, process, sum } = harness({ keyRetentionMs: 1000, keysMax: 2 });
    const call = process();
    call('a', 1);
    call('b', 1);
    const refused = call('c', 1);
    expect(decodeValue(refused.body)).toEqual({ code: IDEMPOTENCY_FULL });
    expect(call(null, 1).status).toBe(REPLY.ok);
    expect(call('a', 1).status).toBe(REPLY.ok);
    expect(sum()).toBe(3);
    log.wait(1000);
    expect(call('c', 1).status).toBe(REPLY.ok);
  });

  it('keys survive a restart from a snapshot', () => {
    const { process, sum, restart } = harness();
    const first = process()('order-1', 5);
    restart();
    expect(process()('order-1', 5)).toMatchObject({ index: first.index });
    expect(process()('order-1', 6).status).toBe(REPLY.conflict);
    expect(sum()).toBe(5);
  });

  it('restore refuses any other bytes and changes nothing then', () => {
    const table = new KeyTable({ codec: nobleCodec });
    const outcome = { status: REPLY.ok, index: 3, body: keyOf('x'), timeMs: 5, command: new Uint8Array(16) };
    table.keep(keyOf('a'), outcome);
    table.keep(keyOf('b'), { ...outcome, timeMs: 6 });
    const bytes = table.encode();
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.nat({ max: bytes.length - 1 }),
        fc.nat(255),
        (noise, at, byte) => {
          const changed = bytes.slice();
          changed[at] = byte;
          for (const bad of [noise, bytes.subarray(0, at), changed]) {
            const copy = new KeyTable({ codec: nobleCodec });
            try {
              copy.restore(bad);
              expect(copy.encode()).toEqual(bad);
            } catch (error) {
              expect(error).toBeInstanceOf(CodecError);
            }
          }
        },
      ),
    );
    expect(() => table.restore(bytes.subarray(1))).toThrow(CodecError);
    expect(table.encode()).toEqual(bytes);
  });
});
