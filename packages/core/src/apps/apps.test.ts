/** bank and kv against their naive models: the same commands through a real Executor, reply by reply, with snapshots in between. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KIND } from '../engine/frame.ts';
import { REPLY, type Reply } from '../reply.ts';
import { Executor } from '../kernel/executor.ts';
import { nobleCodec as testCodec } from '../engine/codec/noble.ts';
import { LogBuilder } from '../kernel/testing/log-builder.ts';
import type { ApplicationModule, CallSpec } from '../kernel/types.ts';
import { decodeValue, encodeValue } from '../kernel/values.ts';
import { type BankState, RECEIPTS } from './bank.ts';
import { builtInApplication, naiveModel } from './index.ts';
import { BankModel } from './models/bank-model.ts';
import type { Model } from './models/model.ts';

const CLUSTER = new Uint8Array(16).fill(3);

/** One client of an application without a cluster. */
class Client {
  readonly module: ApplicationModule;
  executor: Executor;
  private readonly log = new LogBuilder(testCodec);
  private readonly session: number;
  private request = 1;

  constructor(name: string) {
    this.module = builtInApplication(name)!;
    this.executor = this.fresh();
    this.log.add(KIND.noop);
    this.session = this.log.add(KIND.register);
    this.run();
  }

  private fresh(): Executor {
    return new Executor({ module: this.module, clusterId: CLUSTER, codec: testCodec, digestRing: 8 });
  }

  private run(): Reply {
    const batch = this.log.take();
    let last: Reply | null = null;
    this.executor.apply(batch, batch.first, batch.last, (reply) => (last = reply));
    return last!;
  }

  raw(command: number, body: Uint8Array): Reply {
    const request = this.request++;
    this.log.add(KIND.command, { command, client: this.session, request, ackBelow: request, body });
    return this.run();
  }

  submit(name: string, raw: unknown): { reply: Reply; spec: CallSpec; input: unknown } {
    const spec = this.module.commands[name]!;
    const input = parse(spec, raw);
    return { reply: this.raw(spec.number, spec.encode(input)), spec, input };
  }

  query(name: string, raw?: unknown): { ok: boolean; value: unknown; spec: CallSpec; input: unknown } {
    const spec = this.module.queries[name]!;
    const input = parse(spec, raw);
    const { ok, body } = this.executor.query(spec.number, spec.encode(input));
    return { ok, value: ok ? spec.decodeResult(body) : decodeValue(body), spec, input };
  }

  /** Continues on a replica that starts from a snapshot of this one. */
  restart(): void {
    const { digest, sections: stream } = this.executor.snapshot();
    const sections = stream.collect();
    const next = this.fresh();
    next.restore({ index: this.executor.applied, chainHash: this.log.hash, digest }, sections);
    expect(next.snapshot().sections.collect()).toEqual(sections);
    this.executor = next;
  }
}

function parse(spec: CallSpec, raw: unknown): unknown {
  const parsed = spec.input.safeParse(raw);
  if (!parsed.success) throw new Error(parsed.error.issues[0]!.message);
  return parsed.data;
}

/** Plays commands on both and compares each reply and, at the end, each query. */
function compare(
  client: Client,
  model: Model,
  commands: readonly (readonly [string, unknown])[],
  queries: readonly (readonly [string, unknown])[],
): void {
  commands.forEach(([name, raw], i) => {
    if (i % 10 === 5) client.restart();
    const { reply, spec, input } = client.submit(name, raw);
    const branch = model.clone();
    const expected = model.step(spec.number, input, reply.index);
    const value = reply.status === REPLY.ok ? spec.decodeResult(reply.body) : decodeValue(reply.body);
    expect({ status: reply.status, value }).toEqual(expected);
    expect(branch.step(spec.number, spec.decode(spec.encode(input)), reply.index)).toEqual(expected);
    expect(branch.fingerprint()).toBe(model.fingerprint());
  });
  for (const [name, raw] of queries) {
    const { ok, value, spec, input } = client.query(name, raw);
    expect({ status: ok ? REPLY.ok : REPLY.rejected, value }).toEqual(model.query(spec.number, input));
  }
}

const who = fc.constantFrom('alice', 'bob', 'carol', 'd\u{1f600}e');
const cents = fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constant(1_000_000_000_000));

describe('bank', () => {
  it('replies as the model does', () => {
    const command = fc.oneof(
      fc.record({ account: who, cents }).map((input) => ['deposit', input] as const),
      fc.record({ to: who, cents }).map((input) => ['deposit', input] as const),
      fc.record({ from: who, cents }).map((input) => ['withdraw', input] as const),
      fc.record({ from: who, to: who, cents }).map((input) => ['transfer', input] as const),
    );
    const queries = [
      ['balance', 'alice'],
      ['balance', 'nobody'],
      ['accounts', null],
      ['accounts', { limit: 1, after: 'bob' }],
      ['total', {}],
    ] as const;
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) =>
        compare(new Client('bank'), naiveModel('bank')!, commands, queries),
      ),
      { numRuns: 40 },
    );
  });

  it('does what the README says, and emits a receipt for a transfer, none for a rejected one', () => {
    const client = new Client('bank');
    client.submit('deposit', { account: 'alice', cents: 1000 });
    const { reply } = client.submit('transfer', { from: 'alice', to: 'bob', cents: 500 });
    expect(decodeValue(reply.body)).toEqual({ transfer: `t${reply.index}`, from: 500, to: 500 });
    expect(client.query('balance', 'bob')).toMatchObject({ ok: true, value: 500 });
    const refused = client.submit('transfer', { from: 'alice', to: 'bob', cents: 501 });
    expect(decodeValue(refused.reply.body)).toEqual({
      code: 'InsufficientFunds',
      data: { account: 'alice', balance: 500, needed: 501 },
    });
    const [receipt, ...rest] = [...client.executor.outbox.pending()];
    expect(rest).toEqual([]);
    expect(receipt).toMatchObject({ channel: RECEIPTS, index: reply.index, sub: 0 });
    expect(decodeValue(receipt!.payload)).toEqual({
      transfer: `t${reply.index}`,
      from: 'alice',
      to: 'bob',
      cents: 500,
      index: reply.index,
    });
  });

  it('never overflows', () => {
    const client = new Client('bank');
    const model = new BankModel(new Map([['alice', 2n ** 53n - 5n]]));
    // The first entry begins the state.
    client.submit('deposit', { account: 'alice', cents: 1 });
    const state = client.executor.state as BankState;
    state.begin();
    state.accounts.set('alice', 2 ** 53 - 5);
    state.total = 2 ** 53 - 5;
    state.commit();
    compare(
      client,
      model,
      [
        ['deposit', { account: 'bob', cents: 5 }],
        ['deposit', { account: 'bob', cents: 4 }],
        ['transfer', { from: 'bob', to: 'alice', cents: 4 }],
      ],
      [['total', null]],
    );
  });

  it.each([
    ['transfer', { from: 'a', to: 'b', cents: 0 }],
    ['transfer', { from: 'a', to: 'b', cents: 1.5 }],
    ['transfer', { from: 'a', to: 'b', cents: 1, extra: 1 }],
    ['transfer', { from: '', to: 'b', cents: 1 }],
    ['deposit', { account: 'x'.repeat(65), cents: 1 }],
    ['deposit', { account: 'lone\ud800', cents: 1 }],
    ['deposit', { account: 'a', to: 'b', cents: 1 }],
    ['withdraw', 'alice'],
  ])('refuses %s %j at the edge', (name, raw) => {
    expect(builtInApplication('bank')!.commands[name]!.input.safeParse(raw).success).toBe(false);
  });

  it.each([
    ['no value', new Uint8Array([99])],
    ['no object', encodeValue('alice')],
    ['null', encodeValue(null)],
    ['negative cents', encodeValue({ from: 'a', to: 'b', cents: -5 })],
    ['fractional cents', encodeValue({ from: 'a', to: 'b', cents: 0.5 })],
    ['cents that are text', encodeValue({ from: 'a', to: 'b', cents: '5' })],
    ['an account that is a number', encodeValue({ from: 1, to: 'b', cents: 5 })],
    ['too many cents', encodeValue({ from: 'a', to: 'b', cents: 2e12 })],
  ])('a body in the log with %s is invalid', (_name, body) => {
    const client = new Client('bank');
    expect(client.raw(3, body)).toMatchObject({ status: REPLY.invalid, body: new Uint8Array(0) });
    expect(client.raw(9, encodeValue({ from: 'a', to: 'b', cents: 5 })).status).toBe(REPLY.invalid);
  });
});

describe('kv', () => {
  const key = fc.oneof(fc.constantFrom('a', 'b', 'long-enough-key-1'), fc.uint8Array({ minLength: 1, maxLength: 3 }));
  const value = fc.oneof(fc.constantFrom('', 'x', 'y'), fc.uint8Array({ maxLength: 100 }));

  it('replies as the model does', () => {
    const command = fc.oneof(
      fc.record({ key, value }).map((input) => ['put', input] as const),
      fc.record({ key }).map((input) => ['delete', input] as const),
      fc.record({ key, expected: fc.option(value), value }).map((input) => ['cas', input] as const),
      key.map((input) => ['get', input] as const),
    );
    const queries = [
      ['get', 'a'],
      ['get', { key: 'b' }],
      ['size', null],
    ] as const;
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
        const client = new Client('kv');
        // kv answers nothing for a put and a value for the rest: the model says what each is.
        compare(client, naiveModel('kv')!, commands, queries);
      }),
      { numRuns: 40 },
    );
  });

  it('any body at all is an outcome, and a restart after it is the same state', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 5 }), fc.uint8Array({ maxLength: 30 })), { maxLength: 20 }),
        (bodies) => {
          const client = new Client('kv');
          for (const [command, body] of bodies) {
            const { status } = client.raw(command, body);
            expect([REPLY.ok, REPLY.invalid]).toContain(status);
          }
          client.restart();
          expect(client.executor.faults).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('a stored value does not alias the log', () => {
    const client = new Client('kv');
    client.submit('put', { key: 'k', value: 'v'.repeat(300) });
    client.submit('put', { key: 'l', value: 'w' });
    expect(client.query('get', 'k').value).toBe('v'.repeat(300));
  });
});

it('an unknown application is null', () => {
  expect(builtInApplication('toString')).toBeNull();
});
