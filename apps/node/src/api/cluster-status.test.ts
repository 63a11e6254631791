import { describe, expect, it } from 'vitest';
import { fakeDetail } from '../testing/fake-host.ts';
import { mergeStatus, summaryOf, unreachable } from './cluster-status.ts';
import { clusterStatus, type ReplicaSummary } from './schema.ts';

const of = (id: number, change: Partial<ReplicaSummary>): ReplicaSummary => ({
  ...summaryOf(fakeDetail()),
  id,
  ...change,
});

describe('mergeStatus', () => {
  it('takes view and primary from the highest view whose primary is normal', () => {
    const merged = mergeStatus('c', [
      of(1, { view: '9', role: 'primary' }),
      of(2, { view: '10', role: 'primary' }),
      of(3, { view: '11', role: 'none', status: 'view-change' }),
    ]);
    expect(merged).toMatchObject({ view: '10', primary: 2 });
    expect(clusterStatus.parse(merged).replicas.length).toBe(3);
  });

  it('has neither when nobody is a normal primary', () => {
    const merged = mergeStatus('c', [of(1, { role: 'backup', view: '4' }), unreachable(2, 'http://x', '7')]);
    expect(merged).toMatchObject({ view: null, primary: null });
    expect(merged.replicas[1]).toEqual({
      id: 2,
      pid: null,
      url: 'http://x',
      role: 'none',
      status: 'unreachable',
      view: '7',
      commit: null,
      applied: null,
      durable: null,
      last: null,
      digest: '',
    });
  });
});
