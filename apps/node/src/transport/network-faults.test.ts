/** The peer port against each kind of bad input: one test a kind, named after it. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { crc32c } from '../testing/crc32c.ts';
import { until } from '../testing/until.ts';
import { BODY_BYTES_MAX_UNPROVEN, encodeFrame, FrameReader, LINK, type LinkKind } from './framing.ts';
import { CHALLENGE_BYTES, decodeReject, encodeHello, PROOF_BYTES, type Hello } from './handshake.ts';
import { PEER_STRANGERS_PER_ADDRESS_MAX, PeerNetwork, type PeerNetworkOptions } from './peers.ts';

interface Note {
  readonly text: string;
}

const clusterId = new Uint8Array(16).fill(5);
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** r1 of two; r2 is whoever the test plays. Returns what it received and what it logged. */
async function victim(change: Partial<PeerNetworkOptions<Note>> = {}) {
  const got: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const network = new PeerNetwork<Note>({
    identity: {
      self: 1,
      members: [1, 2],
      clusterId,
      table: () => ({ incarnations: [0, 0], generation: 0 }),
      runNonce: randomBytes(16),
      secret: Buffer.from('a secret of the test cluster'),
      info: 'r1',
    },
    peers: [{ id: 2, host: '127.0.0.1', port: 1 }],
    bindHost: '127.0.0.1',
    port: 0,
    crc32c,
    codec: {
      encode: ({ text }) => [Buffer.from(text)],
      decode: (bytes) => ({ message: { text: Buffer.from(bytes).toString() } }),
      isData: () => false,
      isBoot: () => false,
    },
    log: pino(
      { level: 'info' },
      { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    ),
    random: () => 0,
    receive: (_, { text }) => got.push(text),
    onIdentity: () => undefined,
    isCut: () => false,
    ...change,
  });
  open.push(network);
  await network.listen();
  return { network, got, lines };
}

/** A stranger's connection: what it hears, and whether it was closed. */
function stranger(port: number) {
  const heard: { kind: number; content: Uint8Array }[] = [];
  const reader = new FrameReader(crc32c, (kind, content) => heard.push({ kind, content }));
  const socket: Socket = connect(port, '127.0.0.1');
  const result = { socket, heard, closed: false };
  socket.on('data', (chunk) => void reader.push(chunk));
  socket.on('error', () => undefined);
  socket.on('close', () => (result.closed = true));
  open.push({ close: () => socket.destroy() });
  return result;
}

function wire(kind: LinkKind, content: Uint8Array): Buffer {
  return Buffer.concat(encodeFrame(kind, [content], crc32c).chunks);
}

function hello(change: Partial<Hello> = {}): Uint8Array {
  return encodeHello({
    versionMin: 1,
    versionMax: 1,
    clusterId,
    from: 2,
    to: 1,
    runNonce: randomBytes(16),
    challenge: randomBytes(CHALLENGE_BYTES),
    info: '',
    table: { incarnations: [0, 0], generation: 0 },
    ...change,
  });
}

/** The port still serves. */
async function lives(port: number): Promise<void> {
  const call = (): ReturnType<typeof stranger> => {
    const one = stranger(port);
    one.socket.write(wire(LINK.hello, hello()));
    return one;
  };
  let good = call();
  await until(() => {
    // This process may have been too slow for a short deadline.
    if (good.closed && !good.heard.some(({ kind }) => kind === LINK.proof)) good = call();
    return good.heard.some(({ kind }) => kind === LINK.proof);
  });
}

describe('the peer port', () => {
  it('Oversize frame: the length is refused before the body arrives, tighter until authenticated', async () => {
    const { network } = await victim();
    const one = stranger(network.port);
    const head = Buffer.alloc(8);
    head.writeUInt32LE(BODY_BYTES_MAX_UNPROVEN + 1, 0);
    one.socket.write(head);
    await until(() => one.closed);
    expect(network.counters.garbage).toBe(1);
    await lives(network.port);
  });

  it('Garbage / bad checksum: the connection is dropped and counted, the log is rate-limited', async () => {
    const { network, lines } = await victim();
    for (let i = 0; i < 12; i++) {
      const one = stranger(network.port);
      const bytes = i % 2 === 0 ? Buffer.alloc(200, 0xa5) : wire(LINK.hello, hello());
      if (i % 2 === 1) bytes[20] = bytes[20]! ^ 1;
      one.socket.write(bytes);
      await until(() => one.closed || one.socket.destroyed);
    }
    await until(() => network.counters.garbage === 12);
    // Five in ten seconds.
    expect(lines.filter(({ msg }) => String(msg).startsWith('peer link ended')).length).toBeLessThan(12);
    await lives(network.port);
  });

  it('Wrong protocol version: REJECT{code, min, max}, then close, and a line in the log', async () => {
    const { network, lines } = await victim();
    const one = stranger(network.port);
    one.socket.write(wire(LINK.hello, hello({ versionMin: 70, versionMax: 90 })));
    await until(() => one.closed);
    expect(one.heard.map(({ kind }) => kind)).toEqual([LINK.reject]);
    const reject = decodeReject(one.heard[0]!.content);
    expect(reject).toMatchObject({ code: 'E_VERSION', min: expect.any(Number), max: expect.any(Number) });
    expect(reject.message).toContain('70..90');
    expect(lines.some(({ code }) => code === 'E_VERSION')).toBe(true);
  });

  it('Replayed: an old handshake proves nothing on a new connection', async () => {
    const { network, got } = await victim();
    const recorded = hello();
    const proof = randomBytes(PROOF_BYTES);
    for (let i = 0; i < 2; i++) {
      const one = stranger(network.port);
      one.socket.write(Buffer.concat([wire(LINK.hello, recorded), wire(LINK.proof, proof)]));
      await until(() => one.closed);
      expect(one.heard.map(({ kind }) => kind)).toEqual([LINK.hello, LINK.proof, LINK.reject]);
    }
    expect(got).toEqual([]);
  });

  it('Unauthenticated/impersonated peer: no message is processed before the handshake', async () => {
    const { network, got } = await victim();
    for (const first of [[], [wire(LINK.hello, hello())]]) {
      const one = stranger(network.port);
      one.socket.write(Buffer.concat([...first, wire(LINK.message, Buffer.from('obey'))]));
      await until(() => one.closed);
      expect(one.heard.at(-1)?.kind).toBe(LINK.reject);
    }
    const other = stranger(network.port);
    other.socket.write(wire(LINK.hello, hello({ from: 7 })));
    await until(() => other.closed);
    expect(decodeReject(other.heard[0]!.content).code).toBe('E_REPLICA_ID');
    expect(got).toEqual([]);
    expect(network.report()[0]!.connected).toBe(false);
  });

  it('Slow-loris peer: a deadline for the handshake, whatever trickles in', async () => {
    const { network } = await victim({ times: { handshakeMs: 150, pingMs: 1000 } });
    const one = stranger(network.port);
    const bytes = wire(LINK.hello, hello());
    let at = 0;
    const drip = setInterval(() => void one.socket.write(bytes.subarray(at, ++at)), 10);
    open.push({ close: () => clearInterval(drip) });
    await until(() => one.closed);
    expect(at).toBeLessThan(bytes.length);
    await lives(network.port);
  });

  it('Slow-loris peer: strangers of one address have a cap, and give their room back', async () => {
    const { network } = await victim({ times: { handshakeMs: 60_000, pingMs: 1000 } });
    const all = Array.from({ length: PEER_STRANGERS_PER_ADDRESS_MAX + 8 }, () => stranger(network.port));
    await until(() => all.filter(({ closed }) => closed).length >= 8);
    expect(network.counters.refused).toBe(8);
    for (const { socket } of all) socket.destroy();
    await until(() => all.every(({ closed }) => closed));
    await lives(network.port);
  });
});

describe('a link between two replicas', () => {
  it('Half-open/blackholed TCP: silence is noticed by pings and the link dialled again', async () => {
    const times = { handshakeMs: 5000, pingMs: 40 };
    const first = await victim({ times });
    const silent = new Set<Socket>();
    // A box in between that goes on taking bytes and passes none on.
    const { createServer } = await import('node:net');
    let blackhole = false;
    const box = createServer((near) => {
      const far = connect(first.network.port, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        silent.add(from);
        from.on('data', (bytes) => {
          if (!blackhole) to.write(bytes);
        });
        from.on('error', () => undefined);
        from.on('close', () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => box.listen(0, '127.0.0.1', resolve));
    open.push({ close: () => box.close() }, { close: () => silent.forEach((socket) => socket.destroy()) });
    const { port } = box.address() as { port: number };
    const second = await victim({
      times,
      identity: {
        self: 2,
        members: [1, 2],
        clusterId,
        table: () => ({ incarnations: [0, 0], generation: 0 }),
        runNonce: randomBytes(16),
        secret: Buffer.from('a secret of the test cluster'),
        info: 'r2',
      },
      peers: [{ id: 1, host: '127.0.0.1', port }],
    });
    const link = () => second.network.report()[0]!;
    await until(() => link().connected && first.network.report()[0]!.connected);
    // More than once where this process is slower than its pings.
    const { reconnects } = link().traffic;
    blackhole = true;
    await until(() => !link().connected);
    expect(link().lastProblem).toContain('nothing heard');
    blackhole = false;
    await until(() => link().connected);
    expect(link().traffic.reconnects).toBeGreaterThan(reconnects);
    await until(() => {
      if (link().connected) second.network.send(1, { text: 'again' });
      return first.got.includes('again');
    });
    const received = first.got.length;
    expect(first.network.report()[0]!.traffic).toMatchObject({
      messagesReceived: received,
      bytesReceived: 5 * received,
    });
    expect(link().traffic.messagesSent).toBeGreaterThanOrEqual(received);
  });
});
