import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { firstNewSeed, NEW_SEEDS, newSeeds, simulateArgs } from './new-seeds.mjs';
import { fromExitCode, fromNewSeeds, fromPlaywright, fromSimulator, fromTests, fromVitest } from './reports.mjs';

const OK = { code: 0, output: '', stdout: '' };
const BAD = { code: 1, output: 'it broke', stdout: '' };

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chronon-reports-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function file(name: string, value: unknown): string {
  const path = join(dir, name);
  writeFileSync(path, JSON.stringify(value));
  return path;
}

const counts = ({ passed, failed, skips }: { passed: number; failed: number; skips: unknown[] }) => [
  passed,
  failed,
  skips.length,
];

describe('vitest', () => {
  const entry = (title: string, status: string) => ({
    ancestorTitles: ['log'],
    title,
    status,
    failureMessages: ['why'],
  });
  const report = (...assertionResults: unknown[]) =>
    file('vitest.json', { testResults: [{ name: 'a.test.ts', status: 'passed', message: '', assertionResults }] });

  test('counts, and takes the reason of a skip from the notes', () => {
    const path = report(entry('reads', 'passed'), entry('vectors', 'skipped'), entry('writes', 'failed'));
    const notes = file('notes.json', { 'log > vectors': 'no ../shared' });
    const outcome = fromVitest(path, notes, BAD);
    expect(counts(outcome)).toEqual([1, 1, 1]);
    expect(outcome.skips).toEqual([{ name: 'log > vectors', reason: 'no ../shared' }]);
  });

  test('a group that is skipped has its reason in its name', () => {
    const skipped = entry('opens', 'skipped');
    const path = report({ ...skipped, ancestorTitles: ['disk (skipped: EPERM (seccomp))', 'on Linux'] });
    expect(fromVitest(path, 'none', OK).skips).toMatchObject([{ reason: 'EPERM (seccomp)' }]);
    expect(fromVitest(report(skipped), 'none', OK).skips).toMatchObject([{ reason: 'no reason given' }]);
  });

  test('a file that cannot be loaded is a failure', () => {
    const path = file('vitest.json', {
      testResults: [{ name: 'a.test.ts', status: 'failed', message: 'no such module', assertionResults: [] }],
    });
    expect(counts(fromVitest(path, 'none', BAD))).toEqual([0, 1, 0]);
  });

  test('no report, no test, or a bad exit code is a failure', () => {
    expect(counts(fromVitest(join(dir, 'none'), 'none', OK))).toEqual([0, 1, 0]);
    expect(counts(fromVitest(report(entry('vectors', 'skipped')), 'none', OK))).toEqual([0, 1, 1]);
    expect(counts(fromVitest(report(entry('reads', 'passed')), 'none', BAD))).toEqual([1, 1, 0]);
  });
});

test('playwright: nested suites, reasons of skips, and flaky is failed', () => {
  const spec = (title: string, status: string, annotations: unknown[] = []) => ({
    title,
    tests: [{ status, annotations, results: [{ errors: [{ message: 'red' }] }] }],
  });
  const path = file('playwright.json', {
    errors: [],
    suites: [
      {
        title: 'chaos.spec.ts',
        specs: [spec('heals', 'expected'), spec('cuts', 'flaky')],
        suites: [
          { title: 'phone', specs: [spec('fits', 'skipped', [{ type: 'skip', description: 'no touch' }])], suites: [] },
        ],
      },
    ],
  });
  const outcome = fromPlaywright(path, BAD);
  expect(counts(outcome)).toEqual([1, 1, 1]);
  expect(outcome.skips[0]).toEqual({ name: 'chaos.spec.ts > phone > fits', reason: 'no touch' });
});

test('the simulator: each seed is a test', () => {
  const run = (report: unknown, code = 0) =>
    fromSimulator({ code, output: '', stdout: `seed 1 ...\n${JSON.stringify(report)}\n` });
  expect(counts(run({ seeds: 200, failures: [] }))).toEqual([200, 0, 0]);
  expect(counts(run({ seeds: 200, failures: [{ seed: 7 }] }, 1))).toEqual([199, 1, 0]);
  expect(counts(run({ seeds: 200, failures: [], tooFewCommands: [3], tooRare: ['viewChanges'] }, 1))).toEqual([
    199, 2, 0,
  ]);
  expect(counts(run({ seeds: 0, failures: [] }))).toEqual([0, 1, 0]);
  expect(counts(run({ seeds: 200, failures: [] }, 1))).toEqual([200, 1, 0]);
  expect(counts(fromSimulator(BAD))).toEqual([0, 1, 0]);
});

describe('new seeds', () => {
  const run = (report: unknown, code: number, strict = false) =>
    fromNewSeeds({ code, output: '', stdout: `${JSON.stringify(report)}\n` }, NEW_SEEDS, strict);
  const failure = { seed: 7, invariant: 'one-vote-a-view', sentence: 'r1 voted twice', replay: 'chronon --seed 7' };
  const report = { ok: false, seeds: 200, failures: [failure], tooFewCommands: [9], tooRare: ['viewChanges'] };

  test('what they find fails nothing, and is told with the command that replays it', () => {
    const outcome = run(report, 1);
    expect(counts(outcome)).toEqual([198, 0, 0]);
    expect(outcome.findings).toEqual([
      'seed 7: one-vote-a-view: r1 voted twice\n  replay: chronon --seed 7',
      'seed 9: too few acknowledged commands to prove anything',
    ]);
    const little = { ok: false, seeds: 200, failures: [], neverReached: ['x'] };
    expect(run(little, 1)).toMatchObject({ passed: 200, failed: 0, findings: [] });
  });

  test('strict: they fail', () => {
    const outcome = run(report, 1, true);
    expect(counts(outcome)).toEqual([198, 2, 0]);
    expect([outcome.findings, outcome.failures.length]).toEqual([[], 2]);
  });

  test('a run that did not end well, or ran fewer, failed all the same', () => {
    const clean = { ok: true, seeds: 200, failures: [] };
    expect(counts(run(clean, 0))).toEqual([200, 0, 0]);
    expect(counts(run(clean, 1))).toEqual([200, 1, 0]);
    expect(counts(run(clean, 3))).toEqual([200, 1, 0]);
    expect(run({ ...clean, seeds: 12 }, 0).failures[0]).toContain('ran 12 of 200 new seeds');
    expect(counts(fromNewSeeds(BAD, NEW_SEEDS, false))).toEqual([0, 1, 0]);
  });

  test('which ones follows from the commit; two commits share none', async () => {
    const [one, other] = ['1b859b9', '1b859ba'].map((end) => firstNewSeed(end.padStart(40, '0')));
    expect(Math.abs(one! - other!)).toBeGreaterThanOrEqual(NEW_SEEDS);
    expect(firstNewSeed('f'.repeat(40)) + NEW_SEEDS).toBeLessThan(2 ** 32);
    expect(firstNewSeed('2026-11-25')).not.toBe(firstNewSeed('2026-11-26'));
    const { source, first } = await newSeeds();
    expect(source).toMatch(/^commit [0-9a-f]{12}$|^\d{4}-\d\d-\d\d$/);
    expect(simulateArgs(first).join(' ')).toBe(
      `simulate --seeds 200 --first-seed ${first} --replicas 3,5,7 --no-shrink`,
    );
  });
});

test('a check is one test', () => {
  expect(counts(fromExitCode(OK))).toEqual([1, 0, 0]);
  expect(counts(fromExitCode(BAD))).toEqual([0, 1, 0]);
});

describe('a suite of our own', () => {
  const printed = (code: number, ...tests: unknown[]) => ({
    code,
    output: '',
    stdout: `${JSON.stringify({ tests })}\n`,
  });
  const test1 = { name: 'valid', status: 'passed', reason: '' };

  test('counts by status, with the reasons', () => {
    const skipped = { name: 'at work', status: 'skipped', reason: 'no engine' };
    const outcome = fromTests(printed(1, test1, skipped, { name: 'up', status: 'failed', reason: 'why' }), 'compose');
    expect(counts(outcome)).toEqual([1, 1, 1]);
    expect(outcome.skips).toEqual([{ name: 'at work', reason: 'no engine' }]);
    expect(outcome.failures).toEqual(['up\nwhy']);
  });

  test('no JSON, no test or a bad exit code is a failure', () => {
    expect(counts(fromTests(BAD, 'compose'))).toEqual([0, 1, 0]);
    expect(counts(fromTests(printed(0), 'compose'))).toEqual([0, 1, 0]);
    expect(counts(fromTests(printed(1, test1), 'compose'))).toEqual([1, 1, 0]);
  });
});
