/** `cluster`: one real cluster a worker. `console`: a page that is logged in. */
import { expect, test as base, type Page } from '@playwright/test';
import { Cluster } from './cluster.ts';

export const test = base.extend<{ signedIn: Page }, { cluster: Cluster }>({
  cluster: [
    // oxlint-disable-next-line no-empty-pattern -- Playwright reads the parameter's pattern
    async ({}, use) => {
      const cluster = await Cluster.start();
      await use(cluster);
      await cluster.stop();
    },
    { scope: 'worker', timeout: 400_000 },
  ],
  signedIn: async ({ page, cluster }, use) => {
    await signIn(page, cluster);
    await use(page);
  },
});

export { expect } from '@playwright/test';

/** Opens a fresh login link and waits for the overview. */
export async function signIn(page: Page, cluster: Cluster): Promise<void> {
  await page.goto(await cluster.freshLogin());
  await page.getByTestId('verdict').waitFor();
}

/** Ends every fault by the page. Whoever does not answer in time has healed nothing: asked again until nothing is broken. */
export async function healAll(page: Page): Promise<void> {
  await expect(async () => {
    await page.getByRole('button', { name: 'Heal all' }).click();
    await expect(page.getByText('Nothing is broken on purpose')).toBeVisible({ timeout: 10_000 });
  }).toPass({ timeout: 120_000 });
}

/** Some transfers, so that there is something to see. */
export async function someTraffic(cluster: Cluster, transfers: number): Promise<void> {
  await cluster.submit('deposit', { account: 'alice', cents: 100_000 });
  for (let i = 0; i < transfers; i++)
    await cluster.submit('transfer', { from: 'alice', to: `bob-${i}`, cents: 100 + i });
}
