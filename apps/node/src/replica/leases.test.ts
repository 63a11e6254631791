import { describe, expect, it } from 'vitest';
import { Leases, LEASES_MAX, TTL_MS_MAX, type LeaseRequest } from './leases.ts';

const cut = (id: string, ttlMs = 1000, replica = 1, to = 3): LeaseRequest => ({
  id,
  kind: 'cut',
  replica,
  to,
  reason: 'test',
  ttlMs,
});

function start(): { leases: Leases; ended: string[]; clock: { now: number } } {
  const clock = { now: 5 };
  const ended: string[] = [];
  return {
    clock,
    ended,
    leases: new Leases(
      () => clock.now,
      (lease, why) => ended.push(`${lease.id} ${why}`),
    ),
  };
}

describe('Leases', () => {
  it('cut one direction until the time is over, whoever is gone', () => {
    const { leases, clock, ended } = start();
    expect(leases.add(cut('a'))).toBeNull();
    expect(leases.isCut(1, 3)).toBe(true);
    expect(leases.isCut(3, 1)).toBe(false);
    clock.now += 999;
    expect(leases.isCut(1, 3)).toBe(true);
    expect(leases.list()).toMatchObject([{ id: 'a', remainingMs: 1 }]);
    clock.now += 1;
    expect(leases.isCut(1, 3)).toBe(false);
    expect(leases.list()).toEqual([]);
    expect(ended).toEqual(['a expired']);
  });

  it('of the same link hold until the last of them ends', () => {
    const { leases, clock, ended } = start();
    leases.add(cut('a', 100));
    leases.add(cut('b', 500));
    clock.now += 200;
    expect(leases.isCut(1, 3)).toBe(true);
    expect(leases.release('b')).toBe(true);
    expect(leases.release('b')).toBe(false);
    expect(leases.isCut(1, 3)).toBe(false);
    expect(ended).toEqual(['a expired', 'b healed']);
  });

  it('are bounded in number and time', () => {
    const { leases } = start();
    expect(leases.add(cut('a', TTL_MS_MAX + 1))).toBe('E_LEASE_TTL');
    expect(leases.add(cut('a', Number.NaN))).toBe('E_LEASE_TTL');
    for (let i = 0; i < LEASES_MAX; i++) expect(leases.add(cut(`l${i}`))).toBeNull();
    expect(leases.add(cut('one more'))).toBe('E_LEASES_MAX');
    expect(leases.add(cut('l0'))).toBe('E_LEASE_EXISTS');
    expect(leases.releaseAll()).toBe(LEASES_MAX);
    expect(leases.isCut(1, 3)).toBe(false);
  });

  it('end after a pause of the whole process', () => {
    const { leases, clock } = start();
    leases.add({ id: 'p', kind: 'pause', replica: 2, to: null, reason: '', ttlMs: 1000 });
    clock.now += 60_000;
    expect(leases.list()).toEqual([]);
  });
});
