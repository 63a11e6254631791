/** Who is asked for what, when frames are missing in more than one place (state-transfer.ts), by script. */
import { describe, expect, it } from 'vitest';
import { NONE } from '../engine/commit-index.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import { wantedSnapshot } from './snapshots.ts';
import { elected, type Lab, LAB_CONFIG, primaryId, successes } from './testing/lab.ts';

/** Nobody (of `where`) gives `index` to `to`: each answers that it has nothing there. */
function withhold(
  lab: Lab,
  to: number,
  index: number,
  where: (from: number, to: number) => boolean = () => true,
): void {
  const { drop } = lab;
  lab.drop = (from, receiver, m) => {
    if (receiver === to && m.type === 'newState' && m.batch?.contains(index) === true && where(from, receiver)) {
      lab.step(to, { type: 'message', from, message: { ...m, batch: null } });
      return true;
    }
    return drop(from, receiver, m);
  };
}

describe('catching up', () => {
  it('a hole that nobody can repair does not keep the frames at the end of the log away', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [x, z] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    lab.submit(primary, 'a');
    lab.submit(primary, 'b');
    lab.run(10);
    const hole = lab.r(primary).node.state.end - 1;
    lab.restart(x, { faulty: { from: hole, to: hole } });
    lab.drop = (_from, to, m) => to === x && m.type === 'prepare';
    for (const text of ['c', 'd', 'e']) lab.submit(primary, text);
    withhold(lab, x, hole);
    lab.run(20);
    expect(successes(lab)).toBe(5);
    lab.crash(z);
    lab.drop = () => false;
    withhold(lab, x, hole);
    lab.submit(primary, 'f');
    lab.run(60);
    expect(successes(lab)).toBe(6);
    lab.drop = () => false;
    lab.run(60);
    expect(lab.r(x).bodies).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });

  it('a hole that nobody can repair does not keep the next hole from being repaired', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const x = lab.replicas.find((r) => r.id !== primary)!.id;
    for (const text of ['a', 'b', 'c', 'd']) lab.submit(primary, text);
    lab.run(10);
    const { end } = lab.r(primary).node.state;
    const [low, high] = [end - 3, end - 1];
    lab.restart(x, { faulty: { from: low, to: low } });
    lab.step(x, { type: 'damaged', index: high });
    withhold(lab, x, low);
    lab.run(60);
    expect(lab.r(x).node.state.faulty).toEqual([expect.objectContaining({ from: low, to: low })]);
  });

  it('a peer that was down when it was asked is asked again, where the one that answers cannot give the hole', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [x, z] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.run(10);
    const hole = lab.r(primary).node.state.end - 1;
    lab.crash(z);
    lab.restart(x, { faulty: { from: hole, to: hole } });
    const fromPrimary = (from: number, to: number): boolean => from === primary && to === x;
    withhold(lab, x, hole, fromPrimary);
    for (let i = 0; i < 400 && !lab.r(x).node.state.silent.has(z); i++) lab.run(1);
    expect(lab.r(x).node.state.silent.has(z)).toBe(true);
    lab.restart(z);
    lab.run(200);
    expect(lab.r(x).node.state.faulty).toEqual([]);
    expect(lab.r(x).bodies).toEqual(['a', 'b', 'c']);
  });

  it('a new primary takes frames below the header window from a voter of a lower log view whose log is the same', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    const view = lab.r(old).node.state.view;
    const next = lab.r(old).node.state.primaryOf(view + 1);
    const far = lab.r(old).node.state.primaryOf(view + 2);
    // `far` misses everything, and installs the log of the next view without its frames.
    lab.drop = (from, to) => from === far || to === far;
    const count = 3 * LAB_CONFIG.pipelineMax;
    for (let i = 0; i < count; i++) {
      lab.submit(old, `c${i}`);
      lab.settle();
    }
    lab.run(5);
    expect(successes(lab)).toBe(count);
    // `old` keeps its log view: no StartView reaches it.
    lab.drop = (from, to, m) =>
      (to === old && m.type === 'startView') || (to === far && (m.type === 'newState' || m.type === 'prepare'));
    lab.step(old, { type: 'tick', stalledTicks: LAB_CONFIG.stallTicks + 1 });
    for (let i = 0; i < 100 && lab.r(far).node.state.logView !== view + 1; i++) lab.run(1);
    expect(lab.r(far).node.state.logView).toBe(view + 1);
    expect(lab.r(far).node.state.end).toBeLessThan(lab.r(far).node.state.canonical.first - 1);
    expect(lab.r(old).node.state.logView).toBe(view);
    lab.crash(next);
    lab.drop = () => false;
    for (let i = 0; i < 400 && !lab.r(far).node.state.serving && lab.r(far).node.state.view <= view + 2; i++)
      lab.run(1);
    expect(lab.r(far).node.state).toMatchObject({ view: view + 2, serving: true });
    expect(lab.r(far).bodies).toHaveLength(count);
  });

  it('a new primary takes from a voter of a lower log view only what the two logs share: damage may hide what comes next', () => {
    const lab = elected(5);
    const old = primaryId(lab);
    const { view, primaryOf } = lab.r(old).node.state;
    const turn = (ahead: number): number => primaryOf.call(lab.r(old).node.state, view + ahead);
    const [next, far, stale, hurt] = [turn(1), turn(2), turn(3), turn(4)];
    lab.drop = (from, to) => from === far || to === far;
    lab.submit(old, 'a');
    lab.run(10);
    const shared = lab.r(old).node.state.end;
    // Only `stale` gets this, and nothing afterwards; who proposed it loses it.
    lab.stalled.add(old);
    lab.drop = (from, to, m) => from === far || to === far || (m.type === 'prepare' && to !== stale);
    lab.submit(old, 'given up');
    lab.settle();
    expect(lab.r(stale).node.state).toMatchObject({ end: shared + 1, durable: shared + 1 });
    lab.stalled.delete(old);
    // The next view: `far` votes for it and hears no more of it.
    lab.drop = (from, to, m) =>
      from === stale || to === stale || (to === far && !['startViewChange', 'doViewChange'].includes(m.type));
    lab.restart(old);
    for (let i = 0; i < 200 && !lab.r(next).node.state.serving; i++) lab.run(1);
    lab.submit(next, 'b');
    lab.submit(next, 'c');
    lab.run(10);
    const { end } = lab.r(hurt).node.state;
    expect(lab.r(hurt).node.state).toMatchObject({ view: view + 1, commit: end });
    const { drop } = lab;
    lab.drop = (from, to, m) => drop(from, to, m) || (to === hurt && m.type === 'newState');
    lab.restart(hurt, { faulty: { from: shared + 1, to: shared + 2 } });
    lab.run(5);
    expect(lab.r(hurt).node.state.commitHeard).toBe(end);
    for (const id of [old, next]) lab.crash(id);
    // A read from the disk gives what is there in one piece.
    const pieces = lab.r(stale).frames.filter((batch) => batch.first >= shared);
    const bytes = new Uint8Array(pieces.flatMap((batch) => [...batch.bytes]));
    const batch = new FrameBatch(bytes, 2, pieces.at(-1)!.lastHash);
    lab.drop = (from, to, m) => {
      if (to !== far || m.type !== 'newState') return false;
      if (from === stale && m.batch !== null) lab.step(far, { type: 'message', from, message: { ...m, batch } });
      return true;
    };
    for (let i = 0; i < 400 && lab.r(far).node.state.chosen === null; i++) lab.run(1);
    lab.run(15);
    expect(lab.r(far).node.state).toMatchObject({ view: view + 2, end: shared });
    for (const id of [old, next]) lab.restart(id);
    lab.drop = () => false;
    lab.run(400);
    for (const { bodies, halts } of lab.replicas) expect([bodies, halts]).toEqual([['a', 'b', 'c'], []]);
  });

  it('what the primary cannot read of its own log and others have compacted comes by a snapshot', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [behind, whole] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    lab.submit(primary, 'a');
    lab.run(10);
    lab.crash(behind);
    const hole = lab.r(primary).node.state.end + 1;
    for (const text of ['b', 'c']) lab.submit(primary, text);
    lab.run(10);
    const hash = new Uint8Array(16).fill(1);
    const held = [{ index: hole + 1, state: hash, file: hash, confirmed: true }];
    lab.step(primary, { type: 'damaged', index: hole });
    withhold(lab, primary, hole);
    lab.restart(behind);
    const message = { type: 'snapshotReport', view: 0, first: hole + 1, lacks: NONE, held } as const;
    lab.step(behind, { type: 'message', from: whole, message });
    expect(wantedSnapshot(lab.r(behind).node.state)).toBeNull();
    lab.run(40);
    expect(wantedSnapshot(lab.r(behind).node.state)).toMatchObject({ index: hole + 1, sources: [whole] });
    // Mended meanwhile: the log is enough.
    lab.drop = () => false;
    lab.run(200);
    expect(wantedSnapshot(lab.r(behind).node.state)).toBeNull();
    expect(lab.r(behind).bodies).toEqual(['a', 'b', 'c']);
  });
});
