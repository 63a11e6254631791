/** `chronon recover --accept-loss`: a majority of the disks is gone; what one directory holds becomes the cluster again, and nothing older comes back. */
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeTail } from '@chronon/core/engine/tail-record';
import { chronon, Cluster, until } from './cluster.ts';

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

  it('the only disk is damaged: the way out that the refusal names is one', async () => {
    const one = await Cluster.start({ replicas: 1 });
    cluster = one;
    one.deposit('alice', 1000);
    one.deposit('bob', 1);
    await one.end('SIGTERM');
    const log = join(one.data, 'r1', 'log');
    const decoded = decodeTail(new Uint8Array(fs.readFileSync(join(log, 'tail'))), null);
    if (decoded.kind !== 'ok') throw new Error(`the tail record is ${decoded.kind}`);
    // The frame of the last entry; a payload ends less than a word before it does.
    const path = join(log, `${String(decoded.tail.segment).padStart(20, '0')}.seg`);
    const bytes = fs.readFileSync(path);
    bytes[decoded.tail.endOffset - 12]! ^= 0xff;
    fs.writeFileSync(path, bytes);
    const verified = chronon('log', 'verify', join(one.data, 'r1'), '--json');
    expect([verified.code, verified.stdout]).toEqual([1, expect.stringContaining('payload-hash')]);
    const ran = one.run('recover', '--accept-loss', '--yes', '--json');
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ kept: 1, through: decoded.tail.index - 1, generation: 1 });
    expect(fs.existsSync(join(one.data, 'r1.lost-1'))).toBe(true);
    await one.restart();
    expect(one.balance('alice')).toBe(1000);
    one.deposit('alice', 10);
    expect(one.balance('alice')).toBe(1010);
  });
});
