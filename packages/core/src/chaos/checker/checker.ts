/**
 * The linearizability checker: partitions a history by key and searches the partitions in turn, so that one hard partition does not hide an easy
 * violation. Pure: the caller says how long it is patient.
 */
import type { CheckModel } from './model.ts';
import type { Operation } from './operation.ts';
import { PartitionSearch, type Verdict } from './search.ts';

/** Steps a partition gets at a turn. */
const TURN_STEPS = 20_000;

export interface Partition {
  readonly key: string;
  readonly verdict: Verdict;
  readonly operations: readonly Operation[];
  readonly steps: number;
}

export interface Counterexample {
  readonly key: string;
  /** The longest order found that the model and real time allow. */
  readonly prefix: readonly Operation[];
  /** What can be placed nowhere behind it. */
  readonly blocked: Operation | null;
}

export interface CheckResult {
  /** `unknown`: patience or memory came to an end first. */
  readonly verdict: Verdict;
  readonly operations: number;
  readonly partitions: readonly Partition[];
  readonly steps: number;
  readonly counterexample: Counterexample | null;
}

/** Judges a history. `patient` is asked between turns. Throws HistoryError for an operation that the model does not know. */
export function check(
  operations: readonly Operation[],
  model: CheckModel,
  patient: () => boolean = () => true,
): CheckResult {
  const searches = partitioned(operations, model).map(([key, own]) => ({
    key,
    search: new PartitionSearch(own, model),
  }));
  let open = searches.filter(({ search }) => search.verdict === null);
  let illegal: (typeof open)[number] | undefined;
  while (open.length > 0 && illegal === undefined && patient()) {
    for (const one of open) {
      one.search.run(TURN_STEPS);
      if (one.search.verdict === 'illegal') illegal = one;
      if (illegal !== undefined || !patient()) break;
    }
    open = open.filter(({ search }) => search.verdict === null);
  }
  const partitions = searches.map(({ key, search }): Partition => {
    return { key, verdict: search.verdict ?? 'unknown', operations: search.operations, steps: search.steps };
  });
  const allOk = partitions.every(({ verdict }) => verdict === 'ok');
  return {
    verdict: illegal !== undefined ? 'illegal' : allOk ? 'ok' : 'unknown',
    operations: operations.length,
    partitions,
    steps: partitions.reduce((sum, { steps }) => sum + steps, 0),
    counterexample: illegal === undefined ? null : { key: illegal.key, ...illegal.search.explain() },
  };
}

/** Operations by key, the smallest partition first. A read of unknown outcome says nothing and is left out. */
function partitioned(operations: readonly Operation[], model: CheckModel): [string, Operation[]][] {
  const byKey = new Map<string, Operation[]>();
  for (const operation of operations) {
    if (operation.output === null && model.isRead(operation)) continue;
    const key = model.keyOf(operation);
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [operation]);
    else list.push(operation);
  }
  return [...byKey].sort(([, a], [, b]) => a.length - b.length);
}
