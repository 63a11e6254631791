/** The Verify page's Worker: fetches raw frames, hashes them, reports. Verification itself is in verify-run.ts. */
import { fromBase64 } from '../lib/raw-frame.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import { verifyAll, type RangeAnswer } from './verify-run.ts';

const FETCH_MS = 10_000;
const REPORT_MS = 100;
const RANGE_BYTES = 512 * 1024;

async function range(replica: number, from: number): Promise<RangeAnswer> {
  const input = encodeURIComponent(JSON.stringify({ replica, from: String(from), maxBytes: RANGE_BYTES }));
  const response = await fetch(`/api/trpc/log.range?input=${input}`, {
    signal: AbortSignal.timeout(FETCH_MS),
    cache: 'no-store',
  });
  const body = (await response.json()) as { result?: { data?: Record<string, unknown> }; error?: { message?: string } };
  const data = body.result?.data;
  if (!data) throw new Error(body.error?.message ?? `no answer (${response.status})`);
  const fault = data.fault as RangeAnswer['fault'] | undefined;
  return {
    replica: Number(data.replica),
    from: String(data.from),
    frames: fromBase64(typeof data.frames === 'string' ? data.frames : ''),
    commit: typeof data.commit === 'string' ? data.commit : null,
    fault: fault ?? null,
  };
}

let reportedAt = Number.NEGATIVE_INFINITY;

self.onmessage = (event: MessageEvent<ToWorker>) => {
  const { replicas, target } = event.data;
  void verifyAll(replicas, target, {
    range,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    now: () => performance.now(),
    report: (report) => {
      if (!report.finished && performance.now() - reportedAt < REPORT_MS) return;
      reportedAt = performance.now();
      self.postMessage({ kind: 'report', report } satisfies FromWorker);
    },
  });
};
