/**
 * FaultAtlas: which injected storage damage may strike where, so that a cluster is always recoverable and every stall is a bug. The core is the
 * quorum that the liveness phase will heal; every other replica may then stay broken for ever.
 *
 * | item | on a replica of the core | on any other replica |
 * |---|---|---|
 * | frame | only while another replica of the core holds it, and all between it and what is damaged already in that segment, where it can prove them | always |
 * | log bytes outside of frames | always | always |
 * | segment header | never in a cluster of one, else always (it is made anew from the frames) | always |
 * | tail record | one copy of a slot, while the other one is intact | both copies of a slot: T is lost; on one replica at a time |
 * | manifest | one copy while the process is down and the other one is intact | the same |
 * | snapshot | only while another one that its manifest confirms and its log continues is intact | the same |
 * | misdirected write | never (a frame nobody else may have yet) | frames only: with its tail record lost too a replica would forget, unnoticed |
 * | misdirected read | where the bytes might be damaged, never the same place twice running | never the same place twice running |
 * | EIO on read | where the bytes might be damaged | always |
 * | failed write or barrier, full disk, stall, torn and lost unsynced sectors | always | always |
 *
 * Invariants: of each frame that was ever promised by a replica of the core an intact copy is in the core, or will be where it was promised first; no
 * replica ever loses its vote (both manifest copies); of each snapshot point a replica offers, one file is intact.
 */
import { BLOCK_BYTES, SECTOR_BYTES, SEGMENT_HEADER_BYTES } from '../engine/constants.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { decodeManifest, MANIFEST_PATHS } from '../engine/manifest.ts';
import { snapshotIndexes } from '../engine/snapshot-path.ts';
import { TAIL_PATH, TAIL_SLOT_BYTES } from '../engine/tail-record.ts';
import type { Prng } from '../prng.ts';
import type { DurableLog, Place } from './durable-log.ts';
import type { SimInode } from './sim-inode.ts';
import type { SimStorage } from './sim-storage.ts';

export class FaultAtlas {
  /** Replicas of the core. */
  readonly core: ReadonlySet<number>;
  private readonly logs: readonly DurableLog[];
  private readonly storages: readonly SimStorage[];
  private readonly codec: FrameCodec;

  /** Nothing is spared. */
  private readonly beyond: boolean;

  constructor(
    core: readonly number[],
    storages: readonly SimStorage[],
    logs: readonly DurableLog[],
    codec: FrameCodec,
    beyond = false,
  ) {
    this.beyond = beyond;
    this.core = new Set(core);
    this.logs = logs;
    this.storages = storages;
    this.codec = codec;
  }

  inCore(id: number): boolean {
    return this.core.has(id);
  }

  /** May [from, to) of a file of a running or dead replica be damaged, or read wrongly? `down`: its process is dead. */
  mayHarm(id: number, place: Place, down: boolean): boolean {
    const { path } = place;
    if (this.beyond) return this.mayHarmBeyond(path);
    if (path.startsWith('log/') && path.endsWith('.seg')) return this.mayHarmFrames(id, place);
    if (path === TAIL_PATH) return this.mayHarmTail(id, place);
    if ((MANIFEST_PATHS as readonly string[]).includes(path)) return down && this.mayHarmManifest(id, path);
    if (path.startsWith('snapshots/')) return this.mayHarmSnapshot(id, path);
    return false;
  }

  private mayHarmBeyond(path: string): boolean {
    const known = path === TAIL_PATH || (MANIFEST_PATHS as readonly string[]).includes(path);
    return known || path.startsWith('log/') || path.startsWith('snapshots/');
  }

  /** May this replica lose its tail record? */
  mayLoseTail(id: number): boolean {
    if (this.beyond) return true;
    if (this.inCore(id)) return false;
    return this.storages.every((storage) => storage.id === id || this.tailIsSound(storage));
  }

  mayMisdirectWrites(id: number): boolean {
    return !this.inCore(id);
  }

  private mayHarmFrames(id: number, { path, from, to }: Place): boolean {
    if (this.storages.length === 1) {
      // Nobody to repair from: only what lies behind the last frame.
      const frames = this.logs[0]!.framesIn(path, 0, to);
      return frames !== null && from >= SEGMENT_HEADER_BYTES && this.logs[0]!.framesIn(path, from, to)!.length === 0;
    }
    if (!this.inCore(id)) return true;
    const frames = this.logs[id - 1]!.losses(path, from, to);
    return frames === null || frames.every(({ index, hash }) => this.elsewhereInCore(id, index, hash));
  }

  private elsewhereInCore(id: number, index: number, hash: Uint8Array): boolean {
    for (const other of this.core) if (other !== id && this.logs[other - 1]!.provable(index, hash)) return true;
    return false;
  }

  private mayHarmTail(id: number, { from, to }: Place): boolean {
    const inode = this.storages[id - 1]!.get(TAIL_PATH);
    if (inode === undefined || inode.dirty) return false;
    for (let slot = Math.floor(from / TAIL_SLOT_BYTES); slot * TAIL_SLOT_BYTES < to; slot++) {
      const copies = [0, 1].map((copy) => slot * TAIL_SLOT_BYTES + copy * BLOCK_BYTES);
      const left = copies.filter(
        (at) => (at + SECTOR_BYTES <= from || at >= to) && inode.isIntact(at, at + SECTOR_BYTES),
      );
      if (left.length === 0) return false;
    }
    return true;
  }

  private tailIsSound(storage: SimStorage): boolean {
    const inode = storage.get(TAIL_PATH);
    if (inode === undefined) return false;
    return [0, 1].every((slot) =>
      [0, 1].some((copy) => {
        const at = slot * TAIL_SLOT_BYTES + copy * BLOCK_BYTES;
        return inode.isIntact(at, at + SECTOR_BYTES);
      }),
    );
  }

  private mayHarmManifest(id: number, path: string): boolean {
    const other = this.storages[id - 1]!.durableFile(MANIFEST_PATHS[path === MANIFEST_PATHS[0] ? 1 : 0]);
    // A copy that a crash has torn is damage as well: what is unsynced, or was cut off, does not count as a good copy.
    return other !== undefined && isSettled(other) && decodeManifest(other.medium, this.codec).kind === 'ok';
  }

  private mayHarmSnapshot(id: number, path: string): boolean {
    // Above the checkpoint it is not confirmed yet, and not restored; below the beginning of the log nothing follows it (one whose removal a power cut took back).
    const checkpoint = this.checkpoint(id);
    const useful = (index: number): boolean =>
      index <= checkpoint && index + 1 >= (this.logs[id - 1]!.first ?? checkpoint + 1);
    return this.storages[id - 1]!.durableFiles('snapshots/').some(([name, inode]) => {
      const [index] = snapshotIndexes([name.slice(name.lastIndexOf('/') + 1)]);
      return name !== path && index !== undefined && useful(index) && isSettled(inode);
    });
  }

  /** The checkpoint that every readable copy of the manifest confirms; -1: none. */
  private checkpoint(id: number): number {
    const indexes = MANIFEST_PATHS.map((path) => {
      const file = this.storages[id - 1]!.durableFile(path);
      const read = file === undefined ? null : decodeManifest(file.medium, this.codec);
      return read?.kind === 'ok' ? read.state.checkpoint.index : null;
    });
    const readable = indexes.filter((index) => index !== null);
    return readable.length === 0 ? -1 : Math.min(...readable);
  }
}

/** Nothing unsynced, nothing damaged. */
function isSettled(inode: SimInode): boolean {
  return !inode.dirty && inode.damagedSectors === 0;
}

/** A quorum of 1..n at random: the replicas that the liveness phase heals. */
export function drawCore(prng: Prng, replicas: number): number[] {
  const ids = Array.from({ length: replicas }, (_, i) => i + 1);
  return prng
    .shuffle(ids)
    .slice(0, Math.floor(replicas / 2) + 1)
    .sort((a, b) => a - b);
}
