/** The simulator in a real browser's Worker, as a page loads it. No cluster and no console: one page, one script. */
import { fileURLToPath } from 'node:url';
import { expect, test } from '@playwright/test';
import type { FromSimulator, ToSimulator } from '@chronon/core/chaos/live/protocol';
import { build } from 'esbuild';

const ENTRY = fileURLToPath(new URL('../../apps/console/src/worker/simulator-worker.ts', import.meta.url));
const ORIGIN = 'http://simulator.test/';

async function workerScript(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [ENTRY],
    bundle: true,
    platform: 'browser',
    format: 'esm',
    conditions: ['@chronon/source'],
    write: false,
    // A node: import would fail here.
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

/** Runs in the page: starts a run and gives what the Worker said once a replica has told of a view above 0 and the run has ended. */
function watch(start: ToSimulator): Promise<{ texts: string[]; ended: FromSimulator; frames: number }> {
  return new Promise((resolve, reject) => {
    const worker = new Worker('/worker.js', { type: 'module' });
    const texts: string[] = [];
    let frames = 0;
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }: MessageEvent<FromSimulator>) => {
      if (data.type === 'refused') reject(new Error(data.message));
      if (data.type === 'frame') {
        frames++;
        for (const { events } of data.replicas) texts.push(...events.map(({ text }) => text));
      }
      if (data.type !== 'ended') return;
      worker.terminate();
      resolve({ texts, ended: data, frames });
    };
    worker.postMessage(start);
  });
}

for (const wasm of [true, false]) {
  test(`a seed runs in a Worker ${wasm ? 'with' : 'without'} WebAssembly, and a view change is seen`, async ({
    page,
  }) => {
    const script = await workerScript();
    const policy = `script-src 'self' ${wasm ? "'wasm-unsafe-eval'" : ''}`;
    const headers = { 'content-security-policy': policy };
    await page.route(`${ORIGIN}**`, (route) =>
      route.request().url().endsWith('/worker.js')
        ? route.fulfill({ body: script, contentType: 'text/javascript', headers })
        : route.fulfill({ body: '<!doctype html><title>simulator</title>', contentType: 'text/html', headers }),
    );
    await page.goto(ORIGIN);
    const start: ToSimulator = { type: 'start', seed: 7, replicas: 3, speed: 1000 };
    const { texts, ended, frames } = await page.evaluate(watch, start);
    expect(frames).toBeGreaterThan(5);
    expect(texts.some((text) => /^view [1-9]\d*, primary r[123]$/.test(text))).toBe(true);
    expect(ended).toMatchObject({ type: 'ended', result: { seed: 7, replicas: 3, violation: null } });
  });
}
