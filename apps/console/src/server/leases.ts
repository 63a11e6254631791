/** Merges the leases that several replicas state into one list of faults. */
import type { Fault, Lease } from '../lib/frame.ts';

export interface StatedLease {
  readonly lease: Lease;
  /** `r1`, `supervisor`. */
  readonly by: string;
}

/** One fault a link or process, with the longest time left that anybody states. Expired ones are left out. */
export function mergeLeases(stated: readonly StatedLease[]): Fault[] {
  const faults = new Map<string, Fault>();
  for (const { lease, by } of stated) {
    if (lease.remainingMs <= 0) continue;
    const key = lease.kind === 'cut' ? `cut:${lease.replica}:${lease.to}` : `${lease.kind}:${lease.replica}`;
    const known = faults.get(key);
    faults.set(key, {
      key,
      kind: lease.kind,
      replica: lease.replica,
      to: lease.to,
      reason: lease.reason || (known?.reason ?? ''),
      remainingMs: Math.max(lease.remainingMs, known?.remainingMs ?? 0),
      ttlMs: Math.max(lease.ttlMs, known?.ttlMs ?? 0),
      ids: [...new Set([...(known?.ids ?? []), lease.id])],
      statedBy: [...new Set([...(known?.statedBy ?? []), by])],
    });
  }
  return [...faults.values()].sort((a, b) => a.key.localeCompare(b.key));
}
