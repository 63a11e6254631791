/** End-to-end tests of the console, each worker against a real cluster of its own. Run by `npm test -- playwright`. */
import { defineConfig } from '@playwright/test';
import { chromiumOptions } from './browser.ts';

export default defineConfig({
  testDir: './specs',
  testMatch: '*.spec.ts',
  outputDir: '../test-results',
  // Each cluster is five processes: on a small machine two at once only slow each other down.
  workers: 1,
  fullyParallel: false,
  timeout: 600_000,
  // Only something broken needs it; a busy machine may.
  expect: { timeout: 60_000 },
  reporter: 'list',
  use: {
    browserName: 'chromium',
    launchOptions: chromiumOptions(),
    viewport: { width: 1440, height: 900 },
    screenshot: 'only-on-failure',
    trace: 'off',
  },
});
