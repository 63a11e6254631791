/**
 * `node --import tsx playwright/screenshots.mjs [DIR]`: every page of the console x {light, dark} x {1440, 390} px against a real cluster with some
 * traffic, then the chaos page with a cut, and the overview with a dead replica. Pictures to look at; asserts nothing.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { chromium } from '@playwright/test';
import { chromiumOptions } from './browser.ts';
import { Cluster } from './cluster.ts';

const PAGES = ['/', '/log', '/outbox', '/verify', '/chaos'];
const SETTLE_MS = 2_500;
const out = resolve(process.argv[2] ?? 'test-results/screenshots');
mkdirSync(out, { recursive: true });

const cluster = await Cluster.start();
const browser = await chromium.launch(chromiumOptions());
try {
  await cluster.run('workload', 'bank', '--clients', '2', '--seconds', '2');
  const first = await browser.newContext();
  const login = await first.newPage();
  await login.goto(cluster.loginUrl);
  await login.getByTestId('verdict').waitFor();
  const storageState = await first.storageState();
  await first.close();

  /** One picture a theme and width of each of `pages`. */
  const shoot = async (pages, suffix) => {
    for (const colorScheme of ['light', 'dark']) {
      for (const width of [1440, 390]) {
        const viewport = { width, height: width > 800 ? 900 : 844 };
        const context = await browser.newContext({ storageState, colorScheme, viewport });
        const page = await context.newPage();
        for (const path of pages) {
          await page.goto(`${cluster.origin}${path}`);
          await page.waitForTimeout(SETTLE_MS);
          const name = `${path === '/' ? 'overview' : path.slice(1)}${suffix}-${colorScheme}-${width}.png`;
          await page.screenshot({ path: join(out, name), fullPage: width < 800 });
        }
        await context.close();
      }
    }
  };
  await shoot(PAGES, '');
  const { primary } = await cluster.status();
  const backup = primary === 1 ? 2 : 1;
  await cluster.run('chaos', 'cut', String(primary), String(backup), '--ttl', '2m');
  await shoot(['/chaos'], '-cut');
  await cluster.run('replica', 'kill', String(backup));
  await shoot(['/'], '-dead');
} finally {
  await browser.close();
  await cluster.stop();
}
process.stdout.write(`${out}\n`);
