/** A real cluster: supervisor, replicas and console as a user starts them, in a directory of its own. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ClusterStatus } from '@chronon/node/api';
import { freeBase } from '@chronon/node/testing/ports';

const CLI = fileURLToPath(new URL('../apps/node/bin/chronon.mjs', import.meta.url));
const START_MS = 240_000;
const STOP_MS = 60_000;
/** Of one command. */
const COMMAND_MS = 240_000;
/** Of a submit, the most that the API waits for; and of the answer. */
const CALL_MS = 60_000;
const ANSWER_MS = 90_000;
/** Only something broken needs it; a busy machine may. */
const PATIENCE_MS = 120_000;

interface Endpoint {
  readonly token: string;
  readonly replicas: readonly { readonly apiUrl: string }[];
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Cluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'chronon-e2e-'));
  readonly data = join(this.dir, 'data');
  loginUrl = '';
  port = 0;
  private child: ChildProcess | null = null;
  private readonly output: string[] = [];

  static async start(options: { replicas?: number; args?: readonly string[] } = {}): Promise<Cluster> {
    const cluster = new Cluster();
    const replicas = options.replicas ?? 3;
    cluster.port = await freeBase();
    await cluster.up(['--replicas', String(replicas), ...(options.args ?? ['--enable-chaos'])]);
    return cluster;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  private async up(args: readonly string[]): Promise<void> {
    const child = spawn(process.execPath, [CLI, 'start', '--data', this.data, '--port', String(this.port), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    child.stderr!.on('data', (chunk: Buffer) => this.output.push(chunk.toString()));
    const lines = createInterface({ input: child.stdout! });
    this.loginUrl = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not up after ${START_MS} ms:\n${this.log}`)), START_MS);
      lines.on('line', (line) => {
        this.output.push(`${line}\n`);
        const url = /http:\/\/\S+#token=\S+/.exec(line)?.[0];
        if (url === undefined) return;
        clearTimeout(timer);
        resolve(url);
      });
      child.once('exit', (code) => reject(new Error(`chronon start ended with ${code}:\n${this.log}`)));
    });
  }

  get log(): string {
    return this.output.join('');
  }

  /** Stops as a user does, and removes everything. */
  async stop(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child && child.exitCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGINT');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Any command of the CLI against this cluster. */
  run(...args: readonly string[]): Promise<CommandResult> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [CLI, ...args, '--data', this.data],
        { timeout: COMMAND_MS },
        (error, stdout, stderr) => {
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
        },
      );
    });
  }

  async status(): Promise<ClusterStatus> {
    const { code, stdout, stderr } = await this.run('status', '--json');
    if (code !== 0) throw new Error(`status ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as ClusterStatus;
  }

  /** Polls the status until it is as wanted; fails with the last one. */
  async until(what: string, wanted: (status: ClusterStatus) => boolean, ms = PATIENCE_MS): Promise<ClusterStatus> {
    const end = Date.now() + ms;
    let last: ClusterStatus | null = null;
    while (Date.now() < end) {
      last = await this.status().catch(() => null);
      if (last !== null && wanted(last)) return last;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    throw new Error(`${what}: not within ${ms} ms; last status: ${JSON.stringify(last)}`);
  }

  /** All replicas normal, at one index, with one digest. */
  async converged(ms?: number): Promise<ClusterStatus> {
    return this.until(
      'converged',
      ({ replicas }) =>
        replicas.every((r) => r.status === 'normal') &&
        new Set(replicas.map((r) => `${r.applied}/${r.commit}/${r.digest}`)).size === 1,
      ms,
    );
  }

  /** Submits one command by the API of a replica; throws unless it was committed. */
  async submit(name: string, input: unknown): Promise<void> {
    const { token, replicas } = JSON.parse(readFileSync(join(this.data, 'endpoint.json'), 'utf8')) as Endpoint;
    const failures: string[] = [];
    for (const { apiUrl } of replicas) {
      const answer = await fetch(`${apiUrl}/trpc/app.submit`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ name, input, timeoutMs: CALL_MS }),
        signal: AbortSignal.timeout(ANSWER_MS),
      }).catch((error: unknown) => failures.push(String(error)));
      if (typeof answer === 'number') continue;
      const text = await answer.text();
      if (text.includes('"outcome":"ok"')) return;
      failures.push(text);
    }
    throw new Error(`submit ${name}: ${failures.join('; ')}`);
  }

  /** Ends every fault; whoever does not answer in time has healed nothing, and is asked again. */
  async heal(): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const { code, stdout, stderr } = await this.run('chaos', 'heal');
      if (code === 0) return;
      if (Date.now() > end) throw new Error(`chaos heal: not within ${PATIENCE_MS} ms: ${stdout}${stderr}`);
    }
  }

  /** Nothing is on its way any more: what effects did is committed too, everywhere. */
  async quiet(): Promise<ClusterStatus> {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      await this.converged();
      if ((await this.pendingEffects().catch(() => null)) === 0) return await this.converged();
      if (Date.now() > end) throw new Error(`effects are pending for ${PATIENCE_MS} ms`);
    }
  }

  /** Effects that the primary has still to run or to hear the end of. */
  private async pendingEffects(): Promise<number> {
    const { code, stdout, stderr } = await this.run('effects', 'list', '--json');
    if (code !== 0) throw new Error(`effects list ended with ${code}: ${stderr}`);
    return (JSON.parse(stdout) as { readonly counts: { readonly pending: number } }).counts.pending;
  }

  /** A fresh login link. */
  async freshLogin(): Promise<string> {
    const { stdout, stderr } = await this.run('console');
    const url = /http:\/\/\S+#token=\S+/.exec(stdout)?.[0];
    if (url === undefined) throw new Error(`chronon console printed no link: ${stdout}${stderr}`);
    return url;
  }

  replicaLog(id: number): string {
    return readFileSync(join(this.data, 'run', `r${id}.log`), 'utf8');
  }
}
