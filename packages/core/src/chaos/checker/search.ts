/**
 * PartitionSearch: is there an order of these operations that the model allows and real time permits? Wing & Gong's search with Lowe's memo, resumable:
 * it does so many steps at a call.
 *
 * Invariants: an operation is linearised between its invocation and its return; one that never returns may be left out; a pair of (state, set of
 * linearised operations) is tried once.
 */
import type { CheckModel } from './model.ts';
import type { Operation } from './operation.ts';
import { SeenSet } from './seen-set.ts';

export type Verdict = 'ok' | 'illegal' | 'unknown';

const NONE = -1;

export class PartitionSearch {
  readonly operations: readonly Operation[];
  /** Null while it is not known. */
  verdict: Verdict | null = null;
  steps = 0;
  /** The most operations that could be linearised before one could not. */
  deepest = 0;
  private readonly model: CheckModel;
  /** Stops, without a verdict, when it is stuck at this depth. */
  private readonly stopAt: number;
  private stuckOn: Operation | null = null;
  /** Events in real time, a doubly linked list; node 0 is its head. Return nodes have `call` NONE. */
  private readonly next: Int32Array;
  private readonly prev: Int32Array;
  /** Place in `operations`. */
  private readonly opOf: Int32Array;
  private readonly isCall: Uint8Array;
  /** Return node of a call; NONE when it never returns. */
  private readonly returnOf: Int32Array;
  /** Bit of each operation: those that never return come first, so that the others fill up from the left. */
  private readonly bitOf: Int32Array;
  private readonly salts: Int32Array;
  private readonly words: Int32Array;
  /** Words below are all ones (of the operations that return), words from `high` on all zero. */
  private low: number;
  private high: number;
  private readonly pendingWords: number;
  private setHash = 0;
  private readonly seen: SeenSet;
  private readonly stateIds = new Map<string, number>();
  private readonly states: string[] = [];
  /** Transitions worked out: by state * operations + operation; NONE: not allowed. */
  private readonly transitions = new Map<number, number>();
  private readonly stack: { readonly node: number; readonly state: number }[] = [];
  private state: number;
  private node: number;
  /** Operations that return and are not linearised. */
  private left = 0;

  constructor(operations: readonly Operation[], model: CheckModel, stopAt = Number.POSITIVE_INFINITY) {
    this.operations = operations;
    this.model = model;
    this.stopAt = stopAt;
    const count = operations.length;
    this.next = new Int32Array(2 * count + 1).fill(NONE);
    this.prev = new Int32Array(2 * count + 1).fill(NONE);
    this.opOf = new Int32Array(2 * count + 1).fill(NONE);
    this.isCall = new Uint8Array(2 * count + 1);
    this.returnOf = new Int32Array(2 * count + 1).fill(NONE);
    this.bitOf = new Int32Array(count);
    this.salts = new Int32Array(count);
    const pending = operations.filter(({ returned }) => returned === Number.POSITIVE_INFINITY).length;
    this.pendingWords = Math.ceil(pending / 32);
    this.seen = new SeenSet(this.pendingWords);
    this.words = new Int32Array(this.pendingWords + Math.ceil((count - pending) / 32) + 1);
    this.low = this.pendingWords;
    this.high = this.pendingWords;
    this.link();
    this.state = this.intern(model.initial);
    this.node = this.next[0]!;
    if (this.left === 0) this.verdict = 'ok';
  }

  /** Does at most `budget` steps. */
  run(budget: number): void {
    for (let i = 0; i < budget && this.verdict === null; i++) {
      this.steps++;
      if (this.isCall[this.node] === 1) this.tryCall();
      else this.backtrack();
    }
  }

  /** The longest linearisable prefix, and the operation that could then not be placed. For an illegal partition. */
  explain(): { readonly prefix: readonly Operation[]; readonly blocked: Operation | null } {
    const again = new PartitionSearch(this.operations, this.model, this.deepest);
    while (again.verdict === null) again.run(1_000_000);
    return {
      prefix: again.stack.map(({ node }) => this.operations[this.opOf[node]!]!),
      blocked: again.stuckOn,
    };
  }

  private link(): void {
    const events: { readonly at: number; readonly op: number; readonly call: boolean }[] = [];
    let pendingBit = 0;
    let bit = this.pendingWords * 32;
    this.operations.forEach(({ invoked, returned }, op) => {
      events.push({ at: invoked, op, call: true });
      const returns = returned !== Number.POSITIVE_INFINITY;
      if (returns) {
        events.push({ at: returned, op, call: false });
        this.left++;
      }
      this.bitOf[op] = returns ? bit++ : pendingBit++;
      this.salts[op] = Math.imul(op + 1, 0x9e3779b1) ^ Math.imul(op + 7, 0x85ebca6b) ^ ((op + 3) << 7);
    });
    // Closed intervals: at one moment calls come before returns.
    events.sort((a, b) => a.at - b.at || Number(b.call) - Number(a.call));
    const callNode = new Int32Array(this.operations.length);
    let last = 0;
    events.forEach(({ op, call }, i) => {
      const node = i + 1;
      this.opOf[node] = op;
      this.isCall[node] = call ? 1 : 0;
      if (call) callNode[op] = node;
      else this.returnOf[callNode[op]!] = node;
      this.next[last] = node;
      this.prev[node] = last;
      last = node;
    });
  }

  private tryCall(): void {
    const { node } = this;
    const op = this.opOf[node]!;
    const after = this.transition(this.state, op);
    if (after !== NONE) {
      this.flip(op, true);
      if (this.seen.add(after, this.words, this.low, this.high, this.setHash)) {
        this.stack.push({ node, state: this.state });
        this.state = after;
        this.lift(node);
        this.node = this.next[0]!;
        if (this.left === 0) this.verdict = 'ok';
        else if (this.seen.full) this.verdict = 'unknown';
        return;
      }
      this.flip(op, false);
    }
    this.node = this.next[node]!;
  }

  /**
   * A return was reached before its operation was linearised: the last choice was wrong. To linearise a read where it fits is never wrong (it changes
   * nothing), so it is no choice.
   */
  private backtrack(): void {
    const { stack, operations, opOf } = this;
    this.deepest = Math.max(this.deepest, stack.length);
    const stuck = opOf[this.node]!;
    for (;;) {
      const last = stack.length >= this.stopAt ? undefined : stack.pop();
      if (last === undefined) {
        this.verdict = 'illegal';
        this.stuckOn = operations[stuck]!;
        return;
      }
      const op = opOf[last.node]!;
      this.state = last.state;
      this.flip(op, false);
      this.unlift(last.node);
      this.node = this.next[last.node]!;
      if (!this.model.isRead(operations[op]!)) return;
    }
  }

  private transition(state: number, op: number): number {
    const key = state * this.operations.length + op;
    const known = this.transitions.get(key);
    if (known !== undefined) return known;
    const text = this.model.step(this.states[state]!, this.operations[op]!);
    const after = text === null ? NONE : this.intern(text);
    this.transitions.set(key, after);
    return after;
  }

  private intern(state: string): number {
    let id = this.stateIds.get(state);
    if (id === undefined) {
      id = this.states.length;
      this.stateIds.set(state, id);
      this.states.push(state);
    }
    return id;
  }

  private flip(op: number, on: boolean): void {
    const { words } = this;
    const bit = this.bitOf[op]!;
    const word = bit >>> 5;
    words[word]! ^= 1 << (bit & 31);
    this.setHash ^= this.salts[op]!;
    if (on) {
      this.high = Math.max(this.high, word + 1);
      while (words[this.low] === -1) this.low++;
    } else {
      if (word >= this.pendingWords) this.low = Math.min(this.low, word);
      while (this.high > this.low && words[this.high - 1] === 0) this.high--;
    }
  }

  private lift(node: number): void {
    this.unlink(node);
    const returns = this.returnOf[node]!;
    if (returns === NONE) return;
    this.unlink(returns);
    this.left--;
  }

  private unlift(node: number): void {
    const returns = this.returnOf[node]!;
    if (returns !== NONE) {
      this.relink(returns);
      this.left++;
    }
    this.relink(node);
  }

  private unlink(node: number): void {
    const before = this.prev[node]!;
    const after = this.next[node]!;
    this.next[before] = after;
    if (after !== NONE) this.prev[after] = before;
  }

  private relink(node: number): void {
    const before = this.prev[node]!;
    const after = this.next[node]!;
    this.next[before] = node;
    if (after !== NONE) this.prev[after] = node;
  }
}
