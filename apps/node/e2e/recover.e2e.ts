/** `chronon recover` with real processes: a wiped replica of three comes back as a new incarnation and votes again. */
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Cluster, until } from './cluster.ts';

let cluster: Cluster | null = null;
afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
});

/** Wipes the disk of a backup while it is down, and starts it. */
async function wiped(one: Cluster): Promise<{ gone: number; third: number; primary: number }> {
  const { primary } = (await one.agreed())!;
  const [gone, third] = [1, 2, 3].filter((id) => id !== primary) as [number, number];
  expect(one.run('replica', 'kill', String(gone)).code).toBe(0);
  fs.rmSync(join(one.data, `r${gone}`), { recursive: true });
  expect(one.run('replica', 'start', String(gone)).code).toBe(0);
  await until('the wiped replica refuses to start', () => one.output.includes('chronon recover'));
  return { gone, third, primary: primary! };
}

describe('recover', () => {
  it('Disk wiped on one node: it refuses by itself, is recovered, and its vote counts', async () => {
    const one = await Cluster.start();
    cluster = one;
    one.deposit('alice', 1000);
    const { gone, third } = await wiped(one);
    one.deposit('alice', 1);
    expect(one.run('recover', '--replica', String(gone))).toMatchObject({ code: 2 });
    const ran = one.run('recover', '--replica', String(gone), '--yes', '--json');
    expect(ran, ran.stderr + one.output).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ replica: gone, votes: true });
    await one.agreed();
    // With one other down, nothing is acknowledged without the new incarnation.
    expect(one.run('replica', 'kill', String(third)).code).toBe(0);
    one.deposit('alice', 10);
    expect(one.balance('alice')).toBe(1011);
    expect(one.run('recover', '--replica', String(gone), '--yes')).toMatchObject({ code: 2 });
  });

  it('with one more down it waits for that one and says so', async () => {
    const one = await Cluster.start();
    cluster = one;
    one.deposit('alice', 1000);
    const { gone, third } = await wiped(one);
    expect(one.run('replica', 'kill', String(third)).code).toBe(0);
    const waiting = one.run('recover', '--replica', String(gone), '--yes', '--wait', '4s');
    expect(waiting.code).toBe(1);
    // Another that is late to answer may be named before it.
    expect(waiting.stdout).toMatch(new RegExp(`waiting for (r\\d, )*r${third}`));
    expect(one.run('replica', 'start', String(third)).code).toBe(0);
    const ran = one.run('recover', '--replica', String(gone), '--yes');
    expect(ran, ran.stderr + one.output).toMatchObject({ code: 0 });
    await one.agreed();
  });
});
