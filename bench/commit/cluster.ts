/** Three replica processes of the production build for a benchmark: default tuning, application kv, no supervisor, no chaos. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicaDetail } from '@chronon/node/api/schema';
import { apiUrl, clientUrl, type MemberConfig, type ReplicaFileInput } from '@chronon/node/replica/config';
import { REPLICA_FLAGS, REPLICA_MAIN } from '@chronon/node/supervisor/layout';
import { freePorts } from '@chronon/node/testing/ports';

const START_MS = 60_000;
const CONVERGE_MS = 60_000;

export interface ClusterOptions {
  readonly directory: string;
  readonly disk: 'auto' | 'sync' | 'io_uring';
  readonly tuning: NonNullable<ReplicaFileInput['tuning']>;
  /** Directory for a V8 profile of each replica, or null. */
  readonly profileTo: string | null;
}

interface Member {
  readonly config: MemberConfig;
  readonly process: ChildProcess;
  readonly output: string;
}

export class BenchCluster {
  readonly token: string;
  readonly gateways: readonly { readonly id: number; readonly url: string }[];
  private readonly members: readonly Member[];

  private constructor(members: readonly Member[], token: string) {
    this.members = members;
    this.token = token;
    this.gateways = members.map(({ config }) => ({ id: config.id, url: clientUrl(config) }));
  }

  /** Formats, starts, and waits until a primary serves. */
  static async start(options: ClusterOptions): Promise<BenchCluster> {
    if (!existsSync(REPLICA_MAIN)) throw new Error(`${REPLICA_MAIN} is not built: npm run build`);
    mkdirSync(options.directory, { recursive: true });
    const ports = await freePorts(9);
    const configs = [1, 2, 3].map((id, i) => ({
      id,
      host: '127.0.0.1',
      apiPort: ports[3 * i]!,
      clientPort: ports[3 * i + 1]!,
      peerPort: ports[3 * i + 2]!,
    }));
    const token = randomBytes(32).toString('hex');
    const common = {
      members: configs,
      clusterName: 'bench',
      ledger: join(options.directory, 'ledger.jsonl'),
      peerSecret: randomBytes(32).toString('hex'),
      tokens: [{ name: 'bench', role: 'operator', token }],
      app: 'kv',
      disk: options.disk,
      format: { environment: 'production' },
      exitWithParent: true,
      logLevel: 'warn',
      tuning: options.tuning,
    } satisfies Omit<ReplicaFileInput, 'id' | 'dataDir'>;
    const cluster = new BenchCluster(
      configs.map((config) => startMember(config, common, options)),
      token,
    );
    try {
      await cluster.primary();
      return cluster;
    } catch (error) {
      const said = cluster.members.map(({ output }) => readFileSync(output, 'utf8').slice(-1000)).join('\n');
      await cluster.stop();
      throw new Error(`${(error as Error).message}\n${said}`, { cause: error });
    }
  }

  pid(id: number): number {
    return this.members[id - 1]!.process.pid ?? 0;
  }

  /** What one replica says of itself. */
  async detail(id: number): Promise<ReplicaDetail> {
    const response = await fetch(`${apiUrl(this.members[id - 1]!.config)}/trpc/replica.status`, {
      headers: { authorization: `Bearer ${this.token}` },
    });
    if (!response.ok) throw new Error(`r${id} answers ${response.status}`);
    return ((await response.json()) as { result: { data: ReplicaDetail } }).result.data;
  }

  async details(): Promise<ReplicaDetail[]> {
    return await Promise.all(this.members.map(async ({ config }) => await this.detail(config.id)));
  }

  /** Id of the primary that serves. */
  async primary(): Promise<number> {
    for (const deadline = performance.now() + START_MS; performance.now() < deadline; await sleep(25)) {
      for (const { config, process } of this.members) {
        if (process.exitCode !== null) throw new Error(`r${config.id} ended with ${process.exitCode}`);
        const detail = await this.detail(config.id).catch(() => null);
        if (detail !== null && detail.role === 'primary' && detail.serving) return config.id;
      }
    }
    throw new Error(`no primary within ${START_MS} ms`);
  }

  /** Waits until all three have applied the same index to the same digest. */
  async converged(): Promise<ReplicaDetail[]> {
    let details: ReplicaDetail[] = [];
    for (const deadline = performance.now() + CONVERGE_MS; performance.now() < deadline; await sleep(50)) {
      details = await this.details();
      const [first] = details;
      if (details.every((d) => d.applied === first!.applied && d.commit === d.applied && d.digest === first!.digest))
        return details;
    }
    throw new Error(`not converged: ${details.map((d) => `r${d.id} applied ${d.applied} ${d.digest}`).join(', ')}`);
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.members.map(async ({ process }) => {
        if (process.exitCode !== null || process.signalCode !== null) return;
        const closed = once(process, 'close');
        process.kill('SIGTERM');
        await closed;
      }),
    );
  }
}

function startMember(
  config: MemberConfig,
  common: Omit<ReplicaFileInput, 'id' | 'dataDir'>,
  options: ClusterOptions,
): Member {
  const { directory, profileTo } = options;
  const path = join(directory, `r${config.id}.json`);
  const file: ReplicaFileInput = { ...common, id: config.id, dataDir: join(directory, `r${config.id}`) };
  writeFileSync(path, JSON.stringify(file), { mode: 0o600 });
  const profile =
    profileTo === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileTo}`, `--cpu-prof-name=r${config.id}.cpuprofile`];
  const output = join(directory, `r${config.id}.log`);
  const fd = openSync(output, 'w');
  const process_ = spawn(process.execPath, [...REPLICA_FLAGS, ...profile, REPLICA_MAIN, '--config', path], {
    stdio: ['ignore', fd, fd, 'ipc'],
    env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
  });
  return { config, process: process_, output };
}
