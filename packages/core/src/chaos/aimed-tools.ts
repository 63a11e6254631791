/**
 * What the scripts of aimed faults have in common: a stage to look at, cuts that are taken back, and waiting for a moment.
 *
 * Invariants: a script that waits gives up when its patience ends, and never strikes after the healing.
 */
import { NONE } from '../engine/commit-index.ts';
import type { NodeState } from '../vsr/state.ts';
import type { DurableLog } from './durable-log.ts';
import type { StorageNemesis } from './nemesis-storage.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** How often a script looks, microseconds. */
const LOOK_US = 100;
/** How long it waits for its moment, microseconds. */
export const PATIENCE_US = 600_000;
/** A new view may take several attempts. */
export const VIEW_PATIENCE_US = 4_000_000;

/** What a script may do beside looking; the nemesis does it. */
export interface AimedPorts {
  readonly stopped: () => boolean;
  /** `survival` null: a process crash; else a power cut. */
  readonly kill: (machine: SimMachine, downUs: number, survival: number | null) => void;
  /** The process dies while its nth next write to files whose path begins so is in flight. */
  readonly killInWrite: (machine: SimMachine, path: string, nth: number, downUs: number) => void;
  /** Lets a client reach one replica only. */
  readonly confine: (client: number, replica: number, untilUs: number) => void;
}

/** Where a script plays. */
export interface Stage {
  readonly world: World;
  readonly storage: StorageNemesis;
  readonly logs: readonly DurableLog[];
  readonly ports: AimedPorts;
  /** The script is over: the next one may begin. */
  readonly over: () => void;
}

/** The cuts of one script. */
export class Cuts {
  private readonly world: World;
  private held: (readonly [number, number])[] = [];

  constructor(world: World) {
    this.world = world;
  }

  one(from: SimMachine, to: SimMachine): void {
    this.world.network.cut(from.id, to.id);
    this.held.push([from.id, to.id]);
  }

  both(a: SimMachine, b: SimMachine): void {
    this.one(a, b);
    this.one(b, a);
  }

  isolate(machine: SimMachine): void {
    for (const other of this.world.machines) if (other !== machine) this.both(machine, other);
  }

  heal(): void {
    for (const [from, to] of this.held) this.world.network.heal(from, to);
    this.held = [];
  }
}

/** Calls `then` once `ready`, or with false when patience ends; never after the healing. */
export function until(
  { world, ports }: Stage,
  patienceUs: number,
  ready: () => boolean,
  then: (came: boolean) => void,
): void {
  const { queue } = world;
  const endUs = queue.now + patienceUs;
  const look = (): void => {
    if (ports.stopped()) return;
    const came = ready();
    if (came || queue.now >= endUs) then(came);
    else queue.after(LOOK_US, look);
  };
  look();
}

/** The last durable index of a replica above `above`, or null. */
export function lastDurable(log: DurableLog, above: number): number | null {
  let last: number | null = null;
  for (let index = above + 1; log.placeOf(index) !== null; index++) last = index;
  return last;
}

export function stateOf(machine: SimMachine): NodeState | null {
  return machine.replica?.node.state ?? null;
}

export function commitOf(machine: SimMachine): number {
  return stateOf(machine)?.commit ?? NONE;
}

export function durableOf(machine: SimMachine): number {
  return stateOf(machine)?.durable ?? NONE;
}
