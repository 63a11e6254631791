/** A thread of `chronon simulate`: takes seeds, gives reports. */
import { parentPort } from 'node:worker_threads';
import type { SeedRequest } from '@chronon/core/chaos/cli';
import { chooseCodec } from '../replica/choose-codec.ts';
import { timedSeed } from './simulate-pool.ts';

const chosen = chooseCodec();

parentPort?.on('message', (request: SeedRequest) => {
  void (async () => {
    parentPort?.postMessage(await timedSeed(request, (await chosen).codec));
  })();
});
