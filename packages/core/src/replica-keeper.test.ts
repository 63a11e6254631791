/** Snapshots of whole replicas: confirmation, compaction, transfer, install, by script on real Replicas and memory disks. */
import { expect, test } from 'vitest';
import { kv } from './apps/kv.ts';
import { ReplicaBench } from './chaos/testing/replica-bench.ts';
import { at } from './engine/commit-index.ts';
import { toHex } from './engine/hash.ts';
import { snapshotPartPath, snapshotPath } from './engine/snapshot-path.ts';
import type { ApplicationModule, Event } from './kernel/types.ts';
import { SOUND } from './policy.ts';
import { Prng } from './prng.ts';
import type { Replica } from './replica.ts';
import { TO_CLIENT } from './vsr/client-protocol.ts';

const checkpointOf = (replica: Replica): number => replica.store.manifest.checkpoint.index;
const filesOf = (bench: ReplicaBench, id: number): string[] =>
  bench
    .disk(id)
    .list('snapshots')
    .filter((name) => name.endsWith('.snap'));

function converged(bench: ReplicaBench): boolean {
  const seen = bench.replicas.map((replica) => replica?.status());
  const [first] = seen;
  return seen.every((s) => s !== undefined && s.applied === first!.applied && s.digest === first!.digest);
}

/** A file that somebody left. */
function put(bench: ReplicaBench, id: number, path: string, bytes: Uint8Array): void {
  const file = bench.disk(id).open(path, { create: true });
  file.writeSync(0, bytes);
  file.barrierSync();
  bench.disk(id).syncDirectorySync('snapshots');
}

/** r3 stays away until the others have compacted what it needs. */
function farBehind(): ReplicaBench {
  const bench = new ReplicaBench(3);
  bench.put(5);
  bench.crash(3);
  bench.put(120);
  bench.until(() => bench.r(1).store.first > 20 && bench.r(2).store.first > 20);
  return bench;
}

/** Carries the n-th part of a snapshot that r3 is sent in another way. */
function onPart(bench: ReplicaBench, act: (part: number, from: number, bytes: Uint8Array) => Uint8Array | null): void {
  let parts = 0;
  bench.onWire = (from, to, message) => {
    if (message.type !== 'snapshotPart' || to !== 3) return message;
    const bytes = act(++parts, from, message.bytes);
    return bytes === null ? null : { ...message, bytes };
  };
}

test('byte-equal snapshots: replicas take them at the same points with the same bytes, whatever the timing', () => {
  const bench = new ReplicaBench(3);
  bench.stalled.add(2);
  bench.put(25, 7);
  bench.stalled.clear();
  bench.put(20, 7);
  bench.until(() => bench.replicas.every((replica) => checkpointOf(replica!) >= 40));
  for (const index of [30, 40]) {
    const files = [1, 2, 3].map((id) =>
      bench.disk(id).paths().includes(snapshotPath(index)) ? toHex(bench.disk(id).content(snapshotPath(index))) : null,
    );
    const present = files.filter((file) => file !== null);
    expect(present.length).toBeGreaterThanOrEqual(2);
    expect(new Set(present).size).toBe(1);
  }
});

test('a snapshot is confirmed by a quorum only, and only a confirmed one becomes the checkpoint', () => {
  const bench = new ReplicaBench(3);
  bench.onWire = (_from, _to, message) => (message.type === 'snapshotReport' ? null : message);
  bench.put(30);
  bench.run(100);
  expect(
    bench
      .r(1)
      .snapshots.list()
      .map(({ confirmed }) => confirmed),
  ).toEqual([false, false, false]);
  expect([1, 2, 3].map((id) => checkpointOf(bench.r(id)))).toEqual([-1, -1, -1]);
  bench.onWire = (_from, _to, message) => message;
  bench.until(() => [1, 2, 3].every((id) => checkpointOf(bench.r(id)) === 30));
  bench.restart(1);
  expect(bench.eventsOf(1, 'restart').at(-1)).toMatchObject({ snapshot: 30 });
});

test('an own snapshot below the checkpoint that nobody compared is not confirmed: not offered, and the log behind it stays', () => {
  const bench = new ReplicaBench(3);
  // What anybody holds at 20 is not told.
  bench.onWire = (_from, _to, message) =>
    message.type === 'snapshotReport'
      ? { ...message, held: message.held.filter(({ index }) => index !== 20) }
      : message;
  bench.put(35);
  bench.until(() => [1, 2, 3].every((id) => checkpointOf(bench.r(id)) === 30));
  bench.run(150);
  const confirmed = (id: number): number[] =>
    bench
      .r(id)
      .snapshots.list()
      .filter((snapshot) => snapshot.confirmed)
      .map(({ index }) => index);
  for (const id of [1, 2, 3]) {
    expect(confirmed(id)).not.toContain(20);
    expect(bench.r(id).store.first).toBeLessThanOrEqual(11);
  }
  // Nor after a restart, which finds the file again.
  for (const id of [1, 2, 3]) bench.restart(id);
  bench.put(1);
  bench.run(150);
  for (const id of [1, 2, 3]) expect(confirmed(id)).not.toContain(20);
  // Once it is compared it is one of the two.
  bench.onWire = (_from, _to, message) => message;
  bench.until(() => [1, 2, 3].every((id) => confirmed(id).includes(20)));
  bench.until(() => [1, 2, 3].every((id) => bench.r(id).store.first > 11));
});

test('two confirmed snapshots are kept, and the log behind the older goes, on a cluster of one too', () => {
  for (const n of [1, 3]) {
    const bench = new ReplicaBench(n);
    bench.put(95);
    bench.until(() => checkpointOf(bench.r(1)) === 90);
    bench.run(120);
    expect(filesOf(bench, 1)).toEqual(
      [snapshotPath(80), snapshotPath(90)].map((path) => path.slice('snapshots/'.length)),
    );
    const { first } = bench.r(1).store;
    expect(first).toBeGreaterThan(40);
    expect(first).toBeLessThanOrEqual(81);
    bench.restart(1);
    bench.until(() => bench.primary !== null);
    bench.put(5);
    expect(bench.r(1).status().applied).toBeGreaterThan(100);
  }
});

test('a checkpoint entry is a snapshot point of every replica', () => {
  const bench = new ReplicaBench(3, { snapshotEvery: 0 });
  bench.put(4);
  expect(bench.primary!.snapshots.create()).toBe(true);
  bench.run(5);
  bench.put(4);
  bench.until(() => [1, 2, 3].every((id) => checkpointOf(bench.r(id)) >= 0));
  const at = [1, 2, 3].map((id) => bench.r(id).snapshots.list().at(-1)!.index);
  expect(new Set(at).size).toBe(1);
  const damage: string[] = [];
  bench.r(1).snapshots.verify((found) => damage.push(...found.map(({ file }) => file), 'done'));
  bench.run(3);
  expect(damage).toEqual(['done']);
  bench.disk(1).flip(snapshotPath(at[0]!), 4200);
  bench.r(1).snapshots.verify((found) => damage.push(...found.map(({ file }) => file)));
  bench.run(3);
  expect(damage).toEqual(['done', snapshotPath(at[0]!)]);
});

test('a replica behind the compacted log gets the snapshot, then the frames, and sessions with it', () => {
  const bench = farBehind();
  bench.start(3);
  bench.until(() => converged(bench));
  expect(bench.eventsOf(3, 'install').length).toBe(1);
  expect(bench.r(3).store.first).toBeGreaterThan(20);
  expect(bench.r(3).executor.sessionCount).toBe(1);
  bench.restart(3);
  bench.until(() => converged(bench));
  bench.crash(1);
  bench.until(() => bench.primary !== null);
  bench.put(10);
  expect(bench.halts).toEqual([]);
});

test('a transfer is resumed from another peer when the first falls silent, without fetching anything twice', () => {
  const bench = farBehind();
  let first = 0;
  const taken = new Map<number, number>();
  onPart(bench, (part, from, bytes) => {
    if (part === 1) first = from;
    if (part > 4 && from === first) return null;
    taken.set(part, from);
    return bytes;
  });
  bench.start(3);
  bench.until(() => bench.eventsOf(3, 'install').length === 1);
  expect(new Set(taken.values()).size).toBe(2);
  bench.until(() => converged(bench));
});

test('a transfer is resumed after a crash of its receiver: chunks that are there already are not fetched again', () => {
  const bench = farBehind();
  let sent = 0;
  onPart(bench, (part, _from, bytes) => {
    sent++;
    return part > 12 ? null : bytes;
  });
  bench.start(3);
  bench.until(() => sent > 14);
  const before = sent;
  // The process dies, the machine does not: what was written is there.
  bench.replicas[2] = null;
  sent = 0;
  bench.onWire = (_from, to, message) => {
    if (message.type === 'snapshotPart' && to === 3) sent++;
    return message;
  };
  bench.start(3);
  bench.until(() => bench.eventsOf(3, 'install').length === 1);
  expect(before).toBeGreaterThan(12);
  expect(bench.r(3).snapshots.list().at(-1)!.index).toBeGreaterThan(90);
  bench.until(() => converged(bench));
});

test('a longer file of an earlier attempt leaves nothing behind the end of the snapshot', () => {
  const bench = farBehind();
  const index = checkpointOf(bench.r(1));
  put(bench, 3, snapshotPartPath(index), new Uint8Array(1 << 20).fill(7));
  bench.start(3);
  bench.until(() => bench.eventsOf(3, 'install').length === 1);
  expect(bench.r(3).executor.applied).toBeGreaterThanOrEqual(index);
  const path = snapshotPath(index);
  expect(toHex(bench.disk(3).content(path))).toBe(toHex(bench.disk(1).content(path)));
});

test('what a crash left unfinished is gone at the next start, unless it is refused', () => {
  let module = kv as unknown as ApplicationModule;
  const bench = new ReplicaBench(3, {}, () => module);
  bench.put(45);
  bench.until(() => checkpointOf(bench.r(3)) === 40);
  bench.crash(3);
  const left = [`${snapshotPath(50)}.tmp`, snapshotPartPath(30), snapshotPartPath(200)];
  for (const path of left) put(bench, 3, path, new Uint8Array(4096));
  module = { ...module, name: 'another' };
  expect(() => bench.start(3)).toThrow(/E_SNAPSHOT/);
  expect(bench.disk(3).paths()).toEqual(expect.arrayContaining(left));
  module = kv as unknown as ApplicationModule;
  bench.restart(3);
  // What was fetched of a snapshot ahead may help a transfer that goes on.
  expect(left.filter((path) => bench.disk(3).paths().includes(path))).toEqual([snapshotPartPath(200)]);
});

test('a damaged chunk is not believed: it is asked for again', () => {
  const bench = farBehind();
  onPart(bench, (part, _from, bytes) => {
    if (part > 12 || part % 3 !== 0) return bytes;
    const bad = bytes.slice();
    bad[bad.length >> 1]! ^= 1;
    return part % 2 === 0 ? bad : bad.subarray(0, bad.length - 512);
  });
  bench.start(3);
  bench.until(() => converged(bench));
  expect(bench.eventsOf(3, 'install').length).toBe(1);
  expect(bench.r(3).notes.join()).toContain('gave wrong bytes');
});

test('compaction while a transfer is pinned leaves the snapshot and the log behind it', () => {
  const bench = farBehind();
  let asked = -1;
  onPart(bench, (part, _from, bytes) => (part > 6 ? null : bytes));
  bench.start(3);
  bench.until(() => (asked = bench.r(3).snapshots.transfer.fetching?.index ?? -1) >= 0);
  const onWire = bench.onWire;
  bench.put(60);
  bench.run(30);
  for (const id of [1, 2]) {
    const pinned = bench.r(id).snapshots.transfer.pinned.includes(asked);
    expect(filesOf(bench, id).includes(snapshotPath(asked).slice('snapshots/'.length)) || !pinned).toBe(true);
    if (pinned) expect(bench.r(id).store.first).toBeLessThanOrEqual(asked + 1);
  }
  expect([1, 2].some((id) => bench.r(id).snapshots.transfer.pinned.includes(asked))).toBe(true);
  bench.onWire = (_from, _to, message) => message;
  expect(onWire).not.toBe(bench.onWire);
  bench.until(() => converged(bench));
  // Nobody asks any more: the pin goes, and what it held back with it.
  bench.run(800);
  expect([1, 2].flatMap((id) => [...bench.r(id).snapshots.transfer.pinned])).toEqual([]);
  expect(filesOf(bench, 1).length).toBe(2);
});

test('crash between each install step: the replica comes back and gets there', () => {
  const steps = new Set<string>();
  const begun = (): ReplicaBench => {
    const bench = farBehind();
    bench.start(3);
    return bench;
  };
  const probe = begun();
  const named = probe.stepsUntil(3, () => filesOf(probe, 3).length > 0);
  // Coarsely all along, and each step around the rename, behind which the install follows.
  const coarse = Array.from({ length: 16 }, (_, i) => 25 * i);
  for (const crashAt of [...coarse, ...Array.from({ length: 12 }, (_, i) => named - 2 + i)]) {
    const bench = begun();
    bench.stepsUntil(3, (count) => count === crashAt);
    const names = bench.disk(3).list('snapshots').join();
    steps.add(
      `${names.includes('.part')}/${/\.snap(,|$)/.test(names)}/${checkpointOf(bench.r(3))}/${bench.r(3).store.first > 0}`,
    );
    bench.stalled.clear();
    bench.restart(3);
    bench.until(() => converged(bench), 3000);
    expect(bench.halts).toEqual([]);
  }
  expect(steps.size).toBeGreaterThan(3);
}, 60_000);

test('a snapshot installed under newer acknowledged frames: they stay, and are never nacked', () => {
  const bench = new ReplicaBench(3);
  bench.put(125);
  bench.until(() => [1, 2, 3].every((id) => bench.r(id).store.first > 20 && checkpointOf(bench.r(id)) === 120));
  bench.run(120);
  const { first, end } = bench.r(3).store;
  bench.crash(3);
  // Both snapshots are lost; the frames above them, acknowledged, are not.
  for (const name of filesOf(bench, 3)) bench.disk(3).flip(`snapshots/${name}`, 5000);
  bench.start(3);
  expect(bench.r(3).executor.applied).toBe(-1);
  bench.until(() => converged(bench));
  expect(bench.eventsOf(3, 'install').length).toBe(1);
  expect([bench.r(3).store.first, bench.eventsOf(3, 'truncate').length]).toEqual([first, 0]);
  expect(bench.r(3).store.end).toBeGreaterThanOrEqual(end);
});

test('own snapshots lost, and only one below the checkpoint to be had: it is installed, the checkpoint does not go back, and the log behind it stays', () => {
  const bench = new ReplicaBench(3);
  bench.put(125);
  bench.until(() => [1, 2, 3].every((id) => bench.r(id).store.first > 20 && checkpointOf(bench.r(id)) === 120));
  bench.run(120);
  const { first } = bench.r(3).store;
  bench.crash(3);
  for (const name of filesOf(bench, 3)) bench.disk(3).flip(`snapshots/${name}`, 5000);
  // The newest one is not offered, and no frame comes: what lies above is replayed from the own log.
  bench.onWire = (_from, to, message) => {
    if (to !== 3) return message;
    if (message.type === 'newState' || message.type === 'prepare') return null;
    if (message.type !== 'snapshotReport') return message;
    return { ...message, confirmed: at(110), held: message.held.filter(({ index }) => index <= 110) };
  };
  bench.start(3);
  bench.until(() => bench.eventsOf(3, 'install').length > 0);
  expect(bench.eventsOf(3, 'install')).toEqual([{ kind: 'install', index: 110 }]);
  bench.run(300);
  expect(checkpointOf(bench.r(3))).toBe(120);
  expect(bench.r(3).store.first).toBe(first);
  expect(filesOf(bench, 3)).toEqual([110, 120].map((index) => snapshotPath(index).slice('snapshots/'.length)));
  bench.onWire = (_from, _to, message) => message;
  bench.restart(3);
  expect(bench.r(3).executor.applied).toBe(120);
  bench.until(() => converged(bench));
});

test('one bad read of each snapshot at start: they stay, and the newest is restored', () => {
  const bench = new ReplicaBench(3);
  bench.put(60);
  bench.until(() => checkpointOf(bench.r(3)) === 60 && filesOf(bench, 3).length === 2);
  const files = filesOf(bench, 3);
  bench.crash(3);
  const file = bench.disk(3).open(`snapshots/${files[0]!}`);
  const prototype = Object.getPrototypeOf(file) as typeof file;
  const { readSync } = prototype;
  const misread = new Set<string>();
  prototype.readSync = function (offset, into) {
    const got = readSync.call(this, offset, into);
    if (this.path.endsWith('.snap') && offset > 0 && !misread.has(this.path)) into.fill(0x55);
    if (offset > 0) misread.add(this.path);
    return got;
  };
  try {
    bench.start(3);
  } finally {
    prototype.readSync = readSync;
  }
  expect(bench.r(3).executor.applied).toBe(60);
  expect(filesOf(bench, 3)).toEqual(files);
});

test('mutation snapshot-drops-newer-frames forgets what it acknowledged; production does not', () => {
  const left = [false, true].map((snapshotDropsNewerFrames) => {
    const app = (): ApplicationModule => kv as unknown as ApplicationModule;
    const bench = new ReplicaBench(3, {}, app, { ...SOUND, snapshotDropsNewerFrames });
    bench.put(125);
    bench.until(() => [1, 2, 3].every((id) => checkpointOf(bench.r(id)) === 120));
    bench.run(120);
    bench.crash(3);
    for (const name of filesOf(bench, 3)) bench.disk(3).flip(`snapshots/${name}`, 5000);
    // No frame comes from the others: what is left after the install is what it kept itself.
    bench.onWire = (_from, to, message) =>
      to === 3 && (message.type === 'newState' || message.type === 'prepare') ? null : message;
    bench.start(3);
    const { end } = bench.r(3).store;
    bench.until(() => bench.eventsOf(3, 'install').length === 1);
    const { promised } = bench.r(3).node.state;
    return [bench.r(3).store.end === end, promised >= end];
  });
  expect(left).toEqual([
    [true, true],
    [false, false],
  ]);
});

/** kv that, on one replica and from one command on, does something else. */
function diverging(odd: number, from: number): (replica: number) => ApplicationModule {
  return (replica) => {
    const { application } = kv;
    const apply: typeof application.apply = (state, event, ctx) => {
      const wrong = replica === odd && event.index >= from && event.command === 1;
      const body = wrong ? event.body.slice() : event.body;
      if (wrong) body[body.length - 1]! ^= 1;
      const changed: Event = { ...event, body };
      return application.apply(state, changed, ctx);
    };
    return { ...kv, application: { ...application, apply } } as unknown as ApplicationModule;
  };
}

test('Divergent state machine: a diverging backup is quarantined by the majority: no snapshots, no reads, never primary; the others go on', () => {
  const probe = new ReplicaBench(3);
  probe.until(() => probe.primary !== null);
  const primary = probe.primary!.node.state.id;
  const odd = primary === 3 ? 2 : 3;
  const bench = new ReplicaBench(3, {}, diverging(odd, 15));
  bench.put(40);
  bench.until(() => bench.r(odd).status().diverged !== null);
  expect(bench.r(odd).status().diverged).toContain('a quorum has');
  expect(bench.eventsOf(odd, 'quarantine').length).toBe(1);
  expect(
    bench
      .r(odd)
      .snapshots.list()
      .every(({ confirmed, index }) => !confirmed || index <= 10),
  ).toBe(true);
  bench.put(40);
  expect(checkpointOf(bench.primary!)).toBeGreaterThanOrEqual(60);
  // It forfeits its turn.
  const before = bench.primary!.node.state.id;
  bench.restart(before);
  bench.until(() => bench.primary !== null && bench.primary.node.state.view > 0, 3000);
  expect(bench.primary!.node.state.id).not.toBe(odd);
  bench.put(5);
});

test('the diverging replica is found under losses and crashes, whatever the seed, and nobody else is accused', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const prng = new Prng(seed);
    const n = prng.pick([3, 5]);
    const odd = prng.range(1, n);
    const bench = new ReplicaBench(n, {}, diverging(odd, prng.range(5, 40)));
    bench.onWire = (_from, _to, message) => (prng.chance(0.1) ? null : message);
    bench.put(25);
    const victim = prng.range(1, n);
    bench.restart(victim);
    bench.put(25);
    bench.onWire = (_from, _to, message) => message;
    bench.until(() => bench.r(odd).status().diverged !== null, 3000);
    bench.put(5);
    const accused = bench.events.flatMap(({ replica, event }) => (event.kind === 'quarantine' ? [replica] : []));
    expect([seed, ...new Set(accused)]).toEqual([seed, odd]);
    expect(bench.halts).toEqual([]);
  }
}, 60_000);

test('a diverging primary steps down at once, and another serves', () => {
  const probe = new ReplicaBench(3);
  probe.until(() => probe.primary !== null);
  const odd = probe.primary!.node.state.id;
  const bench = new ReplicaBench(3, {}, diverging(odd, 15));
  bench.put(30);
  bench.until(() => bench.r(odd).status().diverged !== null);
  bench.until(() => bench.primary !== null && bench.primary.node.state.id !== odd);
  bench.put(30);
  expect(bench.eventsOf(odd, 'quarantine').length).toBe(1);
  expect(bench.halts).toEqual([]);
});

test('without a majority the replica that sees it stops', () => {
  const bench = new ReplicaBench(3, {}, (replica) => diverging(replica, replica === 1 ? 9999 : 10 + replica)(replica));
  bench.put(8);
  try {
    bench.put(12);
  } catch {
    // Nobody may serve any more.
  }
  bench.run(200);
  // r2 and r3 flip the same bit at different indexes: three different states.
  expect(bench.halts.some(({ code }) => code === 'E_DIVERGED')).toBe(true);
});

test('a start with another application is refused, and the snapshots stay', () => {
  let module = kv as unknown as ApplicationModule;
  const bench = new ReplicaBench(1, {}, () => module);
  bench.put(60);
  bench.until(() => bench.r(1).store.first > 20);
  bench.crash(1);
  const before = filesOf(bench, 1);
  expect(before.length).toBeGreaterThan(0);
  module = { ...module, name: 'another' };
  expect(() => bench.start(1)).toThrow(/E_SNAPSHOT: .*of kv, not of another/);
  expect(filesOf(bench, 1)).toEqual(before);
  module = kv as unknown as ApplicationModule;
  bench.restart(1);
  bench.put(1);
  expect(bench.r(1).status().applied).toBeGreaterThan(60);
});

test('alone, with no snapshot that can be read and the log behind it gone: refused, and every file stays', () => {
  const bench = new ReplicaBench(1);
  bench.put(60);
  bench.until(() => bench.r(1).store.first > 20);
  bench.crash(1);
  const files = filesOf(bench, 1);
  for (const name of files) bench.disk(1).flip(`snapshots/${name}`, 5000);
  expect(() => bench.start(1)).toThrow(/E_SNAPSHOT: /);
  expect(filesOf(bench, 1)).toEqual(files);
  bench.disk(1).flip(`snapshots/${files.at(-1)!}`, 5000);
  bench.restart(1);
  bench.put(1);
});

test('a primary that learns in one message that it diverged and that its round is confirmed answers no read', () => {
  const bench = new ReplicaBench(3);
  bench.put(5);
  const primary = bench.primary!;
  const { id } = primary.node.state;
  const [first] = primary.node.state.others();
  let asked = false;
  bench.onWire = (from, to, message) => {
    if (message.type !== 'commitOk' || to !== id) return message;
    if (asked && from === first) return null;
    // Before the read one of the others, with it the other one states a digest that is not this primary's.
    return asked || from === first ? { ...message, digest: new Uint8Array(16).fill(1) } : null;
  };
  bench.run(10);
  asked = true;
  const replies = bench.query(primary);
  bench.run(10);
  expect(primary.status().diverged).not.toBeNull();
  expect(replies()).toEqual([TO_CLIENT.queryRefusal]);
});

test('the confirmed snapshot is offered, however many newer ones wait to be confirmed', () => {
  const bench = farBehind();
  const [primary, other] = bench.primary === bench.r(1) ? [1, 2] : [2, 1];
  const confirmed = checkpointOf(bench.r(primary));
  // The other one cannot write snapshots any more: nothing newer is confirmed.
  bench.onWire = (from, _to, message) => (message.type === 'snapshotReport' && from === other ? null : message);
  bench.put(70);
  expect(checkpointOf(bench.r(primary))).toBeLessThanOrEqual(confirmed + 10);
  expect(
    bench
      .r(primary)
      .snapshots.list()
      .filter((snapshot) => !snapshot.confirmed).length,
  ).toBeGreaterThan(4);
  bench.put(70);
  bench.run(120);
  const unconfirmed = bench
    .r(primary)
    .snapshots.list()
    .filter((snapshot) => !snapshot.confirmed);
  expect([unconfirmed.length, filesOf(bench, primary).length]).toEqual([7, 9]);
  bench.crash(other);
  bench.start(3);
  bench.until(() => bench.r(3).status().applied === bench.r(primary).status().applied, 3000);
  bench.put(1);
});

test('a transfer that outlasts several snapshot points is not begun anew', () => {
  const bench = farBehind();
  const asked = new Set<number>();
  let parts = 0;
  let slow = false;
  bench.onWire = (_from, to, message) => {
    if (message.type === 'getSnapshot') asked.add(message.index);
    if (message.type === 'snapshotPart' && ++parts === 3) slow = true;
    // While it is slow nothing newer is confirmed either.
    return slow && message.type === 'snapshotReport' && to !== 3 ? null : message;
  };
  bench.start(3);
  bench.until(() => slow);
  // The peers answer, the own disk does not.
  bench.stalled.add(3);
  bench.put(55);
  bench.run(60);
  for (const id of [1, 2])
    expect(
      bench
        .r(id)
        .snapshots.list()
        .filter(({ confirmed }) => !confirmed).length,
    ).toBeGreaterThanOrEqual(4);
  slow = false;
  bench.stalled.clear();
  bench.until(() => bench.eventsOf(3, 'install').length > 0);
  expect(asked.size).toBe(1);
});
