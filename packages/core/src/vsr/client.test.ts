import { describe, expect, it } from 'vitest';
import { at } from '../engine/commit-index.ts';
import { KIND } from '../engine/frame.ts';
import { SOUND } from '../policy.ts';
import { REPLY } from '../reply.ts';
import type { Outcome } from './client.ts';
import { encodeRedirect, encodeRetryAfter, refusal, REFUSAL, TO_CLIENT } from './client-protocol.ts';
import { ClientBench, NOTHING, refuse, reply, utf8 } from './testing/client-bench.ts';

describe('normal path', () => {
  it('registers once, then sends everything of a turn in one message, numbered without gaps', () => {
    const bench = new ClientBench();
    const results = ['a', 'b', 'c'].map((text) => bench.submit(text));
    expect(bench.wanted).toBe(1);
    bench.open(2);
    expect(bench.messages).toBe(2);
    expect(bench.take()).toMatchObject([
      { replica: 2, kind: KIND.command, session: 100, request: 1, ackBelow: 1, body: 'a' },
      { request: 2, ackBelow: 1, body: 'b' },
      { request: 3, ackBelow: 1, body: 'c' },
    ]);
    bench.say(reply(REPLY.ok, 100, 2, 7, utf8.encode('two')), reply(REPLY.ok, 100, 1, 6));
    expect(results[0]!.outcome).toMatchObject({ kind: 'ok', index: 6 });
    expect(results[1]!.outcome).toMatchObject({ kind: 'ok', index: 7, token: { session: 100, request: 2 } });
    expect(results[2]!.outcome).toBeNull();
    bench.submit('d');
    bench.client.flush();
    expect(bench.take()).toMatchObject([{ request: 4, ackBelow: 3 }]);
  });

  it('keeps at most 256 numbers above the oldest unanswered one', () => {
    const bench = new ClientBench();
    bench.submit('x');
    bench.open();
    for (let i = 0; i < 400; i++) bench.submit(`${i}`);
    bench.client.flush();
    expect(bench.take().at(-1)).toMatchObject({ request: 256 });
    bench.say(reply(REPLY.ok, 100, 2, 9));
    expect(bench.take()).toEqual([]);
    bench.say(reply(REPLY.ok, 100, 1, 8));
    expect(bench.take()).toMatchObject([
      { request: 257, ackBelow: 3 },
      { request: 258, ackBelow: 3 },
    ]);
  });

  it('types the outcome of a rejection and refuses an oversized body without sending it', () => {
    const bench = new ClientBench();
    const small = bench.submit('x');
    bench.open();
    bench.say(reply(REPLY.rejected, 100, 1, 8, utf8.encode('why')));
    expect(small.outcome).toMatchObject({ kind: 'rejected', code: 'rejected', status: REPLY.rejected, index: 8 });
    let outcome: Outcome | null = null;
    bench.client.submit(1, new Uint8Array(2 << 20), 1000, (o) => {
      outcome = o;
    });
    expect(outcome).toMatchObject({ kind: 'rejected', code: 'invalid', token: null });
  });
});

describe('failover', () => {
  it('follows redirects and re-sends every unanswered number in order', () => {
    const bench = new ClientBench();
    const results = ['a', 'b', 'c'].map((text) => bench.submit(text));
    bench.open(1);
    bench.take();
    bench.say(reply(REPLY.ok, 100, 2, 7));
    bench.lose();
    bench.advance(100);
    const next = bench.accept();
    expect(next).not.toBe(1);
    bench.hello(1, 1); // Its news are old: the lost replica is not believed in yet.
    expect(bench.dialled).toBe(next);
    bench.advance(50);
    expect(bench.take()).toMatchObject([{ replica: next, request: 1 }]);
    const other = next === 2 ? 3 : 2;
    bench.say(refuse(REFUSAL.notPrimary, 1, encodeRedirect(2, other)));
    expect(bench.accept()).toBe(other);
    bench.hello(2, other);
    expect(bench.take()).toMatchObject([
      { replica: other, request: 1, body: 'a' },
      { replica: other, request: 3, body: 'c' },
    ]);
    bench.say(reply(REPLY.ok, 100, 1, 6), reply(REPLY.ok, 100, 3, 9));
    expect(results.map((r) => r.outcome?.kind)).toEqual(['ok', 'ok', 'ok']);
  });

  it('leaves a primary that says nothing', () => {
    const bench = new ClientBench();
    bench.submit('a', 10_000);
    bench.open(1);
    bench.advance(1500);
    expect(bench.dialled).not.toBe(1);
    expect(bench.dialled).not.toBeNull();
  });

  it('leaves a silent primary although callers without patience repeat their numbers all the time (simulator seed 60010)', () => {
    const bench = new ClientBench();
    bench.submit('a', 100);
    bench.open(1);
    bench.advance(110);
    let told = 0;
    for (let i = 0; i < 16; i++) {
      for (let twice = 0; twice < 2; twice++) bench.client.resume({ session: 100, request: 1 }, 90, () => told++);
      bench.advance(100);
    }
    expect(bench.dialled).not.toBe(1);
    expect(told).toBe(32);
  });

  it.each([
    ['a dead primary', (cut: number) => (cut === 3 ? 2 : 3)],
    ['itself', (cut: number) => cut],
  ])(
    'a replica that is cut off and names %s does not keep the client from the others (simulator seed 110000)',
    (_, named) => {
      const bench = new ClientBench();
      bench.submit('a', 60_000);
      bench.client.tick(bench.now);
      const cut = bench.dialled!;
      const met = new Set<number>();
      for (let i = 0; i < 400; i++) {
        const { dialled } = bench;
        if (dialled !== null && bench.up === null) {
          met.add(dialled);
          if (dialled === named(cut) && dialled !== cut) bench.lose();
          else {
            bench.accept();
            if (dialled === cut) bench.hello(1, named(cut));
          }
        }
        bench.advance(20);
        for (const sent of bench.take()) {
          if (bench.up !== cut) continue;
          const where = encodeRedirect(1, named(cut));
          bench.say(refusal(TO_CLIENT.refusal, REFUSAL.notPrimary, 0, sent.request, where));
        }
      }
      expect(met.size).toBe(3);
    },
  );

  it('leaves a replica that does not answer the probe, though the probing call timed out meanwhile', () => {
    const bench = new ClientBench();
    bench.submit('a', 600);
    bench.open(1);
    bench.take();
    bench.lose();
    bench.advance(100);
    const silent = bench.accept();
    bench.hello(1, 1);
    bench.advance(50);
    expect(bench.take()).toMatchObject([{ replica: silent, request: 1 }]);
    bench.advance(1500);
    expect(bench.up).toBeNull();
  });

  it('a resume leaves a replica that takes connections and never says of which cluster it is (simulator seed 5011)', () => {
    const bench = new ClientBench();
    let told = 0;
    // As a new process does: nothing may be sent before the hello, so that no unanswered transmission gave the silence away.
    const again = (): void => {
      const token = { session: 7, request: 1, from: 1, cluster: '00000000' };
      bench.client.resume(token, 300, () => (told++, again()));
    };
    again();
    bench.client.flush();
    const silent = bench.accept();
    bench.advance(1500);
    expect(bench.up).toBeNull();
    expect(bench.dialled).not.toBe(silent);
    expect(bench.take()).toEqual([]);
    expect(told).toBeGreaterThan(3);
  });

  it.each([
    ['queries', (bench: ClientBench) => bench.client.query(1, NOTHING, { timeoutMs: 300 }, () => undefined)],
    ['resumes', (bench: ClientBench) => bench.client.resume({ session: 7, request: 1 }, 300, () => undefined)],
  ])('leaves a primary that went silent although its callers give up and pause between their %s', (_, call) => {
    const bench = new ClientBench();
    bench.submit('a');
    bench.open(1);
    bench.say(reply(REPLY.ok, 100, 1, 6));
    for (let i = 0; i < 4; i++) {
      call(bench);
      bench.advance(500);
    }
    expect(bench.dialled).not.toBe(1);
  });

  it('does not touch a connection that has nothing in flight', () => {
    const bench = new ClientBench();
    bench.submit('a');
    bench.open(1);
    bench.say(reply(REPLY.ok, 100, 1, 6));
    bench.advance(60_000);
    expect(bench.up).toBe(1);
  });

  it('waits with growing pauses while it is told to, then sends in order', () => {
    const bench = new ClientBench();
    bench.submit('a');
    bench.submit('b');
    bench.open(1);
    bench.take();
    bench.say(refuse(REFUSAL.busy, 1));
    expect(bench.take()).toEqual([]);
    bench.advance(20);
    expect(bench.take()).toMatchObject([{ request: 1 }]);
    bench.say(refuse(REFUSAL.busy, 1), refuse(REFUSAL.busy, 2));
    bench.advance(40);
    expect(bench.take()).toMatchObject([{ request: 1 }, { request: 2 }]);
  });

  it('a burst of busy refusals is one: the primary that is overloaded is not left', () => {
    const bench = new ClientBench();
    bench.submit('first');
    bench.open();
    bench.take();
    for (let i = 0; i < 60; i++) bench.submit(`${i}`, 5000);
    bench.client.flush();
    const refused = bench.take().map(({ request }) => refuse(REFUSAL.busy, request, encodeRetryAfter(100)));
    expect(refused.length).toBe(60);
    bench.say(...refused);
    expect(bench.dialled).toBe(1);
    bench.advance(200);
    expect(bench.take().map(({ replica }) => replica)).toEqual(Array.from({ length: 60 }, () => 1));
  });

  it('closes a connection that talks nonsense', () => {
    const bench = new ClientBench();
    bench.submit('a');
    bench.open(1);
    bench.client.onMessage(1, new Uint8Array([1, 2, 3]));
    expect(bench.up).toBeNull();
  });
});

describe('three outcomes', () => {
  it('a command that was never sent fails definitely at its deadline', () => {
    const bench = new ClientBench();
    const result = bench.submit('a', 300);
    bench.advance(400);
    expect(result.outcome).toMatchObject({ kind: 'rejected', code: 'timeout', token: null });
  });

  it('is unknown with a token when a copy was never answered, and cancels the number', () => {
    const bench = new ClientBench();
    const result = bench.submit('a', 300);
    bench.open(1);
    bench.take();
    bench.advance(310);
    expect(result.outcome).toMatchObject({ kind: 'unknown', token: { session: 100, request: 1 } });
    expect(bench.take()).toMatchObject([{ kind: KIND.cancel, request: 1, body: '' }]);
    const token = { session: 100, request: 1 };
    const outcomes: Outcome[] = [];
    bench.client.resume(token, 500, (o) => outcomes.push(o));
    bench.say(reply(REPLY.cancelled, 100, 1, 6));
    bench.client.resume(token, 500, (o) => outcomes.push(o));
    expect(outcomes).toMatchObject([
      { kind: 'rejected', code: 'cancelled' },
      { kind: 'rejected', code: 'cancelled' },
    ]);
    bench.submit('b');
    bench.client.flush();
    expect(bench.take()).toMatchObject([{ kind: KIND.command, request: 2, ackBelow: 2 }]);
  });

  it('with settleBy resend the same number is sent until its reply comes', () => {
    const bench = new ClientBench({ settleBy: 'resend' });
    const result = bench.submit('a', 300);
    bench.open(1);
    bench.take();
    bench.advance(310);
    expect(result.outcome?.kind).toBe('unknown');
    expect(bench.take()).toMatchObject([{ kind: KIND.command, request: 1, body: 'a' }]);
    let late: Outcome | null = null;
    bench.client.resume({ session: 100, request: 1 }, 500, (o) => {
      late = o;
    });
    bench.say(reply(REPLY.ok, 100, 1, 6));
    expect(late).toMatchObject({ kind: 'ok', index: 6 });
  });

  const cases: [string, number[], 'rejected' | 'unknown'][] = [
    ['every copy refused', [REFUSAL.busy], 'rejected'],
    ['one copy refused by a deposed primary', [REFUSAL.deposed], 'unknown'],
    ['one copy of two refused', [], 'unknown'],
  ];
  it.each(cases)('%s', (_name, refusals, kind) => {
    const bench = new ClientBench();
    const result = bench.submit('a', 30);
    bench.open(1);
    for (const status of refusals) bench.say(refuse(status as 1, 1));
    bench.client.tick(31);
    expect(result.outcome?.kind).toBe(kind);
    if (kind === 'rejected') expect(result.outcome).toMatchObject({ code: 'timeout', token: { request: 1 } });
  });

  it('a lost connection leaves the outcome open although the next replica refuses', () => {
    const bench = new ClientBench();
    const result = bench.submit('a', 200);
    bench.open(1);
    bench.lose();
    bench.advance(100);
    bench.accept();
    bench.hello(1, null);
    bench.advance(60);
    bench.say(refuse(REFUSAL.notPrimary, 1));
    bench.advance(200);
    expect(result.outcome?.kind).toBe('unknown');
  });

  it('the mutation unknown-reported-as-failure calls it a failure', () => {
    const bench = new ClientBench({ policy: { ...SOUND, unknownReportedAsFailure: true } });
    const result = bench.submit('a', 300);
    bench.open(1);
    bench.advance(310);
    expect(result.outcome?.kind).toBe('rejected');
  });

  it('no space is definite, a void number follows, later commands go on', () => {
    const bench = new ClientBench();
    const result = bench.submit('a');
    bench.open(1);
    bench.take();
    bench.say(refuse(REFUSAL.noSpace, 1));
    expect(result.outcome).toMatchObject({ kind: 'rejected', code: 'no-space' });
    bench.submit('b');
    bench.advance(100);
    expect(bench.take()).toMatchObject([
      { kind: KIND.cancel, request: 1 },
      { kind: KIND.command, request: 2 },
    ]);
  });

  it('an evicted session: what was sent is unknown, what was not goes out under the next one', () => {
    const bench = new ClientBench();
    const first = bench.submit('a', 5000);
    bench.open(1);
    for (let i = 0; i < 256; i++) bench.submit(`n${i}`, 5000);
    bench.client.flush();
    bench.take();
    bench.say(reply(REPLY.evicted, 100, 1, 0));
    expect(first.outcome).toMatchObject({ kind: 'unknown', token: { session: 100, request: 1 } });
    const register = bench.take();
    expect(register).toMatchObject([{ kind: KIND.register }]);
    bench.say(reply(REPLY.ok, 200, register[0]!.request, 50));
    expect(bench.take()).toMatchObject([{ kind: KIND.command, session: 200, request: 1, body: 'n255' }]);
  });

  it('a token of another cluster is never answered with a call of this session that has the same numbers', () => {
    const bench = new ClientBench();
    const own = bench.submit('a', 100);
    bench.open();
    bench.client.flush();
    bench.advance(150);
    expect(own.outcome).toMatchObject({ kind: 'unknown' });
    bench.say(reply(REPLY.ok, 100, 1, 9));
    let resumed: Outcome | null = null;
    bench.client.resume({ session: 100, request: 1, from: 1, cluster: 'ffffffff' }, 500, (o) => (resumed = o));
    bench.client.flush();
    expect(resumed).toMatchObject({ kind: 'unknown', lost: true });
  });

  it('a resume sends nothing before the cluster it talks to has named itself', () => {
    const bench = new ClientBench();
    let resumed: Outcome | null = null;
    bench.client.resume({ session: 7, request: 1, from: 1, cluster: 'ffffffff' }, 2000, (o) => (resumed = o));
    bench.client.flush();
    bench.accept();
    bench.advance(300);
    expect(bench.take()).toEqual([]);
    bench.hello(1, bench.up);
    bench.client.flush();
    expect(bench.take()).toEqual([]);
    expect(resumed).toMatchObject({ kind: 'unknown', lost: true });
  });

  it('a resume says what its token knows to be settled, so that the number is inside the window of the session', () => {
    const bench = new ClientBench();
    bench.client.resume({ session: 7, request: 258, from: 257 }, 500, () => undefined);
    bench.client.flush();
    const primary = bench.accept();
    bench.hello(1, primary);
    bench.client.flush();
    expect(bench.take()).toMatchObject([
      { kind: KIND.cancel, session: 7, request: 257, ackBelow: 257 },
      { kind: KIND.cancel, session: 7, request: 258, ackBelow: 257 },
    ]);
  });

  it('close tells every caller', () => {
    const bench = new ClientBench();
    const sent = bench.submit('a');
    bench.open(1);
    const unsent = bench.submit('b');
    bench.client.close();
    expect(sent.outcome?.kind).toBe('unknown');
    expect(unsent.outcome).toMatchObject({ kind: 'rejected', code: 'closed' });
    expect(bench.dialled).toBeNull();
  });
});

describe('queries', () => {
  it('a linearizable one follows the primary, a stale one takes what it gets', () => {
    const bench = new ClientBench();
    const got: string[] = [];
    bench.client.query(1, NOTHING, { timeoutMs: 1000 }, (o) => got.push(`linear ${o.kind}`));
    bench.client.query(1, NOTHING, { timeoutMs: 1000, consistency: 'stale' }, (o) => got.push(`stale ${o.kind}`));
    bench.client.tick(0);
    const first = bench.accept();
    bench.hello(1, null);
    expect(bench.queries).toMatchObject([{ nonce: 2, consistency: 1 }]);
    bench.say({ type: TO_CLIENT.answer, status: 0, session: 0, request: 2, index: at(4), body: NOTHING });
    bench.advance(30);
    const primary = first === 3 ? 1 : 3;
    bench.say(refusal(TO_CLIENT.queryRefusal, REFUSAL.notPrimary, 0, 1, encodeRedirect(2, primary)));
    expect(bench.accept()).toBe(primary);
    bench.hello(2, primary);
    expect(bench.queries.at(-1)).toMatchObject({ replica: primary, nonce: 1, consistency: 0 });
    bench.say({ type: TO_CLIENT.answer, status: 0, session: 0, request: 1, index: at(9), body: NOTHING });
    expect(got).toEqual(['stale ok', 'linear ok']);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1, '5' as unknown as number])(
    'a timeout of %s ms ends at once',
    (timeoutMs) => {
      const bench = new ClientBench();
      const codes: string[] = [];
      bench.client.submit(1, NOTHING, timeoutMs, (o) => codes.push(o.kind === 'rejected' ? o.code : o.kind));
      bench.client.query(1, NOTHING, { timeoutMs }, (o) => codes.push(o.kind === 'rejected' ? o.code : o.kind));
      bench.client.resume({ session: 9, request: 1, from: 1 }, timeoutMs, (o) => codes.push(o.kind));
      // Of a number that is being settled nothing definite may be said.
      expect(codes).toEqual(['invalid', 'invalid', 'unknown']);
      expect(bench.client.pending).toBe(0);
    },
  );

  it('a bound that is no number of ms ends at once; Infinity is none', () => {
    const bench = new ClientBench();
    const codes: string[] = [];
    for (const maxLagMs of [Number.NaN, -1, Number.POSITIVE_INFINITY])
      bench.client.query(1, NOTHING, { timeoutMs: 100, consistency: 'stale', maxLagMs }, (o) =>
        codes.push(`${maxLagMs} ${o.kind === 'rejected' ? o.code : o.kind}`),
      );
    expect(codes).toEqual(['NaN invalid', '-1 invalid']);
    bench.client.close();
  });

  it.each([
    ['does not know the primary', (bench: ClientBench) => bench.hello(1, null)],
    ['says nothing of itself', () => undefined],
  ])('stale ones that are answered keep no command from a replica that %s', (_, greet) => {
    const bench = new ClientBench();
    const command = bench.submit('a', 10_000);
    bench.client.tick(bench.now);
    const first = bench.accept();
    greet(bench);
    for (let ms = 0; ms < 1000; ms += 50) {
      bench.client.query(1, NOTHING, { timeoutMs: 1000, consistency: 'stale' }, () => undefined);
      bench.client.flush();
      const { nonce } = bench.queries.at(-1)!;
      bench.say({ type: TO_CLIENT.answer, status: 0, session: 0, request: nonce, index: at(4), body: NOTHING });
      bench.advance(50);
    }
    expect(bench.take()).toMatchObject([{ replica: first, kind: KIND.register }]);
    expect(command.outcome).toBeNull();
  });

  it('who only reads stale stays with a replica that answers, whoever is primary', () => {
    const bench = new ClientBench({ replicas: [2] });
    bench.client.tick(bench.now);
    for (let i = 0; i < 5; i++) {
      let got = '';
      bench.client.query(1, NOTHING, { timeoutMs: 1000, consistency: 'stale' }, (o) => {
        got = o.kind;
      });
      bench.client.flush();
      if (i === 0) {
        bench.accept();
        bench.hello(1, 1);
      }
      const { nonce } = bench.queries.at(-1)!;
      bench.say({ type: TO_CLIENT.answer, status: 0, session: 0, request: nonce, index: at(4), body: NOTHING });
      expect(got).toBe('ok');
      bench.advance(1500);
      expect(bench.up).toBe(2);
    }
  });

  it('ends at its deadline', () => {
    const bench = new ClientBench();
    let code = '';
    bench.client.query(1, NOTHING, { timeoutMs: 100 }, (o) => {
      code = o.kind === 'rejected' ? o.code : o.kind;
    });
    bench.advance(200);
    expect(code).toBe('timeout');
  });
});
