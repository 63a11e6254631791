/**
 * Liveness: what a healed cluster must come to, in bounded virtual time, and stay.
 *
 * In order: a primary serves, and new commands are acknowledged; then, under load, no view change while nothing fails; then (when all are healed) the
 * primary dies and a bounded number of view changes later commands are acknowledged again; at last every call ends and the healed replicas come to
 * rest, equal.
 */
import { atRest, settled, unrest } from './rest.ts';
import type { SimMachine } from './sim-machine.ts';
import { COMMANDS_ACKNOWLEDGED_MIN } from './sometimes.ts';
import type { World } from './world.ts';

/** Virtual time for each step. */
export const LIVENESS_US = 40_000_000;
/** How often a step looks whether it is done. */
export const LOOK_US = 50_000;
/** Rest, and a settled view, must last so long. */
const REST_US = 300_000;
/** Within this time a healed cluster under load keeps its view. */
const CALM_US = 2_000_000;
/** Commands acknowledged in all, and since the world was healed, before the workload ends. */
const COMMANDS_MIN = COMMANDS_ACKNOWLEDGED_MIN + 10;
const NEW_COMMANDS_MIN = 10;
/** View changes that the death of a primary may cost: each replica may be tried once, and once more. */
const VIEWS_PER_REPLICA = 2;
/** How long a killed primary stays away. */
const AWAY_US = 2_500_000;

/** What the phase needs of the simulator. */
export interface LivenessHost extends World {
  readonly mended: SimMachine[];
  runUntil(timeUs: number): void;
  restartLater(machine: SimMachine, delayUs: number): void;
}

export class Liveness {
  private readonly host: LivenessHost;

  constructor(host: LivenessHost) {
    this.host = host;
  }

  /** Gives way to who watches, now and then. */
  *run(): Generator<void> {
    const { host } = this;
    const { statistics, clients, profile } = host;
    const before = statistics.commandsAcknowledged;
    yield* this.until('a-healed-cluster-serves', () => {
      return settled(host.mended) && statistics.commandsAcknowledged - before >= NEW_COMMANDS_MIN;
    });
    yield* this.calm();
    if (profile.heals === 'all' && profile.replicas > 1) yield* this.losePrimary();
    yield* this.until('a-healed-cluster-comes-to-rest', () => {
      const enough = statistics.commandsAcknowledged >= COMMANDS_MIN;
      if (enough) clients.stopCalling();
      return enough && clients.underWay === 0 && atRest(host, host.mended);
    });
  }

  /** Nothing fails: the view stays. */
  private *calm(): Generator<void> {
    const { host } = this;
    const view = host.checks.view.highestView;
    const untilUs = host.queue.now + CALM_US;
    while (host.queue.now < untilUs) {
      host.runUntil(Math.min(untilUs, host.queue.now + LOOK_US));
      yield;
    }
    const now = host.checks.view.highestView;
    if (now !== view)
      host.fail(
        'liveness',
        'no-view-change-in-a-healthy-cluster',
        `view ${view} gave way to ${now}, though nothing had failed`,
      );
  }

  private *losePrimary(): Generator<void> {
    const { host } = this;
    const { checks, statistics, mended } = host;
    const primary = mended.find((machine) => machine.alive && machine.observe().serving);
    if (primary === undefined) return host.fail('liveness', 'a-healed-cluster-serves', 'no primary serves any more');
    const view = checks.view.highestView;
    const before = statistics.commandsAcknowledged;
    host.trace.event('primary-killed', { replica: primary.id, view });
    host.restartLater(primary, AWAY_US);
    const left = mended.filter((machine) => machine !== primary);
    yield* this.until('a-new-primary-serves', () => settled(left) && statistics.commandsAcknowledged > before);
    const most = view + VIEWS_PER_REPLICA * host.machines.length;
    const now = checks.view.highestView;
    if (now > most)
      host.fail(
        'liveness',
        'few-view-changes-after-a-primary-dies',
        `the death of the primary of view ${view} led to view ${now}`,
      );
    host.sometimes.reached('a-new-primary-after-the-last-one-died');
  }

  /** Runs until `done` has held for REST_US. */
  private *until(invariant: string, done: () => boolean): Generator<void> {
    const { host } = this;
    const { queue } = host;
    const deadlineUs = queue.now + LIVENESS_US;
    let sinceUs: number | null = null;
    for (;;) {
      host.runUntil(queue.now + LOOK_US);
      yield;
      if (!done()) sinceUs = null;
      else sinceUs ??= queue.now;
      if (sinceUs !== null && queue.now - sinceUs >= REST_US) return;
      if (queue.now > deadlineUs) host.fail('liveness', invariant, unrest(host, host.mended));
    }
  }
}
