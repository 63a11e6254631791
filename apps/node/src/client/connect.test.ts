/** The client library against real gateways (WebSocket) with a scripted replica behind them. */
import { bank } from '@chronon/core/apps/bank';
import { at } from '@chronon/core/engine/commit-index';
import { envelope, KIND } from '@chronon/core/engine/frame';
import { encodeValue } from '@chronon/core/kernel/values';
import { REPLY } from '@chronon/core/reply';
import { encodeRedirect, refusal, REFUSAL, TO_CLIENT, type ClientMessage } from '@chronon/core/vsr/client-protocol';
import pino from 'pino';
import { afterEach, expect, it } from 'vitest';
import { until } from '../testing/until.ts';
import { Authenticator } from '../transport/auth.ts';
import { Gateway } from '../transport/gateway.ts';
import { LOOPBACK_HOSTS } from '../transport/http-guard.ts';
import { ChrononClient, connect, InputError } from './connect.ts';

const TOKEN = 'a-token-that-is-long-enough';
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** A replica that answers every command with its own input, as primary or with a redirect. */
async function replica(id: number, primary: () => number): Promise<Gateway> {
  let index = 10;
  const gateway: Gateway = new Gateway({
    bindHost: '127.0.0.1',
    port: 0,
    replicaId: id,
    clusterId: new Uint8Array(16),
    auth: new Authenticator([{ name: 'test', role: 'operator', token: TOKEN }], Buffer.from('peer secret of the test')),
    rules: { hosts: new Set(LOOPBACK_HOSTS), origins: new Set() },
    log: pino({ level: 'silent' }),
    request: (origin, payload) => {
      const session = envelope.client(payload, 0);
      const request = envelope.request(payload, 0);
      if (primary() !== id) {
        return gateway.reply(
          origin,
          refusal(TO_CLIENT.refusal, REFUSAL.notPrimary, session, request, encodeRedirect(1, primary())),
        );
      }
      const isRegister = envelope.kind(payload, 0) === KIND.register;
      const body = isRegister ? new Uint8Array(0) : Uint8Array.from(envelope.body(payload, 0, payload.length));
      const reply: ClientMessage = {
        type: TO_CLIENT.reply,
        status: REPLY.ok,
        session: isRegister ? 7 : session,
        request,
        index: at(index++),
        body,
      };
      gateway.reply(origin, reply);
    },
    query: (origin, nonce) => {
      const failed = encodeValue({ code: 'NoSuchAccount', data: { account: 'bob' } });
      gateway.reply(origin, {
        type: TO_CLIENT.answer,
        status: 1,
        session: 0,
        request: nonce,
        index: at(3),
        body: failed,
      });
    },
    disconnect: () => undefined,
  });
  await gateway.listen();
  gateway.announce(1, primary());
  open.push(gateway);
  return gateway;
}

function client(gateways: readonly Gateway[], token = TOKEN): ChrononClient {
  const addresses = gateways.map((gateway, i) => ({ id: i + 1, url: `ws://127.0.0.1:${gateway.port}/` }));
  const made = connect(addresses, { token, app: bank });
  open.push(made);
  return made;
}

it('submits to the primary wherever it starts, and fails over when it goes', async () => {
  let primary = 2;
  const gateways = [await replica(1, () => primary), await replica(2, () => primary), await replica(3, () => primary)];
  const c = client(gateways);
  const input = { from: 'alice', to: 'bob', cents: 5 };
  expect(await c.submit('transfer', input)).toMatchObject({
    outcome: 'ok',
    result: input,
    token: { session: 7, request: 1 },
  });
  expect(c.session.where.replica).toBe(2);
  primary = 3;
  gateways[1]!.close();
  for (const gateway of [gateways[0]!, gateways[2]!]) gateway.announce(2, 3);
  expect(await c.submit('transfer', input)).toMatchObject({ outcome: 'ok' });
  expect(c.session.where.replica).toBe(3);
});

it('takes the URLs in any order and learns which replica is where', async () => {
  const gateways = [await replica(2, () => 2), await replica(3, () => 2), await replica(1, () => 2)];
  for (const gateway of gateways) gateway.announce(1, 2);
  for (let i = 0; i < 4; i++) {
    const c = connect(
      gateways.map((gateway) => `ws://127.0.0.1:${gateway.port}/`),
      { token: TOKEN, app: bank },
    );
    open.push(c);
    expect(await c.submit('deposit', { account: 'a', cents: 1 })).toMatchObject({ outcome: 'ok' });
    expect(c.session.where.replica).toBe(1);
  }
});

it('resumes a token of another process, and refuses what is none', async () => {
  const c = client([await replica(1, () => 1)]);
  expect(await c.resumeRaw('00000000.9.4.3')).toMatchObject({ kind: 'ok', token: { session: 9, request: 4 } });
  const foreign = await c.resume('deposit', 'ffffffff.9.4.3');
  expect(foreign).toMatchObject({ outcome: 'unknown', lost: true, message: 'the token is of another cluster' });
  await expect(c.resume('deposit', '9.4')).rejects.toThrow(InputError);
});

it('sends a thousand submits of one turn and answers each', async () => {
  const c = client([await replica(1, () => 1)]);
  const outcomes = await Promise.all(
    Array.from({ length: 1000 }, (_, i) => c.submit('deposit', { account: 'a', cents: i + 1 })),
  );
  expect(outcomes.every((o) => o.outcome === 'ok')).toBe(true);
  expect(new Set(outcomes.map((o) => (o.outcome === 'ok' ? o.index : ''))).size).toBe(1000);
});

it('names a wrong input before anything is sent', async () => {
  const c = client([await replica(1, () => 1)]);
  await expect(c.submit('transfer', { from: 'a', to: 'b', cents: 1.5 })).rejects.toThrow(/cents/);
  await expect(c.submit('burn', {})).rejects.toThrow(InputError);
});

const NO_MILLIS: readonly unknown[] = [Number.NaN, Number.POSITIVE_INFINITY, -1, 1e12, '5', null, {}, 5n];

it.each(NO_MILLIS)('a timeoutMs or maxLagMs of %s is refused at once, with its name', async (value) => {
  const c = client([await replica(1, () => 1)]);
  const wrong = (path: string) => ({ name: 'InputError', code: 'E_INPUT', issues: [{ path }] });
  const timeoutMs = value as number;
  const deposit = { account: 'a', cents: 1 };
  await expect(c.submit('deposit', deposit, { timeoutMs })).rejects.toMatchObject(wrong('timeoutMs'));
  await expect(c.query('balance', 'bob', { timeoutMs })).rejects.toMatchObject(wrong('timeoutMs'));
  await expect(c.resume('deposit', '00000000.9.4.3', { timeoutMs })).rejects.toMatchObject(wrong('timeoutMs'));
  const bounded = { consistency: 'stale', maxLagMs: value as number } as const;
  await expect(c.query('balance', 'bob', bounded)).rejects.toMatchObject(wrong('maxLagMs'));
  expect(() => connect(['ws://127.0.0.1:1/'], { token: TOKEN, times: { resendMs: value as number } })).toThrow(
    /times\.resendMs/,
  );
  expect(c.session.pending).toBe(0);
});

it('a wrong consistency, token or address is refused at once', async () => {
  const c = client([await replica(1, () => 1)]);
  await expect(c.query('balance', 'bob', { consistency: 'strong' as 'stale' })).rejects.toThrow(
    /linearizable or stale/,
  );
  const token = { session: Number.NaN, request: 1 };
  await expect(c.resume('deposit', token)).rejects.toMatchObject({ code: 'E_TOKEN' });
  for (const urls of [[], ['http://127.0.0.1:1/'], ['nowhere'], [{ id: 1.5, url: 'ws://127.0.0.1:1/' }]])
    expect(() => connect(urls, { token: TOKEN })).toThrow(InputError);
});

it("gives the application's own rejection of a query", async () => {
  const c = client([await replica(1, () => 1)]);
  expect(await c.query('balance', 'bob')).toMatchObject({
    outcome: 'rejected',
    code: 'NoSuchAccount',
    data: { account: 'bob' },
  });
});

it('says why nothing could be sent', async () => {
  const c = client([await replica(1, () => 1)], 'a-wrong-token-long-enough');
  expect(await c.submit('deposit', { account: 'a', cents: 1 }, { timeoutMs: 300 })).toMatchObject({
    outcome: 'rejected',
    code: 'timeout',
  });
  await until(() => /401/.test(c.lastProblem ?? ''));
});
