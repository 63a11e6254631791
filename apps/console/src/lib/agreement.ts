/** What can be said of one replica's execution digest, from digests that were seen at one equal index. */
import type { ClusterFrame, ReplicaDetail } from './frame.ts';
import { count } from './format.ts';

export interface Agreement {
  readonly tone: 'ok' | 'bad' | 'mute';
  readonly word: string;
  readonly detail: string;
}

export function agreement(frame: ClusterFrame, detail: ReplicaDetail): Agreement {
  const others = frame.replicas.length - 1;
  if (frame.replicas.find((r) => r.id === detail.id)?.reach !== 'live') {
    return {
      tone: 'mute',
      word: 'last said',
      detail: `its digest at index ${count(detail.applied)}, before it fell silent`,
    };
  }
  if (detail.diverged !== null) return { tone: 'bad', word: 'diverged', detail: detail.diverged };
  if (frame.mismatch?.replicas.some(({ id }) => id === detail.id)) {
    return { tone: 'bad', word: 'differs', detail: `digests differ at index ${count(frame.mismatch.index)}` };
  }
  const same = frame.replicas.filter(
    (r) =>
      r.id !== detail.id &&
      r.reach === 'live' &&
      r.detail?.applied === detail.applied &&
      r.detail?.digest === detail.digest,
  );
  if (detail.applied !== null && same.length > 0) {
    const whom = same.length === others ? 'all' : same.map(({ id }) => `r${id}`).join(', ');
    return { tone: 'ok', word: 'equal', detail: `same digest as ${whom} at index ${count(detail.applied)}` };
  }
  if (frame.agreed?.replicas.includes(detail.id)) {
    return { tone: 'ok', word: 'equal', detail: `last compared at index ${count(frame.agreed.index)}` };
  }
  if (detail.confirmedDigest !== null) {
    return {
      tone: 'ok',
      word: 'confirmed',
      detail: `a quorum confirmed it up to index ${count(detail.confirmedDigest)}`,
    };
  }
  return {
    tone: 'mute',
    word: detail.applied === null ? 'nothing yet' : 'not compared',
    detail: 'no equal index seen yet',
  };
}
