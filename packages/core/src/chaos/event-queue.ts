/**
 * EventQueue: the one thread of a simulation. Events run in order of virtual time, equal times in order of scheduling; deferred tasks run
 * at the same instant, right after the event that deferred them.
 *
 * Invariants: time never goes back; nothing runs but from `step`; the order depends on nothing but the calls made.
 */
import { assert } from '../assert.ts';

/** Virtual time is counted in whole microseconds. */
export const US_PER_MS = 1000;

export type Task = () => void;

/** Returns after how many microseconds it runs again; STOP: never. */
export type Tick = () => number;

export const STOP = -1;

/** Marks the order number of an event that repeats. */
const REPEATS = 1;

export class EventQueue {
  /** Virtual now, microseconds. */
  now = 0;
  /** Events and deferred tasks run so far. */
  executed = 0;
  private times: number[] = [];
  private orders: number[] = [];
  private tasks: (Task | Tick)[] = [];
  /** Even; what repeats has the odd number behind. */
  private order = 0;
  private deferred: Task[] = [];
  private deferredAt = 0;

  get size(): number {
    return this.tasks.length + this.deferred.length - this.deferredAt;
  }

  /** Runs `task` `delayUs` from now (0: at this instant, behind what is already due). */
  after(delayUs: number, task: Task): void {
    assert(delayUs >= 0, 'nothing happens in the past');
    this.at(this.now + Math.floor(delayUs), task);
  }

  at(timeUs: number, task: Task): void {
    assert(timeUs >= this.now, 'nothing happens in the past');
    this.insert(timeUs, this.nextOrder(), task);
  }

  /**
   * Runs `tick` `delayUs` from now, and again as long after each time as it says then. The same as a task that schedules itself again as the last thing it does, but its
   * event is moved once instead of taken out and put in: most events of a quiet cluster are such ticks.
   */
  repeat(delayUs: number, tick: Tick): void {
    assert(delayUs >= 0, 'nothing happens in the past');
    this.insert(this.now + Math.floor(delayUs), this.nextOrder() + REPEATS, tick);
  }

  /** Runs `task` at this instant, before any other event. */
  defer(task: Task): void {
    this.deferred.push(task);
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    if (this.deferredAt < this.deferred.length) {
      const task = this.deferred[this.deferredAt++]!;
      if (this.deferredAt === this.deferred.length) {
        this.deferred = [];
        this.deferredAt = 0;
      }
      this.executed++;
      task();
      return true;
    }
    if (this.tasks.length === 0) return false;
    const task = this.tasks[0]!;
    this.now = this.times[0]!;
    this.executed++;
    if ((this.orders[0]! & REPEATS) === 0) {
      this.removeFirst();
      task();
    } else this.runTick(task as Tick);
    return true;
  }

  /** It stays the first while it runs: whatever is scheduled meanwhile comes behind it. */
  private runTick(tick: Tick): void {
    const delayUs = tick();
    if (delayUs === STOP) return this.removeFirst();
    assert(delayUs >= 0, 'nothing happens in the past');
    this.placeFirst(this.now + Math.floor(delayUs), this.nextOrder() + REPEATS, tick);
  }

  private nextOrder(): number {
    const { order } = this;
    this.order += 2;
    return order;
  }

  private insert(timeUs: number, order: number, task: Task | Tick): void {
    let hole = this.tasks.length;
    this.times.push(timeUs);
    this.orders.push(order);
    this.tasks.push(task);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (this.times[parent]! <= timeUs) break;
      this.move(parent, hole);
      hole = parent;
    }
    this.put(hole, timeUs, order, task);
  }

  private removeFirst(): void {
    const time = this.times.pop()!;
    const order = this.orders.pop()!;
    const task = this.tasks.pop()!;
    if (this.tasks.length > 0) this.placeFirst(time, order, task);
  }

  /** Puts an event where it belongs, in place of the first. */
  private placeFirst(time: number, order: number, task: Task | Tick): void {
    const length = this.tasks.length;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= length) break;
      if (child + 1 < length && this.earlier(child + 1, child)) child++;
      const childTime = this.times[child]!;
      if (time < childTime || (time === childTime && order < this.orders[child]!)) break;
      this.move(child, hole);
      hole = child;
    }
    this.put(hole, time, order, task);
  }

  private earlier(a: number, b: number): boolean {
    const ta = this.times[a]!;
    const tb = this.times[b]!;
    return ta < tb || (ta === tb && this.orders[a]! < this.orders[b]!);
  }

  private move(from: number, to: number): void {
    this.put(to, this.times[from]!, this.orders[from]!, this.tasks[from]!);
  }

  private put(at: number, time: number, order: number, task: Task | Tick): void {
    this.times[at] = time;
    this.orders[at] = order;
    this.tasks[at] = task;
  }
}
