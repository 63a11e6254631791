import { expect, test } from 'vitest';
import { Prng } from '../prng.ts';
import { EventQueue, STOP } from './event-queue.ts';

test('events run in order of time, equal times in order of scheduling', () => {
  const queue = new EventQueue();
  const prng = new Prng(7);
  const expected: [number, number][] = [];
  const ran: number[] = [];
  for (let i = 0; i < 2000; i++) {
    const at = prng.below(100);
    expected.push([at, i]);
    queue.at(at, () => ran.push(i));
  }
  while (queue.step());
  expected.sort(([ta, a], [tb, b]) => ta - tb || a - b);
  expect(ran).toEqual(expected.map(([, i]) => i));
});

test('a deferred task runs at the same instant, before the next event', () => {
  const queue = new EventQueue();
  const ran: string[] = [];
  queue.at(5, () => {
    ran.push('first');
    queue.defer(() => ran.push(`deferred at ${queue.now}`));
    queue.after(0, () => ran.push('due now'));
  });
  queue.at(5, () => ran.push('second'));
  while (queue.step());
  expect(ran).toEqual(['first', 'deferred at 5', 'second', 'due now']);
  expect(queue.executed).toBe(4);
});

test('nothing can be scheduled in the past', () => {
  const queue = new EventQueue();
  queue.at(10, () => {});
  queue.step();
  expect(() => queue.at(9, () => {})).toThrow('past');
});

test('what repeats runs in the same order as a task that schedules itself again as its last act', () => {
  const order = (repeating: boolean): string[] => {
    const queue = new EventQueue();
    const prng = new Prng(3);
    const ran: string[] = [];
    const begin = (name: string, us: number, times: number): void => {
      let left = times;
      const act = (): void => {
        ran.push(`${name} at ${queue.now}`);
        if (prng.chance(0.5)) queue.after(prng.below(2) * us, () => ran.push(`after ${name} at ${queue.now}`));
        if (prng.chance(0.2)) queue.defer(() => ran.push(`behind ${name}`));
      };
      const again = (): void => {
        if (left-- === 0) return;
        act();
        queue.after(us, again);
      };
      if (!repeating) return queue.after(us, again);
      queue.repeat(us, () => {
        if (left-- === 0) return STOP;
        act();
        return us;
      });
    };
    for (let i = 0; i < 20; i++) begin(`tick ${i}`, 1 + (i % 4), 5 + i);
    while (queue.step());
    return ran;
  };
  expect(order(true)).toEqual(order(false));
  expect(order(true).length).toBeGreaterThan(300);
});
