/** First boot of a cluster whose replicas have a supervisor each, as containers run them: empty directories are formatted together, a lost one never again. */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { freeBase } from '../src/testing/ports.ts';
import { chronon, CLI, processesNaming, temporaryDirectory, until } from './cluster.ts';
import type { ClusterStatus } from '../src/api/schema.ts';

const IDS = [1, 2, 3] as const;

/** Three supervisors of one replica each. */
class Apart {
  readonly root = temporaryDirectory();
  private readonly base: number;
  private readonly children = new Map<number, ChildProcess>();
  output = '';

  constructor(base: number) {
    this.base = base;
  }

  data(id: number): string {
    return join(this.root, `d${id}`);
  }

  start(id: number): void {
    const members = IDS.map((one) => `r${one}=127.0.0.1`).join(',');
    const where = ['--data', this.data(id), '--port', String(this.base), '--bind', '127.0.0.1'];
    const shared = ['--secrets', join(this.root, 'secrets.json'), '--console-env', join(this.root, 'console.env')];
    const args = [CLI, 'start', ...where, '--only', String(id), '--members', members, ...shared];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.children.set(id, child);
  }

  async stop(id: number): Promise<void> {
    const child = this.children.get(id)!;
    const ended = new Promise((resolve) => child.once('close', resolve));
    if (child.exitCode === null && child.kill('SIGTERM')) await ended;
  }

  status(id: number): ClusterStatus | null {
    const { code, stdout } = chronon('status', '--json', '--data', this.data(id));
    return code === 0 ? (JSON.parse(stdout) as ClusterStatus) : null;
  }

  async agreed(ids: readonly number[]): Promise<ClusterStatus> {
    return await until(
      () => `agreement of r${ids.join(', r')}:\n${this.output}`,
      () => {
        const status = this.status(ids[0]!);
        const asked = status?.replicas.filter(({ id }) => ids.includes(id)) ?? [];
        const same = asked.every((r) => r.status === 'normal' && r.applied !== null && r.digest === asked[0]!.digest);
        return same && status !== null && status.primary !== null ? status : null;
      },
    );
  }

  async destroy(): Promise<void> {
    for (const id of this.children.keys()) await this.stop(id);
    for (const pid of processesNaming(this.root)) process.kill(pid, 'SIGKILL');
    fs.rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

let apart: Apart | null = null;
afterEach(async () => {
  await apart?.destroy();
  apart = null;
});

it('three empty directories become one cluster once all are up; a lost one is refused, and recovered', async () => {
  const one = new Apart(await freeBase());
  apart = one;
  one.start(1);
  one.start(2);
  await until(
    () => `they wait for r3:\n${one.output}`,
    () => one.output.includes('waiting for r3'),
  );
  expect(fs.existsSync(join(one.data(1), 'r1', 'manifest.a'))).toBe(false);
  one.start(3);
  const { clusterId } = await one.agreed(IDS);
  expect(clusterId).not.toBe('0'.repeat(32));
  expect(fs.readFileSync(join(one.root, 'console.env'), 'utf8')).toMatch(
    /^CHRONON_TOKEN=.+\nCHRONON_CONSOLE_SECRET=.+\n$/,
  );
  const deposit = ['submit', 'deposit', '{"account":"a","cents":5}', '--timeout', '60s', '--data', one.data(1)];
  expect(chronon(...deposit)).toMatchObject({ code: 0 });
  // A restart finds what was formatted.
  await one.stop(2);
  one.start(2);
  expect((await one.agreed(IDS)).clusterId).toBe(clusterId);
  // The disk of r3 is gone: it is not formatted again.
  await one.stop(3);
  fs.rmSync(one.data(3), { recursive: true });
  one.start(3);
  await until(
    () => `r3 is refused:\n${one.output}`,
    () => one.output.includes('E_WIPED'),
  );
  expect((await one.agreed([1, 2])).clusterId).toBe(clusterId);
  await one.stop(3);
  const ran = chronon('recover', '--replica', '3', '--data', one.data(3), '--yes');
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
  one.start(3);
  await one.agreed(IDS);
  expect(chronon('query', 'balance', '"a"', '--timeout', '60s', '--data', one.data(3)).stdout.trim()).toBe('5');
});
