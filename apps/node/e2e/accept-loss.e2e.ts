/** `chronon recover --accept-loss`: a majority of the disks is gone; what one directory holds becomes the cluster again, and nothing older comes back. */
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Cluster, until } from './cluster.ts';

let cluster: Cluster | null = null;
afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
});

describe('recover --accept-loss', () => {
  it('two of three disks are gone: it says what may be lost, makes copies of the third, and the cluster serves', async () => {
    const one = await Cluster.start();
    cluster = one;
    one.deposit('alice', 1000);
    await one.agreed();
    expect(one.run('recover', '--accept-loss', '--yes').code).not.toBe(0);
    await one.end('SIGTERM');
    fs.rmSync(join(one.data, 'r1'), { recursive: true });
    fs.renameSync(join(one.data, 'r2'), join(one.data, 'r2.elsewhere'));
    const asked = one.run('recover', '--accept-loss');
    expect(asked.code).toBe(2);
    expect(asked.stderr).toContain('the log of r3 through index');
    expect(asked.stderr).toContain('what only r1, r2 held is lost as well');
    const ran = one.run('recover', '--accept-loss', '--yes', '--json');
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ kept: 3, generation: 1 });
    expect(fs.existsSync(join(one.data, 'r3.lost-1'))).toBe(true);
    await one.restart();
    one.deposit('alice', 10);
    expect(one.balance('alice')).toBe(1010);
    await one.agreed();
    // The old disk of r2 turns up again.
    expect(one.run('replica', 'kill', '2').code).toBe(0);
    fs.renameSync(join(one.data, 'r2'), join(one.data, 'r2.new'));
    fs.renameSync(join(one.data, 'r2.elsewhere'), join(one.data, 'r2'));
    one.output = '';
    expect(one.run('replica', 'start', '2').code).toBe(0);
    await until(
      () => `the old r2 is refused:\n${one.output}`,
      () => /E_GENERATION|E_DUP_NODE/.test(one.output),
    );
    one.deposit('alice', 1);
  });
});
