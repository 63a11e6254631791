/**
 * Is the cluster all right, in one word and one sentence. Judged from what replicas said within the last moments, never from what they said before
 * they fell silent.
 */
import type { ClusterFrame, ReplicaDetail, ReplicaView } from './frame.ts';
import { count, duration } from './format.ts';
import { damageText, unrepaired } from './scrub.ts';

export type VerdictLevel = 'committing' | 'degraded' | 'no-quorum' | 'diverged' | 'unknown';

export interface Verdict {
  readonly level: VerdictLevel;
  readonly title: string;
  readonly sentence: string;
  /** What is not as it should be, most urgent first. */
  readonly reasons: readonly string[];
  readonly primary: number | null;
  readonly view: string | null;
  readonly commit: string | null;
  readonly sinceViewChangeMs: number | null;
}

/** Lag in entries that is never worth a word. */
const LAG_MIN = 500;

const TITLES: Record<VerdictLevel, string> = {
  committing: 'Committing',
  degraded: 'Degraded',
  'no-quorum': 'No quorum',
  diverged: 'DIVERGED',
  unknown: 'Unknown',
};

const max = (values: readonly (string | null)[]): string | null =>
  values.reduce((a, b) => (b !== null && (a === null || BigInt(b) > BigInt(a)) ? b : a), null);
const min = (values: readonly (string | null)[]): string | null =>
  values.includes(null) ? null : values.reduce((a, b) => (a === null || BigInt(b!) < BigInt(a) ? b : a), null);

export function majority(n: number): number {
  return Math.floor(n / 2) + 1;
}

export function verdict(frame: ClusterFrame | null): Verdict {
  const replicas = frame?.replicas ?? [];
  const live = replicas.flatMap((r) => (r.reach === 'live' && r.detail ? [r.detail] : []));
  const n = replicas.length;
  if (live.length === 0) {
    const sentence = n === 0 ? 'Waiting for the first answer.' : `None of ${n} replicas answers this console.`;
    return { ...blank(n === 0 ? 'unknown' : 'no-quorum', sentence), reasons: n === 0 ? [] : silent(replicas) };
  }
  const leader = live
    .filter((d) => d.role === 'primary' && d.status === 'normal' && !d.abdicated)
    .reduce<ReplicaDetail | null>((a, b) => (a === null || BigInt(b.view) > BigInt(a.view) ? b : a), null);
  const following = leader === null ? [] : live.filter((d) => d.status === 'normal' && d.view === leader.view);
  const quorum = following.length >= majority(n) && !cutOff(leader, frame!);
  const reasons = [
    ...divergence(frame!, live),
    ...silent(replicas),
    ...troubles(live, leader),
    ...lagging(live, frame!.commitsPerSecond),
    ...faultReasons(frame!),
  ];
  const diverged = frame!.mismatch !== null || live.some((d) => d.diverged !== null);
  const level: VerdictLevel = diverged
    ? 'diverged'
    : !quorum
      ? 'no-quorum'
      : reasons.length > 0
        ? 'degraded'
        : 'committing';
  const facts = {
    // Who has no majority leads nobody, whatever it says.
    primary: quorum ? (leader?.id ?? null) : null,
    view: leader?.view ?? max(live.map((d) => d.view)),
    commit: max(live.map((d) => d.commit)),
    sinceViewChangeMs: quorum ? (leader?.msSinceViewChange ?? null) : null,
  };
  return { level, title: TITLES[level], sentence: say(level, n, live, following, facts), reasons, ...facts };
}

function blank(level: VerdictLevel, sentence: string): Verdict {
  return {
    level,
    title: TITLES[level],
    sentence,
    reasons: [],
    primary: null,
    view: null,
    commit: null,
    sinceViewChangeMs: null,
  };
}

/** A primary whose cut links leave it with less than a quorum only believes that it leads. */
function cutOff(leader: ReplicaDetail | null, frame: ClusterFrame): boolean {
  if (leader === null) return true;
  const reachable = frame.replicas.filter(
    ({ id }) =>
      id === leader.id || !frame.faults.some((f) => f.kind === 'cut' && f.replica === leader.id && f.to === id),
  );
  return reachable.length < majority(frame.replicas.length);
}

function say(
  level: VerdictLevel,
  n: number,
  live: readonly ReplicaDetail[],
  following: readonly ReplicaDetail[],
  facts: Pick<Verdict, 'primary' | 'view' | 'sinceViewChangeMs' | 'commit'>,
): string {
  if (level === 'no-quorum') {
    const known =
      facts.commit === null ? 'nothing is committed yet' : `the last known commit is index ${count(facts.commit)}`;
    return `Commits have stopped: ${live.length} of ${n} replicas answer and no primary has a majority of ${majority(n)}; ${known}.`;
  }
  const agreeing = following.filter((d) => d.diverged === null);
  const upTo = min(agreeing.map((d) => d.applied));
  const what = upTo === null ? 'are up; nothing is committed yet' : `agree up to index ${count(upTo)}`;
  const since =
    facts.sinceViewChangeMs === null
      ? 'no view change yet'
      : `last view change ${duration(facts.sinceViewChangeMs)} ago`;
  return `${agreeing.length} of ${n} replicas ${what}; primary r${facts.primary}, view ${count(facts.view)}, ${since}.`;
}

function divergence(frame: ClusterFrame, live: readonly ReplicaDetail[]): string[] {
  const said = live.flatMap((d) => (d.diverged === null ? [] : [`r${d.id} diverged: ${d.diverged}`]));
  if (said.length > 0 || frame.mismatch === null) return said;
  const who = frame.mismatch.replicas.map(({ id, digest }) => `r${id} ${digest.slice(0, 8)}`).join(', ');
  return [`execution digests differ at index ${count(frame.mismatch.index)}: ${who}`];
}

function silent(replicas: readonly ReplicaView[]): string[] {
  return replicas
    .filter((r) => r.reach !== 'live')
    .map(({ id, reach, error, process }) => {
      const stopped =
        process && process.state !== 'running'
          ? `process ${process.state}: ${process.reason || 'no reason given'}`
          : null;
      const why = [error, stopped].filter((text) => text !== null).join('; ');
      return `r${id} ${reach === 'never' ? 'has not answered' : 'does not answer'}${why ? ` (${why})` : ''}`;
    });
}

function troubles(live: readonly ReplicaDetail[], leader: ReplicaDetail | null): string[] {
  const out: string[] = [];
  for (const d of live) {
    if (d.status !== 'normal') out.push(`r${d.id} is in ${d.status === 'view-change' ? 'a view change' : d.status}`);
    else if (leader !== null && d.view !== leader.view) out.push(`r${d.id} is still in view ${count(d.view)}`);
    if (d.readOnly)
      out.push(
        `r${d.id} has no space left for its log: read-only, writes are refused until there is space again (E_NO_SPACE)`,
      );
    for (const { from, to } of d.faulty)
      out.push(`r${d.id} is repairing a damaged range, index ${count(from)} to ${count(to)}`);
  }
  for (const d of live)
    if (unrepaired(d.scrub) > 0 && d.faulty.length === 0)
      out.push(`r${d.id} found damage on its own disk: ${damageText(d.scrub)}`);
  if (leader !== null && !leader.serving) out.push(`r${leader.id} does not serve clients yet`);
  return out;
}

/** Replicas that are further behind than the moments between two answers explain. */
function lagging(live: readonly ReplicaDetail[], commitsPerSecond: number | null): string[] {
  const head = Number(max(live.map((d) => d.commit)) ?? 0);
  const tolerated = Math.max(LAG_MIN, commitsPerSecond ?? 0);
  return live.flatMap((d) => {
    const behind = head - Number(d.applied ?? 0);
    return behind > tolerated ? [`r${d.id} is ${count(behind)} entries behind`] : [];
  });
}

function faultReasons(frame: ClusterFrame): string[] {
  const cuts = frame.faults.filter((f) => f.kind === 'cut').map((f) => `r${f.replica} to r${f.to}`);
  const out = cuts.length > 0 ? [`cut on purpose: ${cuts.join(', ')}`] : [];
  for (const f of frame.faults)
    if (f.kind !== 'cut') out.push(`r${f.replica} ${f.kind === 'kill' ? 'killed' : 'paused'} on purpose`);
  return out;
}
