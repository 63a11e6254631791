/** `chronon recover --accept-loss` on directories, without processes: what the new generation is made of. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { blankManifest } from '@chronon/core/engine/blank-manifest';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { at, NONE } from '@chronon/core/engine/commit-index';
import { toHex } from '@chronon/core/engine/hash';
import { LogStore } from '@chronon/core/engine/log-store';
import { Chain } from '@chronon/core/engine/testing/log-harness';
import { SyncDisk } from '@chronon/native/sync-disk';
import { acceptLoss, bestOf, inspect } from './accept-loss.ts';
import { newCluster } from './cluster-file.ts';

let dir = '';
beforeEach(() => {
  dir = fs.mkdtempSync(join(tmpdir(), 'chronon-accept-loss-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

it('what is kept votes: also when it was a standby that had not caught up', async () => {
  const clusterId = new Uint8Array(16).fill(7);
  const founders = [1, 2, 3].map((id) => new Uint8Array(16).fill(id));
  fs.mkdirSync(join(dir, 'r3'));
  const disk = new SyncDisk(join(dir, 'r3'));
  const joins = { generation: 0, incarnations: [1, 1, 2], standbyThrough: at(9) };
  const facts = { clusterId, replicaId: 3, bootId: new Uint8Array(16).fill(9), founders, environment: 'dev' } as const;
  expect(LogStore.format(disk, nobleCodec, blankManifest({ ...facts, joins }))).toBe(null);
  disk.close();
  const cluster = { ...newCluster({ replicas: 3, environment: null, app: null }), clusterId: toHex(clusterId) };
  await acceptLoss(dir, cluster, bestOf(inspect(dir, cluster).survivors)!, 4);
  const { survivors, lost } = inspect(dir, cluster);
  expect(lost).toEqual([]);
  expect(survivors.map(({ manifest }) => [manifest.replicaId, manifest.generation, manifest.standbyThrough])).toEqual([
    [1, 1, NONE],
    [2, 1, NONE],
    [3, 1, NONE],
  ]);
});

const FRAMES = 9;
const BODY = 5000;

/** The directory of a cluster of one with so many frames of 5 KB. */
async function alone(): Promise<{ readonly chain: Chain; readonly open: () => ReturnType<typeof LogStore.open> }> {
  const clusterId = new Uint8Array(16).fill(7);
  const bootId = new Uint8Array(16).fill(9);
  fs.mkdirSync(join(dir, 'r1'));
  const chain = new Chain();
  const facts = { clusterId, replicaId: 1, bootId, founders: [bootId], environment: 'dev' } as const;
  const formatted = new SyncDisk(join(dir, 'r1'));
  const blank = { ...blankManifest(facts), view: 1, logView: 1 };
  expect(LogStore.format(formatted, nobleCodec, blank)).toBe(null);
  formatted.close();
  const open = (onDurable: (index: number) => void = () => {}): ReturnType<typeof LogStore.open> =>
    LogStore.open({
      disk: new SyncDisk(join(dir, 'r1')),
      codec: nobleCodec,
      events: { onDurable, onDamaged: () => {}, onSpace: () => {}, onFatal: ({ message }) => expect(message).toBe('') },
      expect: { clusterId, replicaId: 1 },
      segmentBytes: 1024 * 1024,
      pipelineMax: 16,
    });
  await new Promise<void>((resolve) => {
    const opened = open((index) => {
      if (index < FRAMES - 1) return;
      store.close();
      resolve();
    });
    if ('refusal' in opened) throw new Error(opened.refusal.message);
    const { store } = opened;
    for (let i = 0; i < FRAMES; i++) store.append(chain.next([BODY]), 1);
  });
  return { chain, open: () => open() };
}

function damage(path: string, ...offsets: number[]): void {
  const bytes = fs.readFileSync(join(dir, 'r1', path));
  for (const offset of offsets) bytes[offset]! ^= 0xff;
  fs.writeFileSync(join(dir, 'r1', path), bytes);
}

it.each([
  ['a damaged entry', 4, () => damage('log/00000000000000000000.seg', 64 + 5 * (BODY + 112) + 500)],
  ['a lost tail record', FRAMES - 1, () => damage('log/tail', 30, 4096 + 30)],
])('the only replica, which refuses %s, is kept as far as it is whole, and starts', async (_, last, strike) => {
  const { chain, open } = await alone();
  strike();
  const refused = open();
  expect(refused).toMatchObject({
    refusal: { code: 'E_LOG_CORRUPT', message: expect.stringContaining('recover --accept-loss') as string },
  });
  const cluster = { ...newCluster({ replicas: 1, environment: null, app: null }), clusterId: '07'.repeat(16) };
  const kept = bestOf(inspect(dir, cluster).survivors);
  expect(kept?.keep).toBe(last);
  await acceptLoss(dir, cluster, kept!, 2);
  const opened = open();
  if ('refusal' in opened) throw new Error(opened.refusal.message);
  expect(opened.recovered).toMatchObject({ end: last, head: last, faulty: [], recoveringHead: false });
  expect(toHex(opened.recovered.endHash)).toBe(toHex(chain.hashOf(last)));
  opened.store.close();
});
