import { describe, expect, it } from 'vitest';
import { EventRing } from '@chronon/core/replica-events';
import { RateLimit } from './rate-limit.ts';

describe('EventRing', () => {
  it('gives what came after, and says how much of it is gone', () => {
    const ring = new EventRing(2, () => 5, 10);
    for (let i = 1; i <= 4; i++) ring.add('k', `e${i}`);
    expect(ring.after(2, 100)).toEqual({
      events: [expect.objectContaining({ seq: 3 }), expect.objectContaining({ seq: 4 })],
      dropped: 0,
    });
    expect(ring.after(4, 100)).toEqual({ events: [], dropped: 0 });
    for (let i = 5; i <= 25; i++) ring.add('k', `e${i}`);
    const { events, dropped } = ring.after(4, 100);
    expect(events.map(({ seq }) => seq)).toEqual([16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    expect(dropped).toBe(11);
    expect(ring.after(20, 2)).toMatchObject({ dropped: 3, events: [{ text: 'e24' }, { text: 'e25' }] });
  });
});

describe('RateLimit', () => {
  it('gives so many permits a window and counts the rest', () => {
    const limit = new RateLimit(2, 100);
    expect([0, 1, 2, 99].map((ms) => limit.allow(ms))).toEqual([true, true, false, false]);
    expect(limit.takeSuppressed()).toBe(2);
    expect(limit.allow(100)).toBe(true);
    expect(limit.takeSuppressed()).toBe(0);
  });
});
