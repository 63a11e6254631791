/**
 * SimStorage: the stable storage of one simulated machine. It outlives the processes that write to it (each has a SimDisk on it) and knows
 * what a power cut would leave.
 *
 * Invariants: names and contents are durable apart: a synced file under an unsynced name is lost with the name; after a power cut what
 * processes see equals what is durable; everything random is drawn from this storage's own stream.
 */
import { directoryOf, Directories, namesIn } from '../engine/disk-names.ts';
import { Prng } from '../prng.ts';
import { SimInode } from './sim-inode.ts';

/** An entry change that no directory sync has covered. `undefined` as inode removes the name. */
interface NameChange {
  readonly sequence: number;
  readonly directory: string;
  readonly set: readonly { readonly path: string; readonly inode: SimInode | undefined }[];
}

/** What a power cut did. */
export interface PowerCutReport {
  sectorsLost: number;
  entriesLost: number;
}

export class SimStorage {
  readonly id: number;
  private readonly prng: Prng;
  private names = new Map<string, SimInode>();
  private durableNames = new Map<string, SimInode>();
  private changes: NameChange[] = [];
  directories = new Directories();
  private sequence = 0;
  private inodes = 0;
  /** Names of durable files changed: bumped on each change of the durable name space. */
  namesVersion = 0;
  /** Called on each change of durable bytes. */
  readonly watchers: ((inode: SimInode, firstChanged: number) => void)[] = [];
  /** Bytes the file system holds at most; lowered by the nemesis to make it full. */
  capacityBytes = Number.POSITIVE_INFINITY;
  private readonly watcher = (inode: SimInode, firstChanged: number): void => {
    for (const watch of this.watchers) watch(inode, firstChanged);
  };

  constructor(id: number, prng: Prng) {
    this.id = id;
    this.prng = prng;
  }

  get(path: string): SimInode | undefined {
    return this.names.get(path);
  }

  create(path: string): SimInode {
    const inode = new SimInode(++this.inodes, this.watcher);
    this.names.set(path, inode);
    this.changed(directoryOf(path), [{ path, inode }]);
    return inode;
  }

  /** False when there is no such file. */
  rename(from: string, to: string): boolean {
    const inode = this.names.get(from);
    if (inode === undefined) return false;
    this.names.delete(from);
    this.names.set(to, inode);
    this.changed(directoryOf(to), [
      { path: from, inode: undefined },
      { path: to, inode },
    ]);
    return true;
  }

  unlink(path: string): boolean {
    if (!this.names.delete(path)) return false;
    this.changed(directoryOf(path), [{ path, inode: undefined }]);
    return true;
  }

  /** Names in a directory, sorted; subdirectories are those that have files. */
  list(directory: string): string[] {
    return namesIn(this.names.keys(), directory);
  }

  /** Sequence of the newest name change: what a directory sync called now covers. */
  get completed(): number {
    return this.sequence;
  }

  syncDirectory(directory: string, sequence: number): void {
    const rest: NameChange[] = [];
    for (const change of this.changes) {
      if (change.directory === directory && change.sequence <= sequence) this.settle(change);
      else rest.push(change);
    }
    this.changes = rest;
  }

  /** Durable files under `prefix`, path to inode, in the order of their names. */
  durableFiles(prefix: string): [string, SimInode][] {
    return [...this.durableNames].filter(([path]) => path.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  durableFile(path: string): SimInode | undefined {
    return this.durableNames.get(path);
  }

  /** Every file a process sees. */
  visibleFiles(): [string, SimInode][] {
    return [...this.names].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Any byte or name a power cut could lose? */
  get dirty(): boolean {
    if (this.changes.length > 0) return true;
    for (const inode of this.names.values()) if (inode.dirty) return true;
    return false;
  }

  usedBytes(): number {
    let sum = 0;
    for (const inode of this.names.values()) sum += inode.size;
    return sum;
  }

  /**
   * Loses power: of the unsynced name changes either a prefix or any subset survives, of the unsynced sectors any subset. `survival` is the
   * chance of each sector.
   */
  powerCut(survival: number): PowerCutReport {
    const report: PowerCutReport = { sectorsLost: 0, entriesLost: 0 };
    const ordered = this.prng.chance(0.5);
    const prefix = this.prng.range(0, this.changes.length);
    this.changes.forEach((change, i) => {
      if (ordered ? i < prefix : this.prng.chance(survival)) this.settle(change);
      else report.entriesLost++;
    });
    this.changes = [];
    this.names = new Map(this.durableNames);
    for (const [, inode] of this.visibleFiles()) report.sectorsLost += inode.powerCut(this.prng, survival);
    this.namesVersion++;
    return report;
  }

  /** What a power cut would leave at worst: nothing unsynced. To be looked at now, before this storage changes. */
  worstImage(): SimStorage {
    const image = new SimStorage(this.id, new Prng(0));
    image.directories = this.directories;
    for (const [path, inode] of this.durableNames) {
      const copy = inode.worstImage(++image.inodes, image.watcher);
      image.names.set(path, copy);
      image.durableNames.set(path, copy);
    }
    return image;
  }

  /** Injected damage is on the medium. */
  get damaged(): boolean {
    for (const inode of this.durableNames.values()) if (inode.damagedSectors > 0) return true;
    return false;
  }

  /** How often everything was lost. */
  wipes = 0;

  /** Everything is lost: a wiped disk. */
  wipe(): void {
    this.wipes++;
    this.directories = new Directories();
    this.names = new Map();
    this.durableNames = new Map();
    this.changes = [];
    this.namesVersion++;
  }

  private changed(directory: string, set: NameChange['set']): void {
    this.changes.push({ sequence: ++this.sequence, directory, set });
  }

  private settle(change: NameChange): void {
    for (const { path, inode } of change.set) {
      if (inode === undefined) this.durableNames.delete(path);
      else this.durableNames.set(path, inode);
    }
    this.namesVersion++;
  }
}
