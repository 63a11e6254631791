/**
 * `npm test [-- SUITE...]`: set-up, then every suite, then a summary that ends with `N passed, N failed, N skipped`. This is also what CI runs.
 *
 * Invariants: a suite that ran no test failed; each skip is listed with its reason; the counts come from the runners' JSON reports.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, stopOnSignals, stopWithNpm } from './lib/child.mjs';
import { ROOT } from './lib/inputs.mjs';
import { Progress } from './lib/progress.mjs';
import { fromExitCode, fromPlaywright, fromSimulator, fromTests, fromVitest } from './lib/reports.mjs';
import { bin, findBrowser, runScript, setUp, SetUpError } from './setup.mjs';

const REPORTS = join(ROOT, '.reports');
const FAILURE_LINES_MAX = 80;
const SIMULATOR_SEEDS = 200;

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
        await command(process.execPath, [
          'apps/node/bin/chronon.mjs',
          'simulate',
          '--seeds',
          String(SIMULATOR_SEEDS),
          '--json',
        ]),
      ),
  },
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
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const { name, outcome } of results) {
    const skipped = outcome.skips.length;
    out(
      `${name.padEnd(12)} ${String(outcome.passed).padStart(6)}  ${String(outcome.failed).padStart(6)}  ${String(skipped).padStart(7)}`,
    );
    total.passed += outcome.passed;
    total.failed += outcome.failed;
    total.skipped += skipped;
  }
  for (const { name, outcome } of results) {
    for (const skip of outcome.skips) out(`skipped: ${name}: ${skip.name}: ${skip.reason}`);
  }
  writeFileSync(join(REPORTS, 'summary.json'), `${JSON.stringify(total)}\n`);
  out(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total;
}

stopWithNpm();
await runScript(async () => {
  const names = process.argv.slice(2);
  const unknown = names.find((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`unknown suite ${unknown}; suites: ${SUITES.map((suite) => suite.name).join(' ')}\n`);
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
    progress.end(`${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skips.length} skipped`);
    results.push({ name: suite.name, outcome });
  }
  process.exit(summarise(results).failed > 0 ? 1 : 0);
});
