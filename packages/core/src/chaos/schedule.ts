/**
 * The fault schedule of a seed: drawn before the run, so that it can be shrunk by dropping events. Each event carries a seed of its own for what it
 * draws when it strikes: dropping one moves no other.
 */
import type { Prng } from '../prng.ts';
import { FAULT_KINDS, type FaultKind, type Profile } from './profile.ts';

export interface FaultEvent {
  readonly id: number;
  readonly atUs: number;
  readonly kind: FaultKind;
  /** Aimed at the primary of the moment; else at a replica drawn from `seed`. */
  readonly atPrimary: boolean;
  /** How long it lasts: time down, cut, paused, stalled. */
  readonly durationUs: number;
  readonly seed: number;
  /** Aimed at this one: faults that somebody injects. */
  readonly replica?: number;
}

const MS = 1000;
/** How often a script strikes in a run, and how often a program is replaced. */
const AIMED_STRIKES = 6;
const UPGRADES = 10;
/** Share of the seeds of several replicas in which a primary is left alone once, and when: late, so that it changes little of the run, and early enough for a new view before the healing. */
const LONE_PRIMARY = { share: 0.75, from: 0.6, to: 0.8 };

export function drawSchedule(prng: Prng, profile: Profile): FaultEvent[] {
  const { weights, meanGapUs, aimAtPrimary } = profile.faults;
  const total = FAULT_KINDS.reduce((sum, kind) => sum + weights[kind], 0);
  const events: FaultEvent[] = [];
  if (total === 0) return events;
  // Some seeds are struck while they boot.
  let at = prng.chance(0.3) ? prng.below(20 * MS) : prng.range(200, 1500) * MS;
  while (at < profile.safetyUs) {
    const kind = drawKind(prng, weights, total);
    events.push({
      id: events.length,
      atUs: at,
      kind,
      atPrimary: prng.chance(aimAtPrimary),
      durationUs: drawDuration(prng, kind),
      seed: prng.u32(),
    });
    at += Math.floor(-Math.log(1 - prng.float()) * meanGapUs) + 1;
  }
  // Some seeds are healed in the very moment of a fault.
  if (weights.blink > 0 && prng.chance(0.5)) {
    const durationUs = prng.range(20, 120) * MS;
    const atUs = profile.safetyUs - Math.floor(durationUs * prng.float());
    events.push({ id: events.length, atUs, kind: 'blink', atPrimary: true, durationUs, seed: prng.u32() });
  }
  if (profile.aimed !== null) events.push(...drawScript(prng, profile, profile.aimed, AIMED_STRIKES, events.length));
  if (profile.upgrades) events.push(...drawScript(prng, profile, 'upgrade', UPGRADES, events.length));
  // Drawn last: all others stay what they were.
  if (profile.replicas > 1 && prng.chance(LONE_PRIMARY.share)) {
    const { from, to } = LONE_PRIMARY;
    const atUs = Math.floor((from + (to - from) * prng.float()) * profile.safetyUs);
    const [kind, durationUs] = ['lone-primary' as const, prng.range(500, 2000) * MS];
    events.push({ id: events.length, atUs, kind, atPrimary: true, durationUs, seed: prng.u32() });
  }
  return events;
}

/** The strikes of one kind, all over the run. */
function drawScript(
  prng: Prng,
  { safetyUs }: Profile,
  kind: FaultKind,
  strikes: number,
  firstId: number,
): FaultEvent[] {
  return Array.from({ length: strikes }, (_, i) => ({
    id: firstId + i,
    atUs: Math.floor(((i + prng.float()) * safetyUs) / strikes),
    kind,
    atPrimary: true,
    durationUs: prng.range(500, 2000) * MS,
    seed: prng.u32(),
  }));
}

function drawKind(prng: Prng, weights: Readonly<Record<FaultKind, number>>, total: number): FaultKind {
  let left = prng.float() * total;
  for (const kind of FAULT_KINDS) {
    left -= weights[kind];
    if (left < 0) return kind;
  }
  return 'crash';
}

function drawDuration(prng: Prng, kind: FaultKind): number {
  switch (kind) {
    case 'pause':
    case 'clients-cut-off':
    case 'wipe':
      return prng.range(50, 3000) * MS;
    case 'partition':
    case 'flapping-partition':
      return prng.range(300, 5000) * MS;
    case 'blink':
      // Shorter than anybody's patience: no view change, only losses.
      return prng.range(20, 180) * MS;
    case 'primary-churn':
      return prng.range(1000, 6000) * MS;
    case 'disk-stall':
      return prng.range(20, 3000) * MS;
    case 'disk-full':
      return prng.range(200, 5000) * MS;
    case 'clock-strobe':
    case 'clock-freeze':
      return prng.range(100, 4000) * MS;
    default:
      // Most come back soon, some only after a new view has settled.
      return prng.chance(0.5) ? prng.range(1, 300) * MS : prng.range(300, 4000) * MS;
  }
}
