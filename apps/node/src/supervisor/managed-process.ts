/**
 * One child process kept alive: start, restart with backoff, stop, kill, pause. Replicas and the console's server are both this.
 *
 * Invariants: at most one process runs for it; it is started again by itself only after a death that nobody here asked for and that is no refusal;
 * a paused process is continued when its pause ends, also if this process dies first (a watchdog holds the other end of a pipe).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { exitName, isRefusal } from '../replica/exit-codes.ts';

export const RESTART_MIN_MS = 1000;
export const RESTART_MAX_MS = 30_000;
/** After so long alive a death counts as the first again. */
export const HEALTHY_MS = 60_000;
const STOP_GRACE_MS = 5000;
const LOG_BYTES_MAX = 16 * 1024 * 1024;

/** `held`: down (or paused) until told otherwise. `refused`: the same start would be refused again. */
export type ProcessState = 'starting' | 'running' | 'paused' | 'waiting' | 'stopped' | 'held' | 'refused';

export interface ProcessSpec {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Where its output goes; null: to this process's own. */
  readonly logPath: string | null;
  /** `ipc`: an IPC channel (its end tells the child); `pipe`: descriptor 3 is a pipe that ends with this process. */
  readonly lifeline: 'ipc' | 'pipe';
}

export interface ProcessEvents {
  onMessage(message: unknown): void;
  /** State, pid or reason changed. */
  onChange(): void;
}

export class ManagedProcess {
  state: ProcessState = 'stopped';
  /** Why it is in this state, in words; empty when there is nothing to say. */
  reason = '';
  restarts = 0;
  /** Exit code of the last death, null before one or after a signal. */
  exitCode: number | null = null;
  readonly spec: ProcessSpec;
  private readonly events: ProcessEvents;
  private child: ChildProcess | null = null;
  private failures = 0;
  private startedAt = 0;
  private timer: NodeJS.Timeout | null = null;
  private watchdog: ChildProcess | null = null;
  /** What a death that was asked for leads to. */
  private expected: { readonly state: 'stopped' | 'held'; readonly reason: string } | null = null;

  constructor(spec: ProcessSpec, events: ProcessEvents) {
    this.spec = spec;
    this.events = events;
  }

  get pid(): number | null {
    return this.child?.pid ?? null;
  }

  /** Starts it, or continues it when it is paused. Nothing happens to one that runs. */
  start(): void {
    this.clearTimer();
    if (this.state === 'paused') return this.resume();
    if (this.child !== null) {
      // Told to end and not gone yet: start once it is.
      if (this.expected !== null) this.child.once('exit', () => setImmediate(() => this.start()));
      return;
    }
    this.failures = 0;
    this.launch('');
  }

  /** Ends it politely (then by force) and keeps it down. */
  async stop(reason: string): Promise<void> {
    await this.end('SIGTERM', { state: 'stopped', reason });
  }

  /** kill -9. `held`: it is to stay down until its lease ends. */
  async kill(reason: string): Promise<void> {
    await this.end('SIGKILL', { state: 'held', reason });
  }

  /** SIGSTOP; false when there is nothing that runs. */
  pause(reason: string): boolean {
    const { child } = this;
    if (child?.pid === undefined || (this.state !== 'running' && this.state !== 'starting')) return false;
    this.watchdog = watchOver(child.pid);
    child.kill('SIGSTOP');
    this.set('paused', reason);
    return true;
  }

  resume(): void {
    if (this.state !== 'paused') return;
    this.endWatchdog();
    this.child?.kill('SIGCONT');
    this.set('running', '');
  }

  /** The child says that it serves. */
  markReady(): void {
    if (this.state === 'starting') this.set('running', '');
  }

  /** Last line of its output, for messages. */
  lastLine(): string {
    if (this.spec.logPath === null) return '';
    try {
      const text = fs.readFileSync(this.spec.logPath, 'utf8').slice(-8192).trimEnd();
      return text.slice(text.lastIndexOf('\n') + 1).slice(0, 500);
    } catch {
      return '';
    }
  }

  private launch(reason: string): void {
    const { spec } = this;
    this.clearTimer();
    const log = spec.logPath === null ? ('inherit' as const) : openLog(spec.logPath);
    const lifeline = spec.lifeline === 'ipc' ? ('ipc' as const) : ('pipe' as const);
    const child = spawn(process.execPath, [...spec.args], {
      env: spec.env,
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
      stdio: ['ignore', log, log, lifeline],
    });
    if (typeof log === 'number') fs.closeSync(log);
    this.child = child;
    this.startedAt = performance.now();
    this.expected = null;
    child.on('message', (message) => {
      this.events.onMessage(message);
    });
    child.once('exit', (code, signal) => {
      this.onExit(child, code, signal);
    });
    child.on('error', (error) => {
      if (child.pid === undefined) this.onExit(child, 127, null, error.message);
    });
    // The channel may break while the child dies; its exit is what counts.
    child.stdio[3]?.on('error', () => undefined);
    this.set('starting', reason);
  }

  private onExit(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null, problem?: string): void {
    if (this.child !== child) return;
    this.child = null;
    this.exitCode = code;
    this.endWatchdog();
    const { expected } = this;
    this.expected = null;
    if (expected !== null) return this.set(expected.state, expected.reason);
    const how = signal === null ? exitText(code ?? 1, problem ?? this.lastLine()) : `ended by ${signal}`;
    if (code !== null && isRefusal(code)) return this.set('refused', how);
    if (performance.now() - this.startedAt > HEALTHY_MS) this.failures = 0;
    const delayMs = Math.min(RESTART_MAX_MS, RESTART_MIN_MS * 2 ** this.failures++);
    this.set('waiting', `${how}; starts again in ${delayMs / 1000} s`);
    this.timer = setTimeout(() => {
      this.restarts++;
      this.launch(`restarted after: ${how}`);
    }, delayMs);
  }

  private async end(
    signal: 'SIGTERM' | 'SIGKILL',
    expected: { state: 'stopped' | 'held'; reason: string },
  ): Promise<void> {
    this.clearTimer();
    const { child } = this;
    if (child === null) return this.set(expected.state, expected.reason);
    this.expected = expected;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    // A stopped process does not see SIGTERM before it is continued.
    if (this.state === 'paused') child.kill('SIGCONT');
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
    await gone;
    clearTimeout(force);
  }

  private set(state: ProcessState, reason: string): void {
    this.state = state;
    this.reason = reason;
    this.events.onChange();
  }

  private clearTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private endWatchdog(): void {
    this.watchdog?.stdin?.end();
    this.watchdog = null;
  }
}

/** Continues `pid` when our end of its pipe closes: when the pause ends, or when this process is gone. */
function watchOver(pid: number): ChildProcess {
  const watchdog = spawn(
    '/bin/sh',
    ['-c', 'trap "" INT TERM HUP; cat >/dev/null; kill -CONT "$1"', 'watchdog', String(pid)],
    {
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  );
  watchdog.on('error', () => undefined);
  watchdog.stdin?.on('error', () => undefined);
  watchdog.unref();
  return watchdog;
}

function exitText(code: number, lastLine: string): string {
  const name = exitName(code);
  const what = name === `exit ${code}` ? name : `exit ${code} (${name})`;
  return lastLine === '' ? what : `${what}: ${lastLine}`;
}

function openLog(path: string): number {
  try {
    if (fs.statSync(path).size > LOG_BYTES_MAX) fs.renameSync(path, `${path}.1`);
  } catch {
    // There is none yet.
  }
  return fs.openSync(path, 'a', 0o600);
}
