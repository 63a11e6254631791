/**
 * Scripts around what a replica has on its disk while the others go on without it: frames of a view that was given up, and a snapshot that arrives below
 * newer frames.
 *
 * Invariants: those of aimed-tools.ts.
 */
import { NONE } from '../engine/commit-index.ts';
import type { Prng } from '../prng.ts';
import {
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
import type { SimMachine } from './sim-machine.ts';

/** Until the others have compacted their logs, microseconds. */
const COMPACTION_PATIENCE_US = 6_000_000;
/** How far behind the commit a frame is damaged at most. */
const RECENT = 10;

/**
 * A primary that nobody hears has written frames that a newer view gives up, and that view is further ahead than its headers reach when the old primary
 * hears of it: it dies in the write of the second manifest copy, the tail record is the old one.
 */
export function staleSuffix(stage: Stage, primary: SimMachine, prng: Prng): void {
  const { world, ports } = stage;
  const cuts = new Cuts(world);
  const end = (): void => {
    cuts.heal();
    stage.over();
  };
  cuts.isolate(primary);
  const { view } = stateOf(primary)!;
  const { run } = primary;
  const alone = (): boolean => durableOf(primary) > commitOf(primary);
  const beyond = (machine: SimMachine): boolean => {
    const n = stateOf(machine);
    return n !== null && n.serving && n.view > view && n.commit > durableOf(primary) + 2 * n.config.pipelineMax;
  };
  until(stage, PATIENCE_US, alone, (came) => {
    if (!came || primary.run !== run) return end();
    until(
      stage,
      VIEW_PATIENCE_US,
      () => primary.run !== run || world.machines.some(beyond),
      () => {
        if (primary.run === run) ports.killInWrite(primary, 'manifest', 2, prng.range(1, 20) * 1000);
        end();
      },
    );
  });
}

/** A primary that nobody hears goes on writing, while a newer view commits other entries at the same indexes: it comes back with a stale suffix. */
export function lonePrimary(stage: Stage, primary: SimMachine): void {
  const { world } = stage;
  const cuts = new Cuts(world);
  const end = (): void => {
    cuts.heal();
    stage.over();
  };
  const { view, end: shared } = stateOf(primary)!;
  cuts.isolate(primary);
  until(
    stage,
    PATIENCE_US,
    () => durableOf(primary) > shared,
    (came) => {
      if (!came) return end();
      const newer = (machine: SimMachine): boolean =>
        stateOf(machine)?.serving === true && stateOf(machine)!.view > view && commitOf(machine) > shared;
      until(stage, VIEW_PATIENCE_US, () => world.machines.some(newer), end);
    },
  );
}

/**
 * A replica with a damaged frame cannot ask for it, until nobody has that frame any more: it fetches a snapshot below its newer frames, of which some have
 * only one other copy; that one goes down as soon as the snapshot is there.
 */
export function snapshotUnderNewer(
  stage: Stage,
  primary: SimMachine,
  holder: SimMachine,
  other: SimMachine,
  downUs: number,
  prng: Prng,
): void {
  const { world, ports } = stage;
  const covered = Math.max(checkpointOf(holder), commitOf(holder) - RECENT);
  ports.kill(holder, prng.range(1, 5) * 1000, 1);
  const hole = holder.alive ? null : newestHole(stage, holder, covered, prng);
  if (hole === null) return stage.over();
  holder.withhold = (_to, message) =>
    message.type === 'getState' ? message.from <= hole : message.type === 'getSnapshot';
  const gone = (machine: SimMachine): boolean => (stateOf(machine)?.first ?? NONE) > hole;
  const applied = (): number => stateOf(holder)?.applied ?? NONE;
  const waits = (): boolean =>
    gone(primary) && gone(other) && holder.alive && (stateOf(holder)?.end ?? NONE) > checkpointOf(primary);
  until(
    stage,
    COMPACTION_PATIENCE_US,
    () => waits() || applied() >= hole,
    (came) => {
      holder.withhold = null;
      if (!came || applied() >= hole) return stage.over();
      const cuts = new Cuts(world);
      cuts.isolate(other);
      until(
        stage,
        VIEW_PATIENCE_US,
        () => applied() >= hole,
        (installed) => {
          if (installed) ports.kill(primary, downUs, 1);
          cuts.heal();
          stage.over();
        },
      );
    },
  );
}

/** Damages the last durable frame above `covered` that the atlas gives free; its index, or null. */
function newestHole({ logs, storage }: Stage, machine: SimMachine, covered: number, prng: Prng): number | null {
  const log = logs[machine.id - 1]!;
  for (let index = lastDurable(log, covered) ?? covered; index > covered; index--)
    if (storage.rotIndex(machine, index, prng)) return index;
  return null;
}

function checkpointOf(machine: SimMachine): number {
  return stateOf(machine)?.manifest.checkpoint.index ?? NONE;
}
