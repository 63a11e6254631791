/**
 * Profile: what one seed's world is like: cluster size, rates, workload, and which faults it knows at all. Each seed draws its own; some faults are
 * wholly off, so that no fault hides another's bugs.
 */
import type { Prng } from '../prng.ts';
import { drawCore } from './fault-atlas.ts';
import type { NetworkRates } from './sim-network.ts';

export interface FaultRates {
  /** Mean time between faults, virtual microseconds. */
  readonly meanGapUs: number;
  /** Weights of each kind; 0: off. */
  readonly weights: Readonly<Record<FaultKind, number>>;
  /** Chance that a fault is aimed at the primary of the moment. */
  readonly aimAtPrimary: number;
  /** Chance that a restarting process is killed inside its blocking open. */
  readonly crashInOpen: number;
}

export const FAULT_KINDS = [
  'crash',
  'crash-in-write',
  'power-cut',
  'power-cut-in-write',
  'power-cut-all',
  'pause',
  'partition',
  'flapping-partition',
  'blink',
  'primary-churn',
  'clock-step',
  'clock-freeze',
  'disk-stall',
  'disk-error',
  'clients-cut-off',
  'clock-strobe',
  'read-error',
  'barrier-error',
  'misdirected-write',
  'misdirected-read',
  'bit-rot',
  'rot-at-rest',
  'tail-loss',
  'disk-full',
  'crash-then-power-cut',
  'crash-at-tail-record',
  'crash-at-manifest',
  'crash-at-snapshot',
  'crash-after-promise',
  'wipe',
  'damaged-holder',
  'deposed-reader',
  'hole-below-promise',
  'late-promise',
  'foreign-cluster',
  'upgrade',
  'stale-suffix',
  'snapshot-under-newer',
  'lone-primary',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Kinds that are scripts (nemesis-aimed.ts): of a seed that knows one it is drawn beside the others. */
export const AIMED_KINDS = [
  'damaged-holder',
  'deposed-reader',
  'hole-below-promise',
  'late-promise',
  'foreign-cluster',
  'stale-suffix',
  'snapshot-under-newer',
  'lone-primary',
] as const satisfies readonly FaultKind[];
export type AimedKind = (typeof AIMED_KINDS)[number];

export function isAimed(kind: FaultKind): kind is AimedKind {
  return (AIMED_KINDS as readonly FaultKind[]).includes(kind);
}

/** Scripts that any world knows how to play; the others need one of their own (aimedAt). */
const SCRIPTS = ['damaged-holder', 'deposed-reader', 'hole-below-promise', 'late-promise', 'foreign-cluster'] as const;

export interface Profile {
  readonly replicas: number;
  readonly clients: number;
  /** Requests a client keeps in flight. */
  readonly inFlightMax: number;
  /** Mean time between a client's requests, microseconds. */
  readonly thinkUs: number;
  readonly readShare: number;
  readonly accounts: number;
  readonly safetyUs: number;
  readonly network: NetworkRates;
  readonly faults: FaultRates;
  readonly disk: {
    readonly lowUs: number;
    readonly highUs: number;
    readonly slowChance: number;
    readonly slowUs: number;
    /** Chance that a write reaches the medium in two parts. */
    readonly shortWrites: number;
  };
  readonly clockDrift: number;
  readonly clockSkewMs: number;
  readonly sinkFailure: number;
  readonly viewChangeTicks: number;
  readonly pipelineMax: number;
  readonly batchCountMax: number;
  readonly snapshotEvery: number;
  readonly segmentBytes: number;
  readonly cacheBytes: number;
  readonly tickMs: number;
  readonly limits: {
    readonly sessionsMax: number;
    readonly keyRetentionMs: number;
    readonly keysMax: number;
  };
  readonly callers: {
    /** Share of commands with an idempotency key. */
    readonly keyShare: number;
    /** Mean time between a client's stale reads, microseconds; null: it makes none. */
    readonly staleReadUs: number | null;
    /** Mean virtual time a calling process lives, microseconds. */
    readonly lifeUs: number;
    readonly timeoutMs: number;
  };
  /** The quorum that the liveness phase heals; of every item the atlas keeps a good copy in it. */
  readonly core: readonly number[];
  /** Whom the liveness phase heals; with `core` all others stay broken for ever. */
  readonly heals: 'all' | 'core';
  /** The script that strikes now and then; null: none. */
  readonly aimed: AimedKind | null;
  /** Replicas are started anew with newer programs, one by one. */
  readonly upgrades: boolean;
  /** Damage strikes what the atlas would spare (beyond.ts). */
  readonly beyond: boolean;
}

const MS = 1000;
const SECOND = 1_000_000;

export function drawProfile(prng: Prng, replicas: number | null): Profile {
  const drawn = prng.pick([3, 3, 3, 3, 3, 3, 3, 5, 5, 1]);
  const size = replicas ?? drawn;
  const profile: Profile = {
    replicas: size,
    clients: prng.range(2, 5),
    inFlightMax: prng.pick([1, 2, 4, 8]),
    thinkUs: prng.range(20, 80) * MS,
    readShare: prng.pick([0.1, 0.1, 0.3, 0.5]),
    accounts: prng.range(3, 8),
    safetyUs: prng.range(12, 20) * SECOND,
    network: drawNetwork(prng),
    faults: drawFaults(prng),
    disk: {
      lowUs: prng.range(20, 200),
      highUs: prng.range(300, 2000),
      slowChance: sometimes(prng, 0.5, 0.02),
      slowUs: prng.range(5, 50) * MS,
      shortWrites: sometimes(prng, 0.3, 0.1),
    },
    clockDrift: sometimes(prng, 0.6, 0.02),
    clockSkewMs: prng.pick([0, 10, 1000, prng.chance(0.5) ? 400 : 60_000]),
    sinkFailure: sometimes(prng, 0.4, 0.2),
    viewChangeTicks: prng.pick([20, 30, 50]),
    pipelineMax: prng.pick([16, 64, 64]),
    batchCountMax: prng.pick([4, 16, 64]),
    snapshotEvery: prng.pick([20, 50, 50, 100]),
    segmentBytes: prng.pick([16, 16, 32, 64]) * 1024,
    cacheBytes: prng.pick([8 * 1024, 64 * 1024, 1024 * 1024]),
    tickMs: 10,
    limits: {
      sessionsMax: prng.pick([6, 12, 10_000]),
      keyRetentionMs: prng.pick([2000, 10_000, 86_400_000]),
      keysMax: prng.pick([16, 100_000, 100_000]),
    },
    callers: {
      keyShare: prng.pick([0, 0.2, 0.5]),
      staleReadUs: prng.pick([null, 100 * MS, 300 * MS]),
      lifeUs: prng.pick([2, 8, 1000]) * SECOND,
      timeoutMs: prng.pick([300, 1500, 4000]),
    },
    core: drawCore(prng, size),
    heals: prng.chance(0.4) ? 'all' : 'core',
    aimed: null,
    upgrades: false,
    beyond: false,
  };
  // Drawn last: the seeds without them stay what they were.
  const wipe = prng.chance(0.15) ? 0.7 : 0;
  const aimed = prng.chance(0.4) ? prng.pick(SCRIPTS) : null;
  const upgrades = prng.chance(0.25);
  const misdirectedRead = prng.chance(0.3) ? 0.2 + prng.float() * 0.7 : 0;
  const weights = { ...profile.faults.weights, wipe, 'misdirected-read': misdirectedRead };
  const whole = { ...profile, aimed, upgrades, faults: { ...profile.faults, weights } };
  return prng.chance(0.2) ? aimedAt(whole, prng.pick(['stale-suffix', 'snapshot-under-newer'])) : whole;
}

/** A world in which the moment of that script comes: others must go on far without one. */
export function aimedAt(profile: Profile, aimed: AimedKind): Profile {
  if (aimed !== 'snapshot-under-newer' && aimed !== 'stale-suffix') return { ...profile, aimed };
  const busy = { ...profile, aimed, pipelineMax: 16, inFlightMax: 4, thinkUs: Math.min(profile.thinkUs, 20 * MS) };
  return aimed === 'stale-suffix' ? busy : { ...busy, snapshotEvery: 20, segmentBytes: 16 * 1024 };
}

function drawNetwork(prng: Prng): NetworkRates {
  const delayLowUs = prng.range(50, 500);
  return {
    delayLowUs,
    delayHighUs: delayLowUs + prng.range(100, 5000),
    loss: sometimes(prng, 0.8, 0.05),
    duplication: sometimes(prng, 0.6, 0.05),
    reordering: sometimes(prng, 0.6, 0.1),
    holdBackUs: prng.range(1, 60) * MS,
    clogging: sometimes(prng, 0.4, 0.002),
    clogUs: prng.range(50, 500) * MS,
  };
}

function drawFaults(prng: Prng): FaultRates {
  const weight = (on: number, most: number): number => (prng.chance(on) ? 0.2 + prng.float() * most : 0);
  return {
    meanGapUs: prng.range(500, 2000) * MS,
    weights: {
      crash: weight(0.7, 1),
      'crash-in-write': weight(0.85, 2),
      'power-cut': weight(0.6, 1),
      'power-cut-in-write': weight(0.6, 1),
      'power-cut-all': weight(0.5, 0.7),
      pause: weight(0.6, 1),
      partition: weight(0.9, 2),
      'flapping-partition': weight(0.5, 1),
      blink: weight(0.6, 1),
      'primary-churn': weight(0.5, 0.7),
      'clock-step': weight(0.4, 0.5),
      'clock-freeze': weight(0.3, 0.5),
      'disk-stall': weight(0.5, 1),
      'disk-error': weight(0.4, 0.7),
      'clients-cut-off': weight(0.3, 0.5),
      'clock-strobe': weight(0.3, 0.5),
      'read-error': weight(0.3, 0.5),
      'barrier-error': weight(0.3, 0.5),
      'misdirected-write': weight(0.3, 0.7),
      'misdirected-read': 0,
      'bit-rot': weight(0.4, 1.5),
      'rot-at-rest': weight(0.4, 1.5),
      'tail-loss': weight(0.3, 0.7),
      'disk-full': weight(0.3, 0.7),
      'crash-then-power-cut': weight(0.5, 1),
      'crash-at-tail-record': weight(0.5, 1),
      'crash-at-manifest': weight(0.5, 1),
      'crash-at-snapshot': weight(0.3, 0.7),
      'crash-after-promise': weight(0.5, 1),
      wipe: 0,
      'damaged-holder': 0,
      'deposed-reader': 0,
      'hole-below-promise': 0,
      'late-promise': 0,
      'foreign-cluster': 0,
      upgrade: 0,
      'stale-suffix': 0,
      'snapshot-under-newer': 0,
      'lone-primary': 0,
    },
    aimAtPrimary: prng.pick([0.2, 0.5, 0.8]),
    crashInOpen: sometimes(prng, 0.5, 0.3),
  };
}

/** 0 with probability 1 - on, else uniform up to `most`. */
function sometimes(prng: Prng, on: number, most: number): number {
  return prng.chance(on) ? prng.float() * most : 0;
}
