import { Cluster } from '../cluster.ts';
import { expect, signIn, someTraffic, test } from '../fixtures.ts';
import { damage } from '../segment.ts';

// A damaged replica is of no use to another test: each case has a cluster of its own.
for (const [name, index, part, replica] of [
  ['in a header', 3, 'header', 1],
  ['in a payload', 5, 'payload', 2],
  ['in the last frame', -1, 'payload', 3],
] as const) {
  test(`a byte changed on the disk of r${replica} ${name} is red, with index and replica`, async ({ page }) => {
    const cluster = await Cluster.start();
    try {
      await someTraffic(cluster, 6);
      // The effects' acknowledgements are entries too: wait until no more come.
      await cluster.quiet();
      await signIn(page, cluster);
      const result = page.getByTestId('verify-result');
      let at = -1;
      // Once a minute the scrubber looks, and repairs: on a slow machine it may do so before the page has looked.
      for (let attempt = 0; attempt < 5; attempt++) {
        at = damage(cluster.data, replica, index, part);
        await page.goto(`${cluster.origin}/verify`);
        await expect(result).toHaveAttribute('data-level', /^(fault|verified)$/);
        if ((await result.getAttribute('data-level')) === 'fault') break;
      }
      await expect(result).toHaveAttribute('data-level', 'fault');
      await expect(result).toHaveText(`The log does not verify: index ${at} on r${replica}.`);
    } finally {
      await cluster.stop();
    }
  });
}
