import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { QuorumTracker } from './quorum-tracker.ts';

describe('QuorumTracker', () => {
  it('commits what a quorum acknowledged and nothing above it', () => {
    const t = new QuorumTracker([1, 2, 3], 2, NONE);
    t.ack(1, 0, 9);
    expect(t.advance()).toBe(NONE);
    t.ack(2, 0, 4);
    expect(t.advance()).toBe(at(4));
  });

  it('infers nothing about an index below first', () => {
    const t = new QuorumTracker([1, 2, 3], 2, NONE);
    t.ack(1, 0, 9);
    t.ack(2, 3, 9);
    expect(t.advance()).toBe(NONE);
    t.ack(3, 0, 2);
    expect(t.advance()).toBe(at(9));
  });

  it('joins ranges and forgets what is committed', () => {
    const t = new QuorumTracker([1, 2, 3, 4, 5], 3, at(4));
    for (const id of [1, 2]) t.ack(id, 0, 20);
    t.ack(3, 7, 8);
    t.ack(3, 10, 12);
    t.ack(3, 9, 9);
    expect(t.has(3, 7, 12)).toBe(true);
    expect(t.has(3, 6, 12)).toBe(false);
    t.ack(3, 5, 6);
    expect(t.advance()).toBe(at(12));
    expect(t.has(3, 1, 12)).toBe(true);
  });

  it('one replica alone is a quorum of one', () => {
    const t = new QuorumTracker([1], 1, NONE);
    t.ack(1, 0, 0);
    expect(t.advance()).toBe(at(0));
  });
});
