/** The simulator in a Worker: the clock, the timer and the port of core/chaos/live. */
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import type { FromSimulator, ToSimulator } from '@chronon/core/chaos/live/protocol';
import { LiveSimulation } from '@chronon/core/chaos/live/session';

/** About as often as a page draws. */
const FRAME_MS = 40;

// A policy without 'wasm-unsafe-eval' forbids WebAssembly: slower then, but the same bytes.
const live = createWasmCodec()
  .catch(() => nobleCodec)
  .then((codec) => new LiveSimulation(codec, (message: FromSimulator) => self.postMessage(message)));

self.onmessage = (event: MessageEvent<ToSimulator>) => {
  void live.then((simulation) => simulation.handle(event.data));
};

let lastMs = performance.now();
setInterval(() => {
  const nowMs = performance.now();
  const passedMs = nowMs - lastMs;
  lastMs = nowMs;
  void live.then((simulation) => simulation.advance(passedMs));
}, FRAME_MS);
