/** Spreads the seeds of `chronon simulate` over threads. */
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { runSeed, type SeedReport, type SeedRequest } from '@chronon/core/chaos/cli';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { chooseCodec } from '../replica/choose-codec.ts';

export interface TimedReport {
  readonly request: SeedRequest;
  readonly report: SeedReport;
  /** How long the seed kept its thread busy. */
  readonly realMs: number;
}

export async function timedSeed(request: SeedRequest, codec: FrameCodec): Promise<TimedReport> {
  const startedMs = performance.now();
  const report = await runSeed(request, codec);
  return { request, report, realMs: performance.now() - startedMs };
}

/** Young generation of each thread, MB: a seed makes some 50 MB of short-lived objects; what is young for longer is not copied. 9 % less CPU a seed. */
const SEMI_SPACE_MB = 64;

/** Runs what `next` gives until it gives null. A single thread, or a run from source, is this one. */
export async function runSeeds(
  next: () => SeedRequest | null,
  threads: number,
  add: (report: TimedReport) => void,
): Promise<void> {
  if (threads <= 1 || import.meta.url.endsWith('.ts')) {
    const { codec } = await chooseCodec();
    for (let request = next(); request !== null; request = next()) {
      add(await timedSeed(request, codec));
      // Signals and the terminal get their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    return;
  }
  // Threads read it when they begin; the limits that a Worker takes bound the young generation, but do not make it begin large.
  for (const bound of ['min', 'max']) setFlagsFromString(`--${bound}-semi-space-size=${SEMI_SPACE_MB}`);
  await Promise.all(Array.from({ length: threads }, () => runThread(next, add)));
}

function runThread(next: () => SeedRequest | null, add: (report: TimedReport) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./simulate-worker.js', import.meta.url));
    const give = (): void => {
      const request = next();
      if (request !== null) worker.postMessage(request);
      else void worker.terminate().then(() => resolve(), reject);
    };
    worker.on('message', (report: TimedReport) => {
      add(report);
      give();
    });
    worker.on('error', reject);
    give();
  });
}
