'use client';
import { useCallback, useEffect, useRef, useState } from 'react';
import type { FromWorker, ToWorker, VerifyReport } from '../../worker/protocol.ts';

export interface Run {
  readonly report: VerifyReport | null;
  /** Wall clock at the end of the run. */
  readonly finishedAtMs: number | null;
  /** The Worker itself failed: not verified. */
  readonly problem: string | null;
}

const NONE: Run = { report: null, finishedAtMs: null, problem: null };

/** Runs the Worker; a new start ends the one before. */
export function useVerification() {
  const worker = useRef<Worker | null>(null);
  const [run, setRun] = useState<Run>(NONE);
  const stop = useCallback(() => {
    worker.current?.terminate();
    worker.current = null;
  }, []);
  const start = useCallback(
    (replicas: number[], target: number) => {
      stop();
      setRun(NONE);
      const next = new Worker(new URL('../../worker/verify-worker.ts', import.meta.url), { type: 'module' });
      worker.current = next;
      next.onmessage = (event: MessageEvent<FromWorker>) => {
        const { report } = event.data;
        setRun({ report, finishedAtMs: report.finished ? Date.now() : null, problem: null });
        if (report.finished) stop();
      };
      next.onerror = (event) => setRun((last) => ({ ...last, problem: event.message || 'the Worker did not start' }));
      next.postMessage({ kind: 'start', replicas, target } satisfies ToWorker);
    },
    [stop],
  );
  useEffect(() => stop, [stop]);
  return { run, start };
}
