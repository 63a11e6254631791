import { expect, test } from 'vitest';
import { detail } from '../testing.ts';
import { damageText, scrubShare, scrubText, unchecked } from './scrub.ts';

const { scrub } = detail(1);

test('what the scrubber does, in words; nothing is called whole before it was read', () => {
  const fresh = { ...scrub, passes: 0, msSinceLastPass: null, bytes: 0, ofBytes: 0 };
  expect([damageText(fresh), unchecked(fresh), scrubShare(fresh)]).toEqual(['not checked yet', true, 0]);
  expect(scrubText(fresh)).toBe('has not begun yet; no whole pass since it started');
  expect(scrubText({ ...scrub, passes: 3 })).toBe('rests; last whole pass ended 5.0 s ago, 3 passes since it started');
  const reading = { ...scrub, phase: 'log' as const, bytes: 32 * 1024 * 1024, ofBytes: 64 * 1024 * 1024 };
  expect(scrubText(reading)).toMatch(/^reads its log, 32.0 MiB of 64.0 MiB; last whole pass/);
  expect(scrubShare(reading)).toBe(0.5);
  expect(damageText(scrub)).toBe('nothing damaged');
  expect(damageText({ ...fresh, damaged: 2, repaired: 1 })).toBe('2 found damaged, 1 repaired');
  expect(damageText({ ...scrub, damaged: 2, repaired: 2 })).toBe('2 found damaged, all repaired');
  expect([scrubText({ ...scrub, phase: 'off' }), damageText({ ...fresh, phase: 'off' })]).toEqual([
    'switched off',
    'not checked',
  ]);
});
