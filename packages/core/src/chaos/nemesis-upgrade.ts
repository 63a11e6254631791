/**
 * Upgrades under way: replicas are started anew, one by one, with a program of the next version; now and then one goes back to its old program, or gets a program
 * that does not run what is active; and what else strikes goes on meanwhile.
 *
 * Invariants: a program that refuses or halts with E_APP_VERSION is explained only if it does not run the first version, or an older one is its newest than one that
 * was rolled out (which may be active before the checks know); whoever operates the cluster starts a fitting one then; behind `stop` every replica has one.
 */
import type { VersionRange } from '../engine/version-entry.ts';
import type { Prng } from '../prng.ts';
import type { FaultEvent } from './schedule.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** A version that is never activated: no other program runs it, and none gets it where that would be everybody's (`mayBeWrong`). */
const WRONG: VersionRange = { oldest: 7, newest: 7 };
const NEWEST_MAX = 4;

export class UpgradeNemesis {
  private readonly world: World;
  /** The newest version that any program was made for. */
  private newest = 1;
  private readonly kill: (machine: SimMachine, downUs: number, survival: number | null) => void;

  /** `kill` ends the process of a machine and starts it again later; `survival` null: not by a power cut. */
  constructor(world: World, kill: UpgradeNemesis['kill']) {
    this.world = world;
    this.kill = kill;
  }

  strike(drawn: SimMachine, event: FaultEvent, prng: Prng): void {
    const downUs = Math.min(event.durationUs, 500_000);
    const rate = prng.chance(0.7) ? null : prng.pick([0, 0.5, 1]);
    const how = prng.float();
    const { active } = this.world.checks.canonical;
    if (how < 0.15) {
      const { program, run } = drawn;
      if (program === WRONG || !drawn.alive || !this.mayBeWrong()) return;
      drawn.program = WRONG;
      this.kill(drawn, downUs, rate);
      this.world.queue.after(downUs + prng.range(100, 1500) * 1000, () => {
        if (drawn.program !== WRONG || drawn.run < run) return;
        drawn.program = program;
        this.kill(drawn, downUs, null);
      });
      return;
    }
    if (how < 0.35 && drawn.program.newest > 1 && drawn.program !== WRONG) {
      drawn.program = { oldest: 1, newest: drawn.program.newest - 1 };
      if (drawn.program.newest >= active) this.world.sometimes.reached('program-taken-back');
      this.kill(drawn, downUs, rate);
      return;
    }
    // The next in the row, as whoever rolls an upgrade out would take it.
    const row = this.world.machines.filter(({ program }) => program !== WRONG);
    const oldest = Math.min(...row.map(({ program }) => program.newest));
    const next = row.find(({ program }) => program.newest === oldest);
    if (next === undefined || oldest >= NEWEST_MAX) return;
    next.program = { oldest: 1, newest: oldest + 1 };
    this.newest = Math.max(this.newest, oldest + 1);
    this.kill(next, downUs, rate);
  }

  /** Before anything was executed, a program that all members agree on is the cluster's, and no other one can follow: a fitting one is left then. */
  private mayBeWrong(): boolean {
    const { checks, machines } = this.world;
    if (checks.canonical.active > 0) return true;
    return machines.length > 1 && machines.every(({ program }) => program !== WRONG);
  }

  /** True when the program of the machine explains a refusal; it gets a fitting one. */
  mend(machine: SimMachine): boolean {
    const { oldest, newest } = machine.program;
    if (oldest <= 1 && newest >= this.newest) return false;
    this.world.sometimes.reached('program-refused');
    machine.program = { oldest: 1, newest: this.newest };
    return true;
  }

  /** Every machine has a program that runs the log from now on; what has not is started anew. */
  stop(): void {
    for (const machine of this.world.machines) {
      const { oldest, newest } = machine.program;
      if (oldest <= 1 && newest >= this.world.checks.canonical.active) continue;
      machine.program = { oldest: 1, newest: this.newest };
      this.kill(machine, 1000, null);
    }
  }
}
