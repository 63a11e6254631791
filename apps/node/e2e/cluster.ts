/** Drives real clusters in end-to-end tests: every process is a child of the test, every directory temporary, every port free. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clusterStatus, type ClusterStatus } from '../src/api/schema.ts';
import { apiQuery } from '../src/client/api-call.ts';
import { readEndpoint } from '../src/supervisor/endpoint-file.ts';
import { freeBase } from '../src/testing/ports.ts';
import { PATIENCE_MS } from '../src/testing/until.ts';

export const CLI = fileURLToPath(new URL('../bin/chronon.mjs', import.meta.url));
/** Of one command. */
const COMMAND_MS = 480_000;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the CLI to its end. */
export function chronon(...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    timeout: COMMAND_MS,
  });
  return { code: status, stdout, stderr };
}

/** As chronon(), with something on standard input. */
export function chrononReading(input: string, ...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    input,
    timeout: COMMAND_MS,
  });
  return { code: status, stdout, stderr };
}

/** As chronon(), while the test goes on. */
export function chrononLater(...args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

export async function until<T>(
  what: string | (() => string),
  probe: () => T | Promise<T>,
  patienceMs = PATIENCE_MS,
): Promise<NonNullable<T>> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > end)
      throw new Error(`${typeof what === 'string' ? what : what()}: not within ${patienceMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function temporaryDirectory(): string {
  return fs.mkdtempSync(join(tmpdir(), 'chronon-e2e-'));
}

/** Pids whose command line names `text`: what a cluster on that directory may have left. */
export function processesNaming(text: string): number[] {
  return fs.readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const environment = fs.readFileSync(`/proc/${name}/environ`, 'utf8');
      const command = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8');
      return environment.includes(`CHRONON_REPLICA_CONFIG=${text}`) || command.includes(text) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** `chronon start` and what it started. */
export class Cluster {
  readonly data: string;
  readonly base: number;
  readonly replicas: number;
  output = '';
  private child: ChildProcess;
  private ended: Promise<number | NodeJS.Signals>;
  private readonly args: readonly string[];

  private constructor(data: string, base: number, replicas: number, args: readonly string[]) {
    this.data = data;
    this.base = base;
    this.replicas = replicas;
    this.args = args;
    [this.child, this.ended] = this.launch();
  }

  /** Starts one and waits until all replicas agree. */
  static async start(options: { replicas?: number; data?: string; args?: readonly string[] } = {}): Promise<Cluster> {
    const replicas = options.replicas ?? 3;
    const args = options.args ?? ['--no-console', '--enable-chaos'];
    const cluster = new Cluster(options.data ?? temporaryDirectory(), await freeBase(), replicas, args);
    await cluster.agreed();
    return cluster;
  }

  get pid(): number {
    return this.child.pid!;
  }

  private launch(): [ChildProcess, Promise<number | NodeJS.Signals>] {
    const fixed = ['--data', this.data, '--port', String(this.base), '--replicas', String(this.replicas)];
    const child = spawn(process.execPath, [CLI, 'start', ...fixed, ...this.args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    return [child, new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal ?? 0)))];
  }

  /** Starts it again after it ended. */
  async restart(): Promise<void> {
    [this.child, this.ended] = this.launch();
    await this.agreed();
  }

  run(...args: string[]): Ran {
    return chronon(...args, '--data', this.data);
  }

  runLater(...args: string[]): Promise<Ran> {
    return chrononLater(...args, '--data', this.data);
  }

  /** As `chronon status --json`, asked of the supervisor directly: a process a look would load the machine. */
  async status(): Promise<ClusterStatus | null> {
    const state = readEndpoint(this.data);
    if (state.kind !== 'running') return null;
    const { supervisorUrl: url, token } = state.endpoint;
    const ask = (): Promise<ClusterStatus> => apiQuery({ url, token }, 'cluster.status', undefined, clusterStatus);
    // Commands run synchronously here: a kept connection may have been closed meanwhile.
    return await ask().catch(() => ask().catch(() => null));
  }

  /** All replicas (or those named) normal, with one digest at one index. */
  async agreed(ids?: readonly number[]): Promise<ClusterStatus> {
    let last: ClusterStatus | null = null;
    const seen = (): string => `replicas that agree (${this.data}):\n${this.output}${JSON.stringify(last, null, 1)}`;
    return await until(seen, async () => {
      if (this.child.exitCode !== null) throw new Error(`start ended with ${this.child.exitCode}:\n${this.output}`);
      const status = await this.status();
      last = status;
      if (status === null || status.replicas.filter(({ role }) => role === 'primary').length !== 1) return null;
      const asked = status.replicas.filter(({ id }) => ids?.includes(id) ?? true);
      const [first] = asked;
      const same = asked.every(
        (r) => r.status === 'normal' && r.applied !== null && r.applied === first?.applied && r.digest === first.digest,
      );
      return same ? status : null;
    });
  }

  /** Its process; a replica that is late to answer is asked again. */
  async pidOf(id: number): Promise<number> {
    return await until(
      () => `r${id} runs:\n${this.output}`,
      async () => (await this.status())?.replicas.find((replica) => replica.id === id)?.pid,
    );
  }

  /** Ends every fault. Whoever does not answer in time has healed nothing: asked again until all did. */
  async heal(): Promise<void> {
    let last = '';
    await until(
      () => `all healed: ${last}`,
      () => {
        const { code, stdout, stderr } = this.run('chaos', 'heal');
        last = stdout + stderr;
        return code === 0;
      },
    );
  }

  /** Submits a deposit, which must be acknowledged. */
  deposit(account: string, cents: number): void {
    const input = JSON.stringify({ account, cents });
    const { code, stderr } = this.run('submit', 'deposit', input, '--timeout', '60s');
    if (code !== 0) throw new Error(`deposit ended with ${code}: ${stderr}\n${this.output}`);
  }

  /** What an account has, by a linearizable query. */
  balance(account: string): unknown {
    const { code, stdout, stderr } = this.run(
      'query',
      'balance',
      JSON.stringify(account),
      '--timeout',
      '60s',
      '--json',
    );
    if (code !== 0) throw new Error(`query ended with ${code}: ${stderr}\n${this.output}`);
    return (JSON.parse(stdout) as { readonly result: unknown }).result;
  }

  /** Sends signals to the supervisor and waits for its end; returns how it ended. */
  async end(...signals: NodeJS.Signals[]): Promise<number | NodeJS.Signals> {
    for (const signal of signals) this.child.kill(signal);
    const late = new Promise<never>((_, reject) =>
      setTimeout(() => reject(new Error(`no end after ${signals.join(', ')}:\n${this.output}`)), PATIENCE_MS).unref(),
    );
    return await Promise.race([this.ended, late]);
  }

  /** Ends everything, whatever state it is in, and removes the data. */
  async destroy(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null)
      await this.end('SIGTERM').catch(() => this.child.kill('SIGKILL'));
    for (const pid of processesNaming(this.data)) process.kill(pid, 'SIGKILL');
    fs.rmSync(this.data, { recursive: true, force: true, maxRetries: 5 });
  }
}
