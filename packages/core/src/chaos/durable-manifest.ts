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

/** What one copy states. */
interface Copy extends StoredViews {
  readonly sequence: number;
}

/** No readable copy. */
const NOTHING: StoredViews = { view: -1, logView: -1, checkpoint: -1 };

export class DurableManifest {
  private readonly storage: SimStorage;
  private readonly codec: FrameCodec;
  private namesVersion = -1;
  /** The copies whose bytes or names have changed since they were read. */
  private readonly changed = [true, true];
  private readonly copies: (Copy | null)[] = [null, null];
  private wipes = 0;
  private lowest: StoredViews = NOTHING;
  private newest: StoredViews = NOTHING;

  constructor(storage: SimStorage, codec: FrameCodec) {
    this.storage = storage;
    this.codec = codec;
    storage.watchers.push((inode) => {
      for (let i = 0; i < MANIFEST_PATHS.length; i++)
        if (inode === storage.durableFile(MANIFEST_PATHS[i]!)) this.changed[i] = true;
    });
  }

  /** What both copies state at least: all that survives the loss of one. */
  stored(): StoredViews {
    if (this.namesVersion !== this.storage.namesVersion) this.changed.fill(true);
    if (this.changed[0]! || this.changed[1]!) this.read();
    return this.lowest;
  }

  private read(): void {
    if (this.wipes !== this.storage.wipes) this.newest = NOTHING;
    this.wipes = this.storage.wipes;
    this.namesVersion = this.storage.namesVersion;
    for (let i = 0; i < MANIFEST_PATHS.length; i++) {
      if (this.changed[i]!) this.copies[i] = this.decode(MANIFEST_PATHS[i]!);
      this.changed[i] = false;
    }
    const a = this.copies[0] ?? null;
    const b = this.copies[1] ?? null;
    this.lowest = {
      view: Math.min(a?.view ?? NOTHING.view, b?.view ?? NOTHING.view),
      logView: Math.min(a?.logView ?? NOTHING.logView, b?.logView ?? NOTHING.logView),
      checkpoint: Math.min(a?.checkpoint ?? NOTHING.checkpoint, b?.checkpoint ?? NOTHING.checkpoint),
    };
    const now = a === null || (b !== null && b.sequence > a.sequence) ? b : a;
    if (now === null) return;
    mustHold(
      now.view >= this.newest.view && now.logView >= this.newest.logView && now.checkpoint >= this.newest.checkpoint,
      'view',
      'durable-views-never-go-back',
      () => {
        const words = ({ view, logView, checkpoint }: StoredViews): string =>
          `view ${view}, log view ${logView}, checkpoint ${checkpoint}`;
        return `the manifest of r${this.storage.id} went from ${words(this.newest)} back to ${words(now)}`;
      },
    );
    this.newest = now;
  }

  /** Null: it is not there, or unreadable. */
  private decode(path: string): Copy | null {
    const inode = this.storage.durableFile(path);
    const read = inode === undefined ? null : decodeManifest(inode.intended, this.codec);
    if (read?.kind !== 'ok') return null;
    const { sequence, state } = read;
    return { sequence, view: state.view, logView: state.logView, checkpoint: state.checkpoint.index };
  }
}
