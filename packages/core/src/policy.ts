/**
 * Policy: the places where the simulator's mutations (`chaos/mutations/`) may break production behaviour on purpose, to prove that the
 * invariants notice. Every flag is false in SOUND, the only policy the daemon knows; nothing but the simulator passes another.
 */
export interface Policy {
  /** Promise when the write is issued, before it is durable. */
  readonly ackBeforeBarrier: boolean;
  readonly ignoreShortWrite: boolean;
  readonly voteTwiceAfterRestart: boolean;
  readonly truncateAckedTail: boolean;
  readonly nackFaultySlot: boolean;
  /** View change chooses by head alone. */
  readonly noLogView: boolean;
  readonly installShorterLog: boolean;
  readonly ackWithoutView: boolean;
  /** A heartbeat with no commit says commit 0. */
  readonly commitZeroHeartbeat: boolean;
  readonly noPrepareRetransmit: boolean;
  readonly noViewChangeTimer: boolean;
  readonly noSessionDedupe: boolean;
  readonly sessionNotInSnapshot: boolean;
  readonly staleReadFromPausedPrimary: boolean;
  readonly retryFsync: boolean;
  readonly noDirectoryFsync: boolean;
  readonly acceptWrongCluster: boolean;
  readonly blockTimeBackwards: boolean;
  readonly skipFence: boolean;
  readonly clearInFlightOnSubmit: boolean;
  readonly dropOutboxOnRestore: boolean;
  readonly reorderBatch: boolean;
  readonly unknownReportedAsFailure: boolean;
  /** A restarted primary goes on as primary of its manifest view. */
  readonly restartAsPrimary: boolean;
  readonly promiseBeforeTailRecord: boolean;
  readonly cumulativePrepareOk: boolean;
  readonly snapshotDropsNewerFrames: boolean;
  readonly readJoinsOldRound: boolean;
  readonly skipBarrierAtOpen: boolean;
  readonly unconnectedFramesCount: boolean;
  readonly singleManifestCopy: boolean;
}

export const SOUND: Policy = Object.freeze({
  ackBeforeBarrier: false,
  ignoreShortWrite: false,
  voteTwiceAfterRestart: false,
  truncateAckedTail: false,
  nackFaultySlot: false,
  noLogView: false,
  installShorterLog: false,
  ackWithoutView: false,
  commitZeroHeartbeat: false,
  noPrepareRetransmit: false,
  noViewChangeTimer: false,
  noSessionDedupe: false,
  sessionNotInSnapshot: false,
  staleReadFromPausedPrimary: false,
  retryFsync: false,
  noDirectoryFsync: false,
  acceptWrongCluster: false,
  blockTimeBackwards: false,
  skipFence: false,
  clearInFlightOnSubmit: false,
  dropOutboxOnRestore: false,
  reorderBatch: false,
  unknownReportedAsFailure: false,
  restartAsPrimary: false,
  promiseBeforeTailRecord: false,
  cumulativePrepareOk: false,
  snapshotDropsNewerFrames: false,
  readJoinsOldRound: false,
  skipBarrierAtOpen: false,
  unconnectedFramesCount: false,
  singleManifestCopy: false,
});
