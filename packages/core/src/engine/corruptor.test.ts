/**
 * Byte-flip corruptor: every byte that means something in a small data directory, one at a time. One flipped byte is always harmless or faulty: there is
 * a second copy of everything but frames, and a frame is repaired from a peer. Never a throw, never a shorter promised log, never a wrong frame.
 */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { toHex } from './hash.ts';
import { filled, openLog } from './testing/log-harness.ts';

const codec = await createWasmCodec();
const over = { codec, segmentBytes: 8 * 1024 };
/** Of bytes that are zero, one in so many is flipped. */
const ZEROS_STEP = 97;

test('one flipped byte anywhere is harmless or faulty', () => {
  const { disk, chain } = filled(over);
  const end = chain.first - 1;
  const seen = { harmless: 0, faulty: 0 };
  for (const path of disk.paths()) {
    if (path === 'log/spare') continue;
    const content = disk.content(path);
    for (let offset = 0; offset < content.length; offset++) {
      if (content[offset] === 0 && offset % ZEROS_STEP !== 0) continue;
      // Bodies are all alike: a part of them will do.
      if (path.endsWith('.seg') && offset % 11 !== 0 && content[offset] === content[offset - 1]) continue;
      const damaged = disk.clone();
      damaged.flip(path, offset, 1 << (offset % 8));
      const opened = openLog(damaged, over);
      const where = `${path} at ${offset}`;
      if ('refusal' in opened) throw new Error(`${where}: ${opened.refusal.code} ${opened.refusal.message}`);
      const { recovered } = opened;
      const { outcome, faulty, recoveringHead, connected, manifest: state } = recovered;
      expect([where, recovered.end, toHex(recovered.endHash), recoveringHead, connected, state.view]).toEqual([
        where,
        end,
        toHex(chain.hash),
        false,
        true,
        2,
      ]);
      seen[outcome === 'faulty' ? 'faulty' : 'harmless']++;
      if (outcome === 'faulty') expect([where, faulty.length, path.endsWith('.seg')]).toEqual([where, 1, true]);
      for (let index = recovered.headers.first; index <= end; index++) {
        const hash = recovered.headers.hash(index);
        if (hash !== null) expect(toHex(hash)).toBe(toHex(chain.hashOf(index)));
      }
      opened.store.close();
    }
  }
  expect(seen.faulty).toBeGreaterThan(500);
  expect(seen.harmless).toBeGreaterThan(500);
});
