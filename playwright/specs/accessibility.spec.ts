import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, signIn, someTraffic, test } from '../fixtures.ts';

const AXE = readFileSync(
  createRequire(new URL('../../apps/console/package.json', import.meta.url)).resolve('axe-core/axe.min.js'),
  'utf8',
);
const PAGES = ['/', '/log', '/outbox', '/verify', '/chaos'];

interface AxeResult {
  violations: { id: string; nodes: { target: string[]; failureSummary: string }[] }[];
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1440, 390]) {
    test(`no accessibility violation and no sideways scroll: ${colorScheme}, ${width} px`, async ({
      browser,
      cluster,
    }) => {
      const context = await browser.newContext({
        colorScheme,
        viewport: { width, height: 844 },
        reducedMotion: 'reduce',
      });
      const page = await context.newPage();
      const problems: string[] = [];
      page.on('console', (message) => {
        if (message.type() === 'error') problems.push(message.text());
      });
      page.on('pageerror', (error) => problems.push(error.message));
      await someTraffic(cluster, 1);
      await signIn(page, cluster);
      for (const path of PAGES) {
        await page.goto(`${cluster.origin}${path}`);
        await expect(page.getByTestId('freshness')).toHaveAttribute('data-state', 'live');
        // Colours in the middle of a transition have no contrast to judge.
        await page.waitForFunction(
          () =>
            document.querySelector('.skeleton') === null &&
            document.getAnimations().every((one) => one.playState !== 'running'),
        );
        await page.evaluate(AXE);
        const { violations } = (await page.evaluate('axe.run(document)')) as AxeResult;
        expect(
          violations.map(({ id, nodes }) => `${path} ${id}: ${nodes.map((n) => n.target.join(' ')).join(' | ')}`),
        ).toEqual([]);
        const over = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        expect(over, `${path} scrolls sideways`).toBe(0);
      }
      // Also: the Content-Security-Policy blocks nothing that the page needs.
      expect(problems).toEqual([]);
      await context.close();
    });
  }
}
