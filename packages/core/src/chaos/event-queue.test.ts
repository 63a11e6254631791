import { expect, test } from 'vitest';
import { Prng } from '../prng.ts';
import { EventQueue } from './event-queue.ts';

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
