/** Messages between the Verify page and its Worker, and the judgement over them. Pure. */
export type LaneState = 'verifying' | 'waiting' | 'reached' | 'fault' | 'given-up';

export interface LaneReport {
  readonly replica: number;
  readonly state: LaneState;
  /** Last index whose frame was re-hashed here and chains from `first` of the report; below that for none. */
  readonly verified: number;
  /** Chain hash at `verified`, hex, as computed here. */
  readonly hash: string;
  readonly bytes: number;
  /** Where it is wrong: red. */
  readonly fault: { readonly index: number; readonly what: string } | null;
  /** Why it could not be checked further: not verified, never green. */
  readonly why: string | null;
}

export interface VerifyReport {
  /** Greatest commit that any replica stated when the run began; every lane has to reach it. */
  readonly target: number;
  /** Index at which every replica's log has begun: what is below is in snapshots, and not verified here. */
  readonly first: number;
  readonly lanes: readonly LaneReport[];
  /** Lanes with different hashes at one equal index. */
  readonly divergence: { readonly index: number; readonly groups: readonly (readonly number[])[] } | null;
  readonly finished: boolean;
  readonly elapsedMs: number;
}

export type ToWorker = { kind: 'start'; replicas: number[]; target: number };
export type FromWorker = { kind: 'report'; report: VerifyReport };

export interface Judgement {
  readonly level: 'verified' | 'fault' | 'not-verified' | 'running';
  readonly sentence: string;
  readonly details: readonly string[];
}

const names = (ids: readonly number[]) => ids.map((id) => `r${id}`).join(', ');
const digits = (n: number) => n.toLocaleString('en-US');

/** Green only when this browser re-computed every hash from where the logs begin to the target on every replica and all ended on one hash. */
export function judge(report: VerifyReport): Judgement {
  const { lanes, target, first, divergence, finished } = report;
  const faults = lanes.filter((lane) => lane.fault !== null);
  const details = [
    ...faults.map((lane) => `r${lane.replica}, index ${digits(lane.fault!.index)}: ${lane.fault!.what}`),
    ...(divergence
      ? [`index ${digits(divergence.index)}: ${divergence.groups.map(names).join(' holds another entry than ')}`]
      : []),
    ...(first > 0
      ? [`index 0..${digits(first - 1)} is below the checkpoint: it is in snapshots now, and not verified here`]
      : []),
    ...lanes.flatMap((lane) => (lane.why === null ? [] : [`r${lane.replica}: ${lane.why}`])),
  ];
  if (faults.length > 0) {
    const where = faults.map((lane) => `index ${digits(lane.fault!.index)} on r${lane.replica}`).join(' and ');
    return { level: 'fault', sentence: `The log does not verify: ${where}.`, details };
  }
  if (divergence) {
    return {
      level: 'fault',
      sentence: `The replicas hold different logs from index ${digits(divergence.index)} on.`,
      details,
    };
  }
  const reached = lanes.filter((lane) => lane.state === 'reached' && lane.verified === target);
  const hash = reached[0]?.hash ?? '';
  const equal = reached.every((lane) => lane.hash === hash);
  if (!finished)
    return {
      level: 'running',
      sentence: `Verifying index ${digits(first)} to ${digits(target)} on ${names(lanes.map((l) => l.replica))}…`,
      details,
    };
  if (target >= 0 && lanes.length > 0 && reached.length === lanes.length && equal) {
    const on = names(lanes.map((lane) => lane.replica));
    return {
      level: 'verified',
      sentence: `Verified by this browser: index ${digits(first)}..${digits(target)} on ${on} at hash ${hash}`,
      details,
    };
  }
  if (target < 0) return { level: 'not-verified', sentence: 'Not verified: nothing is committed yet.', details };
  const open = lanes.filter((lane) => !reached.includes(lane)).map((lane) => lane.replica);
  const good =
    reached.length > 0
      ? ` Covered: index ${digits(first)}..${digits(target)} on ${names(reached.map((l) => l.replica))} only.`
      : '';
  return { level: 'not-verified', sentence: `Not verified on ${names(open)}.${good}`, details };
}
