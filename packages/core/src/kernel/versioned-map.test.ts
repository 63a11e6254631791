/** VersionedMap against a plain Map: what is seen is equal in every phase, order and all, and what is held does not change. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { VersionedMap } from './versioned-map.ts';

type Step =
  | { readonly do: 'set'; readonly key: number; readonly value: number }
  | { readonly do: 'delete'; readonly key: number }
  | { readonly do: 'freeze' | 'release' }
  | { readonly do: 'settle'; readonly limit: number };

const key = fc.nat({ max: 9 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('set' as const), key, value: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('freeze' as const, 'release' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const), limit: fc.integer({ min: 1, max: 3 }) }) },
);

it('is a Map whatever is held, and what is held stays as it was', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const map = new VersionedMap<number, number>();
      const plain = new Map<number, number>();
      let held: { entries: IterableIterator<[number, number]>; expected: [number, number][] } | null = null;
      const release = (): void => {
        if (held === null) return;
        expect([...held.entries]).toEqual(held.expected);
        held = null;
        map.release();
      };
      for (const s of steps) {
        if (s.do === 'set') {
          map.set(s.key, s.value);
          plain.set(s.key, s.value);
        } else if (s.do === 'delete') expect(map.delete(s.key)).toBe(plain.delete(s.key));
        else if (s.do === 'freeze' && held === null) {
          const { size, entries } = map.freeze();
          expect(size).toBe(plain.size);
          held = { entries, expected: [...plain] };
        } else if (s.do === 'release') release();
        else if (s.do === 'settle' && held === null) map.settle(s.limit);
        expect([...map.entries()]).toEqual([...plain]);
        expect([...map.keys()]).toEqual([...plain.keys()]);
        expect([...map.values()]).toEqual([...plain.values()]);
        expect(map.size).toBe(plain.size);
        expect(map.first()).toEqual([...plain][0]);
        for (let k = 0; k < 10; k++) expect([map.get(k), map.has(k)]).toEqual([plain.get(k), plain.has(k)]);
      }
      release();
      map.settle(Number.POSITIVE_INFINITY);
      expect([...map.entries()]).toEqual([...plain]);
    }),
    { numRuns: 500 },
  );
});

it('refuses a second version and settling while one is held', () => {
  const map = new VersionedMap<number, number>();
  map.set(1, 1);
  map.freeze();
  expect(() => map.freeze()).toThrow(/one version/);
  expect(() => map.settle(1)).toThrow(/held/);
  expect(() => map.clear()).toThrow(/held/);
});
