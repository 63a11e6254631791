/** What the ring keeps when requests fail: nothing. */
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import { RING_ARENA_BYTES, RING_REQUESTS } from './io-uring-disk.ts';
import { loadNative, type NativeRing } from './native-binding.ts';
import { probe } from './probe.ts';
import { AGAIN, RingQueue } from './ring-queue.ts';

const scratch = fileURLToPath(new URL('../build/test', import.meta.url));
mkdirSync(scratch, { recursive: true });
const probed = probe(scratch);
const { binding } = loadNative();

it('what the kernel does not take again fails, with everything that waits: nobody waits for ever', async () => {
  const refused = -5;
  const ring = { onWake: (_count: number, _error: number) => {}, results: new Int32Array(2) };
  const tokens = [0, AGAIN];
  const native = {
    ...ring,
    prefetch: () => {},
    write: () => tokens.shift() ?? AGAIN,
    submit: () => 0,
  } as unknown as NativeRing;
  const queue = new RingQueue(native);
  const write = (): Promise<number> =>
    new Promise((resolve) => queue.write(0, 0, new Uint8Array(BLOCK_BYTES), 0, BLOCK_BYTES, true, resolve));
  const results = [write(), write()];
  await Promise.resolve();
  native.onWake(0, refused);
  expect(await Promise.all(results)).toEqual([refused, refused]);
  expect(await write()).toBe(refused);
});

describe.skipIf(!probed.ok)(`a ring${probed.ok ? '' : ` (skipped: ${probed.reason})`}`, () => {
  let root = '';
  let fd = -1;
  beforeAll(() => {
    root = mkdtempSync(join(scratch, 'ring-'));
    fd = openSync(join(root, 'f'), constants.O_WRONLY | constants.O_CREAT | constants.O_DIRECT, 0o600);
  });
  afterAll(() => {
    closeSync(fd);
    rmSync(root, { recursive: true, force: true });
  });

  it('has room for as much as before when more reads have failed than it has requests', async () => {
    const ring = new binding!.Ring(RING_REQUESTS, RING_ARENA_BYTES, 0);
    const queue = new RingQueue(ring);
    const pages = RING_ARENA_BYTES / BLOCK_BYTES;
    const results = new Set<number>();
    for (let i = 0; i < RING_REQUESTS + 10; i++) {
      // The descriptor cannot be read.
      results.add(await new Promise<number>((resolve) => queue.read(fd, 0, 16 * BLOCK_BYTES, resolve)));
    }
    expect([...results].every((result) => result < 0)).toBe(true);
    expect([ring.state().inFlight, ring.hasRoom(RING_REQUESTS, pages)]).toEqual([0, true]);
    const written = await new Promise<number>((resolve) =>
      queue.write(fd, 0, new Uint8Array(BLOCK_BYTES), 0, BLOCK_BYTES, true, resolve),
    );
    expect(written).toBe(BLOCK_BYTES);
    queue.close();
  });
});
