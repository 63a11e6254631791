import { expect, test } from 'vitest';
import { Prng } from '../prng.ts';
import { EventQueue } from './event-queue.ts';
import { parcelOf } from './parcel.ts';
import { PARTITIONS, partitionLinks } from './partitions.ts';
import { PERFECT_NETWORK, SimNetwork, type NetworkRates } from './sim-network.ts';
import { emptyStatistics } from './sometimes.ts';
import { Trace } from './trace.ts';

function world(rates: Partial<NetworkRates>) {
  const queue = new EventQueue();
  const statistics = emptyStatistics();
  const network = new SimNetwork(
    queue,
    new Prng(1),
    { ...PERFECT_NETWORK, ...rates },
    statistics,
    new Trace(queue, null),
  );
  const got: number[] = [];
  const send = (view: number): void => {
    network.send(1, 2, parcelOf({ type: 'startViewChange', view }, false), ({ message }) => got.push(message.view));
  };
  const run = (): number[] => {
    while (queue.step());
    return got;
  };
  return { network, send, run, statistics };
}

const FIRST_100 = Array.from({ length: 100 }, (_, i) => i);

test('a perfect link delivers everything once and in order', () => {
  const { send, run } = world({});
  for (const i of FIRST_100) send(i);
  expect(run()).toEqual(FIRST_100);
});

test('loss, duplication and reordering do what they say', () => {
  const lossy = world({ loss: 0.5 });
  for (const i of FIRST_100) lossy.send(i);
  expect(lossy.run().length + lossy.statistics.messagesLost).toBe(100);
  expect(lossy.statistics.messagesLost).toBeGreaterThan(20);
  const doubled = world({ duplication: 1 });
  for (const i of FIRST_100) doubled.send(i);
  expect(doubled.run().length).toBe(200);
  const mixed = world({ reordering: 0.5, holdBackUs: 10_000 });
  for (const i of FIRST_100) mixed.send(i);
  const order = mixed.run();
  expect(order).not.toEqual(FIRST_100);
  expect([...order].sort((a, b) => a - b)).toEqual(FIRST_100);
});

test('a cut link loses what is sent and what was under way, in one direction only', () => {
  const { network, send, run, statistics } = world({});
  send(1);
  network.cut(1, 2);
  send(2);
  expect(network.isCut(2, 1)).toBe(false);
  expect(run()).toEqual([]);
  expect(statistics.messagesLost).toBe(2);
  network.heal(1, 2);
  send(3);
  expect(run()).toEqual([3]);
});

test('a link that is cut for ever is not given back by the end of a cut that began before', () => {
  const { network, send, run } = world({});
  network.cut(1, 2);
  network.sever(1, 2);
  network.heal(1, 2);
  send(1);
  expect(network.isCut(1, 2)).toBe(true);
  expect(run()).toEqual([]);
});

test('every partition of three and five cuts something, and isolating leaves a majority connected', () => {
  for (const n of [3, 5]) {
    for (const kind of PARTITIONS) expect(partitionLinks(kind, n, 1, new Prng(3)).length).toBeGreaterThan(0);
    const cut = partitionLinks('isolate', n, 2, new Prng(3));
    expect(cut.length).toBe(2 * (n - 1));
    expect(cut.every(([from, to]) => from === 2 || to === 2)).toBe(true);
    // On the majority ring every replica still exchanges messages with a majority, itself included.
    const ring = partitionLinks('majority-ring', n, 1, new Prng(3));
    const reach = (id: number): number => n - ring.filter(([from]) => from === id).length;
    for (let id = 1; id <= n; id++) expect(reach(id)).toBeGreaterThan(n / 2);
  }
});
