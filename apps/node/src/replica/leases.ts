/**
 * Leases: the faults that chaos put on this replica, each until a time of its own. Enforced here, in the process that suffers them, by
 * the monotone clock: browser, console and supervisor may all be gone and the fault still ends.
 *
 * Invariants: a lease never outlives its TTL, which is at most TTL_MS_MAX; at most LEASES_MAX are active; an id is used once.
 */
import type { Lease } from '../api/schema.ts';

export const TTL_MS_MIN = 100;
export const TTL_MS_MAX = 600_000;
export const LEASES_MAX = 64;

export interface LeaseRequest {
  readonly id: string;
  readonly kind: Lease['kind'];
  /** Sender of a cut link; the process paused or killed. */
  readonly replica: number;
  /** Receiver of a cut link, else null. */
  readonly to: number | null;
  readonly reason: string;
  readonly ttlMs: number;
}

interface Active extends LeaseRequest {
  readonly untilMs: number;
}

export type LeaseProblem = 'E_LEASE_EXISTS' | 'E_LEASE_TTL' | 'E_LEASES_MAX';

export class Leases {
  private readonly active = new Map<string, Active>();
  private readonly cuts = new Set<number>();
  private readonly monotonicMs: () => number;
  private readonly onEnd: (lease: LeaseRequest, why: 'expired' | 'healed') => void;
  private earliestMs = Number.POSITIVE_INFINITY;

  constructor(monotonicMs: () => number, onEnd: (lease: LeaseRequest, why: 'expired' | 'healed') => void) {
    this.monotonicMs = monotonicMs;
    this.onEnd = onEnd;
  }

  /** Puts a fault in force; a problem names why not. */
  add(request: LeaseRequest): LeaseProblem | null {
    this.expire();
    if (!(request.ttlMs >= TTL_MS_MIN && request.ttlMs <= TTL_MS_MAX)) return 'E_LEASE_TTL';
    if (this.active.has(request.id)) return 'E_LEASE_EXISTS';
    if (this.active.size >= LEASES_MAX) return 'E_LEASES_MAX';
    this.active.set(request.id, { ...request, untilMs: this.monotonicMs() + request.ttlMs });
    this.settle();
    return null;
  }

  /** Ends a lease; false when there is none of that id. */
  release(id: string): boolean {
    const lease = this.active.get(id);
    if (lease === undefined) return false;
    this.active.delete(id);
    this.settle();
    this.onEnd(lease, 'healed');
    return true;
  }

  /** Ends all; returns how many there were. */
  releaseAll(): number {
    const ids = [...this.active.keys()];
    for (const id of ids) this.release(id);
    return ids.length;
  }

  /** Is the directed link cut now? Asked for every message. */
  isCut(from: number, to: number): boolean {
    if (this.cuts.size === 0) return false;
    this.expire();
    return this.cuts.has(key(from, to));
  }

  /** Ends what is due; call it with every tick. */
  expire(): void {
    const now = this.monotonicMs();
    if (now < this.earliestMs) return;
    const due = [...this.active.values()].filter((lease) => lease.untilMs <= now);
    for (const lease of due) this.active.delete(lease.id);
    this.settle();
    for (const lease of due) this.onEnd(lease, 'expired');
  }

  list(): Lease[] {
    this.expire();
    const now = this.monotonicMs();
    return [...this.active.values()].map(({ id, kind, replica, to, reason, ttlMs, untilMs }) => ({
      id,
      kind,
      replica,
      to,
      reason,
      ttlMs,
      remainingMs: Math.max(0, Math.round(untilMs - now)),
    }));
  }

  private settle(): void {
    this.cuts.clear();
    this.earliestMs = Number.POSITIVE_INFINITY;
    for (const lease of this.active.values()) {
      this.earliestMs = Math.min(this.earliestMs, lease.untilMs);
      if (lease.kind === 'cut' && lease.to !== null) this.cuts.add(key(lease.replica, lease.to));
    }
  }
}

function key(from: number, to: number): number {
  return from * 256 + to;
}
