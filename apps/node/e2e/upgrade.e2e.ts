/** A rolling upgrade of real processes: two programs of one application, its activation, and the old program afterwards. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../src/replica/exit-codes.ts';
import { TestCluster } from '../src/testing/cluster.ts';
import { until } from '../src/testing/until.ts';
import { chronon } from './cluster.ts';

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
});

/** A module of the counter: from version 2 on it counts by tens, and tells where it began to. */
function program(oldest: number, newest: number): string {
  return `
const bytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const value = (given) => JSON.parse(new TextDecoder().decode(given));
const call = (number) => ({
  number,
  input: { safeParse: (data) => ({ success: true, data }) },
  encode: bytes,
  decode: value,
  decodeResult: value,
});
export default {
  name: 'counter',
  version: ${newest},
  oldestVersion: ${oldest},
  application: {
    genesis: () => ({ count: 0 }),
    apply: (state, _event, ctx) => {
      const next = { ...state, count: state.count + (ctx.version > 1 ? 10 : 1) };
      return { state: next, result: bytes({ ...next, as: ctx.version }) };
    },
    query: (state) => bytes(state),
    snapshot: (state) => bytes(state),
    restore: (given) => value(given),
    migrate: (state) => ({ ...state, since: state.count }),
  },
  commands: { add: call(1) },
  queries: { show: call(1) },
};
`;
}

/** Waits until `chronon status` shows this line: a replica that is late to answer has none. */
async function shows(one: TestCluster, line: string): Promise<void> {
  const { url } = await one.detail(1);
  await until(() => chronon('status', '--url', url, '--token', one.token).stdout.includes(line));
}

it('replicas are upgraded one by one while commands go on; the last one activates the version; the old program is refused then', async () => {
  cluster = await TestCluster.create({ tuning: { snapshotEvery: 10 } });
  const one = cluster;
  const install = (id: number, oldest: number, newest: number): void => {
    const path = join(one.root, `counter-${oldest}-${newest}.mjs`);
    writeFileSync(path, program(oldest, newest));
    one.addMember(id, { app: path });
  };
  for (const id of [1, 2, 3]) install(id, 1, 1);
  one.startAll();
  await one.primary();
  const fresh = await one.detail(1);
  expect(fresh.versions).toEqual({ active: null, oldest: 1, newest: 1 });
  await shows(one, 'r1  counter: active version not known yet (nothing executed), this program runs version 1');
  const add = async (id: number): Promise<unknown> => {
    const answer = await one.submit(id, 'add', null);
    return answer.outcome === 'ok' ? answer.result : answer;
  };
  let count = 0;
  for (const id of [1, 2, 3]) {
    await one.signal(id, 'SIGKILL');
    install(id, 1, 2);
    one.run(id);
    await one.primary();
    await until(() => one.isReady(id));
    if (id === 3) break;
    for (let i = 0; i < 12; i++) expect(await add((id % 3) + 1)).toEqual({ count: ++count, as: 1 });
    // A replica that is ready may not have applied its log yet, and only what is applied says which version is active.
    await one.converged();
    expect((await one.detail(id)).versions).toEqual({ active: 1, oldest: 1, newest: 2 });
  }
  const active = async (): Promise<(number | null)[]> =>
    Promise.all([1, 2, 3].map(async (id) => (await one.detail(id)).versions.active));
  await until(async () => (await active()).every((version) => version === 2));
  for (let i = 0; i < 15; i++) expect(await add(1)).toEqual({ count: count + 10 * (i + 1), since: count, as: 2 });
  await one.converged();
  const details = await Promise.all([1, 2, 3].map((id) => one.detail(id)));
  for (const detail of details) expect(detail.diverged).toBeNull();
  await shows(one, 'r2  counter: version 2 active, this program runs versions 1 to 2');

  // Back to the old program: refused, not retried, nothing is lost.
  await one.signal(3, 'SIGTERM');
  install(3, 1, 1);
  one.run(3);
  expect(await one.exitCode(3)).toBe(EXIT_CODES.E_APP_VERSION);
  expect(one.output(3).trimEnd().split('\n').at(-1)).toMatch(/E_APP_VERSION: .*start a program that runs version 2/);
  install(3, 2, 2);
  one.run(3);
  await until(() => one.isReady(3));
  await one.converged();
});
