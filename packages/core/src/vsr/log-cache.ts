/**
 * LogCache: recent frames in memory, oldest first: everything above what is applied and durable, and below that as much as fits for peers that catch up.
 *
 * Invariant: batches are contiguous in index.
 */
import { assert } from '../assert.ts';
import { type CommitIndex, NONE, at } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';

export class LogCache {
  private readonly bytesMax: number;
  private batches: FrameBatch[] = [];
  private head = 0;
  private bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Bytes held. */
  get size(): number {
    return this.bytes;
  }

  /** Last cached index, NONE when empty. */
  get last(): CommitIndex {
    return this.batches.length === this.head ? NONE : at(this.batches[this.batches.length - 1]!.last);
  }

  append(batch: FrameBatch): void {
    const last = this.last;
    assert(last === NONE || batch.first === last + 1, 'cached frames are contiguous');
    this.batches.push(batch);
    this.bytes += batch.bytes.length;
  }

  /** The cached batch that holds `index`, or null. */
  find(index: number): FrameBatch | null {
    let low = this.head;
    let high = this.batches.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const batch = this.batches[middle]!;
      if (index < batch.first) high = middle - 1;
      else if (index > batch.last) low = middle + 1;
      else return batch;
    }
    return null;
  }

  /** Drops everything above `index`. */
  truncate(index: CommitIndex): void {
    while (this.batches.length > this.head) {
      const batch = this.batches[this.batches.length - 1]!;
      if (batch.last <= index) return;
      this.batches.pop();
      this.bytes -= batch.bytes.length;
      if (batch.first <= index) {
        const kept = batch.slice(batch.first, index);
        this.batches.push(kept);
        this.bytes += kept.bytes.length;
        return;
      }
    }
  }

  /** Drops the oldest batches at or below `index` while there is more than the cache may hold. */
  trim(index: CommitIndex): void {
    while (this.bytes > this.bytesMax && this.head < this.batches.length && this.batches[this.head]!.last <= index) {
      this.bytes -= this.batches[this.head]!.bytes.length;
      this.head++;
    }
    if (this.head > 64 && this.head * 2 > this.batches.length) {
      this.batches = this.batches.slice(this.head);
      this.head = 0;
    }
  }

  clear(): void {
    this.batches = [];
    this.head = 0;
    this.bytes = 0;
  }
}
