import { expect, test } from 'vitest';
import { detail, frameOf, view } from '../testing.ts';
import { freshness } from './freshness.ts';
import { links, linkName } from './links.ts';
import { between, expect as expectation, isolate, linkKey } from './partition.ts';
import { verdict } from './verdict.ts';

const healthy = [view(detail(1)), view(detail(2)), view(detail(3))];
const cut = (replica: number, to: number) => ({
  key: `cut:${replica}:${to}`,
  kind: 'cut' as const,
  replica,
  to,
  reason: '',
  remainingMs: 23_000,
  ttlMs: 30_000,
  ids: ['x'],
  statedBy: [],
});

test('a healthy cluster, in one sentence', () => {
  expect(verdict(frameOf(healthy))).toMatchObject({
    level: 'committing',
    sentence: '3 of 3 replicas agree up to index 184,220; primary r2, view 41, last view change 12 min ago.',
  });
});

test('a silent replica degrades the cluster; two silent ones of three stop it', () => {
  expect(verdict(frameOf([healthy[0]!, healthy[1]!, view(3)]))).toMatchObject({
    level: 'degraded',
    reasons: ['r3 does not answer (connection refused)'],
  });
  expect(verdict(frameOf([view(1), healthy[1]!, view(3)])).level).toBe('no-quorum');
  expect(verdict(frameOf([view(1), view(2), view(3)])).level).toBe('no-quorum');
  expect(verdict(null).level).toBe('unknown');
});

test('an old primary that only believes that it leads does not count; the one of the highest view does', () => {
  const replicas = [
    view(detail(1, { view: '42' })),
    view(detail(2)),
    view(detail(3, { role: 'primary', view: '42', serving: true })),
  ];
  expect(verdict(frameOf(replicas))).toMatchObject({ level: 'degraded', primary: 3, view: '42' });
});

test('a primary cut off from all others has no quorum, whatever its neighbours last said', () => {
  expect(verdict(frameOf(healthy, { faults: [cut(2, 1), cut(2, 3)] })).level).toBe('no-quorum');
  expect(verdict(frameOf(healthy, { faults: [cut(2, 1)] }))).toMatchObject({
    level: 'degraded',
    reasons: ['cut on purpose: r2 to r1'],
  });
});

test('different digests at one index outweigh everything', () => {
  const mismatch = {
    index: '7',
    replicas: [
      { id: 1, digest: 'aa' },
      { id: 3, digest: 'bb' },
    ],
  };
  expect(verdict(frameOf(healthy, { mismatch })).level).toBe('diverged');
  expect(verdict(frameOf([healthy[0]!, healthy[1]!, view(detail(3, { diverged: 'at 7' }))]))).toMatchObject({
    level: 'diverged',
    reasons: ['r3 diverged: at 7'],
  });
});

test('a replica far behind is named', () => {
  expect(verdict(frameOf([view(detail(1, { applied: '183000' })), healthy[1]!, healthy[2]!]))).toMatchObject({
    level: 'degraded',
    reasons: ['r1 is 1,220 entries behind'],
  });
});

test('links are called by their state', () => {
  const traffic = { messagesSent: 0, messagesReceived: 0, bytesSent: 0, bytesReceived: 0, reconnects: 0 };
  const link = { to: 3, connected: true, cut: false, rttMs: 0.4, queuedBytes: 0, droppedMessages: 0, traffic };
  const frame = frameOf(
    [view(detail(1, { links: [link, { ...link, to: 2, connected: false }] })), healthy[1]!, view(3)],
    { faults: [cut(2, 1)] },
  );
  const all = links(frame);
  expect(all.size).toBe(6);
  expect(linkName(all.get('1>3')!, 0)).toBe('link r1 to r3, up');
  expect(linkName(all.get('1>2')!, 0)).toBe('link r1 to r2, down');
  expect(linkName(all.get('2>1')!, 400)).toBe('link r2 to r1, cut, 23 s left');
  expect(linkName(all.get('3>1')!, 0)).toBe('link r3 to r1, unknown');
});

test('what a partition does', () => {
  const ids = [1, 2, 3, 4, 5];
  expect(expectation([1, 2, 3], 2, new Set(isolate(2, [1, 2, 3])))).toMatchObject({
    tone: 'warn',
    sides: 'r2 | r1, r3',
  });
  expect(expectation(ids, 1, new Set(between([1, 2, 3], [4, 5]))).lines[0]).toContain('keeps a majority');
  expect(expectation(ids, 5, new Set(between([1, 2, 3], [4, 5]))).lines[0]).toContain('view change');
  expect(expectation([1, 2, 3], 2, new Set([...isolate(1, [1, 2, 3]), linkKey(2, 3)])).tone).toBe('bad');
  expect(expectation([1, 2, 3], 2, new Set([linkKey(2, 3)])).lines.join()).toContain('no longer hear the primary');
  expect(expectation([1, 2, 3], 2, new Set(), [1, 3]).tone).toBe('bad');
  expect(expectation([1, 2, 3], 2, new Set())).toMatchObject({ tone: 'ok', sides: 'r1, r2, r3' });
});

test('freshness: two missed pings are stale, ten seconds offline, and a pause says what it holds back', () => {
  const base = { hasFrame: true, streamed: true, link: 'open' as const, paused: false, heldEvents: 0 };
  const state = (sinceFrameMs: number) => freshness({ ...base, sinceFrameMs }).state;
  expect([200, 1_200, 2_600, 11_000].map(state)).toEqual(['live', 'lagging', 'stale', 'offline']);
  expect(freshness({ ...base, sinceFrameMs: 7_000 }).label).toBe('STALE 00:07');
  expect(freshness({ ...base, sinceFrameMs: 0, paused: true, heldEvents: 1204 }).label).toBe(
    'PAUSED by you (+1,204 events)',
  );
  expect(freshness({ ...base, sinceFrameMs: 0, hasFrame: false }).safe).toBe(false);
  expect(freshness({ ...base, sinceFrameMs: 0, streamed: false })).toMatchObject({ state: 'connecting', safe: false });
  expect(freshness({ ...base, sinceFrameMs: 3_000, streamed: false }).state).toBe('stale');
});

test('a full disk and damage that is not repaired are said in words', () => {
  const scrub = { ...detail(3).scrub, damaged: 3, repaired: 1 };
  const replicas = [view(detail(1, { readOnly: true })), healthy[1]!, view(detail(3, { scrub }))];
  expect(verdict(frameOf(replicas))).toMatchObject({
    level: 'degraded',
    reasons: [
      'r1 has no space left for its log: read-only, writes are refused until there is space again (E_NO_SPACE)',
      'r3 found damage on its own disk: 3 found damaged, 1 repaired',
    ],
  });
});
