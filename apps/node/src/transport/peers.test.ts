import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { crc32c } from '../testing/crc32c.ts';
import { freePorts } from '../testing/ports.ts';
import { until } from '../testing/until.ts';
import { PeerNetwork, type PeerNetworkOptions } from './peers.ts';

interface Note {
  readonly text: string;
  readonly bulk?: Uint8Array;
}
interface Node {
  readonly network: PeerNetwork<Note>;
  readonly got: { from: number; text: string; bulk: number }[];
  readonly cuts: Set<string>;
}

const clusterId = new Uint8Array(16).fill(5);
const secret = Buffer.from('a secret of the test cluster');
const open: PeerNetwork<Note>[] = [];
afterEach(() => {
  for (const network of open.splice(0)) network.close();
});

async function node(
  id: number,
  ports: readonly number[],
  change: Partial<PeerNetworkOptions<Note>['identity']> = {},
): Promise<Node> {
  const got: Node['got'] = [];
  const cuts = new Set<string>();
  const members = ports.map((_, i) => i + 1);
  const options: PeerNetworkOptions<Note> = {
    identity: {
      self: id,
      members,
      clusterId,
      table: () => ({ generation: 0, incarnations: members.map(() => 1) }),
      secret,
      runNonce: randomBytes(16),
      info: `r${id}`,
      ...change,
    },
    peers: members.filter((m) => m !== id).map((m) => ({ id: m, host: '127.0.0.1', port: ports[m - 1]! })),
    bindHost: '127.0.0.1',
    port: ports[id - 1]!,
    crc32c,
    codec: {
      encode: (note) => [Buffer.from(`${note.text}\0`), note.bulk ?? new Uint8Array(0)],
      decode: (bytes) => {
        const end = bytes.indexOf(0);
        if (end < 0) return { error: 'no end' };
        return { message: { text: Buffer.from(bytes.subarray(0, end)).toString(), bulk: bytes.subarray(end + 1) } };
      },
      isData: (note) => note.bulk !== undefined,
      isBoot: (note) => note.text.startsWith('boot'),
    },
    log: pino({ level: 'silent' }),
    random: () => 0,
    onIdentity: () => undefined,
    receive: (from, note) => got.push({ from, text: note.text, bulk: note.bulk?.length ?? 0 }),
    isCut: (from, to) => cuts.has(`${from}>${to}`),
  };
  const network = new PeerNetwork(options);
  open.push(network);
  await network.listen();
  return { network, got, cuts };
}

const connected = (a: Node): number => a.network.report().filter((link) => link.connected).length;

describe('PeerNetwork', () => {
  it('hangs up on the old incarnation of a peer once its own table says that it was replaced', async () => {
    const ports = await freePorts(2);
    let incarnations = [1, 1];
    const one = await node(1, ports, { table: () => ({ generation: 0, incarnations }) });
    const two = await node(2, ports);
    await until(() => connected(one) === 1 && connected(two) === 1);
    one.network.recheck();
    two.network.send(1, { text: 'counts' });
    await until(() => one.got.length === 1);
    incarnations = [1, 2];
    one.network.recheck();
    expect(connected(one)).toBe(0);
    two.network.send(1, { text: 'does not' });
    await until(() => two.network.report()[0]!.lastProblem?.includes('incarnation 1') === true);
    expect(connected(one)).toBe(0);
    expect(one.got).toHaveLength(1);
  });

  it('connects each pair once and carries messages both ways, large ones too', async () => {
    const ports = await freePorts(3);
    const nodes = [await node(1, ports), await node(2, ports), await node(3, ports)];
    await until(() => nodes.every((n) => connected(n) === 2));
    nodes[0]!.network.send(2, { text: 'small' });
    const big: Note = { text: 'big', bulk: randomBytes(3_000_000) };
    nodes[0]!.network.send(2, big);
    nodes[0]!.network.send(3, big);
    nodes[2]!.network.send(1, { text: 'back' });
    await until(() => nodes[1]!.got.length === 2 && nodes[2]!.got.length === 1 && nodes[0]!.got.length === 1);
    expect(nodes[1]!.got).toEqual([
      { from: 1, text: 'small', bulk: 0 },
      { from: 1, text: 'big', bulk: 3_000_000 },
    ]);
    expect(nodes[0]!.got).toEqual([{ from: 3, text: 'back', bulk: 0 }]);
    await until(() => nodes[0]!.network.report().every((link) => link.rttMs !== null));
  });

  it('reconnects when a peer comes back', async () => {
    const ports = await freePorts(2);
    const first = await node(1, ports);
    const second = await node(2, ports);
    await until(() => connected(second) === 1);
    first.network.close();
    await until(() => connected(second) === 0);
    const again = await node(1, ports);
    await until(() => connected(again) === 1 && connected(second) === 1);
    again.network.send(2, { text: 'again' });
    await until(() => second.got.length === 1);
  });

  it.each([
    ['another cluster', { clusterId: new Uint8Array(16).fill(6) }, 'E_CLUSTER_ID'],
    ['another secret', { secret: Buffer.from('not the secret of the test cluster') }, 'E_PEER_SECRET'],
  ])('refuses a peer of %s, and both sides say so', async (_, change, code) => {
    const ports = await freePorts(2);
    const first = await node(1, ports);
    const second = await node(2, ports, change);
    await until(() => second.network.report()[0]!.lastProblem?.includes(code) === true);
    expect(first.network.counters.refused + second.network.counters.refused).toBeGreaterThan(0);
    expect(connected(first) + connected(second)).toBe(0);
  });

  it('survives garbage on the peer port', async () => {
    const ports = await freePorts(2);
    const first = await node(1, ports);
    for (let i = 0; i < 30; i++) {
      await new Promise<void>((resolve) => {
        const socket = connect(ports[0]!, '127.0.0.1', () => socket.end(Buffer.alloc(1 + i * 100, 0xa5)));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
      });
    }
    await until(() => first.network.counters.garbage === 30);
    const second = await node(2, ports);
    await until(() => connected(second) === 1);
  });

  it('cuts one direction at the sender and at the receiver', async () => {
    const ports = await freePorts(2);
    const first = await node(1, ports);
    const second = await node(2, ports);
    await until(() => connected(first) === 1 && connected(second) === 1);
    first.cuts.add('1>2');
    first.network.send(2, { text: 'dropped at the sender' });
    first.cuts.clear();
    second.cuts.add('1>2');
    first.network.send(2, { text: 'dropped at the receiver' });
    second.network.send(1, { text: 'the other way' });
    await until(() => first.got.length === 1);
    expect(first.network.counters.cutDropped).toBe(1);
    await until(() => second.network.counters.cutDropped === 1);
    second.cuts.clear();
    first.network.send(2, { text: 'healed' });
    await until(() => second.got.length === 1);
    expect(second.got[0]!.text).toBe('healed');
  });
});
