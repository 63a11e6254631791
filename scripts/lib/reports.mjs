/**
 * Outcomes of the suites, read from the runners' own JSON reports. An outcome is `{passed, failed, skips: [{name, reason}], failures: [text]}`.
 */
import { existsSync, readFileSync } from 'node:fs';

const NO_REASON = 'no reason given';

/** A suite that is one check: passed when the command ended with 0. */
export function fromExitCode({ code, output }) {
  return code === 0
    ? { passed: 1, failed: 0, skips: [], failures: [] }
    : { passed: 0, failed: 1, skips: [], failures: [output] };
}

/** For a runner that ended without its report: one failure. */
function broken(what, { code, output }) {
  return { passed: 0, failed: 1, skips: [], failures: [`${what} (exit code ${code})\n${output}`] };
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/** vitest's JSON reporter, with the notes of vitest-notes.mjs beside it. */
export function fromVitest(reportPath, notesPath, result) {
  const report = readJson(reportPath);
  if (report === null) return broken('vitest wrote no report', result);
  const notes = existsSync(notesPath) ? readJson(notesPath) : {};
  const outcome = { passed: 0, failed: 0, skips: [], failures: [] };
  for (const file of report.testResults) {
    for (const test of file.assertionResults) {
      const name = [...test.ancestorTitles, test.title].join(' > ');
      if (test.status === 'passed') outcome.passed++;
      else if (test.status === 'failed') {
        outcome.failed++;
        outcome.failures.push(`${file.name}\n  ${name}\n${test.failureMessages.join('\n')}`);
      } else outcome.skips.push({ name, reason: notes?.[name] || reasonIn(name) });
    }
    // A file that could not be loaded has no tests, only a message.
    if (file.assertionResults.length === 0 && file.status === 'failed') {
      outcome.failed++;
      outcome.failures.push(`${file.name}\n${file.message}`);
    }
  }
  return ended(outcome, result, 'vitest');
}

/** A group that is skipped as a whole says why in its name: `... (skipped: why)`. */
function reasonIn(name) {
  return /\(skipped: (.+)\)(?: > |$)/.exec(name)?.[1] ?? NO_REASON;
}

/** Playwright's JSON reporter. A flaky test passed in the end, but not every time: that is a failure here. */
export function fromPlaywright(reportPath, result) {
  const report = readJson(reportPath);
  if (report === null) return broken('playwright wrote no report', result);
  const outcome = { passed: 0, failed: 0, skips: [], failures: [] };
  const visit = (suite, path) => {
    for (const spec of suite.specs ?? []) {
      for (const test of spec.tests) {
        const name = [...path, spec.title].join(' > ');
        if (test.status === 'expected') outcome.passed++;
        else if (test.status === 'skipped') {
          const reason = test.annotations?.find(({ type }) => type === 'skip' || type === 'fixme')?.description;
          outcome.skips.push({ name, reason: reason || NO_REASON });
        } else {
          outcome.failed++;
          const errors = test.results.flatMap((run) => run.errors.map(({ message }) => message));
          outcome.failures.push(`${name} (${test.status})\n${errors.join('\n')}`);
        }
      }
    }
    for (const child of suite.suites ?? []) visit(child, [...path, child.title]);
  };
  for (const suite of report.suites ?? []) visit(suite, [suite.title]);
  for (const error of report.errors ?? []) {
    outcome.failed++;
    outcome.failures.push(error.message ?? String(error));
  }
  return ended(outcome, result, 'playwright');
}

/**
 * `chronon simulate --json`: one object. Each seed is a test: it fails by a violation or by proving too little (`tooFewCommands`). A statistic that
 * was above zero in too few seeds (`tooRare`) is a failure of its own.
 */
export function fromSimulator(result) {
  const report = lastObject(result.stdout);
  if (report === null) return broken('the simulator printed no JSON', result);
  const { seeds, failures, tooFewCommands = [], tooRare = [] } = report;
  const poor = tooFewCommands.map((seed) => `seed ${seed}: too few acknowledged commands to prove anything`);
  const rare = tooRare.map((name) => `${name} was above zero in fewer than half of the seeds`);
  const outcome = {
    passed: seeds - failures.length - poor.length,
    failed: failures.length + poor.length + rare.length,
    skips: [],
    failures: [...failures.map((failure) => JSON.stringify(failure)), ...poor, ...rare],
  };
  return ended(outcome, result, 'the simulator');
}

/**
 * Seeds that nobody has run before (new-seeds.mjs), `expected` of them. What they find (a violation, or a seed that proves too little) is a finding: it stands in `findings`
 * and fails nothing, unless `strict`. That too little happened in all of them together is for the fixed seeds to say.
 */
export function fromNewSeeds(result, expected, strict) {
  const report = lastObject(result.stdout);
  if (report === null) return broken('the simulator printed no JSON', result);
  const { ok, seeds, failures, tooFewCommands = [] } = report;
  if (seeds !== expected) return broken(`the simulator ran ${seeds} of ${expected} new seeds`, result);
  const findings = [
    ...failures.map(
      ({ seed, invariant, sentence, replay }) => `seed ${seed}: ${invariant}: ${sentence}\n  replay: ${replay}`,
    ),
    ...tooFewCommands.map((seed) => `seed ${seed}: too few acknowledged commands to prove anything`),
  ];
  const outcome = { passed: seeds - findings.length, failed: 0, skips: [], failures: [], findings };
  if (strict) Object.assign(outcome, { failed: findings.length, failures: findings, findings: [] });
  // A report that is not ok ends with 1, and has been read; any other end is one that it does not explain.
  const code = ok === false && result.code === 1 ? 0 : result.code;
  return ended(outcome, { ...result, code }, 'the simulator');
}

/** A suite of our own: `{tests: [{name, status, reason}]}` as its last line; status is passed, failed or skipped. */
export function fromTests(result, who) {
  const report = lastObject(result.stdout);
  if (report === null) return broken(`${who} printed no JSON`, result);
  const of = (status) => report.tests.filter((test) => test.status === status);
  const outcome = {
    passed: of('passed').length,
    failed: of('failed').length,
    skips: of('skipped').map(({ name, reason }) => ({ name, reason: reason || NO_REASON })),
    failures: of('failed').map(({ name, reason }) => `${name}\n${reason}`),
  };
  return ended(outcome, result, who);
}

function lastObject(text) {
  const whole = text.trim();
  for (const candidate of [whole, ...whole.split('\n').reverse()]) {
    try {
      const value = JSON.parse(candidate);
      if (value !== null && typeof value === 'object') return value;
    } catch {
      // Not this one.
    }
  }
  return null;
}

/** A runner that counts no failure but did not end with 0 failed all the same; so did one that ran nothing. */
function ended(outcome, result, who) {
  if (outcome.failed === 0 && result.code !== 0) {
    outcome.failed++;
    outcome.failures.push(`${who} ended with exit code ${result.code}\n${result.output}`);
  }
  if (outcome.failed === 0 && outcome.passed === 0) {
    outcome.failed++;
    outcome.failures.push(`${who} ran no test`);
  }
  return outcome;
}
