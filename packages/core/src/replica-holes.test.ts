/** A hole that reaches below what peers still have: what is above is repaired all the same (vsr/state-transfer.ts). */
import { expect, test } from 'vitest';
import { ReplicaBench } from './chaos/testing/replica-bench.ts';
import { FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './engine/constants.ts';
import { frameBytes, readU32, readU64 } from './engine/frame.ts';
import { segmentBase } from './engine/segment.ts';
import type { MemoryDisk } from './engine/testing/memory-disk.ts';

/** Flips a byte of the body of the entry at `index`. */
function damage(disk: MemoryDisk, index: number): void {
  const bases = disk.list('log').map(segmentBase);
  const base = Math.max(...bases.filter((b) => b !== null && b <= index).map((b) => b ?? 0));
  const path = `log/${String(base).padStart(20, '0')}.seg`;
  const bytes = disk.content(path);
  let at = SEGMENT_HEADER_BYTES;
  while (readU64(bytes, at + 8) !== index) at += frameBytes(readU32(bytes, at + 4));
  disk.flip(path, at + FRAME_HEADER_BYTES + 1);
}

test('a hole that begins below what any peer still has, and ends above the newest snapshot, is repaired where they have it', () => {
  const bench = new ReplicaBench(3);
  bench.put(5);
  while (bench.primary!.store.end < 45) bench.put(1);
  bench.until(() => bench.replicas.every((replica) => replica!.store.manifest.checkpoint.index === 40));
  bench.run(200);
  const x = bench.replicas.find((replica) => replica !== bench.primary)!.node.state.id;
  const { first } = bench.r(x).store;
  bench.crash(x);
  for (let index = first; index <= 43; index++) damage(bench.disk(x), index);
  // Segments of two replicas need not begin at the same index: the others have let go a little more.
  const left = first + 5;
  bench.onWire = (_from, to, message) => {
    if (to !== x) return message;
    if (message.type === 'snapshotReport') return { ...message, first: left };
    if (message.type !== 'newState' || message.batch === null || message.batch.first >= left) return message;
    return { ...message, first: left, batch: null };
  };
  bench.start(x);
  bench.run(1500);
  expect(bench.r(x).executor.applied).toBe(bench.r(x).node.state.end);
});
