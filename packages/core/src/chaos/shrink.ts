/**
 * Shrinking: leaves out fault events of a failing seed while the same invariant still fails. Greedy halving, bounded by a number of runs and by the
 * patience of the caller.
 */
import { US_PER_MS } from './event-queue.ts';
import { simulate, type SimulationOptions, type SimulationResult } from './simulator.ts';

export interface Shrunk {
  /** Ids of the fault events that are not needed. */
  readonly without: readonly number[];
  /** Fault events that are. */
  readonly left: number;
  readonly runs: number;
  readonly result: SimulationResult;
}

/** `failed` is the result of `options`, with a violation. `patient` is asked before each run; once it says no, what was reached stands. */
export function shrink(
  options: SimulationOptions,
  failed: SimulationResult,
  runsMax: number,
  patient: () => boolean = () => true,
): Shrunk {
  const without = new Set<number>(options.without ?? []);
  // What was to strike later had no part in it.
  for (const { id, atUs } of failed.schedule) if (atUs > failed.virtualMs * US_PER_MS) without.add(id);
  let result = failed;
  let runs = 0;
  let chunk = Math.ceil(failed.schedule.length / 2);
  const goesOn = (): boolean => runs < runsMax && patient();
  while (chunk >= 1 && goesOn()) {
    let dropped = false;
    const left = failed.schedule.filter(({ id }) => !without.has(id));
    for (let at = 0; at < left.length && goesOn(); at += chunk) {
      const candidate = new Set([...without, ...left.slice(at, at + chunk).map(({ id }) => id)]);
      runs++;
      const tried = simulate({ ...options, traceSink: null, without: candidate });
      if (tried.violation === null || tried.violation.invariant !== failed.violation?.invariant) continue;
      for (const id of candidate) without.add(id);
      result = tried;
      dropped = true;
    }
    if (chunk === 1 && !dropped) break;
    chunk = dropped ? chunk : Math.floor(chunk / 2);
  }
  const ids = [...without].sort((a, b) => a - b);
  return { without: ids, left: failed.schedule.length - ids.length, runs, result };
}
