/**
 * DurableTail: what the tail record on one machine was made to say, read from outside (injected damage apart).
 *
 * Invariants: looked at again whenever its bytes or its name change.
 */
import { type CommitIndex, NONE } from '../engine/commit-index.ts';
import { decodeTail, TAIL_PATH } from '../engine/tail-record.ts';
import type { SimStorage } from './sim-storage.ts';

export class DurableTail {
  private readonly storage: SimStorage;
  private namesVersion = -1;
  private changed = true;
  private index: CommitIndex = NONE;

  constructor(storage: SimStorage) {
    this.storage = storage;
    storage.watchers.push((inode) => {
      if (inode === storage.durableFile(TAIL_PATH)) this.changed = true;
    });
  }

  /** Everything at or below was promised; NONE: nothing, or the record is lost. */
  promised(): CommitIndex {
    if (this.changed || this.namesVersion !== this.storage.namesVersion) {
      this.changed = false;
      this.namesVersion = this.storage.namesVersion;
      const inode = this.storage.durableFile(TAIL_PATH);
      const decoded = inode === undefined ? null : decodeTail(inode.intended, null);
      this.index = decoded?.kind === 'ok' ? decoded.tail.index : NONE;
    }
    return this.index;
  }
}
