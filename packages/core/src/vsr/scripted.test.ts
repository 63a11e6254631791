/**
 * The protocol's "never, only, before", one script each, named after the sentence of docs/protocol.md; and the defects of the Rust implementation by number. Which test
 * belongs to which sentence is in scripts/sentences.test.ts.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../engine/hash.ts';
import type { DoViewChange, Message, PrepareOk } from './messages.ts';
import { elected, LAB_CONFIG, type LabReplica, others, primaryId, saidBy, successes } from './testing/lab.ts';

const actsAsPrimary = ({ type }: Message): boolean => type === 'prepare' || type === 'commit' || type === 'startView';

describe('normal path', () => {
  it('a PrepareOk counts only in that view and only with the hash of the primary’s own frame (rust-03)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    lab.submit(primary, 'x');
    lab.settle();
    const n = lab.r(primary).node.state;
    const good: PrepareOk = { type: 'prepareOk', view: n.view, first: n.end, last: n.end, hash: n.endHash.slice() };
    const commit = n.commit;
    for (const wrong of [
      { ...good, view: n.view - 1 },
      { ...good, hash: new Uint8Array(16).fill(1) },
      { ...good, last: n.end + 1 },
    ])
      lab.step(primary, { type: 'message', from: backup, message: wrong });
    expect(n.commit).toBe(commit);
    lab.step(primary, { type: 'message', from: backup, message: good });
    expect(n.commit).toBe(n.end);
  });

  it('around a hole a replica sends two PrepareOks, and none for the hole before it is repaired', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup, third] = others(lab, primary) as [number, number];
    lab.drop = (from, to, m) => from === third || to === third || m.type === 'prepareOk';
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.settle();
    const { end } = lab.r(primary).node.state;
    lab.restart(backup, { faulty: { from: end - 1, to: end - 1 } });
    lab.drop = (_from, _to, m) => m.type === 'newState';
    const said = saidBy(lab, backup, () => lab.run(40)).filter((m) => m.type === 'prepareOk');
    expect(said.length).toBeGreaterThan(0);
    for (const m of said) expect(m.first <= end - 1 && m.last >= end - 1).toBe(false);
  });

  it('a backup acknowledges only what it has compared: another frame at an index it holds is fatal (rust-02)', () => {
    const lab = elected(3);
    const twin = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.submit(primary, 'one');
    lab.settle();
    twin.submit(primary, 'two');
    const { message } = twin.wires.find((w) => w.message.type === 'prepare' && w.to === backup)!;
    const said = saidBy(lab, backup, () => {
      lab.step(backup, { type: 'message', from: primary, message });
      lab.settle();
    });
    expect(said.filter((m) => m.type === 'prepareOk')).toEqual([]);
    expect(lab.r(backup).halts).toEqual(['E_PROTOCOL']);
  });

  it('a Commit for an index the backup lacks makes it fetch, not crash (rust-05)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.drop = (_from, to, m) => to === backup && m.type === 'prepare';
    lab.submit(primary, 'x');
    lab.run(10);
    expect(lab.r(backup).halts).toEqual([]);
    expect(lab.r(backup).bodies).toEqual(['x']);
  });

  it('frames keep the view and hash of their first proposal for ever: chains are equal on all replicas (rust-10)', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    lab.submit(first, 'x');
    lab.settle();
    const { view, end, endHash } = lab.r(first).node.state;
    lab.crash(first);
    lab.drop = () => false;
    lab.run(150);
    lab.restart(first);
    lab.run(100);
    const bytes = (r: LabReplica): string => r.frames.map((b) => toHex(b.bytes)).join('');
    const hashes = lab.replicas.map((r) => r.node.state.ring.hash(end));
    for (const hash of hashes) expect(hash).toEqual(endHash);
    expect(
      lab
        .r(1)
        .frames.find((b) => b.contains(end))!
        .viewOf(end),
    ).toBe(view);
    expect(new Set(lab.replicas.map(bytes)).size).toBe(1);
  });

  it('a restarted backup neither appends old entries again nor forgets its view (rust-09)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.submit(primary, 'x');
    lab.run(10);
    const before = lab.r(backup).node.state;
    const [view, end] = [before.view, before.end];
    lab.restart(backup);
    expect(lab.r(backup).node.state.view).toBe(view);
    lab.run(30);
    lab.submit(primary, 'y');
    lab.run(10);
    expect(lab.r(backup).node.state.end).toBe(end + 1);
    expect(lab.r(backup).bodies).toEqual(['x', 'y']);
  });
});

describe('starting a view change', () => {
  it('StartViewChange changes no durable state and needs a quorum before anyone leaves its view (rust-07)', () => {
    const lab = elected(5);
    const primary = primaryId(lab);
    const [a, b, c] = others(lab, primary) as [number, number, number];
    const { view } = lab.r(a).node.state;
    const { manifest } = lab.r(a);
    for (const from of [b, c])
      lab.step(a, { type: 'message', from, message: { type: 'startViewChange', view: view + 9 } });
    lab.settle();
    expect(lab.r(a).manifest).toBe(manifest);
    expect(lab.r(a).node.state.view).toBe(view);
    lab.run(60);
    expect(primaryId(lab)).toBe(primary);
  });

  it('a Prepare or Commit of a higher view is neither processed nor adopted: it asks for that view’s StartView', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const n = lab.r(backup).node.state;
    const { view, end } = n;
    lab.run(5);
    const later = lab.replicas.find((r) => r.id === n.primaryOf(view + 2))!.id;
    const from = later === backup ? n.primaryOf(view + 1) : later;
    const target = later === backup ? view + 1 : view + 2;
    lab.submit(primary, 'x');
    const prepare = lab.wires.find((w) => w.message.type === 'prepare' && w.to === backup)!.message;
    lab.wires.length = 0;
    const said = saidBy(lab, backup, () => {
      lab.step(backup, { type: 'message', from, message: { ...prepare, view: target } as Message });
      lab.settle();
    });
    expect(n.end).toBe(end);
    expect(n.view).toBe(view);
    expect(said).toMatchObject([{ type: 'requestStartView', view: target }]);
  });

  it('a stranded replica in a higher view comes back, and takes the others with it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [stranded] = others(lab, primary) as [number];
    const { view } = lab.r(stranded).node.state;
    // It alone hears two votes for a view far above; everybody else goes on.
    lab.drop = (from, to) => from === stranded || to === stranded;
    for (const from of others(lab, stranded))
      lab.step(stranded, { type: 'message', from, message: { type: 'startViewChange', view: view + 6 } });
    lab.run(50);
    expect(lab.r(stranded).node.state.view).toBeGreaterThanOrEqual(view + 6);
    lab.submit(primary, 'x');
    lab.run(10);
    lab.drop = () => false;
    lab.run(300);
    lab.submit(primaryId(lab), 'y');
    lab.run(10);
    for (const replica of lab.replicas) expect(replica.bodies).toEqual(['x', 'y']);
  });
});

describe('votes', () => {
  it('{view, headers} are stored before the DoViewChange is sent', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.crash(primary);
    lab.stalled.add(backup);
    const said = saidBy(lab, backup, () => lab.run(60));
    expect(said.filter((m) => m.type === 'doViewChange')).toEqual([]);
    lab.stalled.delete(backup);
    const after = saidBy(lab, backup, () => lab.settle()).filter((m) => m.type === 'doViewChange');
    expect(after.length).toBeGreaterThan(0);
    for (const vote of after) expect(lab.r(backup).manifest.view).toBeGreaterThanOrEqual(vote.view);
  });

  it('across a crash its view, log view, head and known headers are equal, and nothing that was present or nacked changes sides', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup, third] = others(lab, primary) as [number, number];
    lab.submit(primary, 'x');
    lab.run(5);
    lab.crash(primary);
    lab.drop = (_from, to, m) => to !== primary && m.type === 'doViewChange';
    const votes = (id: number): DoViewChange[] => {
      const said = saidBy(lab, id, () => lab.run(12)).filter((m) => m.type === 'doViewChange');
      return said.slice(-1);
    };
    let before: DoViewChange[] = [];
    for (let i = 0; i < 20 && before.length === 0; i++) before = votes(backup);
    lab.restart(backup);
    const [after] = saidBy(lab, backup, () => lab.run(2)).filter((m) => m.type === 'doViewChange');
    expect(before.length).toBe(1);
    expect(after).toMatchObject({ ...before[0]!, commit: expect.anything() });
    expect(after!.commit).toBeLessThanOrEqual(before[0]!.commit);
    expect(lab.r(third).halts).toEqual([]);
  });

  it('a frame still being written is left out, never nacked', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.stalled.add(backup);
    lab.submit(primary, 'x');
    lab.settle();
    const { end } = lab.r(backup).node.state;
    lab.crash(primary);
    lab.stalled.delete(backup);
    // Only the manifest is written: as on a full disk, where it overtakes the frames.
    lab.r(backup).pending = [];
    const said = saidBy(lab, backup, () => lab.run(60)).filter((m) => m.type === 'doViewChange');
    for (const vote of said) {
      expect(vote.present).toBeLessThan(end);
      expect(vote.promised).toBeGreaterThanOrEqual(end);
    }
    expect(said.length).toBeGreaterThan(0);
  });
});

describe('installing and serving', () => {
  it('a log view durable before the frames: the frames are fetched, and the copies of others are not nacked', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    const [a, b] = others(lab, first) as [number, number];
    lab.drop = (from, to) => from === b || to === b;
    lab.submit(first, 'x');
    lab.settle();
    lab.crash(first);
    // The next primary installs the new view, but gets no frame before it dies: its log view is ahead of its log.
    lab.drop = (_from, _to, m) => m.type === 'newState';
    for (
      let i = 0;
      i < 300 && !lab.replicas.some((r) => r.up && r.node.state.logView > lab.r(first).node.state.view);
      i++
    )
      lab.run(1);
    lab.restart(a);
    lab.restart(b);
    lab.restart(first);
    lab.drop = () => false;
    lab.run(300);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies).toEqual(['x']);
    }
  });

  it('the new primary goes normal and sends StartView only when {view, log view, headers} and every frame are durable', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    const { view, primaryOf } = {
      view: lab.r(first).node.state.view,
      primaryOf: (v: number) => lab.r(first).node.state.primaryOf(v),
    };
    const next = primaryOf(view + 1);
    lab.crash(first);
    for (let i = 0; i < 200 && lab.r(next).node.state.view === view; i++) lab.run(1);
    const { state } = lab.r(next).node;
    const said = saidBy(lab, next, () => {
      for (let i = 0; i < 200 && !state.isPrimary; i++) {
        if (state.logView === state.view && !state.stored) lab.stalled.add(next);
        lab.run(1);
        if (lab.stalled.has(next)) {
          expect(state.isPrimary).toBe(false);
          lab.run(3);
          expect(lab.r(next).manifest.logView).toBeLessThanOrEqual(state.view);
          lab.stalled.delete(next);
        }
      }
    });
    expect(state.isPrimary).toBe(true);
    for (const m of said)
      if (m.type === 'startView') expect(lab.r(next).manifest.logView).toBeGreaterThanOrEqual(m.view);
  });

  it('client requests are held until the no-op of the view has been applied', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    lab.crash(first);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    for (let i = 0; i < 300 && !lab.replicas.some((r) => r.up && r.node.state.isPrimary); i++) lab.run(1);
    const next = lab.replicas.find((r) => r.up && r.node.state.isPrimary)!;
    const { end } = next.node.state;
    lab.submit(next.id, 'held');
    expect(next.node.state.end).toBe(end);
    lab.drop = () => false;
    lab.run(20);
    expect(next.bodies).toEqual(['held']);
  });

  it('a replica that restarts and is the primary of its manifest view never acts in that view again', () => {
    for (const size of [1, 3, 5]) {
      const lab = elected(size);
      const primary = primaryId(lab);
      const { view } = lab.r(primary).node.state;
      lab.restart(primary);
      const said = saidBy(lab, primary, () => lab.run(200));
      expect(said.filter((m) => m.view === view && actsAsPrimary(m))).toEqual([]);
      lab.submit(primaryId(lab), 'x');
      lab.run(10);
      expect(successes(lab)).toBe(1);
    }
  });
});

describe('stepping down', () => {
  it('a primary in a minority stops its heartbeats and steps down', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    lab.drop = (from, to) => from === primary || to === primary;
    lab.run(LAB_CONFIG.abdicateTicks + 5);
    expect(lab.r(primary).node.state.isPrimary).toBe(false);
    const said = saidBy(lab, primary, () => lab.run(20));
    expect(said.filter(actsAsPrimary)).toEqual([]);
  });

  it('a primary whose disk cannot write steps down, and the others go on', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    lab.stalled.add(primary);
    for (let i = 0; i <= LAB_CONFIG.stallTicks + 1; i++) {
      lab.run(1);
      lab.step(primary, { type: 'tick', stalledTicks: i });
    }
    expect(lab.r(primary).node.state.isPrimary).toBe(false);
    lab.run(100);
    expect(primaryId(lab)).not.toBe(primary);
  });
});

describe('power cuts', () => {
  it.each([1, 3, 5])(
    'total power cut in mid-batch of a cluster of %i: nothing acknowledged is lost, and it goes on',
    (size) => {
      const lab = elected(size);
      const primary = primaryId(lab);
      lab.submit(primary, 'kept');
      lab.run(5);
      for (const replica of lab.replicas) lab.stalled.add(replica.id);
      for (let i = 0; i < 5; i++) lab.submit(primary, `torn${i}`);
      lab.settle();
      const acknowledged = successes(lab);
      for (const replica of lab.replicas) lab.crash(replica.id);
      lab.stalled.clear();
      for (const replica of lab.replicas) lab.restart(replica.id);
      lab.run(300);
      lab.submit(primaryId(lab), 'after');
      lab.run(10);
      expect(acknowledged).toBe(1);
      for (const replica of lab.replicas) {
        expect(replica.halts).toEqual([]);
        expect(replica.bodies[0]).toBe('kept');
        expect(replica.bodies.at(-1)).toBe('after');
        expect(replica.bodies).toEqual(lab.r(1).bodies);
      }
    },
  );
});
