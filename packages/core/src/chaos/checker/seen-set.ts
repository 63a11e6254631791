/**
 * SeenSet: the memo of the search (Lowe): which pairs of a state and a set of linearised operations were tried. Sets are bitsets in one Int32Array
 * slab; behind the first `fixed` words only those are kept that are neither all ones from the start nor all zeros to the end.
 *
 * Invariants: the hash only leads to candidates, what counts is the comparison; memory is bounded by WORDS_MAX.
 */

/** Words of the slab at most: 256 MiB. */
export const WORDS_MAX = 64 * 1024 * 1024;
const RECORD_HEAD = 3;

export class SeenSet {
  /** Records: state, first word, number of words, the words. */
  private slab = new Int32Array(1024);
  private used = 0;
  private table = new Int32Array(256);
  private offsets = new Int32Array(128);
  private hashes = new Int32Array(128);
  size = 0;
  private readonly fixed: number;

  /** The first `fixed` words of each set are kept whole. */
  constructor(fixed: number) {
    this.fixed = fixed;
  }

  /** True when it would grow above its bound. */
  get full(): boolean {
    return this.used >= WORDS_MAX;
  }

  /** Adds; false when the pair was there. From `fixed` to `low` the words are all ones, from `high` on all zeros. */
  add(state: number, words: Int32Array, low: number, high: number, setHash: number): boolean {
    const hash = mix(setHash ^ Math.imul(state + 1, 0x9e3779b1));
    const mask = this.table.length - 1;
    let slot = hash & mask;
    for (;;) {
      const found = this.table[slot]! - 1;
      if (found < 0) break;
      if (this.hashes[found] === hash && this.equals(this.offsets[found]!, state, words, low, high)) return false;
      slot = (slot + 1) & mask;
    }
    this.table[slot] = this.size + 1;
    this.append(state, words, low, high, hash);
    if (this.size * 2 > this.table.length) this.rehash();
    return true;
  }

  private equals(at: number, state: number, words: Int32Array, low: number, high: number): boolean {
    const { slab } = this;
    if (slab[at] !== state || slab[at + 1] !== low || slab[at + 2] !== high - low) return false;
    let from = at + RECORD_HEAD;
    for (let i = 0; i < this.fixed; i++) if (slab[from++] !== words[i]) return false;
    for (let i = low; i < high; i++) if (slab[from++] !== words[i]) return false;
    return true;
  }

  private append(state: number, words: Int32Array, low: number, high: number, hash: number): void {
    const end = this.used + RECORD_HEAD + this.fixed + high - low;
    if (end > this.slab.length) this.slab = grown(this.slab, end);
    if (this.size === this.offsets.length) {
      this.offsets = grown(this.offsets, this.size + 1);
      this.hashes = grown(this.hashes, this.size + 1);
    }
    const { slab, used } = this;
    this.offsets[this.size] = used;
    this.hashes[this.size] = hash;
    slab[used] = state;
    slab[used + 1] = low;
    slab[used + 2] = high - low;
    let to = used + RECORD_HEAD;
    for (let i = 0; i < this.fixed; i++) slab[to++] = words[i]!;
    for (let i = low; i < high; i++) slab[to++] = words[i]!;
    this.used = end;
    this.size++;
  }

  private rehash(): void {
    const table = new Int32Array(this.table.length * 2);
    const mask = table.length - 1;
    for (let entry = 0; entry < this.size; entry++) {
      let slot = this.hashes[entry]! & mask;
      while (table[slot] !== 0) slot = (slot + 1) & mask;
      table[slot] = entry + 1;
    }
    this.table = table;
  }
}

function grown(array: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.max(size, array.length * 2));
  larger.set(array);
  return larger;
}

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
