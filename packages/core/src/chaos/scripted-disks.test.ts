/**
 * Sentences of docs/protocol.md that say never, only or before and are about what is on the disk: one script each on real Replicas and disks that lose what no
 * barrier covered (scripts/sentences.test.ts is the map).
 */
import { describe, expect, it, test } from 'vitest';
import { kv } from '../apps/kv.ts';
import { nobleCodec } from '../engine/codec/noble.ts';
import type { RecoveredLog } from '../engine/log-contract.ts';
import { openLog } from '../engine/testing/log-harness.ts';
import type { MemoryDisk } from '../engine/testing/memory-disk.ts';
import type { ApplicationModule } from '../kernel/types.ts';
import { type Policy, SOUND } from '../policy.ts';
import { Prng } from '../prng.ts';
import type { Replica } from '../replica.ts';
import type { Message } from '../vsr/messages.ts';
import { damage, NOTHING, ReplicaBench } from './testing/replica-bench.ts';

const app = (): ApplicationModule => kv as unknown as ApplicationModule;
/** No snapshot and so no compaction: what is missed comes as frames. */
const LOG_ONLY = { snapshotEvery: 0 };

/** A bench with a primary and `puts` commands; what one of the others is called does not matter. */
function serving(n: number, puts: number, policy: Policy = SOUND) {
  const bench = new ReplicaBench(n, LOG_ONLY, app, policy);
  bench.put(puts);
  const primary = idOf(bench.primary!);
  const others = bench.disks.map((_, i) => i + 1).filter((id) => id !== primary);
  return { bench, primary, others };
}

const idOf = (replica: Replica): number => replica.node.state.id;

/** What recovery says of a disk as it is, or as a power cut that takes everything leaves it. */
function recoveryOf(disk: MemoryDisk, id: number): RecoveredLog {
  const opened = openLog(disk.crash(NOTHING), { codec: nobleCodec, expect: { clusterId: null, replicaId: id } });
  if ('refusal' in opened) throw new Error(`r${id}: ${opened.refusal.message}`);
  return opened.recovered;
}

function converged(bench: ReplicaBench): boolean {
  const seen = bench.replicas.filter((replica) => replica !== null).map((replica) => replica.status());
  return seen.every(({ applied, digest }) => applied === seen[0]!.applied && digest === seen[0]!.digest);
}

/** The disk of `id` finishes so many operations; time passes when it has nothing to do. */
function pump(bench: ReplicaBench, id: number, steps: number): void {
  bench.stalled.add(id);
  for (let i = 0; i < steps; i++) {
    if (bench.disk(id).pending > 0) bench.disk(id).complete(0);
    else bench.run(1);
  }
}

describe('power cuts', () => {
  test.each([1, 3, 5])(
    'total power cut in mid-batch of %i: nothing acknowledged is lost, and the cluster goes on',
    (n) => {
      const draw = new Prng(n);
      for (let round = 0; round < 6; round++) {
        const bench = new ReplicaBench(n);
        bench.put(12);
        for (const id of bench.disks.keys()) bench.stalled.add(id + 1);
        for (let i = 0; i < 40; i++) bench.offer(bench.primary!);
        for (let step = draw.below(10); step > 0; step--) {
          bench.run(1);
          for (const disk of bench.disks) if (disk.pending > 0) disk.complete(draw.below(disk.pending));
        }
        const best = bench.replicas.reduce((a, b) => (b!.executor.applied > a!.executor.applied ? b : a))!;
        const { applied, digest } = best.executor;
        const acknowledged = digest.slice();
        for (const [i, disk] of bench.disks.entries())
          bench.cutPower(i + 1, { sector: () => draw.chance(0.5), names: draw.below(disk.unsyncedNames + 1) });
        bench.stalled.clear();
        for (const id of bench.disks.keys()) bench.start(id + 1);
        bench.put(2);
        bench.until(() => converged(bench));
        expect(bench.halts).toEqual([]);
        for (const replica of bench.replicas) expect(replica!.executor.digestAt(applied)).toEqual(acknowledged);
      }
    },
  );
});

/** Last index that a message says is durable at its sender; -1 for none. */
function vouched(m: Message): number {
  if (m.type === 'prepareOk') return m.last;
  if (m.type === 'doViewChange') return m.present;
  return m.type === 'commitOk' ? m.durable : -1;
}

/** A backup is killed with a frame in its cache that no barrier covered; what it says afterwards and could not prove after a power cut. */
function killedMeanwhile(policy: Policy): string[] {
  const { bench, primary, others } = serving(3, 3, policy);
  const [backup, third] = others as [number, number];
  bench.onWire = (from, to, m) => (from === third || to === third ? null : m);
  bench.stalled.add(backup);
  bench.offer(bench.r(primary));
  bench.run(2);
  const { end } = bench.r(primary).node.state;
  bench.crash(backup, () => true);
  bench.stalled.clear();
  const unproved: string[] = [];
  bench.onWire = (from, _to, m) => {
    const said = vouched(m);
    if (from === backup && said >= end && recoveryOf(bench.disk(backup), backup).end < said)
      unproved.push(`${m.type} of ${said}`);
    return m;
  };
  bench.crash(primary);
  bench.start(backup);
  bench.until(() => bench.primary !== null);
  bench.run(20);
  expect(bench.r(third).node.state.end).toBeGreaterThan(end);
  return unproved;
}

describe('Recovery', () => {
  it('a frame read back after kill -9 but never barriered is on the medium before anything is said of it', () => {
    expect(killedMeanwhile(SOUND)).toEqual([]);
    expect(killedMeanwhile({ ...SOUND, skipBarrierAtOpen: true })).not.toEqual([]);
  });

  it('crash at every step of an install from far behind: stale frames below the first stored header never count, what it keeps stays', () => {
    let cutOff = 0;
    for (let crashAt = 1; crashAt <= 12; crashAt++) {
      const { bench, primary: old, others } = serving(3, 3);
      const { commit: shared, view } = bench.r(old).node.state;
      // The old primary has durable frames that nobody else gets, and the others go on for longer than the headers reach.
      bench.onWire = (from, to, m) => (from === old || to === old ? null : m);
      for (let i = 0; i < 6; i++) bench.offer(bench.r(old));
      bench.run(200);
      const stale = bench.r(old).node.state;
      const hash = stale.endHash.slice();
      bench.put(45);
      bench.run(20);
      bench.onWire = (_from, _to, m) => m;
      pump(bench, old, crashAt);
      const left = recoveryOf(bench.disk(old), old);
      expect(left).toMatchObject({ connected: true, promised: left.end });
      expect(left.end).toBeGreaterThanOrEqual(shared);
      const { logView, headers } = left.manifest;
      if (logView > view && headers.first > left.end + 1 && left.notes.some((note) => note.includes('stale'))) cutOff++;
      bench.cutPower(old);
      bench.stalled.clear();
      bench.start(old);
      expect(bench.r(old).node.state.end).toBe(left.end);
      bench.until(() => converged(bench) && bench.r(old).executor.applied >= 45);
      expect(bench.halts).toEqual([]);
      expect(bench.r(others[0]!).executor.digestAt(45)).toEqual(bench.r(old).executor.digestAt(45));
      expect(bench.r(old).node.state.ring.hash(stale.end)).not.toEqual(hash);
    }
    expect(cutOff).toBeGreaterThan(0);
  }, 60_000);

  it('crash at every step of an install from far behind: the only whole copy of a committed entry is not lost with it', () => {
    let cutOff = 0;
    for (let crashAt = 1; crashAt <= 12; crashAt++) {
      const { bench, primary, others } = serving(3, 6);
      const [other, far] = others as [number, number];
      const { end, view } = bench.r(far).node.state;
      bench.onWire = (from, to, m) => (from === far || to === far ? null : m);
      bench.put(45);
      for (const id of [primary, other]) {
        bench.crash(id);
        damage(bench.disk(id), end - 1);
        bench.start(id);
      }
      bench.until(() => bench.replicas.some((replica) => replica!.node.state.primary !== null));
      bench.onWire = (_from, _to, m) => m;
      pump(bench, far, crashAt);
      const { manifest, notes } = recoveryOf(bench.disk(far), far);
      if (manifest.logView > view && notes.length > 0) cutOff++;
      bench.cutPower(far);
      bench.stalled.clear();
      bench.start(far);
      expect(bench.r(far).node.state.end).toBeGreaterThanOrEqual(end);
      bench.until(() => converged(bench) && bench.r(far).executor.applied >= 45);
      expect([bench.halts, bench.replicas.flatMap((replica) => replica!.node.state.faulty)]).toEqual([[], []]);
    }
    expect(cutOff).toBeGreaterThan(0);
  }, 60_000);
});

describe('Installing', () => {
  it('first stores {view, log view, headers}; only then is the log changed, and only from the first index whose chain hash differs', () => {
    const { bench, primary: old } = serving(3, 6);
    const shared = bench.r(old).node.state.commit;
    bench.onWire = (from, to, m) => (from === old || to === old ? null : m);
    for (let i = 0; i < 5; i++) bench.offer(bench.r(old));
    bench.run(200);
    const { end, endHash, logView } = recoveryBefore(bench.r(old));
    expect(end).toBe(shared + 5);
    bench.put(3);
    bench.onWire = (_from, _to, m) => m;
    const states: string[] = [];
    for (let step = 0; step < 60; step++) {
      pump(bench, old, 1);
      const left = recoveryOf(bench.disk(old), old);
      const newView = left.manifest.logView > logView;
      states.push(`${newView}/${left.end < end}`);
      if (newView) expect(left.end).toBeGreaterThanOrEqual(shared);
      else expect([left.end, left.endHash]).toEqual([end, endHash]);
      expect(left.faulty).toEqual([]);
    }
    expect(new Set(states)).toContain('false/false');
    expect(new Set(states)).toContain('true/true');
    bench.stalled.clear();
    bench.until(() => converged(bench));
    expect(bench.halts).toEqual([]);
  });
});

function recoveryBefore(replica: Replica): { end: number; endHash: Uint8Array; logView: number } {
  const { end, endHash, logView } = replica.node.state;
  return { end, endHash: endHash.slice(), logView };
}

describe('Snapshots', () => {
  it('a snapshot is never installed by a voter whose vote it would change', () => {
    const bench = new ReplicaBench(3);
    bench.put(5);
    const behind = [1, 2, 3].find((id) => id !== idOf(bench.primary!))!;
    const [a, b] = [1, 2, 3].filter((id) => id !== behind) as [number, number];
    bench.crash(behind);
    bench.put(120);
    bench.until(() => bench.r(a).store.first > 20 && bench.r(b).store.first > 20);
    bench.start(behind);
    const voter = bench.r(behind);
    const n = voter.node.state;
    // It votes for a view of its peers' calling while the parts of the snapshot it has asked for come in; nothing else it says is heard.
    bench.until(() => voter.snapshots.transfer.fetching !== null);
    let view = n.view + 1;
    while (n.primaryOf(view) === behind) view++;
    for (const from of [a, b]) voter.receive(from, { type: 'startViewChange', view });
    const heads: number[] = [];
    bench.onWire = (from, to, m) => {
      if (from === behind && m.type === 'doViewChange') heads.push(m.head);
      const parts = m.type === 'getSnapshot' || m.type === 'snapshotPart' || m.type === 'snapshotReport';
      return (from === behind || to === behind) && !parts ? null : m;
    };
    const before = [n.head, n.applied];
    bench.run(10);
    expect(n.status).toBe('view-change');
    for (let i = 0; i < 40 && n.status === 'view-change'; i++) {
      bench.run(1);
      expect([n.head, n.applied]).toEqual(before);
    }
    expect(heads.length).toBeGreaterThan(0);
    expect(
      bench
        .disk(behind)
        .list('snapshots')
        .some((name) => name.endsWith('.snap')),
    ).toBe(true);
    bench.onWire = (_from, _to, m) => m;
    bench.until(() => converged(bench));
    expect(bench.eventsOf(behind, 'install').length).toBe(1);
    expect(bench.halts).toEqual([]);
  });
});

describe('defects of the Rust implementation', () => {
  it('rust-15: a poisonous command costs its own client a fault and stops no replica', () => {
    const { application } = kv;
    let poison = 0;
    const poisoned = (): ApplicationModule => {
      const apply: typeof application.apply = (state, event, ctx) => {
        if (event.index === 7) {
          poison++;
          throw new TypeError('poison');
        }
        return application.apply(state, event, ctx);
      };
      return { ...kv, application: { ...application, apply } } as unknown as ApplicationModule;
    };
    const bench = new ReplicaBench(3, LOG_ONLY, poisoned);
    bench.put(12);
    bench.until(() => converged(bench));
    expect(bench.halts).toEqual([]);
    expect(bench.replicas.every((replica) => replica!.executor.applied >= 12)).toBe(true);
    bench.restart(1);
    bench.put(2);
    bench.until(() => converged(bench));
    // Each replica, and the restarted one a second time.
    expect([poison, bench.halts]).toEqual([4, []]);
  });
});
