/**
 * ManifestFile: stores the manifest while the log runs: copy a, barrier, copy b, barrier (docs/log-format.md, "Manifest").
 *
 * Invariants: one update at a time; a copy known to be damaged is written before the other; `done` only after the second barrier; the sequence grows by one an update.
 */
import { assert } from '../assert.ts';
import type { FrameCodec } from './frame-codec.ts';
import type { ManifestState } from './log-contract.ts';
import { encodeManifest } from './manifest.ts';
import type { DiskCallback, DiskError, DiskFile } from './virtual-disk.ts';

export class ManifestFile {
  readonly files: readonly DiskFile[];
  private readonly codec: FrameCodec;
  /** Of the update stored last. */
  sequence: number;
  private busy = false;
  /** Updates stored since open. */
  writes = 0;

  constructor(files: readonly DiskFile[], codec: FrameCodec, sequence: number) {
    this.files = files;
    this.codec = codec;
    this.sequence = sequence;
  }

  /** Stores `state` in `copies` copies, `first` before the other: a power cut may leave half of what is being written. */
  save(state: ManifestState, copies: number, done: DiskCallback, first = 0): void {
    assert(!this.busy, 'one manifest update at a time');
    this.busy = true;
    this.sequence++;
    const bytes = encodeManifest(state, this.sequence, this.codec);
    const store = (written: number): void => {
      const file = this.files[(first + written) % this.files.length];
      if (file === undefined || written === copies) {
        this.busy = false;
        this.writes++;
        done(null);
        return;
      }
      file.write(0, bytes, false, (error) => {
        if (error !== null) this.fail(error, done);
        else file.barrier((failure) => (failure !== null ? this.fail(failure, done) : store(written + 1)));
      });
    };
    store(0);
  }

  private fail(error: DiskError, done: DiskCallback): void {
    this.busy = false;
    done(error);
  }
}
