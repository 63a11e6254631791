/**
 * VersionedMap: a Map (insertion order, same rules) of which one version can be kept while it goes on changing: what a snapshot reads.
 *
 * While a version is held, `base` is that version and does not change: changes of its keys are in `over`, new keys in `tail`. Afterwards `settle` moves
 * them back a few at a time. Freezing costs nothing, a change while frozen one more map entry, a read one more look-up.
 *
 * Invariants: a key of `tail` is not in `base`, or hidden there by `over`; what a reader sees is equal in every phase: order and all; `over` does not grow
 * while settling. Values are never undefined.
 */
import { assert } from '../assert.ts';

/** In `over`: the key is not there (any more), or stands in `tail`. */
const HIDDEN = Symbol('hidden');

export class VersionedMap<Key, Value> {
  private base = new Map<Key, Value>();
  /** Null when everything is in `base`. */
  private over: Map<Key, Value | typeof HIDDEN> | null = null;
  private tail = new Map<Key, Value>();
  private frozen = false;
  /** Keys that a reader sees, while `over` is there. */
  private live = 0;
  private moving: Iterator<[Key, Value | typeof HIDDEN]> | null = null;
  private movingTail: Iterator<[Key, Value]> | null = null;
  /** While frozen: where the first entry that is not hidden was, and what comes behind. */
  private head: [Key, Value] | null = null;
  private behindHead: Iterator<[Key, Value]> | null = null;

  get size(): number {
    return this.over === null ? this.base.size : this.live;
  }

  get(key: Key): Value | undefined {
    const { over } = this;
    if (over === null) return this.base.get(key);
    const changed = over.get(key);
    if (changed === HIDDEN) return this.tail.get(key);
    if (changed !== undefined) return changed;
    const value = this.base.get(key);
    return value === undefined ? this.tail.get(key) : value;
  }

  has(key: Key): boolean {
    return this.get(key) !== undefined;
  }

  set(key: Key, value: Value): void {
    const { over } = this;
    if (over === null) {
      this.base.set(key, value);
      return;
    }
    const changed = over.get(key);
    if (changed !== undefined && changed !== HIDDEN) {
      over.set(key, value);
      if (!this.frozen) this.base.set(key, value);
    } else if (changed === undefined && this.base.has(key)) {
      if (this.frozen) over.set(key, value);
      else this.base.set(key, value);
    } else {
      if (!this.tail.has(key)) this.live++;
      this.tail.set(key, value);
    }
  }

  delete(key: Key): boolean {
    const { over } = this;
    if (over === null) return this.base.delete(key);
    const there = this.tail.delete(key) || this.hide(key, over);
    if (there) this.live--;
    return there;
  }

  private hide(key: Key, over: Map<Key, Value | typeof HIDDEN>): boolean {
    const changed = over.get(key);
    if (changed === HIDDEN || (changed === undefined && !this.base.has(key))) return false;
    if (this.frozen) over.set(key, HIDDEN);
    else {
      over.delete(key);
      this.base.delete(key);
    }
    return true;
  }

  clear(): void {
    assert(!this.frozen, 'a held version is not cleared');
    this.base.clear();
    this.over = null;
    this.tail = new Map();
    this.moving = null;
    this.movingTail = null;
  }

  /** The first entry: at no cost that grows, also when many before it were deleted while a version is held. */
  first(): [Key, Value] | undefined {
    const { over } = this;
    if (over === null || !this.frozen) return this.entries().next().value as [Key, Value] | undefined;
    this.behindHead ??= this.base.entries();
    for (;;) {
      this.head ??= (this.behindHead.next().value as [Key, Value] | undefined) ?? null;
      if (this.head === null) return this.tail.entries().next().value;
      const changed = over.get(this.head[0]);
      if (changed === undefined) return this.head;
      if (changed !== HIDDEN) return [this.head[0], changed];
      this.head = null;
    }
  }

  entries(): IterableIterator<[Key, Value]> {
    return this.over === null ? this.base.entries() : this.mergedEntries(this.over);
  }

  keys(): IterableIterator<Key> {
    return this.over === null ? this.base.keys() : this.mergedKeys();
  }

  values(): IterableIterator<Value> {
    return this.over === null ? this.base.values() : this.mergedValues();
  }

  private *mergedEntries(over: Map<Key, Value | typeof HIDDEN>): IterableIterator<[Key, Value]> {
    for (const entry of this.base) {
      const changed = over.get(entry[0]);
      if (changed === undefined) yield entry;
      else if (changed !== HIDDEN) yield [entry[0], changed];
    }
    yield* this.tail;
  }

  private *mergedKeys(): IterableIterator<Key> {
    for (const [key] of this.entries()) yield key;
  }

  private *mergedValues(): IterableIterator<Value> {
    for (const [, value] of this.entries()) yield value;
  }

  /** Holds the version of now until `release`. One at a time. */
  freeze(): { readonly size: number; readonly entries: IterableIterator<[Key, Value]> } {
    assert(!this.frozen, 'one version of a map is held at a time');
    this.settle(Number.POSITIVE_INFINITY);
    this.frozen = true;
    this.live = this.base.size;
    this.over = new Map();
    return { size: this.base.size, entries: this.base.entries() };
  }

  /** Lets the held version go; call `settle` until it says true. */
  release(): void {
    assert(this.frozen && this.over !== null, 'a version is held');
    this.frozen = false;
    this.head = null;
    this.behindHead = null;
    this.moving = this.over.entries();
    this.movingTail = this.tail.entries();
  }

  /** Moves up to `limit` changes back to their place; true when none is left. Never while somebody iterates. */
  settle(limit: number): boolean {
    const { over, base, tail } = this;
    if (over === null) return true;
    assert(!this.frozen && this.moving !== null && this.movingTail !== null, 'what is held is not settled');
    let left = limit;
    for (let step = this.moving.next(); step.done !== true; step = this.moving.next()) {
      const [key, value] = step.value;
      // `over` keeps what was moved until all is: shrinking a large Map a key at a time costs more than the move.
      if (value === HIDDEN) base.delete(key);
      else base.set(key, value);
      if (--left <= 0) return false;
    }
    for (let step = this.movingTail.next(); step.done !== true; step = this.movingTail.next()) {
      const [key, value] = step.value;
      base.set(key, value);
      tail.delete(key);
      over.delete(key);
      if (--left <= 0) return false;
    }
    this.over = null;
    this.moving = null;
    this.movingTail = null;
    return true;
  }
}
