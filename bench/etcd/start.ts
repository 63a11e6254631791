/** Three etcd members on loopback with etcd's own defaults (every entry fsynced), for a comparison in the same minutes; only where etcd is installed. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@chronon/node/testing/ports';
import { Child } from '../lib/child.ts';
import { EtcdConnection } from './grpc.ts';

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url));
const MEMBERS = 3;
const START_MS = 20_000;

/** `etcd Version: 3.4.23`, or null where there is none. */
export function etcdVersion(): string | null {
  const ran = spawnSync('etcd', ['--version'], { encoding: 'utf8' });
  return ran.status === 0 ? ran.stdout.split('\n')[0]!.trim() : null;
}

export class Etcd {
  /** The leader first. */
  readonly pids: readonly number[];
  readonly load: Child;
  private readonly members: readonly ChildProcess[];

  private constructor(members: readonly ChildProcess[], leader: number, load: Child) {
    this.members = members;
    this.load = load;
    const pids = members.map(({ pid }) => pid ?? 0);
    this.pids = [pids[leader]!, ...pids.filter((_, i) => i !== leader)];
  }

  static async start(directory: string, valueBytes: number, inFlight: number): Promise<Etcd> {
    mkdirSync(directory, { recursive: true });
    const ports = await freePorts(2 * MEMBERS);
    const client = ports.slice(0, MEMBERS);
    const peers = ports.slice(MEMBERS).map((port) => `http://127.0.0.1:${port}`);
    const initial = peers.map((url, i) => `e${i}=${url}`).join(',');
    const members = peers.map((peer, i) => {
      const url = `http://127.0.0.1:${client[i]}`;
      const flags = {
        name: `e${i}`,
        'data-dir': join(directory, `e${i}`),
        'listen-peer-urls': peer,
        'initial-advertise-peer-urls': peer,
        'listen-client-urls': url,
        'advertise-client-urls': url,
        'initial-cluster': initial,
        'initial-cluster-state': 'new',
        logger: 'zap',
        'log-level': 'error',
        'quota-backend-bytes': String(8 * 2 ** 30),
      };
      const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
      return spawn('etcd', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    });
    try {
      const leader = await findLeader(client);
      const load = new Child('etcd load', LOAD, { port: client[leader], valueBytes, inFlight });
      await load.next('ready');
      return new Etcd(members, leader, load);
    } catch (error) {
      await stopAll(members);
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.load.stop();
    await stopAll(this.members);
  }
}

async function findLeader(ports: readonly number[]): Promise<number> {
  const until = performance.now() + START_MS;
  while (performance.now() < until) {
    await sleep(200);
    for (const [i, port] of ports.entries()) {
      const connection = new EtcdConnection(port);
      try {
        const { memberId, leader } = await connection.status();
        if (leader !== 0n && leader === memberId) return i;
      } catch {
        // Not up yet.
      } finally {
        connection.close();
      }
    }
  }
  throw new Error('etcd has no leader');
}

async function stopAll(members: readonly ChildProcess[]): Promise<void> {
  await Promise.all(
    members.map(async (member) => {
      if (member.exitCode !== null || member.signalCode !== null) return;
      const closed = once(member, 'close');
      member.kill('SIGKILL');
      await closed;
    }),
  );
}
