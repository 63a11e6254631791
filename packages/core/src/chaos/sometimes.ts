/**
 * Rare states and totals of a run. A check that never met the state it is for proves nothing: the runner fails a large run in which a
 * listed state was never reached, and prints in how many seeds each statistic was above zero.
 */

import { FAULT_KINDS, type FaultKind } from './profile.ts';

const COUNTED = [
  'commandsAcknowledged',
  'commandsRejected',
  'commandsUnknown',
  'readsAnswered',
  'viewChanges',
  'crashes',
  'powerCuts',
  'restarts',
  'pauses',
  'crashesInMidWrite',
  'crashesInOpen',
  'messagesSent',
  'messagesLost',
  'messagesDuplicated',
  'messagesReordered',
  'partitions',
  'truncations',
  'snapshotsTaken',
  'snapshotRestarts',
  'snapshotTransfers',
  'compactions',
  'sectorsLost',
  'directoryEntriesLost',
  'clockSteps',
  'diskStalls',
  'diskErrors',
  'barrierErrors',
  'readErrors',
  'shortWrites',
  'writesMisdirected',
  'readsMisdirected',
  'sectorsRotted',
  'tailsLost',
  'disksFull',
  'repairs',
  'abdications',
  'effectsRun',
  'effectsRepeated',
  'effectsFenced',
  'committed',
  'events',
] as const;
export type Statistic = (typeof COUNTED)[number] | `fault ${FaultKind}`;
export type Statistics = Record<Statistic, number>;

/** Totals of a run; of every kind of fault, how often it struck. */
export const STATISTICS: readonly Statistic[] = [
  ...COUNTED,
  ...FAULT_KINDS.map((kind): `fault ${FaultKind}` => `fault ${kind}`),
];

/** Each must be above zero in at least half of the seeds of a large run. */
export const REQUIRED_STATISTICS: readonly Statistic[] = [
  'commandsAcknowledged',
  'viewChanges',
  'crashesInMidWrite',
  'messagesLost',
  'partitions',
  'truncations',
  'snapshotRestarts',
  'compactions',
];

/** No seed passes with fewer acknowledged commands. */
export const COMMANDS_ACKNOWLEDGED_MIN = 100;

export function emptyStatistics(): Statistics {
  return Object.fromEntries(STATISTICS.map((name) => [name, 0])) as Statistics;
}

/**
 * Rare states: each must be reached somewhere in a large run of several replicas. A quarantine is none: in a cluster without a bug it is a violation
 * (no-replica-diverges), and which replica it takes is shown by scripted tests.
 */
export const SOMETIMES = [
  'primary-crashed-with-entries-in-flight',
  'view-change-skipped-a-dead-primary',
  'all-replicas-down-at-once',
  'restart-with-unsynced-log',
  'restart-after-torn-write',
  'read-across-a-view-change',
  'two-replicas-believed-primary',
  'effect-run-twice',
  'commit-without-own-disk',
  'duplicate-in-the-log',
  'snapshot-installed',
  'version-activated',
  'program-taken-back',
  'program-refused',
  'snapshot-installed-below-newer-frames',
  'nacks-cut-a-suffix',
  'asked-where-the-log-joins',
  'truncation-below-the-tail-record',
  'damaged-frame-repaired',
  'damaged-snapshot-fetched',
  'recovering-head',
  'wiped-replica-replaced',
  'disk-full',
  'space-again',
  'call-cancelled',
  'outcome-lost-with-its-session',
  'resumed-by-another-process',
  'idempotency-key-answered',
  'idempotency-conflict',
  'bounded-stale-read',
  'healed-the-core-only',
  'a-new-primary-after-the-last-one-died',
  'broken-down',
  'broken-powered-off',
  'broken-paused',
  'broken-cut-off',
  'broken-mute',
  'broken-deaf',
  'broken-stalled-disk',
  'broken-half-connected',
] as const;
/** The rarest, about one seed in a thousand: each must be reached somewhere in a very large run. */
export const SELDOM = ['damaged-copy-rewritten', 'refused-a-damaged-directory'] as const;
/** What only a world beyond the atlas comes to: within it a good copy of every frame is left, so no loss is ever reported. */
export const SOMETIMES_BEYOND = ['stopped-and-said-why', 'data-loss-reported'] as const;
export type SometimesId = (typeof SOMETIMES)[number] | (typeof SELDOM)[number] | (typeof SOMETIMES_BEYOND)[number];

export class Sometimes {
  readonly counts = new Map<SometimesId, number>();

  reached(id: SometimesId): void {
    this.counts.set(id, (this.counts.get(id) ?? 0) + 1);
  }
}
