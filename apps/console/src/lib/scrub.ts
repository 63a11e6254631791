/** The background check of a replica's own disk (the scrubber), in words. */
import { bytes, count, duration, plural } from './format.ts';
import type { ReplicaDetail } from './frame.ts';

type Scrub = ReplicaDetail['scrub'];

const READS: Record<Exclude<Scrub['phase'], 'off' | 'rest'>, string> = {
  manifest: 'reads its manifest copies',
  tail: 'reads its tail record',
  log: 'reads its log',
  snapshots: 'reads its snapshots',
};

/** What is damaged and not repaired yet; 0 when all is well. */
export function unrepaired(scrub: Scrub): number {
  return scrub.damaged - scrub.repaired;
}

/** Share of the pass that is done, 0 to 1; 1 while it rests after one. */
export function scrubShare(scrub: Scrub): number {
  if (scrub.phase === 'off' || scrub.phase === 'rest') return scrub.passes > 0 ? 1 : 0;
  return scrub.ofBytes === 0 ? 0 : Math.min(1, scrub.bytes / scrub.ofBytes);
}

/** "reads its log, 12.0 MiB of 64.0 MiB; last whole pass 40 s ago, 3 passes". */
export function scrubText(scrub: Scrub): string {
  if (scrub.phase === 'off') return 'switched off';
  const { passes, msSinceLastPass } = scrub;
  const last =
    msSinceLastPass === null
      ? 'no whole pass since it started'
      : `last whole pass ended ${duration(msSinceLastPass)} ago, ${plural(passes, 'pass', 'passes')} since it started`;
  if (scrub.phase === 'rest') return passes === 0 ? `has not begun yet; ${last}` : `rests; ${last}`;
  return `${READS[scrub.phase]}, ${bytes(scrub.bytes)} of ${bytes(scrub.ofBytes)}; ${last}`;
}

/** Nothing can be said yet: no pass has ended and none has found anything. */
export function unchecked(scrub: Scrub): boolean {
  return scrub.passes === 0 && scrub.damaged === 0;
}

/** "not checked yet", "nothing damaged", "2 found damaged, 1 repaired". */
export function damageText(scrub: Scrub): string {
  if (unchecked(scrub)) return scrub.phase === 'off' ? 'not checked' : 'not checked yet';
  return scrub.damaged === 0
    ? 'nothing damaged'
    : `${count(scrub.damaged)} found damaged, ${unrepaired(scrub) === 0 ? 'all repaired' : `${count(scrub.repaired)} repaired`}`;
}
