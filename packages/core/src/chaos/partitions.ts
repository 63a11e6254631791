/**
 * Partitions, by Jepsen's names: each is a set of directed links to cut. Drawn for a replica in focus (often the primary), so that the interesting ones
 * are not left to luck.
 */
import type { Prng } from '../prng.ts';

export const PARTITIONS = [
  'isolate',
  'halves',
  'majority-ring',
  'bridge',
  'one-way-out',
  'one-way-in',
  'one-link',
] as const;
export type PartitionKind = (typeof PARTITIONS)[number];

export type DirectedLink = readonly [from: number, to: number];

/** Links cut by `kind` among replicas 1..n; `focus` is the replica it is about. */
export function partitionLinks(kind: PartitionKind, replicas: number, focus: number, prng: Prng): DirectedLink[] {
  const others = prng.shuffle(all(replicas).filter((id) => id !== focus));
  switch (kind) {
    case 'isolate':
      return others.flatMap((id) => both(focus, id));
    case 'halves': {
      const minority = [focus, ...others.slice(0, Math.floor((replicas - 1) / 2) - prng.below(2))];
      return between(
        minority,
        all(replicas).filter((id) => !minority.includes(id)),
      );
    }
    case 'majority-ring':
      return majorityRing([focus, ...others]);
    case 'bridge': {
      const half = Math.floor(others.length / 2);
      return between(others.slice(0, half), others.slice(half));
    }
    case 'one-way-out':
      return others.map((id): DirectedLink => [focus, id]);
    case 'one-way-in':
      return others.map((id): DirectedLink => [id, focus]);
    case 'one-link': {
      const other = others[0];
      if (other === undefined) return [];
      return prng.chance(0.5) ? both(focus, other) : [[focus, other]];
    }
  }
}

/** Each replica sees a majority (itself and its neighbours on the ring), no two see the same one. */
function majorityRing(ring: readonly number[]): DirectedLink[] {
  const n = ring.length;
  const reach = Math.floor(n / 4) || 1;
  const cut: DirectedLink[] = [];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const distance = Math.min((i - j + n) % n, (j - i + n) % n);
      // In a ring of three everybody is a neighbour: cut one edge, and the middle sees both.
      if (distance > reach || (n === 3 && i + j === 2 && i !== j)) cut.push([ring[i]!, ring[j]!]);
    }
  }
  return cut;
}

function between(a: readonly number[], b: readonly number[]): DirectedLink[] {
  return a.flatMap((x) => b.flatMap((y) => both(x, y)));
}

function both(a: number, b: number): DirectedLink[] {
  return [
    [a, b],
    [b, a],
  ];
}

function all(replicas: number): number[] {
  return Array.from({ length: replicas }, (_, i) => i + 1);
}
