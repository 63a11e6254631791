/**
 * Scenario: a world and its faults as plain JSON, independent of how seeds are drawn: what a shrunk failure is written as, and what keeps a
 * regression meaningful when the profile changes.
 *
 * Invariants: what a stored profile does not know is off; unknown fault kinds are refused.
 */
import { FAULT_KINDS, type Profile } from './profile.ts';
import type { FaultEvent } from './schedule.ts';

export interface Scenario {
  /** Everything else is still drawn from it: latencies, losses, the workload. */
  readonly seed: number;
  readonly profile: Profile;
  readonly schedule: readonly FaultEvent[];
}

/** The scenario in a parsed JSON file, or in words why it is none. */
export function decodeScenario(value: unknown): Scenario | string {
  if (typeof value !== 'object' || value === null) return 'a scenario is an object';
  const { seed, profile, schedule } = value as Partial<Scenario>;
  if (typeof seed !== 'number' || !Number.isSafeInteger(seed)) return 'its seed is no whole number';
  if (typeof profile !== 'object' || profile === null || typeof profile.replicas !== 'number')
    return 'its profile has no number of replicas';
  if (!Array.isArray(schedule)) return 'its schedule is no list';
  const unknown = schedule.find(({ kind }) => !(FAULT_KINDS as readonly unknown[]).includes(kind));
  if (unknown !== undefined) return `it has a fault of unknown kind ${String(unknown.kind)}`;
  return { seed, profile: completed(profile), schedule: schedule as FaultEvent[] };
}

const NONE_STRIKES = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Profile['faults']['weights'];

function completed(profile: Profile): Profile {
  const all = Array.from({ length: profile.replicas }, (_, i) => i + 1);
  return {
    ...profile,
    core: profile.core ?? all,
    heals: profile.heals ?? 'all',
    upgrades: profile.upgrades ?? false,
    beyond: profile.beyond ?? false,
    aimed: profile.aimed ?? null,
    disk: { ...profile.disk, shortWrites: profile.disk.shortWrites ?? 0 },
    faults: { ...profile.faults, weights: { ...NONE_STRIKES, ...profile.faults.weights } },
  };
}
