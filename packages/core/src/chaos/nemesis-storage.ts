/**
 * StorageNemesis: latent damage of the media: bit rot in running machines, worse in dead ones, and lost tail records. The atlas decides what may
 * be struck; what it refuses is not struck.
 *
 * Invariants: damage is silent: no call fails because of it, nobody is told.
 */
import { BLOCK_BYTES, SECTOR_BYTES } from '../engine/constants.ts';
import { MANIFEST_PATHS } from '../engine/manifest.ts';
import { TAIL_PATH, TAIL_SLOT_BYTES } from '../engine/tail-record.ts';
import type { Prng } from '../prng.ts';
import type { DurableLog } from './durable-log.ts';
import type { FaultAtlas } from './fault-atlas.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** Places looked at before a strike is given up. */
const TRIES = 8;
/** Recent entries are struck as often as all others together: those that a view change may ask for. */
const RECENT = 40;

export class StorageNemesis {
  private readonly world: World;
  private readonly atlas: FaultAtlas;
  private readonly logs: readonly DurableLog[];

  constructor(world: World, atlas: FaultAtlas, logs: readonly DurableLog[]) {
    this.world = world;
    this.atlas = atlas;
    this.logs = logs;
  }

  /** Some sectors of frames or of a snapshot go bad under a running replica. */
  rot(machine: SimMachine, prng: Prng): void {
    for (let left = prng.range(1, 4); left > 0; left--) {
      const path = prng.chance(0.2) ? this.snapshotOf(machine, prng) : null;
      if (path === null) this.rotFrame(machine, prng);
      else this.rotAnywhere(machine, path, prng);
    }
  }

  /** Something goes bad while the process is down. */
  rotAtRest(machine: SimMachine, prng: Prng): void {
    for (let left = prng.range(1, 3); left > 0; left--) {
      switch (prng.below(6)) {
        case 0:
          this.rotAnywhere(machine, prng.pick(MANIFEST_PATHS), prng);
          break;
        case 1:
          this.rotSector(machine, TAIL_PATH, prng.below(2) * TAIL_SLOT_BYTES + prng.below(2) * BLOCK_BYTES, prng);
          break;
        case 2:
          this.rotAnywhere(machine, this.snapshotOf(machine, prng) ?? MANIFEST_PATHS[1], prng);
          break;
        case 3:
          this.rotAnywhere(machine, this.segmentOf(machine, prng) ?? MANIFEST_PATHS[0], prng);
          break;
        default:
          this.rotFrame(machine, prng);
      }
    }
  }

  /** Both copies of a slot of the tail record become unreadable. */
  loseTail(machine: SimMachine, prng: Prng): void {
    if (!this.atlas.mayLoseTail(machine.id)) return;
    const slot = prng.below(2) * TAIL_SLOT_BYTES;
    for (const at of [slot, slot + BLOCK_BYTES]) this.strike(machine, TAIL_PATH, at, prng.bytes(SECTOR_BYTES));
    this.world.statistics.tailsLost++;
  }

  /** A sector of one frame goes bad; false when the atlas does not let it. */
  rotIndex(machine: SimMachine, index: number, prng: Prng): boolean {
    const place = this.logs[machine.id - 1]!.placeOf(index);
    return place !== null && this.rotSector(machine, place.path, place.to - 1, prng);
  }

  private rotFrame(machine: SimMachine, prng: Prng): void {
    const log = this.logs[machine.id - 1]!;
    const { last } = this.world.checks.canonical;
    for (let tries = 0; tries < TRIES; tries++) {
      const recent = prng.chance(0.5);
      const index = recent ? last + 3 - prng.below(RECENT) : prng.below(last + 1);
      const place = log.placeOf(index);
      if (place === null) continue;
      if (this.rotSector(machine, place.path, prng.range(place.from, place.to - 1), prng)) return;
    }
  }

  private rotAnywhere(machine: SimMachine, path: string, prng: Prng): void {
    const inode = machine.storage.durableFile(path);
    if (inode !== undefined && inode.medium.length > 0)
      this.rotSector(machine, path, prng.below(inode.medium.length), prng);
  }

  /** Damages the sector around `offset`, when the atlas lets it. */
  private rotSector(machine: SimMachine, path: string, offset: number, prng: Prng): boolean {
    const from = offset - (offset % SECTOR_BYTES);
    const place = { path, from, to: from + SECTOR_BYTES };
    if (!this.atlas.mayHarm(machine.id, place, !machine.alive)) return false;
    const medium = machine.storage.durableFile(path)?.medium;
    if (medium === undefined || from + SECTOR_BYTES > medium.length) return false;
    return this.strike(machine, path, from, damaged(medium, from, prng));
  }

  private strike(machine: SimMachine, path: string, from: number, bytes: Uint8Array): boolean {
    const inode = machine.storage.durableFile(path);
    if (inode === undefined || !inode.corrupt(from, bytes)) return false;
    this.world.statistics.sectorsRotted++;
    this.world.trace.event('rot', { replica: machine.id, path, offset: from });
    return true;
  }

  private snapshotOf(machine: SimMachine, prng: Prng): string | null {
    return this.pathOf(machine, 'snapshots/', '.snap', prng);
  }

  private segmentOf(machine: SimMachine, prng: Prng): string | null {
    return this.pathOf(machine, 'log/', '.seg', prng);
  }

  private pathOf(machine: SimMachine, prefix: string, suffix: string, prng: Prng): string | null {
    const paths = machine.storage.durableFiles(prefix).filter(([path]) => path.endsWith(suffix));
    return paths.length === 0 ? null : prng.pick(paths)[0];
  }
}

/** A sector as it may come back: zeros, noise, another sector, or with one bit flipped. */
function damaged(medium: Uint8Array, from: number, prng: Prng): Uint8Array {
  const style = prng.below(4);
  if (style === 0) return new Uint8Array(SECTOR_BYTES);
  if (style === 1) return prng.bytes(SECTOR_BYTES);
  if (style === 2) return medium.slice(0, SECTOR_BYTES);
  const bytes = medium.slice(from, from + SECTOR_BYTES);
  bytes[prng.below(SECTOR_BYTES)]! ^= 1 << prng.below(8);
  return bytes;
}
