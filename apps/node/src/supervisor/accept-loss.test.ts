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
