import type { Page, Route } from '@playwright/test';
import { expect, someTraffic, test } from '../fixtures.ts';

interface RangeData {
  replica: number;
  from: string;
  count: number;
  frames: string;
  commit: string | null;
  fault: unknown;
}

/** Changes the raw range answers of one replica on their way to the browser. */
async function intercept(page: Page, replica: number, change: (data: RangeData) => void | 'drop'): Promise<void> {
  await page.context().route('**/api/trpc/log.range**', async (route: Route) => {
    const input = JSON.parse(new URL(route.request().url()).searchParams.get('input')!) as { replica: number };
    if (input.replica !== replica) return route.continue();
    const response = await route.fetch();
    const body = (await response.json()) as { result: { data: RangeData } };
    if (change(body.result.data) === 'drop') return route.abort();
    await route.fulfill({ response, json: body });
  });
}

function flip(data: RangeData, offset: (frames: Buffer) => number): void {
  const frames = Buffer.from(data.frames, 'base64');
  if (frames.length === 0) return;
  const at = offset(frames);
  frames[at] = frames[at]! ^ 1;
  data.frames = frames.toString('base64');
}

/** Offset of the nth frame of an answer. */
function frameAt(frames: Buffer, n: number): number {
  let at = 0;
  for (let i = 0; i < n; i++) at += (80 + frames.readUInt32LE(at + 4) + 7) & ~7;
  return at;
}

const result = (page: Page) => page.getByTestId('verify-result');

test.beforeAll(async ({ cluster }) => {
  await someTraffic(cluster, 8);
  await cluster.quiet();
});

test('this browser verifies every log from index 0 and names what it covered', async ({ signedIn: page, cluster }) => {
  const hashes: string[] = [];
  page.on('response', (response) => {
    if (response.url().includes('log.range')) hashes.push(response.url());
  });
  // Anew where something was committed in between.
  await expect(async () => {
    await page.goto(`${cluster.origin}/verify`);
    await expect(result(page)).toHaveAttribute('data-level', 'verified');
    const { replicas } = await cluster.converged();
    const commit = Number(replicas[0]!.commit);
    expect(await result(page).textContent()).toMatch(
      new RegExp(
        `^Verified by this browser: index 0\\.\\.${commit.toLocaleString('en-US')} on r1, r2, r3 at hash [0-9a-f]{32}$`,
      ),
    );
  }).toPass({ timeout: 240_000 });
  expect(hashes.length).toBeGreaterThanOrEqual(3);
});

for (const [part, offset, kind] of [
  ['header', 40, 'header-checksum'],
  ['payload', 95, 'payload-hash'],
] as const) {
  test(`a byte of a ${part} changed in transit is red, with index and replica`, async ({ signedIn: page, cluster }) => {
    await intercept(page, 2, (data) => {
      if (data.from === '0') flip(data, (frames) => frameAt(frames, 4) + offset);
    });
    await page.goto(`${cluster.origin}/verify`);
    await expect(result(page)).toHaveAttribute('data-level', 'fault');
    await expect(result(page)).toHaveText('The log does not verify: index 4 on r2.');
    await expect(page.getByTestId('lane-2')).toContainText(kind);
    await expect(page.getByTestId('lane-1')).toHaveAttribute('data-state', 'reached');
  });
}

for (const [what, change] of [
  ['empty', (data: RangeData) => void (data.frames = '')],
  ['cut short inside a frame', (data: RangeData) => void (data.frames = data.frames.slice(0, 160))],
  ['of another replica', (data: RangeData) => void (data.replica = 1)],
  ['that never comes', () => 'drop' as const],
  [
    'that claims a shorter log',
    (data: RangeData) => {
      data.frames = '';
      data.commit = '2';
    },
  ],
] as const) {
  test(`an answer ${what} is not verified, and never green`, async ({ signedIn: page, cluster }) => {
    await intercept(page, 3, change);
    await page.goto(`${cluster.origin}/verify`);
    await expect(result(page)).toHaveAttribute('data-level', 'not-verified');
    await expect(result(page)).toContainText('Not verified on r3.');
    await expect(page.getByTestId('lane-3')).toHaveAttribute('data-state', 'given-up');
  });
}
