/** Real replicas, sockets and disks under the nemesis: killed, stopped, cut off one way and wholly, in turn. */
import { afterEach, expect, it } from 'vitest';
import { Cluster } from './cluster.ts';

let cluster: Cluster | null = null;
afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
});

interface Report {
  readonly ok: boolean;
  readonly problems: readonly string[];
  readonly acknowledged: number;
  readonly history: {
    readonly operations: number;
    readonly verdict: string;
    readonly witness: { readonly ok: boolean };
  };
  readonly faults: readonly { readonly fault: string; readonly problem: string | null }[];
  readonly replicas: readonly { readonly found: number }[];
}

/** Each of the four faults at least once, with room for a machine that takes as long again to make them; `chronon chaos run` alone goes on for ten minutes. */
const TURNS = ['--minutes', '0.8', '--fault', '3s', '--rest', '2s'];
const FAULTS = ['kill', 'pause', 'cut-one-way', 'isolate'];

it('five replicas: the history is linearizable, and the log of each holds what was acknowledged', async () => {
  cluster = await Cluster.start({ replicas: 5, args: ['--no-console', '--enable-chaos', '--app', 'kv'] });
  const made = new Set<string>();
  // Once, unless a fault could not be made: a replica may be late to answer.
  for (let seed = 1; FAULTS.some((fault) => !made.has(fault)); seed++)
    for (const fault of await tormented(cluster, seed)) made.add(fault);
});

/** One run, judged; returns the faults that were made. */
async function tormented(cluster: Cluster, seed: number): Promise<string[]> {
  const ran = await cluster.runLater('chaos', 'run', ...TURNS, '--rate', '100', '--seed', String(seed), '--json');
  expect(ran.stdout, ran.stderr).not.toBe('');
  const report = JSON.parse(ran.stdout) as Report;
  expect(report.problems).toEqual([]);
  expect(ran.code).toBe(0);
  expect(report.history.verdict).toBe('ok');
  expect(report.history.witness.ok).toBe(true);
  expect(report.acknowledged).toBeGreaterThan(100);
  // One that was killed last may still be on its way back: with the digest of the others it has what they have.
  expect(report.replicas.length).toBeGreaterThanOrEqual(3);
  expect(new Set(report.replicas.map(({ found }) => found))).toEqual(new Set([report.acknowledged]));
  await cluster.agreed();
  return report.faults.filter(({ problem }) => problem === null).map(({ fault }) => fault);
}
