/**
 * `npm test [-- SUITE...]`: set-up, then every suite, then a summary that ends with `N passed, N failed, N skipped`. This is also what CI runs.
 *
 * Invariants: a suite that ran no test failed; each skip is listed with its reason, each finding among new seeds with the command that replays it; the counts come
 * from the runners' JSON reports.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, stopOnSignals, stopWithNpm } from './lib/child.mjs';
import { ROOT } from './lib/inputs.mjs';
import { Progress } from './lib/progress.mjs';
import { NEW_SEEDS, newSeeds, simulateArgs } from './lib/new-seeds.mjs';
import { fromExitCode, fromNewSeeds, fromPlaywright, fromSimulator, fromTests, fromVitest } from './lib/reports.mjs';
import { bin, findBrowser, runScript, setUp, SetUpError } from './setup.mjs';

const REPORTS = join(ROOT, '.reports');
const FAILURE_LINES_MAX = 80;
const SIMULATOR_SEEDS = 200;
const CHRONON = 'apps/node/bin/chronon.mjs';
/** Says what a finding among new seeds is: nothing, or `strict`: a failure. */
const NEW_SEEDS_MODE = 'CHRONON_NEW_SEEDS';

async function command(name, args, env = {}) {
  return await run(name, args, { cwd: ROOT, env: { NO_COLOR: '1', ...env } });
}

async function vitest(project) {
  const report = join(REPORTS, `${project}.json`);
  const notes = join(REPORTS, `${project}.notes.json`);
  const args = ['run', '--project', project, '--reporter=json', `--outputFile.json=${report}`];
  args.push('--reporter=default', '--reporter=./scripts/lib/vitest-notes.mjs');
  return fromVitest(report, notes, await command(bin('vitest'), args, { CHRONON_VITEST_NOTES: notes }));
}

async function playwright() {
  const report = join(REPORTS, 'playwright.json');
  const env = { PLAYWRIGHT_JSON_OUTPUT_NAME: report, CHRONON_CHROMIUM: findBrowser() ?? '' };
  const args = ['test', '--config', 'playwright/playwright.config.ts', '--reporter=json'];
  return fromPlaywright(report, await command(bin('playwright'), args, env));
}

async function newSimulatorSeeds() {
  const { source, first } = await newSeeds();
  const args = simulateArgs(first);
  process.stderr.write(`the new seeds of ${source}: chronon ${args.join(' ')}\n`);
  const result = await command(process.execPath, [CHRONON, ...args, '--json']);
  return fromNewSeeds(result, NEW_SEEDS, process.env[NEW_SEEDS_MODE] === 'strict');
}

/** All suites, fast ones first. `needs`: steps of setup.mjs beside `install`. */
const SUITES = [
  { name: 'format', needs: [], run: async () => fromExitCode(await command(bin('biome'), ['format', '.'])) },
  {
    name: 'lint',
    needs: ['build'],
    run: async () => fromExitCode(await command(bin('oxlint'), ['--type-aware', '--deny-warnings'])),
  },
  { name: 'types', needs: [], run: async () => fromExitCode(await command(bin('tsc'), ['-b'])) },
  { name: 'unit', needs: ['native'], run: () => vitest('unit') },
  {
    name: 'simulator',
    needs: ['build'],
    run: async () =>
      fromSimulator(
        await command(process.execPath, [CHRONON, 'simulate', '--seeds', String(SIMULATOR_SEEDS), '--json']),
      ),
  },
  { name: 'new-seeds', needs: ['build'], run: newSimulatorSeeds },
  {
    name: 'compose',
    needs: [],
    run: async () => fromTests(await command(process.execPath, ['scripts/compose-test.mjs', '--json']), 'compose-test'),
  },
  { name: 'e2e', needs: ['native', 'build', 'console'], run: () => vitest('e2e') },
  { name: 'playwright', needs: ['native', 'build', 'console', 'browser'], run: playwright },
];

function summarise(results) {
  const out = (line) => process.stdout.write(`${line}\n`);
  for (const { name, outcome } of results) {
    for (const failure of outcome.failures) {
      const lines = failure.trimEnd().split('\n');
      out(`\n--- ${name}: failed`);
      if (lines.length > FAILURE_LINES_MAX) out(`(${lines.length - FAILURE_LINES_MAX} lines left out)`);
      out(lines.slice(-FAILURE_LINES_MAX).join('\n'));
    }
  }
  out('\nsuite        passed  failed  skipped');
  const total = { passed: 0, failed: 0, skipped: 0, findings: 0 };
  for (const { name, outcome } of results) {
    const skipped = outcome.skips.length;
    const counts = `${String(outcome.passed).padStart(6)}  ${String(outcome.failed).padStart(6)}  ${String(skipped).padStart(7)}`;
    out(`${name.padEnd(12)} ${counts}${foundBy(outcome)}`);
    total.passed += outcome.passed;
    total.failed += outcome.failed;
    total.skipped += skipped;
  }
  for (const { name, outcome } of results) {
    for (const skip of outcome.skips) out(`skipped: ${name}: ${skip.name}: ${skip.reason}`);
  }
  total.findings = showFindings(results, out);
  writeFileSync(join(REPORTS, 'summary.json'), `${JSON.stringify(total)}\n`);
  out(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total;
}

/** For the end of a suite's line. */
function foundBy({ findings = [] }) {
  return findings.length === 0 ? '' : `  FINDINGS: ${findings.length}`;
}

/** What new seeds found: it fails nothing (unless NEW_SEEDS_MODE says so), so it must be seen. Returns how many there are. */
function showFindings(results, out) {
  const findings = results.flatMap(({ outcome }) => outcome.findings ?? []);
  if (findings.length === 0) return 0;
  const rule = '!'.repeat(78);
  out(
    `\n${rule}\n${findings.length} FINDINGS among new simulator seeds: not counted as failures, and bugs all the same`,
  );
  for (const finding of findings) out(finding);
  out(`How to go on: docs/testing.md, "A failing seed"\n${rule}`);
  return findings.length;
}

stopWithNpm();
await runScript(async () => {
  const names = process.argv.slice(2);
  const unknown = names.find((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`unknown suite ${unknown}; suites: ${SUITES.map((suite) => suite.name).join(' ')}\n`);
    process.exit(2);
  }
  const mode = process.env[NEW_SEEDS_MODE] ?? '';
  if (mode !== '' && mode !== 'strict') {
    process.stderr.write(`${NEW_SEEDS_MODE} is ${mode}; it may be strict, or not be set\n`);
    process.exit(2);
  }
  const chosen = SUITES.filter((suite) => names.length === 0 || names.includes(suite.name));
  rmSync(REPORTS, { recursive: true, force: true });
  mkdirSync(REPORTS);
  const results = [];
  try {
    await setUp(['install', ...chosen.flatMap((suite) => suite.needs)], { stopExitCode: 130 });
  } catch (error) {
    if (!(error instanceof SetUpError) || error.exitCode !== 1) throw error;
    summarise([{ name: 'set-up', outcome: { passed: 0, failed: 1, skips: [], failures: [error.message] } }]);
    process.exit(1);
  }
  stopOnSignals(130);
  for (const [i, suite] of chosen.entries()) {
    const progress = new Progress();
    progress.begin(`[${i + 1}/${chosen.length}] ${suite.name}`);
    const outcome = await suite.run();
    const { passed, failed, skips } = outcome;
    progress.end(`${passed} passed, ${failed} failed, ${skips.length} skipped${foundBy(outcome)}`);
    results.push({ name: suite.name, outcome });
  }
  process.exit(summarise(results).failed > 0 ? 1 : 0);
});
