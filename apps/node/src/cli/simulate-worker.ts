/** A thread of `chronon simulate`: takes seeds, gives reports. */
import { parentPort } from 'node:worker_threads';
import { runSeed, type SeedRequest } from '@chronon/core/chaos/cli';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';

const codec = createWasmCodec();

parentPort?.on('message', (request: SeedRequest) => {
  void (async () => {
    parentPort?.postMessage(await runSeed(request, await codec));
  })();
});
