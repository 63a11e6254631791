/** Rolling upgrades by script, on real Replicas and memory disks: mixed programs reply and execute the same, the version is activated once all run it, and never before. */
import { expect, test } from 'vitest';
import { ReplicaBench } from './chaos/testing/replica-bench.ts';
import { toHex } from './engine/hash.ts';
import { snapshotPath } from './engine/snapshot-path.ts';
import { versionedProgram } from './kernel/testing/versioned-program.ts';
import type { Replica } from './replica.ts';
import { statusDetail } from './replica-detail.ts';

/** Three replicas, each with the versions that its program runs. */
class Upgrade {
  readonly programs: [number, number][];
  readonly bench: ReplicaBench;

  constructor(...programs: [number, number][]) {
    this.programs = programs;
    this.bench = new ReplicaBench(programs.length, {}, (replica) => {
      const [oldest, newest] = this.programs[replica - 1]!;
      return versionedProgram(oldest, newest);
    });
  }

  /** The process of `id` is stopped and another program started on its directory. */
  install(id: number, oldest: number, newest: number): void {
    this.programs[id - 1] = [oldest, newest];
    this.bench.restart(id);
  }

  active(): number[] {
    return this.bench.replicas.map((replica) => replica?.status().versions.active ?? -1);
  }

  converged(): boolean {
    const seen = this.bench.replicas.map((replica) => replica?.status());
    return seen.every((s) => s !== undefined && s.applied === seen[0]!.applied && s.digest === seen[0]!.digest);
  }

  untilActive(version: number): void {
    this.bench.until(() => this.active().every((active) => active === version));
  }
}

const quarantined = (bench: ReplicaBench): number => bench.events.filter((e) => e.event.kind === 'quarantine').length;
const checkpointOf = (replica: Replica | null): number => replica?.store.manifest.checkpoint.index ?? -1;

test('a replica that has executed nothing, newly formatted or just started on its log, says that it does not know the active version', () => {
  const { bench } = new Upgrade([1, 2]);
  const shown = (): unknown => statusDetail(bench.replicas[0]!.status(), 0).versions;
  expect(shown()).toEqual({ active: null, oldest: 1, newest: 2 });
  bench.put(3);
  bench.until(() => bench.replicas[0]!.status().versions.active === 2);
  expect(shown()).toEqual({ active: 2, oldest: 1, newest: 2 });
  bench.restart(1);
  expect(shown()).toEqual({ active: null, oldest: 1, newest: 2 });
});

test('a rolling upgrade: replicas of two programs take the same snapshots, and the last restart activates the version at one index', () => {
  const upgrade = new Upgrade([1, 1], [1, 1], [1, 1]);
  const { bench } = upgrade;
  bench.put(12);
  for (const id of [3, 1, 2]) {
    bench.put(15);
    expect(upgrade.active()).toEqual([1, 1, 1]);
    upgrade.install(id, 1, 2);
    bench.put(25);
    if (id === 2) break;
    bench.until(() => bench.replicas.every((replica) => checkpointOf(replica) >= 30));
  }
  upgrade.untilActive(2);
  bench.put(25);
  bench.until(() => upgrade.converged());
  expect(quarantined(bench)).toBe(0);
  expect(bench.halts).toEqual([]);
  const indexes = bench.events.flatMap(({ event }) => (event.kind === 'version' ? [event.index] : []));
  expect(indexes.length).toBeGreaterThanOrEqual(3);
  expect(new Set(indexes).size).toBe(1);
  const newest = checkpointOf(bench.r(1));
  expect(newest).toBeGreaterThan(indexes[0]!);
  const files = [1, 2, 3].map((id) => toHex(bench.disk(id).content(snapshotPath(newest))));
  expect(new Set(files).size).toBe(1);
});

test('a version stays inactive while one replica is away, or runs the old program: whoever did not run it would have to stop', () => {
  const upgrade = new Upgrade([1, 2], [1, 2], [1, 1]);
  const { bench } = upgrade;
  bench.put(5);
  bench.run(300);
  expect(upgrade.active()).toEqual([1, 1, 1]);
  expect(bench.primary!.status().notes.join()).toContain('version 1 stays active until r3 runs version 2 too');
  bench.crash(3);
  bench.run(300);
  expect(upgrade.active()).toEqual([1, 1, -1]);
  upgrade.install(3, 1, 2);
  upgrade.untilActive(2);
  expect(bench.primary!.status().notes).toEqual([]);
});

test('back to the old program: possible before the activation, refused with its code after it, and the newer program goes on with everything', () => {
  const upgrade = new Upgrade([1, 1], [1, 1], [1, 1]);
  const { bench } = upgrade;
  bench.put(30);
  upgrade.install(1, 1, 2);
  upgrade.install(2, 1, 2);
  bench.put(20);
  upgrade.install(1, 1, 1);
  upgrade.install(2, 1, 1);
  bench.put(20);
  bench.until(() => upgrade.converged());
  expect(upgrade.active()).toEqual([1, 1, 1]);
  for (const id of [1, 2, 3]) upgrade.install(id, 1, 2);
  upgrade.untilActive(2);
  bench.put(40);
  bench.until(() => checkpointOf(bench.r(3)) > bench.r(3).executor.applied - 20);
  expect(() => upgrade.install(3, 1, 1)).toThrow(
    /E_APP_VERSION: the snapshot at .* start a program that runs version 2/,
  );
  bench.put(10);
  upgrade.install(3, 2, 3);
  bench.until(() => upgrade.converged());
  expect(upgrade.active()).toEqual([2, 2, 2]);
});

test('an old program that replays up to the activation halts there, before it executes anything as the wrong version', () => {
  const upgrade = new Upgrade([1, 2], [1, 2], [1, 2]);
  const { bench } = upgrade;
  bench.put(3);
  upgrade.untilActive(2);
  upgrade.install(3, 1, 1);
  bench.until(() => bench.halts.length > 0);
  expect(bench.halts).toEqual([{ replica: 3, code: 'E_APP_VERSION' }]);
  upgrade.install(3, 1, 2);
  bench.put(3);
  bench.until(() => upgrade.converged());
});

test('an old program that is sent a snapshot of the new version halts instead of fetching it again and again', () => {
  const upgrade = new Upgrade([1, 2], [1, 2], [1, 1]);
  const { bench } = upgrade;
  bench.put(3);
  bench.until(() => upgrade.converged());
  // It says that it runs version 2, and does not get the entry that activates it.
  bench.onWire = (_from, to, message) =>
    to === 3 && (message.type === 'prepare' || message.type === 'newState') ? null : message;
  upgrade.install(3, 1, 2);
  bench.until(() => bench.primary?.status().versions.active === 2);
  expect(upgrade.active()[2]).toBe(1);
  bench.crash(3);
  bench.onWire = (_from, _to, message) => message;
  bench.put(120);
  bench.until(() => bench.r(1).store.first > 40 && bench.r(2).store.first > 40);
  upgrade.install(3, 1, 1);
  bench.until(() => bench.halts.length > 0, 3000);
  expect(bench.halts).toEqual([{ replica: 3, code: 'E_APP_VERSION' }]);
  expect(bench.eventsOf(3, 'version')).toEqual([]);
  upgrade.install(3, 1, 2);
  bench.until(() => upgrade.converged(), 3000);
  expect(bench.eventsOf(3, 'install')).toHaveLength(1);
});

test('a fresh cluster of a program that does not run version 1 begins as its own version, and commands wait for that', () => {
  const upgrade = new Upgrade([3, 4], [3, 4], [3, 3]);
  upgrade.bench.put(2);
  expect(upgrade.active()).toEqual([3, 3, 3]);
  upgrade.install(3, 3, 4);
  upgrade.untilActive(4);
  upgrade.bench.put(2);
  upgrade.bench.until(() => upgrade.converged());
});

test('a cluster of one activates what its program runs', () => {
  const upgrade = new Upgrade([1, 1]);
  upgrade.bench.put(12);
  upgrade.install(1, 1, 2);
  upgrade.untilActive(2);
  upgrade.bench.put(2);
  expect(upgrade.active()).toEqual([2]);
});
