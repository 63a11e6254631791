/** Unit tests run from source: no build is needed. `apps/node/e2e` drives real processes and therefore runs serially, from dist. */
import { defineConfig } from 'vitest/config';

const conditions = ['@chronon/source'];
const source = {
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
};

export default defineConfig({
  ...source,
  test: {
    projects: [
      {
        ...source,
        test: {
          name: 'unit',
          include: ['{packages,apps,scripts,bench}/**/*.test.ts'],
          exclude: ['**/node_modules/**', '**/dist/**', '**/.next/**', 'playwright/**'],
          // Patience for what is broken; above `until`'s own, which says what it waited for.
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        ...source,
        test: {
          name: 'e2e',
          include: ['apps/node/e2e/**/*.e2e.ts'],
          fileParallelism: false,
          // Above a few times `until`'s patience.
          testTimeout: 600_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
