import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http';
import { createTRPCClient, createWSClient, httpLink, httpSubscriptionLink, splitLink, wsLink } from '@trpc/client';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { fakeHost, type FakeHost } from '../testing/fake-host.ts';
import { until } from '../testing/until.ts';
import { Authenticator, peerToken } from '../transport/auth.ts';
import { LOOPBACK_HOSTS } from '../transport/http-guard.ts';
import { chaosRouter } from './chaos-router.ts';
import { createAppRouter, type AppRouter } from './router.ts';
import type { LiveFrame } from './schema.ts';
import { ApiServer } from './server.ts';

const secret = Buffer.from('a secret of the test cluster');
const TOKENS = {
  viewer: 'viewer-token',
  operator: 'operator-token',
  chaos: 'chaos-token',
  peer: peerToken(secret),
} as const;
type Who = keyof typeof TOKENS | 'nobody' | 'stranger';
const auth = new Authenticator(
  (['viewer', 'operator', 'chaos'] as const).map((role) => ({ name: role, role, token: TOKENS[role] })),
  secret,
);

const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0).toReversed()) one.close();
});

async function start(
  withChaos = true,
  host: FakeHost = fakeHost(),
): Promise<{ server: ApiServer; host: FakeHost; base: string }> {
  const server = new ApiServer({
    bindHost: '127.0.0.1',
    port: 0,
    host,
    router: createAppRouter(withChaos ? chaosRouter : null),
    auth,
    rules: { hosts: new Set([...LOOPBACK_HOSTS, 'r1']), origins: new Set() },
    log: pino({ level: 'silent' }),
    healthy: () => true,
    metrics: () => Promise.resolve({ type: 'text/plain', text: 'up 1\n' }),
  });
  open.push(server);
  await server.listen();
  return { server, host, base: `http://127.0.0.1:${server.port}` };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}
function ask(
  port: number,
  path: string,
  headers: OutgoingHttpHeaders = {},
  method = 'GET',
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

function bearer(who: Who): OutgoingHttpHeaders {
  if (who === 'nobody') return {};
  return { authorization: `Bearer ${who === 'stranger' ? 'not-a-token' : TOKENS[who]}` };
}

const QUERIES = [
  'replica.status',
  'cluster.status',
  'outbox.list',
  'app.describe',
  'chaos.list',
  'chaos.local',
] as const;
const cut = { from: 1, to: 2, ttlMs: 1000 };
const MUTATIONS: readonly (readonly [string, unknown, 'operator' | 'chaos' | 'peer'])[] = [
  ['app.submit', { name: 'deposit', input: { account: 'a', cents: 5 } }, 'operator'],
  ['chaos.cut', cut, 'chaos'],
  ['chaos.pause', { replica: 1 }, 'chaos'],
  ['chaos.kill', { replica: 1 }, 'chaos'],
  ['chaos.heal', { id: '00000000' }, 'chaos'],
  ['chaos.healAll', null, 'chaos'],
  ['chaos.enforce', { id: '00000000', kind: 'cut', replica: 1, to: 2, reason: '', ttlMs: 1000 }, 'peer'],
  ['chaos.release', { id: null }, 'peer'],
];
const RANK = ['viewer', 'operator', 'chaos', 'peer'];

describe('who may do what', () => {
  it('reads need any token', async () => {
    const { server } = await start();
    for (const path of QUERIES) {
      for (const who of ['nobody', 'stranger'] as const)
        expect((await ask(server.port, `/trpc/${path}`, bearer(who))).status).toBe(401);
      for (const who of ['viewer', 'operator', 'chaos', 'peer'] as const) {
        const { status, text } = await ask(server.port, `/trpc/${path}`, bearer(who));
        expect([path, who, status, text]).toEqual([path, who, 200, text]);
      }
    }
  });

  it('changes need their role', async () => {
    const { server } = await start();
    for (const [path, input, role] of MUTATIONS) {
      for (const who of ['nobody', 'stranger', 'viewer', 'operator', 'chaos', 'peer'] as const) {
        const headers = { ...bearer(who), 'content-type': 'application/json' };
        const { status, text } = await ask(server.port, `/trpc/${path}`, headers, 'POST', JSON.stringify(input));
        const allowed = RANK.indexOf(who) >= RANK.indexOf(role);
        if (who === 'nobody' || who === 'stranger') expect([path, who, status]).toEqual([path, who, 401]);
        else if (!allowed)
          expect([path, who, status, JSON.parse(text).error.data.chronon]).toEqual([path, who, 403, 'E_ROLE']);
        else expect([401, 403, 404, 421]).not.toContain(status);
      }
    }
  });

  it('without chaos its routes do not exist', async () => {
    const { server } = await start(false);
    for (const [path, input] of MUTATIONS.filter(([name]) => name.startsWith('chaos'))) {
      const headers = { ...bearer('peer'), 'content-type': 'application/json' };
      expect((await ask(server.port, `/trpc/${path}`, headers, 'POST', JSON.stringify(input))).status).toBe(404);
    }
  });
});

describe('HTTP guards', () => {
  it.each<[string, string, OutgoingHttpHeaders, string, number]>([
    ['a rebound host name', 'GET', { host: 'evil.example:80' }, '/trpc/replica.status', 421],
    ['a configured host name', 'GET', { host: 'R1:7010' }, '/trpc/replica.status', 200],
    ['another origin', 'GET', { origin: 'http://evil.example' }, '/trpc/replica.status', 403],
    ['a null origin', 'GET', { origin: 'null' }, '/trpc/replica.status', 403],
    ['a cross-site fetch', 'GET', { 'sec-fetch-site': 'cross-site' }, '/trpc/replica.status', 403],
    ['a same-site fetch', 'GET', { 'sec-fetch-site': 'same-site' }, '/trpc/replica.status', 403],
    ['an own fetch', 'GET', { 'sec-fetch-site': 'same-origin' }, '/trpc/replica.status', 200],
    ['a token in the URL', 'GET', {}, '/trpc/replica.status?token=viewer-token', 400],
    ['connection parameters in the URL', 'GET', {}, '/trpc/replica.status?connectionParams=%7B%7D', 400],
    ['a form', 'POST', { 'content-type': 'text/plain' }, '/trpc/app.submit', 415],
    [
      'a stated body above the limit',
      'POST',
      { 'content-type': 'application/json', 'content-length': 2_000_000 },
      '/trpc/app.submit',
      413,
    ],
    ['nothing there', 'GET', {}, '/', 404],
    ['health', 'GET', {}, '/health', 200],
    ['metrics', 'GET', {}, '/metrics', 200],
  ])('%s: %s', async (_, method, headers, path, status) => {
    const { server } = await start();
    expect((await ask(server.port, path, { ...bearer('chaos'), ...headers }, method)).status).toBe(status);
  });

  it('health is open and says nothing else; metrics are not open', async () => {
    const { server } = await start();
    expect(await ask(server.port, '/health')).toEqual({ status: 200, text: '{"status":"ok"}' });
    expect((await ask(server.port, '/metrics')).status).toBe(401);
  });

  it.each([
    ['Deep JSON', `${'['.repeat(400_000)}${']'.repeat(400_000)}`],
    ['Deep JSON inside an input', `{"name":"deposit","input":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`],
    ['NaN', '{"name":"deposit","input":{"account":"a","cents":NaN}}'],
    ['Lone surrogates', '{"name":"deposit","input":{"account":"\\ud800","cents":1}}'],
    ['Prototype pollution', '{"name":"deposit","input":{"account":"a","cents":1,"__proto__":{"polluted":1}}}'],
    ['Prototype pollution by a name', '{"name":"__proto__","input":{}}'],
    ['Prototype pollution by constructor', '{"name":"constructor","input":{"prototype":{"polluted":1}}}'],
  ])('%s is refused or harmless, and the server lives', async (_, body) => {
    const { server } = await start();
    const headers = { ...bearer('operator'), 'content-type': 'application/json' };
    const { status } = await ask(server.port, '/trpc/app.submit', headers, 'POST', body);
    expect([200, 400]).toContain(status);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect((await ask(server.port, '/health')).status).toBe(200);
  });

  it('a chunked body above the limit is refused', async () => {
    const { server } = await start();
    const headers = { ...bearer('operator'), 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    const body = JSON.stringify({ name: 'x'.repeat(1_200_000) });
    const { status } = await ask(server.port, '/trpc/app.submit', headers, 'POST', body).catch(() => ({ status: 413 }));
    expect(status).toBe(413);
  });
});

function client(base: string, token: string) {
  const headers = { authorization: `Bearer ${token}` };
  return createTRPCClient<AppRouter>({ links: [httpLink({ url: `${base}/trpc`, headers })] });
}

describe('calls', () => {
  it('name the path of a malformed command', async () => {
    const { base } = await start();
    const api = client(base, TOKENS.operator);
    await expect(api.app.submit.mutate({ name: 'transfer', input: { from: 'a' } })).rejects.toThrow(
      /E_INPUT: .*(to|cents)/,
    );
    await expect(api.app.submit.mutate({ name: 'nonsense', input: {} })).rejects.toThrow(
      /E_COMMAND: no command 'nonsense'; there are: /,
    );
    await expect(api.app.submit.mutate({ name: '__proto__', input: {} })).rejects.toThrow(/E_COMMAND/);
    await expect(api.log.range.query({ from: '-1' })).rejects.toThrow(/E_INPUT: from/);
    await expect(api.log.range.query({ from: '99999999999999999999' })).rejects.toThrow(/E_INPUT: index/);
  });

  it('give an unknown outcome its type', async () => {
    const host = fakeHost();
    const unknown = { kind: 'unknown', message: 'no reply within 5 ms', token: { session: 5, request: 6 } } as const;
    const { base } = await start(
      true,
      fakeHost({ ...host, calls: { ...host.calls, submit: () => Promise.resolve(unknown) } }),
    );
    const describeAll = await client(base, TOKENS.viewer).app.describe.query();
    expect(describeAll.commands.find((command) => command.name === 'transfer')?.input).toMatchObject({
      type: 'object',
    });
    const answer = await client(base, TOKENS.operator).app.submit.mutate({
      name: 'deposit',
      input: { account: 'a', cents: 5 },
    });
    const token = '.5.6.6';
    expect(answer).toEqual({ outcome: 'unknown', message: 'no reply within 5 ms', session: '5', request: '6', token });
    const { resume } = client(base, TOKENS.operator).app;
    expect(await resume.mutate({ name: 'deposit', token })).toMatchObject({ outcome: 'unknown', session: '5', token });
    await expect(resume.mutate({ name: 'deposit', token: '5-6' })).rejects.toThrow('no token');
  });

  it('cluster status keeps the replicas that do not answer', async () => {
    const { base } = await start();
    const status = await client(base, TOKENS.viewer).cluster.status.query();
    expect(status).toMatchObject({ view: '3', primary: 1, clusterId: '11'.repeat(16) });
    expect(status.replicas.map(({ id, pid, status: s, role }) => [id, pid, s, role])).toEqual([
      [1, 4242, 'normal', 'primary'],
      [2, null, 'unreachable', 'none'],
      [3, null, 'unreachable', 'none'],
    ]);
  });

  it('chaos: a cut is a lease here, pause goes to the supervisor, heal ends both', async () => {
    const { base, host } = await start();
    const api = client(base, TOKENS.chaos);
    const { leaseId, acks } = await api.chaos.cut.mutate({ from: 1, to: 3, ttlMs: 5000, reason: 'test' });
    expect(acks).toEqual([
      { replica: 1, ok: true, message: 'in force' },
      { replica: 3, ok: false, message: 'refused' },
    ]);
    expect(host.leases.isCut(1, 3)).toBe(true);
    expect((await api.chaos.list.query()).leases).toMatchObject([
      { id: leaseId, kind: 'cut', replica: 1, to: 3, enforcedBy: [1] },
    ]);
    await api.chaos.heal.mutate({ id: leaseId });
    expect(host.leases.isCut(1, 3)).toBe(false);
    await api.chaos.pause.mutate({ replica: 1, ttlMs: 700 });
    await api.chaos.healAll.mutate();
    expect(host.asked.map(({ action, ttlMs }) => [action, ttlMs])).toEqual([
      ['heal', 0],
      ['pause', 700],
      ['healAll', 0],
    ]);
    await expect(api.chaos.cut.mutate({ from: 1, to: 1 })).rejects.toThrow(/E_MEMBER/);
    await expect(api.chaos.cut.mutate({ from: 2, to: 3 })).rejects.toThrow(/E_UNREACHABLE/);
    await expect(api.chaos.cut.mutate({ from: 1, to: 2, ttlMs: 900_000 })).rejects.toThrow(/E_INPUT: ttlMs/);
  });
});

describe('live', () => {
  const kinds = [
    [
      'SSE',
      (base: string, token: string) => {
        const headers = { authorization: `Bearer ${token}` };
        const fetching = httpSubscriptionLink({
          url: `${base}/trpc`,
          EventSource: FetchEventSource,
          eventSourceOptions: () => ({ headers }),
        });
        return createTRPCClient<AppRouter>({
          links: [
            splitLink({
              condition: (op) => op.type === 'subscription',
              true: fetching,
              false: httpLink({ url: base }),
            }),
          ],
        });
      },
    ],
    [
      'WebSocket',
      (base: string, token: string) => {
        class Authorised extends WebSocket {
          constructor(url: string) {
            super(url, { headers: { authorization: `Bearer ${token}` } });
          }
        }
        const socket = createWSClient({ url: `${base.replace('http', 'ws')}/trpc`, WebSocket: Authorised as never });
        open.push({ close: () => void socket.close() });
        return createTRPCClient<AppRouter>({ links: [wsLink({ client: socket })] });
      },
    ],
  ] as const;

  it.each(kinds)('frames over %s: at once, on a change, and each second', async (_, connect) => {
    const { base, host } = await start();
    host.events.add('test', 'before');
    const frames: { id: string; data: LiveFrame }[] = [];
    const subscription = connect(base, TOKENS.viewer).live.subscribe(undefined, {
      onData: (value) => frames.push(value as (typeof frames)[number]),
    });
    await until(() => frames.length > 0);
    expect(frames[0]!.data.events.map((event) => event.text)).toEqual(['before']);
    host.events.add('test', 'after');
    host.detailChange = { commit: '10' };
    const told = (frame: (typeof frames)[number]): boolean => frame.data.events.length > 0;
    // Those of each second may come in between.
    await until(() => frames.slice(1).some(told));
    const changed = frames.slice(1).find(told)!;
    expect(changed.data).toMatchObject({ detail: { commit: '10' }, events: [{ text: 'after' }], droppedEvents: 0 });
    expect(changed.id).toBe(`${host.epoch}:2`);
    const { length } = frames;
    await until(() => frames.length > length);
    subscription.unsubscribe();
  });
});

/** The part of EventSource that the link needs, over fetch, with headers. */
class FetchEventSource extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSED = 2;
  readyState = 0;
  readonly url: string;
  readonly withCredentials = false;
  private readonly abort = new AbortController();

  constructor(url: string, init?: { headers?: Record<string, string> }) {
    super();
    this.url = url;
    void this.run(init?.headers ?? {}).catch(() => undefined);
  }

  close(): void {
    this.readyState = 2;
    this.abort.abort();
  }

  private async run(headers: Record<string, string>): Promise<void> {
    const response = await fetch(this.url, { headers, signal: this.abort.signal });
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
    let text = '';
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      text += part;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        this.emit(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  }

  private emit(block: string): void {
    let type = 'message';
    let data = '';
    let lastEventId = '';
    for (const line of block.split('\n')) {
      if (line.startsWith('event: ')) type = line.slice(7);
      else if (line.startsWith('data: ')) data += line.slice(6);
      else if (line.startsWith('id: ')) lastEventId = line.slice(4);
    }
    if (data !== '' || type !== 'message') this.dispatchEvent(new MessageEvent(type, { data, lastEventId }));
  }
}
