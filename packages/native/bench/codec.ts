/**
 * Measures the frame codecs on one core: encode + chain and verify, frames a second and MB/s of payload.
 * Run: node -C @chronon/source --import tsx packages/native/bench/codec.ts
 */
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import { frameBytes, writeHeader } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { loadNative } from '../src/native-binding.ts';
import { createNativeCodec } from '../src/native-codec.ts';

const { binding } = loadNative();
const codecs: [string, FrameCodec][] = [
  ['noble', nobleCodec],
  ['wasm', await createWasmCodec()],
];
if (binding !== null)
  for (let level = 0; level <= binding.simd(); level++)
    codecs.push([`native/${level}`, createNativeCodec(binding, level)]);

function rate(run: () => number): number {
  const rates: number[] = [];
  for (let round = 0; round < 5; round++) {
    // CPU time, not wall time: neighbours on the machine must not count.
    const started = process.cpuUsage();
    let done = 0;
    let elapsed = 0;
    do {
      done += run();
      const { user, system } = process.cpuUsage(started);
      elapsed = (user + system) / 1e6;
    } while (elapsed < 0.15);
    rates.push(done / elapsed);
  }
  return rates.toSorted((a, b) => a - b)[2]!;
}

for (const [size, batch] of [
  [128, 1],
  [128, 64],
  [256, 64],
  [1024, 64],
  [16384, 1],
  [16384, 64],
] as const) {
  const bytes = new Uint8Array(frameBytes(size) * batch).fill(9);
  for (let i = 0; i < batch; i++) writeHeader(bytes, i * frameBytes(size), size, i, 0, 0, 0, 0);
  const chain = new Uint8Array(16);
  for (const [name, codec] of codecs) {
    const sealed = rate(() => codec.seal(bytes, 0, bytes.length, chain.fill(0)));
    const verified = rate(() => codec.verify(bytes, 0, bytes.length, 0, chain.fill(0)).count);
    const text = (value: number): string =>
      `${Math.round(value / 1000)} k/s ${Math.round((value * size) / 1e6)} MB/s`.padEnd(22);
    console.log(`${`${size} B x${batch}`.padEnd(12)} ${name.padEnd(10)} seal ${text(sealed)} verify ${text(verified)}`);
  }
}
