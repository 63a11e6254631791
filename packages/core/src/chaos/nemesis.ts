/**
 * Nemesis: makes the faults of a schedule happen, and takes each back when its time is over. After `stop` nothing new strikes; those that the
 * liveness phase heals are healed, all others are broken, each in its own way, for ever.
 *
 * Invariants: what a fault does follows from its event, its own seed, and the state of the cluster when it strikes.
 */
import { Prng } from '../prng.ts';
import { TAIL_PATH } from '../engine/tail-record.ts';
import type { FaultAtlas } from './fault-atlas.ts';
import type { AimedPorts } from './aimed-tools.ts';
import { AimedNemesis } from './nemesis-aimed.ts';
import type { StorageNemesis } from './nemesis-storage.ts';
import { UpgradeNemesis } from './nemesis-upgrade.ts';
import { PARTITIONS, partitionLinks, type DirectedLink } from './partitions.ts';
import { isAimed } from './profile.ts';
import type { FaultEvent } from './schedule.ts';
import type { SimMachine } from './sim-machine.ts';
import { type DeviceFault, expectNothing } from './sim-disk.ts';
import type { World } from './world.ts';

/** A flapping link holds each state at least so long, microseconds. */
const STABLE_US = 150_000;
/** A strobing clock jumps so often, microseconds. */
const STROBE_US = 20_000;

/** How a replica outside the healed core is broken for ever. */
export const BROKEN = [
  'down',
  'powered-off',
  'paused',
  'cut-off',
  'mute',
  'deaf',
  'stalled-disk',
  'half-connected',
] as const;
type Broken = (typeof BROKEN)[number];

/** How often a churning nemesis looks for a new primary, microseconds. */
const CHURN_POLL_US = 10_000;

export class Nemesis {
  private readonly world: World;
  private readonly restart: (machine: SimMachine, delayUs: number) => void;
  /** Clients that reach no replica until this virtual time, by client id. */
  private readonly clientCutUntilUs = new Map<number, number>();
  private readonly atlas: FaultAtlas;
  private readonly storage: StorageNemesis;
  private readonly aimed: AimedNemesis;
  readonly upgrades: UpgradeNemesis;
  /** The only replica that a client reaches until a virtual time, by client id. */
  private readonly confined = new Map<number, { readonly replica: number; readonly untilUs: number }>();
  private stopped = false;

  constructor(
    world: World,
    atlas: FaultAtlas,
    storage: StorageNemesis,
    restart: (machine: SimMachine, delayUs: number) => void,
  ) {
    this.world = world;
    this.atlas = atlas;
    this.storage = storage;
    this.restart = restart;
    this.upgrades = new UpgradeNemesis(world, (machine, downUs, rate) => this.kill(machine, downUs, rate));
    const ports: AimedPorts = {
      stopped: () => this.stopped,
      kill: (machine, downUs, rate) => this.kill(machine, downUs, rate),
      killInWrite: (machine, path, nth, downUs) => this.killInWrite(machine, path, nth, downUs, null),
      confine: (client, replica, untilUs) => this.confined.set(client, { replica, untilUs }),
    };
    this.aimed = new AimedNemesis(world, storage, world.checks.logs, ports);
  }

  plan(events: readonly FaultEvent[]): void {
    for (const event of events) {
      this.world.queue.at(event.atUs, () => {
        if (!this.stopped) this.strike(event);
      });
    }
  }

  clientCut(client: number, replica: number): boolean {
    const confined = this.confined.get(client);
    if (confined !== undefined && confined.replica !== replica && this.world.queue.now < confined.untilUs) return true;
    return this.world.queue.now < (this.clientCutUntilUs.get(client) ?? 0);
  }

  /** Heals the world, but for the replicas that are not in `healed`: each of them is broken for good. */
  stop(healed: ReadonlySet<number>, prng: Prng): void {
    const { world } = this;
    this.stopped = true;
    this.clientCutUntilUs.clear();
    this.confined.clear();
    world.network.healAll();
    world.sink.failureRate = 0;
    this.upgrades.stop();
    for (const machine of world.machines) {
      machine.storage.capacityBytes = Number.POSITIVE_INFINITY;
      soothe(machine);
      if (healed.has(machine.id)) this.heal(machine);
      else if (!machine.lost) this.breakForEver(machine, prng.pick(BROKEN), prng);
    }
  }

  private heal(machine: SimMachine): void {
    machine.clock.setRight();
    machine.resume();
    if (!machine.alive) this.restart(machine, 1000);
  }

  private breakForEver(machine: SimMachine, how: Broken, prng: Prng): void {
    const { world } = this;
    const { id } = machine;
    const others = world.machines.filter((other) => other !== machine).map((other) => other.id);
    world.trace.event('broken', { replica: id, how });
    world.sometimes.reached(`broken-${how}`);
    machine.lost = how === 'down' || how === 'powered-off';
    if (!machine.lost) this.heal(machine);
    switch (how) {
      case 'down':
        machine.kill();
        return world.clients.processDied(machine, false);
      case 'powered-off':
        machine.powerCut(survival(prng));
        return world.clients.processDied(machine, true);
      case 'paused':
        return machine.pauseForEver();
      case 'cut-off':
        for (const other of others)
          this.cutForEver([
            [id, other],
            [other, id],
          ]);
        return;
      case 'mute':
        return this.cutForEver(others.map((other): DirectedLink => [id, other]));
      case 'deaf':
        return this.cutForEver(others.map((other): DirectedLink => [other, id]));
      case 'stalled-disk':
        machine.device.stallUntilUs = Number.POSITIVE_INFINITY;
        return;
      case 'half-connected':
        // No two-way link to anybody: it may hear some and be heard by others.
        return this.cutForEver(others.map((other): DirectedLink => (prng.chance(0.5) ? [id, other] : [other, id])));
    }
  }

  private cutForEver(links: readonly DirectedLink[]): void {
    for (const [from, to] of links) this.world.network.sever(from, to);
  }

  private strike(event: FaultEvent): void {
    const { world } = this;
    const prng = new Prng(event.seed);
    const target = this.target(event, prng);
    world.statistics[`fault ${event.kind}`]++;
    world.watcher.onFault?.(event);
    world.trace.event('fault', {
      fault: event.kind,
      id: event.id,
      replica: target.id,
      durationMs: event.durationUs / 1000,
    });
    if (isAimed(event.kind)) return this.aimed.strike(event.kind, event, prng);
    switch (event.kind) {
      case 'upgrade':
        return this.upgrades.strike(target, event, prng);
      case 'crash':
        return this.kill(target, event.durationUs, null);
      case 'crash-in-write':
        return this.arm(target, event, prng, null);
      case 'power-cut':
        return this.kill(target, event.durationUs, survival(prng));
      case 'power-cut-in-write':
        return this.arm(target, event, prng, survival(prng));
      case 'power-cut-all':
        for (const machine of world.machines)
          this.kill(machine, event.durationUs + prng.below(500_000), survival(prng));
        return;
      case 'pause':
        return this.pause(target, event.durationUs);
      case 'partition':
        return this.partition(target, event.durationUs, prng, false);
      case 'flapping-partition':
        return this.partition(target, event.durationUs, prng, true);
      case 'blink':
        world.statistics.partitions++;
        return this.cut(partitionLinks('isolate', world.machines.length, target.id, prng), event.durationUs);
      case 'primary-churn':
        return this.churn(world.queue.now + event.durationUs, -1, prng, []);
      case 'clock-step':
        world.statistics.clockSteps++;
        return target.clock.step(prng.pick([-60_000, -1000, -50, 50, 1000, 60_000]));
      case 'clock-freeze':
        world.statistics.clockSteps++;
        target.clock.freeze();
        return world.queue.after(event.durationUs, () => target.clock.thaw());
      case 'clock-strobe':
        return this.strobe(target, world.queue.now + event.durationUs, prng);
      case 'wipe':
        return this.wipe(target, event.durationUs);
      case 'clients-cut-off':
        for (const client of world.clients.clients) {
          if (prng.chance(0.5)) this.clientCutUntilUs.set(client.id, world.queue.now + event.durationUs);
        }
        return;
      default:
        return this.strikeStorage(event, target, prng);
    }
  }

  /** Faults of disks, and deaths at moments that matter to what is stored. */
  private strikeStorage(event: FaultEvent, target: SimMachine, prng: Prng): void {
    const { world } = this;
    switch (event.kind) {
      case 'disk-stall':
        world.statistics.diskStalls++;
        target.device.stallUntilUs = Math.max(target.device.stallUntilUs, world.queue.now + event.durationUs);
        return;
      case 'disk-error':
        return this.due(target, 'write', 1);
      case 'read-error':
        return this.due(target, 'read', prng.range(1, 3));
      case 'barrier-error':
        return this.due(target, 'barrier', 1);
      case 'misdirected-write':
        if (this.atlas.mayMisdirectWrites(target.id)) this.due(target, 'misdirected-write', prng.range(1, 2));
        return;
      case 'misdirected-read': {
        const misread = (): void => this.due(target, 'misdirected-read', prng.range(1, 3));
        return prng.chance(0.5) ? misread() : this.atRest(target, event, prng, misread);
      }
      case 'bit-rot':
        return this.storage.rot(target, prng);
      case 'rot-at-rest':
        return this.atRest(target, event, prng, () => this.storage.rotAtRest(target, prng));
      case 'tail-loss':
        return this.atRest(target, event, prng, () => this.storage.loseTail(target, prng));
      case 'disk-full':
        return this.fill(target, event.durationUs, prng);
      case 'crash-then-power-cut':
        return this.crashThenPowerCut(target, event, prng);
      case 'crash-at-tail-record':
        return this.arm(target, event, prng, prng.chance(0.5) ? null : survival(prng), TAIL_PATH);
      case 'crash-at-manifest':
        return this.arm(target, event, prng, prng.chance(0.5) ? null : survival(prng), 'manifest');
      case 'crash-at-snapshot':
        return this.arm(target, event, prng, prng.chance(0.5) ? null : survival(prng), 'snapshots/');
      case 'crash-after-promise':
        return this.armPromise(target, event, prng);
      default:
    }
  }

  /** The primary of the moment (or any acting one) or a replica drawn. */
  private target(event: FaultEvent, prng: Prng): SimMachine {
    const { machines } = this.world;
    const drawn = prng.pick(machines);
    if (event.replica !== undefined) return machines[event.replica - 1] ?? drawn;
    if (!event.atPrimary) return drawn;
    let best: SimMachine | null = null;
    for (const machine of machines) {
      const state = machine.replica?.node.state;
      if (state?.isPrimary === true && (best === null || state.view > best.replica!.node.state.view)) best = machine;
    }
    return best ?? drawn;
  }

  /** A disk is lost, and `chronon recover` is run: only while every other member votes, which is all that replication promises. */
  private wipe(machine: SimMachine, downUs: number): void {
    const { world } = this;
    if (world.profile.core.includes(machine.id)) return;
    const others = world.machines.filter((other) => other !== machine);
    const votes = (other: SimMachine): boolean => other.replica !== null && !other.replica.node.state.standby;
    if (others.length === 0 || !others.every(votes) || machine.replica === null || machine.replica.node.state.standby)
      return;
    machine.kill();
    world.checks.log.losesDisk(machine.id);
    machine.wipe();
    world.checks.view.wiped(machine.id);
    world.clients.processDied(machine, false);
    this.restart(machine, downUs);
  }

  /** `survival` null: a process crash; else a power cut. */
  private kill(machine: SimMachine, downUs: number, survivalRate: number | null): void {
    if (!machine.alive) return;
    const { world } = this;
    if (survivalRate === null) machine.kill();
    else machine.powerCut(survivalRate);
    machine.crashInOpen = world.profile.faults.crashInOpen;
    world.clients.processDied(machine, survivalRate !== null);
    this.restart(machine, downUs);
  }

  /** The process dies while one of its next writes (to files whose path begins so) is in flight. */
  private arm(machine: SimMachine, event: FaultEvent, prng: Prng, survivalRate: number | null, path = ''): void {
    if (machine.disk === null || !machine.alive) return;
    this.killInWrite(machine, path, prng.range(1, path === '' ? 8 : 3), event.durationUs, survivalRate);
  }

  private killInWrite(
    machine: SimMachine,
    path: string,
    nth: number,
    downUs: number,
    survivalRate: number | null,
  ): void {
    const { disk, run } = machine;
    if (disk === null || !machine.alive) return;
    machine.onArmedWrite = () => {
      if (machine.run === run && !this.stopped) this.kill(machine, downUs, survivalRate);
    };
    disk.armCrash(nth, path);
  }

  /** The process dies right after it has promised something or voted: a power cut, mostly. */
  private armPromise(machine: SimMachine, event: FaultEvent, prng: Prng): void {
    const { run } = machine;
    let left = prng.range(1, 4);
    const rate = prng.chance(0.3) ? null : survival(prng);
    machine.onPromise = () => {
      if (--left > 0) return;
      machine.onPromise = null;
      this.world.queue.defer(() => {
        if (machine.run === run && !this.stopped) this.kill(machine, event.durationUs, rate);
      });
    };
  }

  /** The process dies in a write, comes back at once, and what it has read back goes with the power soon after. */
  private crashThenPowerCut(machine: SimMachine, event: FaultEvent, prng: Prng): void {
    const { disk, run } = machine;
    if (disk === null || !machine.alive) return;
    machine.onArmedWrite = () => {
      if (machine.run !== run || this.stopped) return;
      this.kill(machine, 1 + prng.below(5000), null);
      this.world.queue.after(prng.range(5, 600) * 1000, () => {
        if (!this.stopped) this.kill(machine, event.durationUs, prng.pick([0, 0, 0.5]));
      });
    };
    disk.armCrash(prng.range(1, 8), prng.pick(['', 'log/0', 'manifest']));
  }

  /** The process dies, and `damage` is done before it comes back. */
  private atRest(machine: SimMachine, event: FaultEvent, prng: Prng, damage: () => void): void {
    this.kill(machine, event.durationUs, survival(prng));
    if (!machine.alive) damage();
  }

  private due(machine: SimMachine, fault: DeviceFault, count: number): void {
    machine.device.due[fault] = count;
  }

  /** No space for anything new; comes back later. */
  private fill(machine: SimMachine, durationUs: number, prng: Prng): void {
    const { storage } = machine;
    this.world.statistics.disksFull++;
    storage.capacityBytes = storage.usedBytes() + prng.pick([0, 4096, 70_000]);
    this.world.queue.after(durationUs, () => {
      storage.capacityBytes = Number.POSITIVE_INFINITY;
    });
  }

  private strobe(machine: SimMachine, untilUs: number, prng: Prng): void {
    const { queue, statistics } = this.world;
    const step = prng.pick([10, 200, 5000]);
    let sign = 1;
    const jump = (): void => {
      if (this.stopped || queue.now >= untilUs) return;
      statistics.clockSteps++;
      machine.clock.step(sign * step);
      sign = -sign;
      queue.after(STROBE_US, jump);
    };
    jump();
  }

  private pause(machine: SimMachine, durationUs: number): void {
    if (!machine.alive || machine.paused) return;
    this.world.statistics.pauses++;
    const { run } = machine;
    machine.pause();
    this.world.queue.after(durationUs, () => {
      if (machine.run === run && !this.stopped) machine.resume();
    });
  }

  private partition(focus: SimMachine, durationUs: number, prng: Prng, flapping: boolean): void {
    const { world } = this;
    const kind = prng.pick(PARTITIONS);
    const links = partitionLinks(kind, world.machines.length, focus.id, prng);
    // A cluster of one can only be cut from its clients.
    if (links.length === 0) {
      for (const client of world.clients.clients) this.clientCutUntilUs.set(client.id, world.queue.now + durationUs);
      return;
    }
    world.statistics.partitions++;
    world.trace.event('partition', { partition: kind, focus: focus.id, flapping });
    if (flapping) this.flap(links, world.queue.now + durationUs, prng, true);
    else this.cut(links, durationUs);
  }

  private flap(links: readonly DirectedLink[], untilUs: number, prng: Prng, down: boolean): void {
    if (this.stopped || this.world.queue.now >= untilUs) return;
    const holdUs = STABLE_US + prng.below(STABLE_US * 4);
    if (down) this.cut(links, holdUs);
    this.world.queue.after(holdUs, () => this.flap(links, untilUs, prng, !down));
  }

  /**
   * Strikes each new primary soon after it began to serve: kills it, or cuts it off while the one before comes back with what it alone had written.
   * `cut` are the links of the last one.
   */
  private churn(untilUs: number, struckView: number, prng: Prng, cut: readonly DirectedLink[]): void {
    const { network, queue, machines, statistics } = this.world;
    if (this.stopped) return;
    const over = queue.now >= untilUs;
    const primary = machines.find((machine) => {
      const state = machine.replica?.node.state;
      return state?.serving === true && state.view > struckView;
    });
    if (over || primary !== undefined) for (const [from, to] of cut) network.heal(from, to);
    if (over) return;
    if (primary === undefined) {
      queue.after(CHURN_POLL_US, () => this.churn(untilUs, struckView, prng, cut));
      return;
    }
    const { view } = primary.replica!.node.state;
    let links: DirectedLink[] = [];
    if (prng.chance(0.3)) this.kill(primary, prng.range(50, 800) * 1000, null);
    else {
      links = partitionLinks('isolate', machines.length, primary.id, prng);
      statistics.partitions++;
      for (const [from, to] of links) network.cut(from, to);
    }
    queue.after(prng.range(0, 15) * CHURN_POLL_US, () => this.churn(untilUs, view, prng, links));
  }

  private cut(links: readonly DirectedLink[], durationUs: number): void {
    const { network, queue } = this.world;
    for (const [from, to] of links) network.cut(from, to);
    queue.after(durationUs, () => {
      if (!this.stopped) for (const [from, to] of links) network.heal(from, to);
    });
  }
}

/** Chance that an unsynced sector survives a power cut. */
function survival(prng: Prng): number {
  return prng.pick([0, 0, 0.5, 0.9, 1]);
}

/** The machine's own faults end. */
function soothe(machine: SimMachine): void {
  const { device } = machine;
  device.stallUntilUs = 0;
  device.slowChance = 0;
  device.shortWrites = 0;
  expectNothing(device);
  machine.crashInOpen = 0;
  machine.onArmedWrite = null;
  machine.onPromise = null;
  machine.withhold = null;
}
