/**
 * The version of the application that commands run as (docs/protocol.md, "Versions"): every replica says with each CommitOk which versions its program runs; the
 * primary proposes the newest that all of them run, once each has said so lately; the entry takes effect at one index everywhere.
 *
 * Invariants: proposed only if every member, not a quorum, runs it: whoever did not would have to stop there; a version is never lowered; no command is proposed that
 * the own program cannot run.
 */
import { encodeVersion, FIRST_VERSION, runs, type VersionRange } from '../engine/version-entry.ts';
import { KIND } from '../engine/frame.ts';
import { ROUND_RING } from './freshness.ts';
import type { CommitOk } from './messages.ts';
import { internalPayload } from './payload.ts';
import type { NodeState, PrimaryState } from './state.ts';

/** What the program of a member runs, as it says. */
export function noteVersions(primary: PrimaryState, from: number, { oldest, newest }: CommitOk): void {
  primary.versions.set(from, { oldest, newest });
}

/** Proposes the newest version that every program runs, if that is not active already. Once a view: what is lost with it the next primary proposes. */
export function proposeVersion(n: NodeState, primary: PrimaryState): void {
  if (!n.serving) return;
  const { active, newest } = n.sessions.versions;
  const known = Math.max(active, primary.activating);
  if (newest <= known) return;
  const target = commonVersion(n, primary);
  if (target === null || target <= known) return;
  if (active === 0 && target === FIRST_VERSION) return;
  if (n.requests.internal(internalPayload(KIND.activateVersion, encodeVersion(target)))) primary.activating = target;
}

/** False while commands wait for a version that the own program runs: a log that nothing was executed of would begin with another one. */
export function mayRunCommands(n: NodeState): boolean {
  const { versions } = n.sessions;
  return runs(versions, versions.active === 0 ? FIRST_VERSION : versions.active);
}

/** Newest version that every member runs; null while one has not answered lately, or there is none. */
function commonVersion(n: NodeState, primary: PrimaryState): number | null {
  const own = n.sessions.versions;
  let { oldest, newest } = own;
  for (const id of n.others()) {
    const said: VersionRange | undefined = primary.versions.get(id);
    if (said === undefined || !answeredLately(n, primary, id)) return null;
    oldest = Math.max(oldest, said.oldest);
    newest = Math.min(newest, said.newest);
  }
  return oldest <= newest ? newest : null;
}

/** It may have been started anew with another program since it last answered. */
function answeredLately(n: NodeState, primary: PrimaryState, id: number): boolean {
  const round = primary.rounds.get(id) ?? 0;
  if (round === 0 || n.round - round >= ROUND_RING) return false;
  return n.tickCount - primary.sentTick[round % ROUND_RING]! <= n.config.viewChangeTicks;
}

/** Why commands wait, or the newest version is not active yet, in words; null when nothing does. */
export function versionProblem(n: NodeState): string | null {
  const { active, oldest, newest } = n.sessions.versions;
  const { primary } = n;
  if (primary === null || !n.serving || newest <= active) return null;
  const lacking = n.others().filter((id) => {
    const said = primary.versions.get(id);
    return said === undefined || said.newest < newest || said.oldest > newest || !answeredLately(n, primary, id);
  });
  if (lacking.length === 0) return null;
  const who = lacking.map((id) => `r${id}`).join(', ');
  const waits = mayRunCommands(n) ? `version ${Math.max(active, FIRST_VERSION)} stays active` : 'commands wait';
  return `${waits} until ${who} run${lacking.length === 1 ? 's' : ''} version ${newest} too (this program runs from ${oldest})`;
}
