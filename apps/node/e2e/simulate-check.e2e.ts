/** `chronon simulate` and `chronon check` as a person calls them: verdicts, exit codes, files. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { chronon, temporaryDirectory } from './cluster.ts';

const directory = temporaryDirectory();
const path = (name: string): string => join(directory, name);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const MUTATION = 'ack-before-barrier';

describe('chronon simulate', () => {
  it('passes, says how fast, and comes to the same trace hash twice', () => {
    const seeds = ['--seeds', '4', '--first-seed', '11', '--replicas', '3,7', '--json'];
    const ran = chronon('simulate', ...seeds, '--check-determinism');
    const report = JSON.parse(ran.stdout) as Record<string, unknown>;
    expect(ran.code).toBe(0);
    expect(report).toMatchObject({ ok: true, verdict: 'pass', seeds: 4, failures: [] });
    expect(report['simulatedSecondsPerSecond']).toBeGreaterThan(0);
    const again = chronon('simulate', ...seeds, '--threads', '1');
    expect((JSON.parse(again.stdout) as Record<string, unknown>)['traceHash']).toBe(report['traceHash']);
  });

  it('a violation: the invariant in words, a shrunk schedule in a file, and its replay', () => {
    const found = chronon('simulate', '--seeds', '20', '--mutation', MUTATION, '--json');
    const caught = (JSON.parse(found.stdout) as { failures: { seed: number }[] }).failures[0]!.seed;
    const broken = ['--seed', String(caught), '--mutation', MUTATION];
    const ran = chronon('simulate', ...broken, '--save', path('schedule.json'), '--shrink-seconds', '20', '--json');
    expect(ran.code).toBe(1);
    const report = JSON.parse(ran.stdout) as {
      failures: { invariant: string; sentence: string; replay: string }[];
      shrunk: { left: number; replay: string };
      faults: number;
    };
    expect(report.failures[0]!.sentence).not.toBe('');
    expect(report.shrunk.left).toBeLessThanOrEqual(report.faults);
    expect(report.shrunk.replay).toContain(`--mutation ${MUTATION}`);
    const replayed = chronon('simulate', '--schedule', path('schedule.json'), '--no-shrink', '--json');
    expect(replayed.code).toBe(1);
    const failure = (JSON.parse(replayed.stdout) as typeof report).failures[0]!;
    expect(failure.invariant).toBe(report.failures[0]!.invariant);
  });

  it.each([
    [['--replicas', '4']],
    [['--seed', '1', '--seeds', '2']],
    [['--minutes', '0']],
    [['--mutation', 'none-such']],
    [['--trace', 'x']],
    [['--schedule', '/nowhere']],
  ])('%j is wrong use', (args) => {
    expect(chronon('simulate', ...args).code).toBe(2);
  });
});

describe('chronon check', () => {
  const line = (fields: object): string => `${JSON.stringify(fields)}\n`;
  const write = line({ type: 'invoke', client: 1, f: 'write', value: 1 }) + line({ type: 'ok', client: 1 });
  const read = (value: unknown): string =>
    line({ type: 'invoke', client: 2, f: 'read' }) + line({ type: 'ok', client: 2, value });

  it('ok is 0, illegal is 1 with the operation that cannot be placed and a page, anything else is 2', () => {
    writeFileSync(path('good.jsonl'), write + read(1));
    writeFileSync(path('bad.jsonl'), write + read(null));
    writeFileSync(path('no.jsonl'), '{"type":"ok"}\n');
    expect(chronon('check', path('good.jsonl'), '--model', 'register').code).toBe(0);
    const bad = chronon('check', path('bad.jsonl'), '--model', 'register', '--html', path('bad.html'), '--json');
    expect(bad.code).toBe(1);
    expect(JSON.parse(bad.stdout)).toMatchObject({ verdict: 'illegal', counterexample: { blocked: { f: 'read' } } });
    expect(readFileSync(path('bad.html'), 'utf8')).toContain('Cannot be placed');
    expect(chronon('check', path('no.jsonl'), '--model', 'register').code).toBe(2);
    expect(chronon('check', path('good.jsonl'), '--model', 'nothing').code).toBe(2);
    expect(chronon('check', path('nowhere'), '--model', 'kv').code).toBe(2);
  });
});
