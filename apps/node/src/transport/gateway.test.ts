import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { at } from '@chronon/core/engine/commit-index';
import { KIND, writeEnvelope } from '@chronon/core/engine/frame';
import {
  decodeClientMessages,
  encodeQuery,
  requestRecordBytes,
  TO_CLIENT,
  writeRequestHead,
  type ClientMessage,
} from '@chronon/core/vsr/client-protocol';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { until } from '../testing/until.ts';
import { Authenticator, peerToken } from './auth.ts';
import { Gateway, type GatewayOptions } from './gateway.ts';
import { LOOPBACK_HOSTS } from './http-guard.ts';

const secret = Buffer.from('a secret of the test cluster');
const auth = new Authenticator(
  [
    { name: 'ops', role: 'operator', token: 'operator-token' },
    { name: 'eyes', role: 'viewer', token: 'viewer-token' },
  ],
  secret,
);
const toClose: { close(): void }[] = [];
afterEach(() => {
  for (const one of toClose.splice(0)) one.close();
});

async function start(
  change: Partial<GatewayOptions> = {},
): Promise<{ gateway: Gateway; url: string; calls: unknown[][] }> {
  const calls: unknown[][] = [];
  const gateway = new Gateway({
    bindHost: '127.0.0.1',
    port: 0,
    replicaId: 2,
    clusterId: new Uint8Array(16).fill(8),
    auth,
    rules: { hosts: new Set(LOOPBACK_HOSTS), origins: new Set() },
    log: pino({ level: 'silent' }),
    request: (origin, payload) => calls.push(['request', origin, payload.length]),
    query: (origin, nonce, query, body, consistency) =>
      calls.push(['query', origin, nonce, query, body.length, consistency]),
    disconnect: (origin) => calls.push(['disconnect', origin]),
    ...change,
  });
  toClose.push(gateway);
  await gateway.listen();
  return { gateway, url: `ws://127.0.0.1:${gateway.port}/`, calls };
}

interface Client {
  readonly socket: WebSocket;
  readonly got: ClientMessage[];
  frames: number;
  closed: number | null;
}
function client(url: string, headers: Record<string, string> = { authorization: 'Bearer operator-token' }): Client {
  const socket = new WebSocket(url, { headers });
  const result: Client = { socket, got: [], frames: 0, closed: null };
  toClose.push({ close: () => socket.terminate() });
  socket.on('message', (data: Buffer) => {
    result.frames++;
    expect(decodeClientMessages(data, (message) => result.got.push(message))).toBeNull();
  });
  socket.on('close', (code) => (result.closed = code));
  socket.on('error', () => undefined);
  return result;
}

function requestRecord(): Uint8Array {
  const payload = new Uint8Array(40);
  writeEnvelope(payload, 0, KIND.command, 1, 5, 6, 0);
  const out = new Uint8Array(requestRecordBytes(payload.length));
  out.set(payload, writeRequestHead(out, 0, payload.length));
  return out;
}

async function upgradeStatus(port: number, headers: Record<string, string>, path = '/'): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: '127.0.0.1',
      port,
      path,
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'),
        ...headers,
      },
    });
    request.on('upgrade', (_, socket) => {
      socket.destroy();
      resolve(101);
    });
    request.on('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('error', reject);
    request.end();
  });
}

describe('Gateway', () => {
  it('greets with a hello, and again when the primary changes', async () => {
    const { gateway, url } = await start();
    const one = client(url);
    await until(() => one.got.length === 1);
    expect(one.got[0]).toMatchObject({ type: TO_CLIENT.hello, session: 0, request: 2, index: -1 });
    gateway.announce(7, 2);
    gateway.announce(7, 2);
    await until(() => one.got.length === 2);
    expect(one.got[1]).toMatchObject({ session: 7, index: at(2) });
  });

  it('takes runs of records and answers once a turn', async () => {
    const { gateway, url, calls } = await start();
    const one = client(url);
    await until(() => one.got.length === 1);
    one.socket.send(Buffer.concat([requestRecord(), encodeQuery(3, 99, 1, new Uint8Array(5)), requestRecord()]));
    await until(() => calls.length === 3);
    expect(calls).toEqual([
      ['request', 1, 40],
      ['query', 1, 99, 3, 5, 1],
      ['request', 1, 40],
    ]);
    for (let i = 0; i < 100; i++) {
      gateway.reply(1, {
        type: TO_CLIENT.reply,
        status: 0,
        session: 5,
        request: i,
        index: at(i),
        body: new Uint8Array(3),
      });
    }
    gateway.reply(77, {
      type: TO_CLIENT.reply,
      status: 0,
      session: 5,
      request: 0,
      index: at(0),
      body: new Uint8Array(3),
    });
    await until(() => one.got.length === 101);
    expect(one.frames).toBe(2);
    one.socket.close();
    await until(() => calls.length === 4);
    expect(calls[3]).toEqual(['disconnect', 1]);
  });

  it.each([
    ['garbage', Buffer.alloc(100, 0xa5), 1007],
    ['a cut record', requestRecord().subarray(0, 20), 1007],
  ])('closes on %s and lives on', async (_, bytes, code) => {
    const { url, calls } = await start();
    const one = client(url);
    await until(() => one.got.length === 1);
    one.socket.send(bytes);
    await until(() => one.closed !== null);
    expect(one.closed).toBe(code);
    expect(calls).toEqual([['disconnect', 1]]);
    const two = client(url);
    await until(() => two.got.length === 1);
  });

  it('nothing of a connection counts any more once it is being closed', async () => {
    const { gateway, url, calls } = await start();
    const one = client(url);
    await until(() => one.got.length === 1);
    one.socket.send(new Uint8Array([9, 0, 0, 0, 1]));
    for (let i = 0; i < 50; i++) one.socket.send(requestRecord());
    await until(() => one.closed !== null);
    expect(gateway.counters.malformed).toBe(1);
    expect(calls).toEqual([['disconnect', 1]]);
  });

  it('closes on an oversized message', async () => {
    const { url } = await start();
    const one = client(url);
    await until(() => one.got.length === 1);
    one.socket.send(Buffer.alloc(9 * 1024 * 1024));
    await until(() => one.closed !== null);
  });

  it('lets a viewer query but not request', async () => {
    const { url, calls } = await start();
    const one = client(url, { authorization: 'Bearer viewer-token' });
    await until(() => one.got.length === 1);
    one.socket.send(encodeQuery(3, 1, 0, new Uint8Array(0)));
    await until(() => calls.length === 1);
    one.socket.send(requestRecord());
    await until(() => one.closed !== null);
    expect(one.closed).toBe(1008);
    expect(calls.map((call) => call[0])).toEqual(['query', 'disconnect']);
  });

  it('closes a consumer that does not read', async () => {
    const { gateway, url } = await start({ bufferBytesMax: 100_000 });
    const one = client(url);
    await until(() => one.got.length === 1);
    one.socket.pause();
    const body = new Uint8Array(50_000);
    for (let i = 0; i < 2000 && gateway.counters.slow === 0; i++) {
      gateway.reply(1, { type: TO_CLIENT.reply, status: 0, session: 1, request: i, index: at(0), body });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(gateway.counters.slow).toBe(1);
    await until(() => gateway.connectionCount === 0);
  });

  it('ends a connection that speaks no HTTP, without a word', async () => {
    const { gateway } = await start();
    const ended = await new Promise<string>((resolve) => {
      const socket = connect(gateway.port, '127.0.0.1', () => socket.write(Buffer.alloc(1000, 0xa5)));
      let got = '';
      socket.on('data', (part: Buffer) => (got += part.toString()));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(got));
    });
    expect(ended).toBe('');
    expect(gateway.counters.malformed).toBe(1);
  });

  it.each([
    ['a refused upgrade', 'connection: Upgrade\r\nupgrade: websocket\r\nhost: localhost\r\n'],
    ['headers that are too long', `host: localhost\r\nx: ${'y'.repeat(40_000)}\r\n`],
  ])('Half-open client: after %s nothing is held for one that does not hang up', async (_what, headers) => {
    const { gateway } = await start();
    const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true });
    let closed = false;
    let answer = '';
    toClose.push({ close: () => socket.destroy() });
    socket.on('error', () => (closed = true));
    socket.on('data', (data) => (answer += data.toString()));
    socket.write(`GET / HTTP/1.1\r\n${headers}\r\n`);
    await until(() => answer.includes('HTTP/1.1 4'));
    // Written into what is closed on the other side, bytes are answered by a reset.
    await until(() => {
      if (!closed) socket.write('x');
      return closed;
    });
  });

  it('Slow-loris client: one address cannot take all the room, and gives back what it had', async () => {
    const { gateway, url } = await start({ connectionsPerAddressMax: 3 });
    const idle = Array.from({ length: 5 }, () => connect(gateway.port, '127.0.0.1'));
    for (const socket of idle) {
      socket.on('error', () => undefined);
      toClose.push({ close: () => socket.destroy() });
    }
    await until(() => idle.filter((socket) => socket.closed).length === 2);
    expect(gateway.counters.refused).toBe(2);
    for (const socket of idle) socket.destroy();
    await until(async () => (await upgradeStatus(gateway.port, {}).catch(() => 0)) === 401);
    const one = client(url);
    await until(() => one.got.length === 1);
  });

  it('has a connection cap', async () => {
    const { gateway, url } = await start({ connectionsMax: 1 });
    const one = client(url);
    await until(() => one.got.length === 1);
    expect(await upgradeStatus(gateway.port, { authorization: 'Bearer operator-token' })).toBe(503);
  });

  it.each([
    ['no token', {}, '/', 401],
    ['a wrong token', { authorization: 'Bearer nope' }, '/', 401],
    ['a token in the URL', {}, '/?token=operator-token', 400],
    ['a foreign origin', { authorization: 'Bearer operator-token', origin: 'http://evil.example' }, '/', 403],
    ['a cross-site fetch', { authorization: 'Bearer operator-token', 'sec-fetch-site': 'cross-site' }, '/', 403],
    ['a rebound host', { authorization: 'Bearer operator-token', host: 'evil.example' }, '/', 421],
    ['a good token', { authorization: 'Bearer operator-token' }, '/', 101],
    ['a browser token', { 'sec-websocket-protocol': 'chronon, token.operator-token' }, '/', 101],
    ['a peer', { authorization: `Bearer ${peerToken(secret)}` }, '/', 101],
  ])('answers an upgrade with %s', async (_, headers, path, status) => {
    const { gateway } = await start();
    expect(await upgradeStatus(gateway.port, headers as Record<string, string>, path)).toBe(status);
  });
});
