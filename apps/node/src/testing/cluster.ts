/**
 * TestCluster: replica processes on free ports, without a supervisor, for end-to-end tests. Real processes, real sockets, real files.
 *
 * Invariants: every process ends with the test process (IPC channel, exitWithParent); `destroy` leaves nothing behind.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTRPCClient, httpLink, type TRPCClient } from '@trpc/client';
import type { AppRouter } from '../api/router.ts';
import type { ClusterStatus, ReplicaDetail } from '../api/schema.ts';
import { connect, type ChrononClient } from '../client/connect.ts';
import { builtInApplication } from '@chronon/core/apps/index';
import { apiUrl, clientUrl, type MemberConfig, type ReplicaFileInput } from '../replica/config.ts';
import { freePorts } from './ports.ts';
import { CALL_MS, PATIENCE_MS, until } from './until.ts';

export interface TestClusterOptions {
  readonly replicas?: number;
  readonly app?: string;
  readonly disk?: 'auto' | 'sync' | 'io_uring';
  readonly environment?: 'dev' | 'production';
  readonly enableChaos?: boolean;
  readonly tuning?: ReplicaFileInput['tuning'];
  readonly logLevel?: ReplicaFileInput['logLevel'];
  /** Existing directory that gets the data; a temporary one without it. */
  readonly dataIn?: string;
}

interface Member {
  readonly id: number;
  readonly configPath: string;
  child: ChildProcess | null;
  /** All output of all its runs. */
  output: string;
  exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | null;
  ready: boolean;
}

const OUTPUT_MAX = 4 * 1024 * 1024;

export class TestCluster {
  readonly root: string;
  private readonly dataIn: string;
  readonly members: readonly MemberConfig[];
  readonly token = randomBytes(32).toString('hex');
  readonly config: Omit<ReplicaFileInput, 'id' | 'dataDir'>;
  private readonly processes = new Map<number, Member>();
  private readonly clients: ChrononClient[] = [];

  private constructor(root: string, members: readonly MemberConfig[], options: TestClusterOptions) {
    this.root = root;
    this.dataIn = options.dataIn ?? root;
    this.members = members;
    this.config = {
      members: [...members],
      clusterName: 'test',
      ledger: join(root, 'effects', 'ledger.jsonl'),
      peerSecret: randomBytes(32).toString('hex'),
      tokens: [{ name: 'test', role: 'chaos', token: this.token }],
      app: options.app ?? 'bank',
      disk: options.disk ?? 'auto',
      enableChaos: options.enableChaos ?? true,
      format: { environment: options.environment ?? 'dev' },
      exitWithParent: true,
      logLevel: options.logLevel ?? 'info',
      // Small segments: a test writes little and a start pre-writes them.
      tuning: { segmentBytes: 8 * 1024 * 1024, ...options.tuning },
    };
    for (const { id } of members) this.addMember(id, {});
  }

  /** Writes the configurations; nothing runs yet. */
  static async create(options: TestClusterOptions = {}): Promise<TestCluster> {
    const count = options.replicas ?? 3;
    const ports = await freePorts(3 * count);
    const members = Array.from({ length: count }, (_, i) => ({
      id: i + 1,
      host: '127.0.0.1',
      apiPort: ports[3 * i]!,
      clientPort: ports[3 * i + 1]!,
      peerPort: ports[3 * i + 2]!,
    }));
    return new TestCluster(mkdtempSync(join(tmpdir(), 'chronon-test-')), members, options);
  }

  /** Creates, starts, and waits until a primary serves. */
  static async start(options: TestClusterOptions = {}): Promise<TestCluster> {
    const cluster = await TestCluster.create(options);
    try {
      cluster.startAll();
      await cluster.primary();
      return cluster;
    } catch (error) {
      const said = cluster.output();
      await cluster.destroy();
      throw new Error(`${(error as Error).message}\n${said.slice(-4000)}`, { cause: error });
    }
  }

  dataDir(id: number): string {
    return join(this.dataIn, `r${id}`);
  }

  /** Writes the configuration of a member anew, with changes. */
  addMember(id: number, change: Partial<ReplicaFileInput>): void {
    const configPath = join(this.root, `r${id}.json`);
    mkdirSync(this.root, { recursive: true });
    writeFileSync(configPath, JSON.stringify({ ...this.config, id, dataDir: this.dataDir(id), ...change }));
    const known = this.processes.get(id);
    if (known === undefined)
      this.processes.set(id, { id, configPath, child: null, output: '', exit: null, ready: false });
  }

  startAll(): void {
    for (const id of this.processes.keys()) this.run(id);
  }

  /** Starts the process of a replica; `wrapper`: a command that executes the rest of its line. */
  run(id: number, wrapper: readonly string[] = []): void {
    const member = this.of(id);
    if (member.child !== null) throw new Error(`r${id} runs already`);
    const line = [...wrapper, process.execPath, ...nodeArguments(), '--config', member.configPath];
    const child = spawn(line[0]!, line.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
    });
    member.child = child;
    member.exit = null;
    member.ready = false;
    const keep = (chunk: Buffer): void => {
      member.output = (member.output + chunk.toString('utf8')).slice(-OUTPUT_MAX);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.on('message', (message) => {
      if ((message as { type?: unknown }).type === 'ready') member.ready = true;
    });
    // 'close' comes after the last output was read.
    child.once('close', (code, signal) => {
      member.child = null;
      member.exit = { code, signal };
    });
  }

  /** Sends a signal; for one that ends the process, waits for the end. */
  async signal(id: number, signal: NodeJS.Signals): Promise<void> {
    this.of(id).child?.kill(signal);
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await until(() => this.of(id).child === null);
  }

  /** Waits for the end of a process and gives its exit code. */
  async exitCode(id: number, timeoutMs = PATIENCE_MS): Promise<number | null> {
    await until(() => this.of(id).exit !== null, timeoutMs);
    return this.of(id).exit!.code;
  }

  isUp(id: number): boolean {
    return this.of(id).child !== null;
  }

  isReady(id: number): boolean {
    return this.of(id).ready;
  }

  pid(id: number): number | null {
    return this.of(id).child?.pid ?? null;
  }

  output(id?: number): string {
    return id === undefined
      ? [...this.processes.values()].map((member) => member.output).join('\n')
      : this.of(id).output;
  }

  api(id: number): TRPCClient<AppRouter> {
    const url = `${apiUrl(this.members[id - 1]!)}/trpc`;
    return createTRPCClient<AppRouter>({
      links: [httpLink({ url, headers: { authorization: `Bearer ${this.token}` } })],
    });
  }

  /** A client of the whole cluster. */
  client(): ChrononClient {
    const app = builtInApplication(this.config.app ?? 'bank');
    const gateways = this.members.map((member) => ({ id: member.id, url: clientUrl(member) }));
    const client = connect(gateways, { token: this.token, ...(app !== null && { app }) });
    this.clients.push(client);
    return client;
  }

  /** Submits by the API of a replica, with patience. */
  async submit(id: number, name: string, input: unknown, idempotencyKey?: string) {
    return await this.api(id).app.submit.mutate({ name, input, timeoutMs: CALL_MS, idempotencyKey });
  }

  /** What a linearizable query by the API of a replica gives, with patience. */
  async query(id: number, name: string, input: unknown): Promise<unknown> {
    return (await this.api(id).app.query.query({ name, input, timeoutMs: CALL_MS })).result;
  }

  async detail(id: number): Promise<ReplicaDetail> {
    return this.api(id).replica.status.query();
  }

  async status(id: number): Promise<ClusterStatus> {
    return this.api(id).cluster.status.query();
  }

  /**
   * Does `task` while one replica is the primary all the time: anew when another view began meanwhile, as it does whenever a busy machine lets a primary
   * wait too long. `task` must bear it.
   */
  async underOnePrimary<T>(task: (primary: number) => Promise<T>): Promise<T> {
    for (;;) {
      const { id: primary, view } = await this.leader();
      const outcome = await task(primary).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      const now = await this.detail(primary);
      if (now.view !== view || now.role !== 'primary') continue;
      if ('error' in outcome) throw outcome.error;
      return outcome.value;
    }
  }

  /** Id of a primary that serves clients, among `ids`. */
  async primary(timeoutMs = PATIENCE_MS, ids: readonly number[] = this.members.map(({ id }) => id)): Promise<number> {
    return (await this.leader(timeoutMs, ids)).id;
  }

  /** What a primary that serves clients, among `ids`, says of itself. */
  async leader(
    timeoutMs = PATIENCE_MS,
    ids: readonly number[] = this.members.map(({ id }) => id),
  ): Promise<ReplicaDetail> {
    let found: ReplicaDetail | null = null;
    await until(
      async () => {
        for (const id of ids.filter((one) => this.isUp(one))) {
          const detail = await this.detail(id).catch(() => null);
          if (detail !== null && detail.role === 'primary' && detail.status === 'normal' && detail.serving)
            found = detail;
        }
        if (this.members.some(({ id }) => this.of(id).exit !== null && ids.includes(id))) return true;
        return found !== null;
      },
      timeoutMs,
      25,
    );
    if (found === null) throw new Error('a replica ended before there was a primary');
    return found;
  }

  /** Resolves once all of `ids` have applied the same index with the same digest. */
  async converged(ids: readonly number[] = this.members.map(({ id }) => id), timeoutMs = PATIENCE_MS): Promise<void> {
    let details: (ReplicaDetail | null)[] = [];
    const settled = async (): Promise<boolean> => {
      details = await Promise.all(ids.map((id) => this.detail(id).catch(() => null)));
      const [first] = details;
      return details.every(
        (d) =>
          d !== null &&
          d.status === 'normal' &&
          d.applied === first?.applied &&
          d.commit === d.applied &&
          d.digest === first.digest,
      );
    };
    await until(settled, timeoutMs, 50).catch((error: unknown) => {
      const seen = details.map((d) =>
        d === null
          ? 'no answer'
          : `r${d.id} ${d.role} ${d.status} view ${d.view} commit ${d.commit} applied ${d.applied} durable ${d.durable} last ${d.last} faulty ${d.faulty.length} outbox ${d.outbox.pending} ${d.digest}`,
      );
      throw new Error(`not converged: ${seen.join('; ')}`, { cause: error });
    });
  }

  /** Ends every process and removes every file. */
  async destroy(): Promise<void> {
    for (const client of this.clients) client.close();
    for (const { child } of this.processes.values()) child?.kill('SIGKILL');
    await until(() => [...this.processes.values()].every(({ child }) => child === null)).catch(() => undefined);
    rmSync(this.root, { recursive: true, force: true });
  }

  private of(id: number): Member {
    const member = this.processes.get(id);
    if (member === undefined) throw new Error(`r${id} is not in this cluster`);
    return member;
  }
}

/** The built program where there is one (CHRONON_TEST_SOURCE=1: the sources). */
function nodeArguments(): string[] {
  const built = fileURLToPath(new URL('../../dist/replica/main.js', import.meta.url));
  if (existsSync(built) && process.env['CHRONON_TEST_SOURCE'] !== '1') return [built];
  return ['-C', '@chronon/source', '--import', 'tsx', fileURLToPath(new URL('../replica/main.ts', import.meta.url))];
}
