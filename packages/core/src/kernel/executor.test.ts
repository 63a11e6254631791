/** The Executor: order, outcomes, sessions at apply, digest, snapshot. Regressions carry the number of their item in docs/protocol.md. */
import { describe, expect, it } from 'vitest';
import { KIND } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { SOUND } from '../policy.ts';
import { REPLY, type Reply } from '../reply.ts';
import { InvalidCommand, Rejection } from './errors.ts';
import { Executor } from './executor.ts';
import type { ExecutorOptions } from './executor-options.ts';
import { nobleCodec as testCodec } from '../engine/codec/noble.ts';
import { type DeterminismError, installGuard } from './guard.ts';
import { haltOf } from './testing/halt-of.ts';
import { LogBuilder } from './testing/log-builder.ts';
import { type Table, Tables } from './table.ts';
import type { ApplyContext, ChrApplication } from './types.ts';
import { decodeValue, encodeValue } from './values.ts';

const CLUSTER = new Uint8Array(16).fill(7);

/** Counts; does what its body says before it ends. */
class CounterState extends Tables {
  readonly rows: Table<string, number> = this.table('rows');
}
type Act = (state: CounterState, ctx: ApplyContext) => unknown;
const acts: Record<string, Act> = {};

const counter: ChrApplication<CounterState> = {
  genesis: () => new CounterState(),
  apply(state, event, ctx) {
    if (event.command !== 1) throw new InvalidCommand('no such command');
    const name = decodeValue(event.body) as string;
    const count = (state.rows.get('count') ?? 0) + 1;
    state.rows.set('count', count);
    const result = acts[name]?.(state, ctx);
    return result instanceof Uint8Array ? { state, result } : { state, result: encodeValue(count) };
  },
  query: (state) => encodeValue(state.rows.get('count') ?? 0),
  snapshot: (state) => state.encode(),
  restore(bytes) {
    const state = new CounterState();
    state.restore(bytes);
    return state;
  },
};
const module = { name: 'counter', version: 1, application: counter };

function harness(options: Partial<ExecutorOptions<CounterState>> = {}) {
  const executor = new Executor({ module, clusterId: CLUSTER, codec: testCodec, digestRing: 128, ...options });
  const log = new LogBuilder(testCodec);
  const replies: Reply[] = [];
  const run = (): Reply => {
    const batch = log.take();
    executor.apply(batch, batch.first, batch.last, (reply) => replies.push(reply));
    return replies.at(-1)!;
  };
  log.add(KIND.noop);
  const session = log.add(KIND.register, { request: 99 });
  run();
  const fields = (request: number, name: string, ackBelow = 1) => ({
    command: 1,
    client: session,
    request,
    ackBelow,
    body: encodeValue(name),
  });
  const submit = (request: number, name = 'plain', ackBelow = 1): Reply => {
    log.add(KIND.command, fields(request, name, ackBelow));
    return run();
  };
  const count = (): unknown => decodeValue(executor.query(1, encodeValue(null)).body);
  return { executor, log, replies, run, session, submit, fields, count };
}

describe('order', () => {
  it('registers a session by the index of its entry and answers with the nonce', () => {
    const { replies, session } = harness();
    expect(replies[0]).toMatchObject({ status: REPLY.ok, session, request: 99, index: session });
  });

  it('halts on a gap, on a repeated entry and on a foreign chain, and stays halted', () => {
    const { executor, log, submit } = harness();
    submit(1);
    log.add(KIND.noop);
    const batch = log.take();
    executor.apply(batch, batch.first, batch.last, () => undefined);
    const again = (): void => executor.apply(batch, batch.first, batch.last, () => undefined);
    expect(haltOf(again)).toBe('E_APPLY_ORDER');
    expect(haltOf(() => executor.query(1, encodeValue(null)))).toBe('E_APPLY_ORDER');

    const other = harness();
    const foreign = new LogBuilder(testCodec, 2, new Uint8Array(16).fill(1));
    foreign.add(KIND.noop);
    expect(haltOf(() => other.executor.apply(foreign.take(), 2, 2, () => undefined))).toBe('E_APPLY_ORDER');
  });

  it.each([
    ['an unknown kind', 200],
    ['a configuration', KIND.configuration],
  ])('halts on %s', (_name, kind) => {
    const { log, run } = harness();
    log.add(kind as 0);
    expect(haltOf(run)).toBe('E_UNKNOWN_ENTRY');
  });
});

describe('outcomes', () => {
  it('rolls a rejection back and replicates code and data', () => {
    const { submit, count } = harness();
    acts['reject'] = (_state, ctx) => ctx.reject('TooMuch', { limit: 5 });
    const reply = submit(1, 'reject');
    expect(reply.status).toBe(REPLY.rejected);
    expect(decodeValue(reply.body)).toEqual({ code: 'TooMuch', data: { limit: 5 } });
    expect(count()).toBe(0);
  });

  it('keeps a rejection that the application swallowed, and takes one that it threw itself', () => {
    const { submit, count } = harness();
    acts['swallow'] = (_state, ctx) => {
      try {
        ctx.reject('Swallowed');
      } catch {
        return encodeValue('fine');
      }
    };
    acts['throw'] = () => {
      throw new Rejection('Thrown', 1);
    };
    expect(decodeValue(submit(1, 'swallow').body)).toEqual({ code: 'Swallowed' });
    expect(decodeValue(submit(2, 'throw').body)).toEqual({ code: 'Thrown', data: 1 });
    expect(count()).toBe(0);
  });

  it('rust-15: a poisonous command costs its own client a fault, never a replica', () => {
    const faults: unknown[] = [];
    const { submit, count, executor } = harness({ reportFault: (_index, error) => faults.push(error) });
    acts['poison'] = () => {
      throw new TypeError('secret detail of /home/me');
    };
    const reply = submit(1, 'poison');
    expect(reply).toMatchObject({ status: REPLY.fault, body: new Uint8Array(0) });
    expect(submit(2).status).toBe(REPLY.ok);
    expect(count()).toBe(1);
    expect(executor.faults).toBe(1);
    expect(faults).toHaveLength(1);
    expect(haltOf(() => harness({ onFault: 'halt' }).submit(1, 'poison'))).toBe('E_APPLY_FAULT');
  });

  it.each<[string, Act]>([
    ['a promise as result', () => undefined],
    ['an effect with a bad channel', (_state, ctx) => ctx.emit('Not A Channel', new Uint8Array(1))],
    ['an effect that is too large', (_state, ctx) => ctx.emit('c', new Uint8Array(70_000))],
    ['a rejection without encoding', (_state, ctx) => ctx.reject('Bad', () => 1)],
    ['a result that is too large', () => new Uint8Array(300_000)],
    ['rust-15: a row that has no encoding', (state) => state.rows.set('f', (() => 1) as never)],
    ['65 effects', (_s, ctx) => Array.from({ length: 65 }, () => ctx.log('info', 'x'))],
  ])('%s is a fault', (name, act) => {
    const { submit, count } = harness({
      module: {
        ...module,
        application: {
          ...counter,
          apply: (state, event, ctx) => {
            const applied = counter.apply(state, event, ctx);
            return name === 'a promise as result' ? (Promise.resolve(applied) as never) : applied;
          },
        },
      },
    });
    acts['odd'] = act;
    expect(submit(1, 'odd').status).toBe(REPLY.fault);
    expect(count()).toBe(0);
  });

  it('what differs between machines is a fault under the guard, the same on every replica', () => {
    const reported: unknown[] = [];
    acts['clock'] = (state) => state.rows.set('at', Date.now());
    acts['dice'] = (state) => state.rows.set('dice', Math.random());
    const uninstall = installGuard(globalThis);
    try {
      const { submit, count } = harness({ reportFault: (_index, error) => reported.push(error) });
      expect([submit(1, 'clock').status, submit(2, 'dice').status]).toEqual([REPLY.fault, REPLY.fault]);
      expect(count()).toBe(0);
    } finally {
      uninstall();
    }
    expect(reported.map((error) => (error as DeterminismError).api)).toEqual(['Date.now()', 'Math.random()']);
  });

  it('a log message may hold anything; what is replicated is well-formed', () => {
    const logged: string[] = [];
    const { submit } = harness({ reportLog: (_index, effect) => logged.push(effect.message) });
    acts['log'] = (_state, ctx) => ctx.log('info', `\ud800${'x'.repeat(2000)}`);
    expect(submit(1, 'log').status).toBe(REPLY.ok);
    expect(logged).toEqual([`?${'x'.repeat(1023)}`]);
  });

  it('an outbox that is full rejects the command that needs it, and no other', () => {
    const { submit, count } = harness({ outboxPendingMax: 1 });
    acts['emit'] = (_state, ctx) => ctx.emit('c', new Uint8Array([1]));
    expect(submit(1, 'emit').status).toBe(REPLY.ok);
    expect(decodeValue(submit(2, 'emit').body)).toEqual({ code: 'OutboxFull' });
    expect(submit(3).status).toBe(REPLY.ok);
    expect(count()).toBe(2);
  });

  it('a body nobody can read and a command that does not exist are invalid, and use up their number', () => {
    const { log, run, session, submit } = harness();
    log.add(KIND.command, { command: 77, client: session, request: 1, ackBelow: 1, body: encodeValue('x') });
    expect(run().status).toBe(REPLY.invalid);
    expect(submit(2).status).toBe(REPLY.ok);
  });

  it('halts on a stack overflow, which depends on the machine', () => {
    const { submit, executor } = harness();
    const dive = (): number => dive() + 1;
    acts['dive'] = dive;
    expect(haltOf(() => submit(1, 'dive'))).toBe('E_APPLY_RESOURCES');
    expect(haltOf(() => executor.snapshot())).toBe('E_APPLY_RESOURCES');
  });

  it('gives the application a world made of the log alone', () => {
    const seen: unknown[] = [];
    acts['look'] = (_state, ctx) => {
      seen.push([
        ctx.index,
        ctx.view,
        ctx.blockTime,
        ctx.blockTimeNs(),
        ctx.random(),
        ctx.random(),
        ctx.id(),
        ctx.id(),
      ]);
    };
    const run = (): void => void harness().submit(1, 'look');
    run();
    run();
    const [first, second] = seen as unknown[][];
    expect(first).toEqual(second);
    expect(first!.slice(0, 4)).toEqual([2, 1, 1_700_000_000_003, 1_700_000_000_003_000_000n]);
    expect(new Set(first!.slice(4)).size).toBe(4);
  });

  it('the context is dead once apply has returned', () => {
    let kept: ApplyContext | null = null;
    acts['keep'] = (_state, ctx) => void (kept = ctx);
    harness().submit(1, 'keep');
    expect(() => kept!.emit('late', new Uint8Array(0))).toThrow(/after apply/);
  });
});

describe('rust-11: sessions at apply', () => {
  it('a duplicate in the log is answered and not executed', () => {
    const { submit, count } = harness();
    const first = submit(1);
    const second = submit(1);
    expect(second).toEqual(first);
    expect(count()).toBe(1);
  });

  it('a retry with a grown acknowledged-below is the same request; other bytes are not', () => {
    const { submit, log, run, session, executor } = harness();
    submit(1);
    const reply = submit(2, 'plain', 1);
    expect(submit(2, 'plain', 2)).toEqual(reply);
    log.add(KIND.command, { command: 1, client: session, request: 2, ackBelow: 1, body: encodeValue('other') });
    expect(run()).toMatchObject({ status: REPLY.mismatch, session, request: 2 });
    expect(executor.nextRequest(session)).toBe(3);
  });

  it('a number ahead, below acknowledged or outside of the window is refused', () => {
    const { submit, executor, session } = harness();
    expect(submit(3).status).toBe(REPLY.sequence);
    for (let n = 1; n <= 256; n++) expect(submit(n).status).toBe(REPLY.ok);
    expect(submit(257).status).toBe(REPLY.sequence);
    expect(submit(257, 'plain', 200).status).toBe(REPLY.ok);
    expect(submit(199).status).toBe(REPLY.sequence);
    expect(submit(200).status).toBe(REPLY.ok);
    expect(executor.nextRequest(session)).toBe(258);
  });

  it('a cancel voids a number for ever, and loses to a command that was first', () => {
    const { submit, log, run, session, count } = harness();
    const cancel = (request: number): Reply => {
      log.add(KIND.cancel, { client: session, request, ackBelow: 1 });
      return run();
    };
    const done = submit(1);
    expect(cancel(1)).toEqual(done);
    expect(cancel(2).status).toBe(REPLY.cancelled);
    expect(submit(2).status).toBe(REPLY.cancelled);
    expect(cancel(2).status).toBe(REPLY.cancelled);
    expect(cancel(9).status).toBe(REPLY.sequence);
    expect(submit(3).status).toBe(REPLY.ok);
    expect(count()).toBe(2);
  });

  it('evicts the least recently committed session, and says so', () => {
    const { log, run, session, submit, executor } = harness({ sessionsMax: 2 });
    const second = log.add(KIND.register, { request: 5 });
    run();
    submit(1);
    const third = log.add(KIND.register, { request: 6 });
    run();
    expect([session, second, third].map((id) => executor.nextRequest(id))).toEqual([2, null, 1]);
    log.add(KIND.command, { command: 1, client: second, request: 1, ackBelow: 1, body: encodeValue('plain') });
    expect(run()).toMatchObject({ status: REPLY.evicted, session: second });
  });

  it('lookup tells the primary the same without applying anything', () => {
    const { submit, executor, session, log, fields } = harness();
    const payload = (request: number, name = 'plain'): Uint8Array => {
      const scratch = new LogBuilder(testCodec);
      scratch.add(KIND.command, fields(request, name));
      const { bytes } = scratch.take();
      return bytes.slice(80, 80 + 32 + encodeValue(name).length);
    };
    const reply = submit(1);
    expect(executor.lookup(session, 1, payload(1))).toEqual({ kind: 'reply', reply });
    expect(executor.lookup(session, 1, payload(1, 'x'))).toMatchObject({
      kind: 'refused',
      reply: { status: REPLY.mismatch },
    });
    expect(executor.lookup(session, 2, payload(2))).toEqual({ kind: 'next' });
    expect(executor.lookup(session, 4, payload(4))).toEqual({ kind: 'ahead', next: 2 });
    expect(executor.lookup(session, 300, payload(300))).toMatchObject({
      kind: 'refused',
      reply: { status: REPLY.sequence },
    });
    expect(executor.lookup(12345, 1, payload(1))).toMatchObject({ kind: 'refused', reply: { status: REPLY.evicted } });
    expect(log.index).toBe(3);
  });

  it('mutation no-session-dedupe executes a duplicate again', () => {
    const { submit, count } = harness({ policy: { ...SOUND, noSessionDedupe: true } });
    submit(1);
    submit(1);
    expect(count()).toBe(2);
  });
});

describe('digest', () => {
  it('is equal for equal logs, differs in result, effects and writes, and is remembered in a ring', () => {
    acts['emit'] = (_state, ctx) => ctx.emit('c', new Uint8Array([1]));
    acts['emit-other'] = (_state, ctx) => ctx.emit('c', new Uint8Array([2]));
    acts['write-other'] = (state) => state.rows.set('other', 1);
    // The same log, executed by an application that behaves otherwise: the names are swapped behind the body.
    const digestOf = (act: string): string => {
      const h = harness();
      acts['act'] = acts[act] ?? (() => undefined);
      h.submit(1, 'act');
      return toHex(h.executor.digest);
    };
    const digests = ['plain', 'emit', 'emit-other', 'write-other'].map(digestOf);
    expect(new Set(digests).size).toBe(4);
    expect(digestOf('plain')).toBe(digests[0]);

    const { executor, submit } = harness({ digestRing: 4 });
    for (let n = 1; n <= 6; n++) submit(n);
    expect(executor.applied).toBe(7);
    expect(executor.digestAt(3)).toBeNull();
    expect(executor.digestAt(8)).toBeNull();
    expect(executor.digestAt(7)).toEqual(executor.digest);
    expect(executor.digestAt(4)).not.toBeNull();
  });
});

describe('snapshot', () => {
  const at = (h: ReturnType<typeof harness>) => ({
    index: h.log.index - 1,
    chainHash: h.log.hash,
    digest: h.executor.digest,
  });

  it('rust-11, rust-14: sessions, replies and outbox survive it, bytes and digest are equal after it', () => {
    acts['emit'] = (_state, ctx) => ctx.emit('c', new Uint8Array([1]));
    const a = harness();
    a.submit(1);
    a.submit(2, 'emit');
    a.submit(3, 'poison');
    const sections = a.executor.snapshot().sections.collect();
    const b = new Executor({ module, clusterId: CLUSTER, codec: testCodec });
    b.restore(at(a), sections);
    expect(b.snapshot().sections.collect()).toEqual(sections);
    expect(b.outbox.counts.pending).toBe(1);
    expect(b.faults).toBe(1);
    a.log.add(KIND.command, a.fields(2, 'emit'));
    a.log.add(KIND.command, a.fields(4, 'plain'));
    const batch = a.log.take();
    const replies: Reply[][] = [[], []];
    a.executor.apply(batch, batch.first, batch.last, (reply) => replies[0]!.push(reply));
    b.apply(batch, batch.first, batch.last, (reply) => replies[1]!.push(reply));
    expect(replies[1]).toEqual(replies[0]);
    expect(b.digest).toEqual(a.executor.digest);
    expect(b.snapshot().sections.collect()).toEqual(a.executor.snapshot().sections.collect());
  });

  it('refuses another application and damaged sections, and goes on as before', () => {
    const a = harness();
    a.submit(1);
    const sections = a.executor.snapshot().sections.collect();
    const restore = (module2: typeof module, parts: readonly Uint8Array[]): void => {
      const executor = new Executor({ module: module2, clusterId: CLUSTER, codec: testCodec });
      executor.restore(at(a), parts);
    };
    expect(haltOf(() => restore({ ...module, name: 'other' }, sections))).toBe('E_SNAPSHOT');
    expect(haltOf(() => restore({ ...module, version: 0 }, sections))).toBe('E_APP_VERSION');
    expect(haltOf(() => restore(module, sections.slice(1)))).toBe('E_SNAPSHOT');
    for (let part = 0; part < sections.length; part++) {
      const cut = sections.map((section, i) => (i === part ? section.subarray(0, section.length - 1) : section));
      expect(haltOf(() => a.executor.restore(at(a), cut))).toBe('E_SNAPSHOT');
    }
    expect(a.submit(2).status).toBe(REPLY.ok);
    expect(a.count()).toBe(2);
  });

  it('mutations session-not-in-snapshot and drop-outbox-on-restore lose what they say', () => {
    acts['emit'] = (_state, ctx) => ctx.emit('c', new Uint8Array([1]));
    const a = harness({ policy: { ...SOUND, sessionNotInSnapshot: true } });
    a.submit(1, 'emit');
    const policy = { ...SOUND, dropOutboxOnRestore: true };
    const b = new Executor({ module, clusterId: CLUSTER, codec: testCodec, policy });
    b.restore(at(a), a.executor.snapshot().sections.collect());
    expect([b.sessionCount, b.outbox.counts.pending]).toEqual([0, 0]);
  });
});
