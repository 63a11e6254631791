/**
 * AimedNemesis: faults that only matter together and at one moment: each is a script that watches the cluster and strikes when the moment has come.
 * Every single step is a fault that the others know too (a cut, a crash, late messages, a rotten sector that the atlas allows); a script whose moment
 * does not come gives up.
 *
 * Invariants: a script ends in bounded time and takes its cuts back; after the healing nothing of it strikes.
 */
import { NONE } from '../engine/commit-index.ts';
import { ZERO_HASH } from '../engine/hash.ts';
import type { Prng } from '../prng.ts';
import type { Message } from '../vsr/messages.ts';
import { confirmedRound } from '../vsr/reads.ts';
import { lonePrimary, snapshotUnderNewer, staleSuffix } from './aimed-storage.ts';
import {
  type AimedPorts,
  commitOf,
  Cuts,
  durableOf,
  lastDurable,
  PATIENCE_US,
  type Stage,
  stateOf,
  until,
  VIEW_PATIENCE_US,
} from './aimed-tools.ts';
import type { DurableLog } from './durable-log.ts';
import type { StorageNemesis } from './nemesis-storage.ts';
import type { AimedKind } from './profile.ts';
import type { FaultEvent } from './schedule.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** Reads that a client makes in a row at the moment that matters. */
const READS = 3;

export class AimedNemesis {
  private readonly world: World;
  private readonly stage: Stage;
  private running = false;
  private strikes = 0;

  constructor(world: World, storage: StorageNemesis, logs: readonly DurableLog[], ports: AimedPorts) {
    this.world = world;
    const over = (): void => {
      this.running = false;
    };
    this.stage = { world, storage, logs, ports, over };
  }

  private get ports(): Stage['ports'] {
    return this.stage.ports;
  }

  strike(kind: AimedKind, event: FaultEvent, prng: Prng): void {
    if (kind === 'lone-primary') return this.leaveAlone(event);
    const { machines } = this.world;
    const primary = this.serving();
    if (primary === undefined || machines.length !== 3 || this.running) return;
    const backups = machines.filter((machine) => machine !== primary);
    if (backups.some((machine) => machine.paused || stateOf(machine)?.status !== 'normal')) return;
    this.begin(event);
    const [one, other] = prng.shuffle(backups) as [SimMachine, SimMachine];
    switch (kind) {
      case 'damaged-holder':
        return this.damagedHolder(primary, one, other, event.durationUs, prng);
      case 'deposed-reader':
        return this.deposedReader(primary, event.durationUs, prng);
      case 'hole-below-promise':
        return this.holeBelowPromise(primary, one, other, prng);
      case 'late-promise':
        return this.latePromise(primary, event.durationUs);
      case 'foreign-cluster':
        return this.foreignCluster(primary, one, prng);
      case 'stale-suffix':
        return staleSuffix(this.stage, primary, prng);
      case 'snapshot-under-newer':
        return snapshotUnderNewer(this.stage, primary, one, other, event.durationUs, prng);
      default:
    }
  }

  private serving(): SimMachine | undefined {
    return this.world.machines.find((machine) => stateOf(machine)?.serving === true && !machine.paused);
  }

  private begin({ durationUs }: FaultEvent): void {
    this.running = true;
    const strike = ++this.strikes;
    this.world.queue.after(durationUs + 2 * VIEW_PATIENCE_US, () => {
      if (this.strikes === strike) this.running = false;
    });
  }

  /** The next primary that serves, of a cluster of any size but one: the other scripts are for three, each with its part. */
  private leaveAlone(event: FaultEvent): void {
    if (this.running || this.world.machines.length === 1) return;
    this.begin(event);
    this.until(
      VIEW_PATIENCE_US,
      () => this.serving() !== undefined,
      (came) => (came ? lonePrimary(this.stage, this.serving()!) : this.stage.over()),
    );
  }

  /** What two replicas have committed is damaged on the one, the other one goes down, and the third has never had it. */
  private damagedHolder(primary: SimMachine, holder: SimMachine, other: SimMachine, downUs: number, prng: Prng): void {
    const cuts = new Cuts(this.world);
    cuts.isolate(other);
    const from = commitOf(primary);
    const ready = (): boolean => commitOf(primary) > from + 1 && durableOf(holder) > from + 1;
    this.until(PATIENCE_US, ready, (came) => {
      if (!came) return cuts.heal();
      this.ports.kill(holder, prng.range(1, 5) * 1000, 1);
      this.ports.kill(primary, downUs, 1);
      const last = this.lastOf(holder, from);
      if (!holder.alive && last !== null) this.stage.storage.rotIndex(holder, last, prng);
      cuts.heal();
    });
  }

  /** A primary stops, or hears nothing, right after a heartbeat was confirmed; others serve a newer view; one client knows nobody but the old one. */
  private deposedReader(primary: SimMachine, downUs: number, prng: Prng): void {
    const { queue, clients } = this.world;
    const cuts = new Cuts(this.world);
    const { run } = primary;
    const view = stateOf(primary)!.view;
    const untilUs = queue.now + PATIENCE_US + VIEW_PATIENCE_US + downUs;
    for (const client of clients.clients.slice(1)) this.ports.confine(client.id, primary.id, untilUs);
    const confirmed = (): boolean => {
      const n = stateOf(primary);
      if (n === null || n.primary === null) return false;
      return n.round > 0 && confirmedRound(n, n.primary) >= n.round;
    };
    this.until(PATIENCE_US, confirmed, (came) => {
      if (!came || !primary.alive) return;
      primary.pause();
      cuts.isolate(primary);
      const target = commitOf(primary) + 4;
      const newer = (machine: SimMachine): boolean =>
        (stateOf(machine)?.view ?? 0) > view && stateOf(machine)?.serving === true && commitOf(machine) >= target;
      this.until(
        VIEW_PATIENCE_US,
        () => this.world.machines.some(newer),
        () => {
          const wakes = prng.range(50, 500) * 1000;
          // What is asked of it while it stands still waits in front of everything else.
          for (let i = 1; i <= READS; i++) queue.after((wakes * i) / (READS + 1), () => this.confinedRead());
          queue.after(wakes, () => {
            if (this.ports.stopped()) return;
            if (primary.run === run) primary.resume();
            queue.after(prng.range(1, 200) * 1000, () => {
              cuts.heal();
              for (const client of clients.clients) this.ports.confine(client.id, primary.id, 0);
            });
          });
        },
      );
    });
  }

  /** A backup's promises are lost, it restarts with a hole below the last of them, and promises again what it can read. */
  private holeBelowPromise(primary: SimMachine, holder: SimMachine, other: SimMachine, prng: Prng): void {
    const cuts = new Cuts(this.world);
    const deaf = new Cuts(this.world);
    cuts.isolate(other);
    deaf.one(holder, primary);
    const ready = (): boolean => durableOf(holder) > commitOf(primary) + 3;
    this.until(PATIENCE_US / 4, ready, () => {
      const first = commitOf(primary) + 1;
      const last = this.lastOf(holder, first);
      if (last !== null) {
        this.ports.kill(holder, prng.range(1, 3) * 1000, 1);
        if (!holder.alive) this.stage.storage.rotIndex(holder, first, prng);
      }
      deaf.heal();
      this.world.queue.after(100_000, () => cuts.heal());
    });
  }

  /**
   * Promises of an old view come late, to a primary of a newer view that begins with the same frames, while their sender does not know that view and the third
   * replica has a log of a view in between.
   */
  private latePromise(primary: SimMachine, downUs: number): void {
    const { world, ports } = this;
    const n = stateOf(primary)!;
    const between = world.machine(n.primaryOf(n.view + 2));
    const holder = world.machine(n.primaryOf(n.view + 1));
    const late: (() => void)[] = [];
    const cuts = new Cuts(world);
    cuts.isolate(between);
    holder.withhold = (to, message, deliver) => {
      if (to !== primary.id || message.type !== 'prepareOk') return false;
      late.push(deliver);
      return true;
    };
    primary.device.stallUntilUs = world.queue.now + PATIENCE_US;
    const from = durableOf(primary);
    this.until(
      PATIENCE_US / 2,
      () => durableOf(holder) > from && commitOf(primary) <= from,
      (came) => {
        holder.withhold = null;
        primary.device.stallUntilUs = 0;
        cuts.heal();
        if (!came) return late.forEach((deliver) => deliver());
        ports.kill(primary, 5000, 0);
        this.viewBetween(primary, between, holder, late, downUs);
      },
    );
  }

  /** The replica in between becomes primary by the vote of the old one, which never hears of it. */
  private viewBetween(
    old: SimMachine,
    between: SimMachine,
    holder: SimMachine,
    late: readonly (() => void)[],
    downUs: number,
  ): void {
    const { world, ports } = this;
    const cuts = new Cuts(world);
    const isolation = new Cuts(world);
    isolation.isolate(holder);
    between.withhold = (to, message) => to === old.id && message.type === 'startView';
    const acting = (): boolean =>
      stateOf(between)?.isPrimary === true && stateOf(between)!.durable >= stateOf(between)!.end;
    this.until(VIEW_PATIENCE_US, acting, (came) => {
      between.withhold = null;
      isolation.heal();
      if (!came) return;
      cuts.isolate(between);
      old.withhold = (to, message) =>
        to === holder.id && (message.type === 'startView' || message.type === 'commit' || message.type === 'prepare');
      const again = (): boolean => stateOf(old)?.isPrimary === true && stateOf(old)!.durable >= stateOf(old)!.end;
      this.until(VIEW_PATIENCE_US, again, (settled) => {
        for (const deliver of late) deliver();
        world.queue.after(20_000, () => {
          old.withhold = null;
          if (ports.stopped()) return;
          if (settled) ports.kill(old, downUs, 1);
          cuts.heal();
        });
      });
    });
  }

  private confinedRead(): void {
    if (this.ports.stopped()) return;
    for (const client of this.world.clients.clients.slice(1)) client.readNow();
  }

  /** A replica of another cluster, whose configuration names this one's address, sends its heartbeat: there more is committed. */
  private foreignCluster(primary: SimMachine, target: SimMachine, prng: Prng): void {
    const foreign = prng.bytes(16);
    const ahead = (): boolean => (stateOf(target)?.end ?? NONE) > commitOf(primary);
    this.until(PATIENCE_US, ahead, () => {
      const n = stateOf(target);
      if (n === null) return;
      const message: Message = {
        type: 'commit',
        view: n.view,
        commit: n.end,
        head: n.end,
        round: n.round + 1,
        answered: [],
        runs: [],
        applied: NONE,
        digest: ZERO_HASH,
        confirmed: NONE,
        confirmedDigest: ZERO_HASH,
      };
      target.receive(n.primaryOf(n.view), { message, bytes: null }, foreign);
    });
  }

  private lastOf(machine: SimMachine, above: number): number | null {
    return lastDurable(this.stage.logs[machine.id - 1]!, above);
  }

  private until(patienceUs: number, ready: () => boolean, then: (came: boolean) => void): void {
    until(this.stage, patienceUs, ready, then);
  }
}
