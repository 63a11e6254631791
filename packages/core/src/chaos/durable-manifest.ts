/**
 * DurableManifest: what the two manifest copies on one machine were made to say, read from outside (injected damage apart).
 *
 * Invariants (checked here): of the newest readable copy neither view nor log view nor checkpoint ever goes back, but on a new disk.
 */
import type { FrameCodec } from '../engine/frame-codec.ts';
import { decodeManifest, MANIFEST_PATHS } from '../engine/manifest.ts';
import type { SimStorage } from './sim-storage.ts';
import { mustHold } from './violation.ts';

export interface StoredViews {
  readonly view: number;
  readonly logView: number;
  /** Index of the checkpoint; -1 for none. */
  readonly checkpoint: number;
}

/** No readable copy. */
const NOTHING: StoredViews = { view: -1, logView: -1, checkpoint: -1 };

export class DurableManifest {
  private readonly storage: SimStorage;
  private readonly codec: FrameCodec;
  private namesVersion = -1;
  private changed = true;
  private wipes = 0;
  private lowest: StoredViews = NOTHING;
  private newest: StoredViews = NOTHING;

  constructor(storage: SimStorage, codec: FrameCodec) {
    this.storage = storage;
    this.codec = codec;
    storage.watchers.push((inode) => {
      if (inode === storage.durableFile(MANIFEST_PATHS[0]) || inode === storage.durableFile(MANIFEST_PATHS[1]))
        this.changed = true;
    });
  }

  /** What both copies state at least: all that survives the loss of one. */
  stored(): StoredViews {
    if (this.changed || this.namesVersion !== this.storage.namesVersion) this.read();
    return this.lowest;
  }

  private read(): void {
    this.changed = false;
    if (this.wipes !== this.storage.wipes) this.newest = NOTHING;
    this.wipes = this.storage.wipes;
    this.namesVersion = this.storage.namesVersion;
    let newest: { readonly sequence: number; readonly views: StoredViews } | null = null;
    const copies = MANIFEST_PATHS.map((path) => {
      const inode = this.storage.durableFile(path);
      const read = inode === undefined ? null : decodeManifest(inode.intended, this.codec);
      if (read?.kind !== 'ok') return NOTHING;
      const { view, logView } = read.state;
      const checkpoint: number = read.state.checkpoint.index;
      if (newest === null || read.sequence > newest.sequence)
        newest = { sequence: read.sequence, views: { view, logView, checkpoint } };
      return { view, logView, checkpoint };
    });
    this.lowest = {
      view: Math.min(...copies.map(({ view }) => view)),
      logView: Math.min(...copies.map(({ logView }) => logView)),
      checkpoint: Math.min(...copies.map(({ checkpoint }) => checkpoint)),
    };
    const now = (newest as { readonly views: StoredViews } | null)?.views;
    if (now === undefined) return;
    mustHold(
      now.view >= this.newest.view && now.logView >= this.newest.logView && now.checkpoint >= this.newest.checkpoint,
      'view',
      'durable-views-never-go-back',
      () => {
        const { id } = this.storage;
        return `the manifest of r${id} went from view ${this.newest.view}, log view ${this.newest.logView} back to ${now.view}, ${now.logView}`;
      },
    );
    this.newest = now;
  }
}
