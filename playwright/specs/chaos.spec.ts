import { expect, healAll, someTraffic, test } from '../fixtures.ts';

test.afterEach(async ({ cluster }) => {
  await cluster.heal();
});

test('cutting the primary off gives a new view, writes go on, and healing converges to one digest', async ({
  signedIn: page,
  cluster,
}) => {
  await someTraffic(cluster, 2);
  const before = await cluster.converged();
  await page.getByRole('link', { name: 'Chaos', exact: true }).first().click();
  await page.getByLabel('Ends by itself after').selectOption('10 min');
  await page.getByRole('button', { name: 'Isolate primary' }).click();
  await expect(page.getByRole('region', { name: 'What to expect' })).toContainText('expect a view change');
  await page.getByRole('button', { name: /^Apply/ }).click();
  await expect(page.getByRole('list', { name: 'Active faults' }).getByRole('listitem')).toHaveCount(4);

  const old = before.primary!;
  const cut = await cluster.until(
    'a primary among the others',
    ({ view, primary }) => primary !== null && primary !== old && Number(view) > Number(before.view),
  );
  await expect(page.getByText(`view ${cut.view}: r${cut.primary} is primary`).first()).toBeVisible();
  await cluster.submit('transfer', { from: 'alice', to: 'while-cut', cents: 1 });

  await healAll(page);
  const after = await cluster.converged();
  expect(Number(after.replicas[0]!.commit)).toBeGreaterThan(Number(before.replicas[0]!.commit));
  await expect(page.getByTestId('converged')).toHaveAttribute('data-converged', 'true');
  await expect(page.getByText('Committing')).toBeVisible();
});

test('one cell is one directed link, and its cut ends by itself', async ({ signedIn: page, cluster }) => {
  await cluster.converged();
  await page.goto(`${cluster.origin}/chaos`);
  const { primary } = await cluster.until('a primary', ({ primary: one }) => one !== null);
  const [a, b] = [1, 2, 3].filter((id) => id !== primary) as [number, number];
  await page.getByLabel('Ends by itself after').selectOption('10 s');
  // Cut anew where the page was told of it only after it had ended.
  await expect(async () => {
    await page.getByRole('button', { name: `link r${a} to r${b}, up` }).click();
    await page.getByRole('button', { name: /^Apply/ }).click();
    await expect(page.getByRole('button', { name: new RegExp(`^link r${a} to r${b}, cut, \\d+ s left$`) })).toBeVisible(
      { timeout: 9000 },
    );
  }).toPass({ timeout: 120_000 });
  await expect(page.getByRole('button', { name: `link r${b} to r${a}, up` })).toBeVisible();
  await expect(page.getByRole('button', { name: `link r${a} to r${b}, up` })).toBeVisible();
  await cluster.converged();
});

test('the matrix works by keyboard alone', async ({ signedIn: page, cluster }) => {
  await page.goto(`${cluster.origin}/chaos`);
  const first = page.getByRole('button', { name: 'link r1 to r2, up' });
  await expect(first).toBeEnabled();
  await first.focus();
  await page.keyboard.press('ArrowDown');
  // r2 has no link to itself: the focus goes on to the next row.
  await expect(page.getByRole('button', { name: /^link r3 to r2/ })).toBeFocused();
  await page.keyboard.press('Space');
  await expect(page.getByRole('gridcell', { name: 'link r3 to r2, up' })).toHaveAttribute('aria-selected', 'true');
  await page.getByRole('button', { name: 'Discard' }).click();
  await expect(page.getByRole('gridcell', { name: 'link r3 to r2, up' })).toHaveAttribute('aria-selected', 'false');
});

test('a kill asks first, with Cancel focused; the dead replica is shown as such, and comes back', async ({
  signedIn: page,
  cluster,
}) => {
  const { primary } = await cluster.converged();
  const victim = primary === 1 ? 2 : 1;
  await page.goto(`${cluster.origin}/chaos`);
  await page.getByLabel('Ends by itself after').selectOption('10 min');
  await page.getByRole('button', { name: `Kill r${victim}` }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(dialog).toBeHidden();
  await cluster.until('alive', ({ replicas }) => replicas[victim - 1]!.pid !== null);

  await page.getByRole('button', { name: `Kill r${victim}` }).click();
  await dialog.getByRole('button', { name: `Kill r${victim}` }).click();
  await cluster.until('dead', ({ replicas }) => replicas[victim - 1]!.status === 'unreachable');
  await page.getByRole('link', { name: 'Overview', exact: true }).first().click();
  await expect(page.getByTestId(`replica-${victim}`)).toContainText('last seen');
  await expect(page.getByTestId('verdict')).toHaveAttribute('data-level', 'degraded');
  await page.getByRole('link', { name: 'Chaos', exact: true }).first().click();
  await page.getByRole('button', { name: `Heal: r${victim} killed` }).click();
  await cluster.converged();
  await page.getByRole('link', { name: 'Overview', exact: true }).first().click();
  await expect(page.getByTestId('verdict')).toHaveAttribute('data-level', 'committing');
});

test('a paused primary is replaced, and is a backup again after the heal', async ({ signedIn: page, cluster }) => {
  const before = await cluster.converged();
  const old = before.primary!;
  await page.goto(`${cluster.origin}/chaos`);
  await page.getByLabel('Ends by itself after').selectOption('10 min');
  await page.getByRole('button', { name: `Pause r${old}` }).click();
  await page
    .getByRole('dialog')
    .getByRole('button', { name: `Pause r${old}` })
    .click();
  await cluster.until('a new primary', ({ primary }) => primary !== null && primary !== old);
  await expect(page.getByTestId(`fault-pause:${old}`)).toBeVisible();
  await healAll(page);
  const after = await cluster.converged();
  expect(Number(after.view)).toBeGreaterThan(Number(before.view));
});
