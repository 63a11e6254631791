/**
 * The replicas under this supervisor, and the faults that act on their processes. A lease here is a pause or a kill: it ends by itself, by `heal`, or by
 * `replica start`.
 *
 * Invariants: at most one process lease a replica; a replica under a kill lease is down and started again when the lease ends; pid, restarts and the
 * reason of every state are visible.
 */
import { randomUUID } from 'node:crypto';
import type { Lease } from '../api/schema.ts';
import { TTL_MS_MAX, TTL_MS_MIN } from '../replica/leases.ts';
import { ManagedProcess, type ProcessSpec, type ProcessState } from './managed-process.ts';

/** The order of a replica is carried out after this, so that its own answer can leave first. */
const ORDER_DELAY_MS = 100;

interface ProcessLease {
  readonly id: string;
  readonly kind: 'pause' | 'kill';
  readonly reason: string;
  readonly ttlMs: number;
  readonly untilMs: number;
  readonly timer: NodeJS.Timeout;
}

interface Managed {
  readonly id: number;
  readonly process: ManagedProcess;
  lease: ProcessLease | null;
}

/** One process as `supervisor.status` shows it. */
export interface ProcessReport {
  readonly id: number;
  readonly pid: number | null;
  readonly state: ProcessState;
  readonly restarts: number;
  readonly reason: string;
  readonly lease: Lease | null;
}

export interface ReplicaSupervisorOptions {
  readonly specs: readonly { readonly id: number; readonly spec: ProcessSpec }[];
  /** Orders of replicas to pause or kill are carried out only then. */
  readonly chaosEnabled: boolean;
  /** A replica serves: its directory is formatted. */
  onReady?(id: number): void;
  /** A line for the operator. */
  say(line: string): void;
}

export class ReplicaSupervisor {
  private readonly replicas: Managed[];
  private readonly options: ReplicaSupervisorOptions;
  private readonly waiters = new Set<() => void>();
  private stopping = false;

  constructor(options: ReplicaSupervisorOptions) {
    this.options = options;
    this.replicas = options.specs.map(({ id, spec }) => {
      const managed: Managed = {
        id,
        lease: null,
        process: new ManagedProcess(spec, {
          onMessage: (message) => {
            this.onMessage(managed, message);
          },
          onChange: () => {
            this.onChange(managed);
          },
        }),
      };
      return managed;
    });
  }

  startAll(): void {
    for (const { process } of this.replicas) process.start();
  }

  /** Resolves when every replica serves, or cannot for now; `settled` false: the time was up. */
  async settled(timeoutMs: number): Promise<boolean> {
    const end = performance.now() + timeoutMs;
    while (this.replicas.some(({ process }) => process.state === 'starting' || process.state === 'waiting')) {
      const left = end - performance.now();
      if (left <= 0 || this.stopping) return false;
      await this.changed(left);
    }
    return true;
  }

  /** Exit code of a refusal when every replica refused, else null. */
  get refusedByAll(): number | null {
    return this.replicas.every(({ process }) => process.state === 'refused')
      ? (this.replicas[0]?.process.exitCode ?? null)
      : null;
  }

  reports(): ProcessReport[] {
    return this.replicas.map((managed) => ({
      id: managed.id,
      pid: managed.process.pid,
      state: managed.process.state,
      restarts: managed.process.restarts,
      reason: managed.process.reason,
      lease: managed.lease === null ? null : statement(managed.id, managed.lease),
    }));
  }

  leases(): Lease[] {
    return this.replicas.flatMap(({ id, lease }) => (lease === null ? [] : [statement(id, lease)]));
  }

  has(id: number): boolean {
    return this.replicas.some((managed) => managed.id === id);
  }

  start(id: number): void {
    const managed = this.of(id);
    this.endLease(managed);
    managed.process.start();
  }

  async stop(id: number): Promise<void> {
    const managed = this.of(id);
    this.endLease(managed);
    await managed.process.stop('stopped by command');
  }

  /** `ttlMs` null: down until started by command. */
  async kill(id: number, ttlMs: number | null, why: string, leaseId?: string): Promise<void> {
    const managed = this.of(id);
    this.endLease(managed);
    await managed.process.kill(ttlMs === null ? `killed by command` : `killed for ${ttlMs / 1000} s`);
    if (ttlMs !== null) this.addLease(managed, 'kill', ttlMs, why, leaseId);
  }

  /** False when the replica does not run. */
  pause(id: number, ttlMs: number, why: string, leaseId?: string): boolean {
    const managed = this.of(id);
    this.endLease(managed);
    managed.process.resume();
    if (!managed.process.pause(`paused for ${ttlMs / 1000} s`)) return false;
    this.addLease(managed, 'pause', ttlMs, why, leaseId);
    return true;
  }

  /** Ends a pause; a replica that is not paused stays as it is. */
  resume(id: number): void {
    const managed = this.of(id);
    if (managed.process.state === 'paused') this.start(id);
  }

  /** Ends leases: the one of this id, or all; returns how many. */
  heal(leaseId: string | null): number {
    const healed = this.replicas.filter(({ lease }) => lease !== null && (leaseId === null || lease.id === leaseId));
    for (const managed of healed) this.start(managed.id);
    return healed.length;
  }

  async stopAll(): Promise<void> {
    this.stopping = true;
    await Promise.all(
      this.replicas.map(async (managed) => {
        this.endLease(managed);
        await managed.process.stop('the supervisor stops');
      }),
    );
  }

  private of(id: number): Managed {
    const managed = this.replicas.find((one) => one.id === id);
    if (managed === undefined) throw new RangeError(`r${id} is not under this supervisor`);
    return managed;
  }

  private addLease(managed: Managed, kind: 'pause' | 'kill', ttlMs: number, reason: string, leaseId?: string): void {
    const bounded = Math.min(TTL_MS_MAX, Math.max(TTL_MS_MIN, ttlMs));
    const timer = setTimeout(() => {
      this.options.say(`r${managed.id}: the ${kind} is over`);
      this.start(managed.id);
    }, bounded);
    managed.lease = {
      id: leaseId ?? randomUUID(),
      kind,
      reason,
      ttlMs: bounded,
      untilMs: performance.now() + bounded,
      timer,
    };
  }

  private endLease(managed: Managed): void {
    if (managed.lease !== null) clearTimeout(managed.lease.timer);
    managed.lease = null;
  }

  private onMessage(managed: Managed, message: unknown): void {
    if (typeof message !== 'object' || message === null) return;
    const { type, action, ttlMs, leaseId } = message as Record<string, unknown>;
    if (type === 'ready') {
      managed.process.markReady();
      return this.options.onReady?.(managed.id);
    }
    if (type !== 'chaos' || !this.options.chaosEnabled || this.stopping) return;
    if (action === 'healAll') return void this.heal(null);
    if (typeof leaseId !== 'string') return;
    if (action === 'heal') return void this.heal(leaseId);
    if ((action !== 'pause' && action !== 'kill') || typeof ttlMs !== 'number') return;
    setTimeout(() => {
      if (this.stopping) return;
      if (action === 'kill') void this.kill(managed.id, ttlMs, 'chaos', leaseId);
      else this.pause(managed.id, ttlMs, 'chaos', leaseId);
    }, ORDER_DELAY_MS);
  }

  private onChange(managed: Managed): void {
    const { state, reason, pid } = managed.process;
    if (!this.stopping && (state === 'waiting' || state === 'refused')) this.options.say(`r${managed.id}: ${reason}`);
    if (!this.stopping && state === 'starting' && reason !== '')
      this.options.say(`r${managed.id}: started again as process ${pid ?? 0}`);
    for (const wake of this.waiters) wake();
  }

  private async changed(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.waiters.add(done);
    });
  }
}

function statement(replica: number, lease: ProcessLease): Lease {
  const { id, kind, reason, ttlMs, untilMs } = lease;
  return { id, kind, replica, to: null, reason, remainingMs: Math.max(0, untilMs - performance.now()), ttlMs };
}
