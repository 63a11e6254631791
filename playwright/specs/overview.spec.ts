import { expect, someTraffic, test } from '../fixtures.ts';

test('the link is traded once for a cookie, and the token leaves the address bar', async ({
  page,
  context,
  cluster,
}) => {
  const link = await cluster.freshLogin();
  await page.goto(link);
  await expect(page.getByTestId('verdict')).toBeVisible();
  expect(page.url()).toBe(`${cluster.origin}/`);
  const [cookie] = await context.cookies();
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });

  const other = await context.browser()!.newContext();
  const second = await other.newPage();
  await second.goto(link);
  await expect(second.getByText('this link was used before; each works once')).toBeVisible();
  await expect(second.getByText('npx --no-install chronon console')).toBeVisible();
  await other.close();
});

test('without a session, from another site, or under another host name nothing is answered', async ({
  page,
  cluster,
  request,
}) => {
  await page.goto(cluster.origin);
  await expect(page.getByText('npx --no-install chronon console')).toBeVisible();
  const url = (path: string) => `${cluster.origin}/api/trpc/${path}`;
  expect((await request.get(url('app.describe'))).status()).toBe(401);
  const crossSite = {
    origin: 'http://evil.example',
    'sec-fetch-site': 'cross-site',
    'content-type': 'application/json',
  };
  expect((await request.post(url('chaos.healAll'), { headers: crossSite, data: {} })).status()).toBe(403);
  expect((await request.get(url('live'), { headers: { 'sec-fetch-site': 'same-site' } })).status()).toBe(403);
  expect((await request.post(`${cluster.origin}/api/login`, { data: { token: 'x.y' } })).status()).toBe(403);
  const headers = { host: 'evil.example' };
  expect((await request.get(cluster.origin, { headers })).status()).toBe(421);
  expect((await request.get(url('app.describe'), { headers })).status()).toBe(421);
  const answer = await request.get(cluster.origin);
  expect(answer.headers()['content-security-policy']).toContain("frame-ancestors 'none'");
  expect(answer.headers()['x-content-type-options']).toBe('nosniff');
});

test('the overview shows one primary and two backups, as the cluster states them', async ({
  signedIn: page,
  cluster,
}) => {
  await cluster.converged();
  await expect(page.getByTestId('freshness')).toHaveAttribute('data-state', 'live');
  await expect(page.getByTestId('verdict')).toHaveAttribute('data-level', 'committing');
  // Both are read anew until they agree: something may be committed in between, or another elected.
  await expect(async () => {
    const { primary, view, replicas } = await cluster.status();
    expect(await page.locator('[data-testid^=replica-][data-role=primary]').count()).toBe(1);
    expect(await page.locator('[data-testid^=replica-][data-role=backup]').count()).toBe(2);
    expect(await page.getByTestId(`replica-${primary}`).getAttribute('data-role')).toBe('primary');
    for (const { id, commit } of replicas) {
      const shown = page.getByTestId(`replica-${id}`).locator('[data-field=commit]');
      expect(await shown.textContent()).toBe(Number(commit).toLocaleString('en-US'));
    }
    expect(await page.getByTestId('verdict').textContent()).toMatch(
      new RegExp(
        `^3 of 3 replicas agree up to index [\\d,]+; primary r${primary}, view ${view}, last view change .+ ago\\.$`,
      ),
    );
  }).toPass({ timeout: 120_000 });
});

test('a person can submit, is told what came of it, and finds the entry in the log', async ({
  signedIn: page,
  cluster,
}) => {
  const box = page.getByRole('textbox', { name: 'Input, JSON' });
  const call = page.getByLabel('Command or query');
  await call.selectOption('deposit');
  await box.fill('{"account": "alice", "cents": 70000}');
  await page.getByRole('button', { name: 'Submit' }).click();
  await expect(page.getByText(/committed at index/)).toBeVisible();

  await call.selectOption('transfer');
  await box.fill('{"from": "nobody", "to": "bob", "cents": 5}');
  await page.getByRole('button', { name: 'Submit' }).click();
  await expect(page.getByText(/rejected at index [\d,]+: NoSuchAccount/)).toBeVisible();

  await box.fill('{"from": "alice", "to": "bob", "cents": "five"}');
  await page.getByRole('button', { name: 'Submit' }).click();
  await expect(page.getByText(/cents/).last()).toBeVisible();

  await someTraffic(cluster, 3);
  await page.getByRole('link', { name: 'Log', exact: true }).first().click();
  const row = page.getByRole('row').filter({ hasText: '"to":"bob-2"' });
  await expect(row).toBeVisible();
  await row.getByRole('button', { name: /^Entry/ }).click();
  const drawer = page.getByRole('dialog');
  await expect(drawer.getByText('payload_hash')).toBeVisible();
  await expect(drawer.getByText('bob-2').first()).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(drawer).toBeHidden();

  await page.getByRole('link', { name: 'Outbox', exact: true }).first().click();
  await expect(page.getByRole('button', { name: /^acknowledged [1-9]/ })).toBeVisible();
  await expect(page.getByText('bob-2').first()).toBeVisible();
});

test('all tabs of a browser share one stream', async ({ signedIn: page, context, cluster }) => {
  await expect(page.getByTestId('freshness')).toHaveAttribute('data-state', 'live');
  const streams: string[] = [];
  context.on('request', (request) => {
    if (request.url().includes('/api/trpc/live')) streams.push(request.url());
  });
  const second = await context.newPage();
  await second.goto(cluster.origin);
  await expect(second.getByTestId('freshness')).toHaveAttribute('data-state', 'live');
  expect(streams).toEqual([]);
  await page.close();
  await expect.poll(() => streams.length).toBe(1);
  await expect(second.getByTestId('freshness')).toHaveAttribute('data-state', 'live');
});
