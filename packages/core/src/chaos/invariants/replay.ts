/**
 * Replay: when all are at rest, their whole states (application, sessions, outbox, keys, counters) are equal byte for byte, and whoever starts from the oldest
 * snapshot that is kept and applies the canonical log behind it meets every newer snapshot and comes to the same state.
 */
import type { FrameCodec } from '../../engine/frame-codec.ts';
import { FrameBatch } from '../../engine/frame-batch.ts';
import { sameBytes, toHex } from '../../engine/hash.ts';
import { type Snapshot, SnapshotStore } from '../../engine/snapshot-file.ts';
import { Executor } from '../../kernel/executor.ts';
import type { CanonicalLog } from '../canonical.ts';
import type { DurableFrame, DurableLog } from '../durable-log.ts';
import { offlineDisk } from '../offline.ts';
import type { Profile } from '../profile.ts';
import { versionedBank } from '../versioned-bank.ts';
import { mustHold } from '../violation.ts';

/** A replica at rest. */
export interface Resting {
  readonly id: number;
  readonly executor: Pick<Executor, 'applied' | 'snapshot' | 'versions'>;
}

export interface ReplaySettings {
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  readonly limits: Profile['limits'];
}

export function checkReplay(
  canonical: CanonicalLog,
  logs: readonly DurableLog[],
  replicas: readonly Resting[],
  settings: ReplaySettings,
): void {
  const [first, ...others] = replicas;
  if (first === undefined) return;
  const live = stateOf(first.executor);
  for (const other of others) {
    if (other.executor.applied !== first.executor.applied) continue;
    sameState(live, stateOf(other.executor), `r${other.id}`, `r${first.id}`, first.executor.applied);
  }
  const snapshots = keptSnapshots(logs, replicas, settings);
  const oldest = snapshots.values().next().value;
  if (oldest === undefined) return;
  const executor = newExecutor(settings, first.executor.versions.active);
  executor.restore(oldest, oldest.sections);
  while (executor.applied < first.executor.applied) {
    const found = frameOf(canonical, logs, executor.applied + 1);
    // Damage has struck every copy that can be read from outside.
    if (found === null) return;
    executor.apply(new FrameBatch(found.bytes, 1, found.hash), found.index, found.index, () => {});
    const kept = snapshots.get(found.index);
    if (kept !== undefined)
      sameState(
        kept.sections,
        stateOf(executor),
        `a replay from snapshot ${oldest.index}`,
        'the snapshot',
        found.index,
      );
  }
  sameState(live, stateOf(executor), `a replay from snapshot ${oldest.index}`, `r${first.id}`, executor.applied);
}

/** One intact snapshot of each index that is kept, oldest first. */
function keptSnapshots(
  logs: readonly DurableLog[],
  replicas: readonly Resting[],
  { codec, clusterId }: ReplaySettings,
): Map<number, Snapshot> {
  const kept = new Map<number, Snapshot>();
  for (const { id } of replicas) {
    const store = new SnapshotStore({ disk: offlineDisk(logs[id - 1]!.storage), codec, clusterId });
    for (const index of store.list()) {
      const read = kept.has(index) ? null : store.read(index);
      if (read !== null && typeof read !== 'string') kept.set(index, read);
    }
  }
  return new Map([...kept].sort(([a], [b]) => a - b));
}

/** Of a program that runs every version that was ever active. */
function newExecutor({ codec, clusterId, limits }: ReplaySettings, newest: number): Executor {
  const module = versionedBank({ oldest: 1, newest: Math.max(1, newest) }, () => {});
  return new Executor({ ...limits, module, codec, clusterId });
}

function frameOf(canonical: CanonicalLog, logs: readonly DurableLog[], index: number): DurableFrame | null {
  const entry = canonical.entries[index];
  if (entry === undefined) return null;
  for (const log of logs) {
    const found = log.frameOf(index, entry.hash);
    if (found !== null) return found;
  }
  return null;
}

/** Bytes of each section of the state. */
function stateOf(executor: Pick<Executor, 'snapshot'>): Uint8Array[] {
  return executor.snapshot().sections.collect();
}

function sameState(a: readonly Uint8Array[], b: readonly Uint8Array[], who: string, whom: string, at: number): void {
  for (let section = 0; section < Math.max(a.length, b.length); section++) {
    const [left, right] = [a[section] ?? NOTHING, b[section] ?? NOTHING];
    mustHold(sameBytes(left, right), 'state', 'replay-gives-the-same-state', () => {
      const from = left.findIndex((byte, i) => byte !== right[i]);
      const shown = (bytes: Uint8Array): string => toHex(bytes.subarray(Math.max(0, from), Math.max(0, from) + 16));
      return `at ${at} section ${section} of ${who} differs from that of ${whom}: ${shown(right)} instead of ${shown(left)} at byte ${from}`;
    });
  }
}

const NOTHING = new Uint8Array(0);
