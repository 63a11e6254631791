import { expect, test } from 'vitest';
import { detail } from '../testing.ts';
import { mergeLeases } from './leases.ts';
import { Observer } from './observer.ts';

const texts = (observer: Observer) => observer.events.map(({ text }) => text);

test('a view change, a restart and a repair become events', () => {
  const observer = new Observer();
  observer.answer(detail(3, { uptimeMs: 5_000, faulty: [{ from: '4', to: '6' }] }), 0);
  observer.answer(detail(3, { uptimeMs: 5_250, view: '42', role: 'primary' }), 250);
  observer.answer(detail(3, { uptimeMs: 100, view: '42', role: 'backup' }), 500);
  expect(texts(observer)).toEqual(['view 42: r3 is primary', 'r3 repaired its log', 'r3 restarted']);
});

test('what the scrubber finds and repairs, and a full disk, become events; a restart counts anew', () => {
  const observer = new Observer();
  const { scrub } = detail(3);
  observer.answer(detail(3, { uptimeMs: 1_000 }), 0);
  observer.answer(detail(3, { uptimeMs: 2_000, scrub: { ...scrub, damaged: 3, repaired: 1 } }), 250);
  observer.answer(detail(3, { uptimeMs: 3_000, scrub: { ...scrub, damaged: 3, repaired: 3 }, readOnly: true }), 500);
  observer.answer(detail(3, { uptimeMs: 100 }), 750);
  expect(texts(observer)).toEqual([
    'r3 found 3 damaged places on its own disk',
    'r3 repaired 1 damaged place',
    'r3 has no space left: read-only',
    'r3 repaired 2 damaged places',
    'r3 restarted',
    'r3 has space again',
  ]);
});

test('digests are compared at an equal index only', () => {
  const observer = new Observer();
  observer.answer(detail(1, { applied: '10', digest: 'aa' }), 0);
  observer.answer(detail(2, { applied: '11', digest: 'bb' }), 0);
  expect(observer.agreed).toBeNull();
  observer.answer(detail(3, { applied: '11', digest: 'bb' }), 0);
  expect(observer.agreed).toEqual({ index: '11', replicas: [2, 3], digest: 'bb' });
  observer.answer(detail(2, { applied: '10', digest: 'ax' }), 0);
  expect(observer.mismatch).toEqual({
    index: '10',
    replicas: [
      { id: 1, digest: 'aa' },
      { id: 2, digest: 'ax' },
    ],
  });
});

test('the rate comes from answers, and a time without answers is a gap', () => {
  const observer = new Observer();
  expect(observer.commitsPerSecond(0)).toBeNull();
  for (let t = 0; t <= 2_000; t += 250) observer.answer(detail(2, { commit: String(t) }), 10_000 + t);
  expect(observer.commitsPerSecond(12_000)).toBe(1_000);
  observer.answer(detail(2, { commit: '900000' }), 40_000);
  const history = observer.history(41_000);
  expect(history.at(-1)).toBe(0);
  expect(history.at(-10)).toBeNull();
  expect(Math.max(...history.map((n) => n ?? 0))).toBeLessThanOrEqual(1_000);
});

test('leases of both ends of a link are one fault', () => {
  const lease = { id: 'a1', kind: 'cut' as const, replica: 1, to: 3, reason: '', remainingMs: 900, ttlMs: 1000 };
  const [fault, ...rest] = mergeLeases([
    { lease, by: 'r1' },
    { lease: { ...lease, remainingMs: 950 }, by: 'r3' },
    { lease: { ...lease, to: 2, remainingMs: -1 }, by: 'r1' },
  ]);
  expect(rest).toEqual([]);
  expect(fault).toMatchObject({ key: 'cut:1:3', remainingMs: 950, ids: ['a1'], statedBy: ['r1', 'r3'] });
});
