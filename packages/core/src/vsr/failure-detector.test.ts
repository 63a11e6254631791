import { describe, expect, it } from 'vitest';
import { FailureDetector, PATIENCE_MAX } from './failure-detector.ts';
import { elected, type Lab, LAB_CONFIG, primaryId } from './testing/lab.ts';

function after(gaps: readonly number[]): FailureDetector {
  const detector = new FailureDetector();
  let tick = 0;
  detector.heard(tick);
  for (const gap of gaps) detector.heard((tick += gap));
  return detector;
}

describe('FailureDetector', () => {
  it('keeps to the configured time while heartbeats are regular, or hardly any were heard', () => {
    expect(after(Array.from({ length: 100 }, () => 5)).patience(50)).toBe(50);
    expect(after([40, 1, 40]).patience(50)).toBe(50);
  });

  it('grows with their spread, within a bound', () => {
    const patience = after(Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 5 : 35))).patience(50);
    expect(patience).toBe(20 + 6 * 15);
    expect(after(Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 1 : 900))).patience(50)).toBe(PATIENCE_MAX * 50);
  });

  it('forgets what is older than its window', () => {
    const gaps = Array.from({ length: 20 }, () => 200).concat(Array.from({ length: 64 }, () => 5));
    expect(after(gaps).patience(50)).toBe(50);
  });
});

/** Lets heartbeats through only every `gap` ticks, for so many of them. */
function hearEvery(lab: Lab, gap: number, times: number): void {
  for (let i = 0; i < times; i++) {
    lab.drop = (_from, _to, m) => m.type === 'commit';
    lab.run(gap - 2);
    lab.drop = () => false;
    lab.run(2);
  }
}

describe('a view', () => {
  it('does not change in a healthy cluster whose heartbeats become irregular, and still does when the primary is gone', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const { view } = lab.r(primary).node.state;
    for (const gap of [4, 16, 4, 18, 4, 20, 4, 24, 4, 30, 4, 34]) hearEvery(lab, gap, 6);
    for (const replica of lab.replicas) expect(replica.node.state.view).toBe(view);
    lab.crash(primary);
    lab.run(3 * PATIENCE_MAX * LAB_CONFIG.viewChangeTicks);
    expect(primaryId(lab)).not.toBe(primary);
  });

  it('does not change in a healthy cluster at all', () => {
    const lab = elected(5);
    const { view } = lab.r(1).node.state;
    lab.run(3000);
    for (const replica of lab.replicas) expect(replica.node.state.view).toBe(view);
  });
});
