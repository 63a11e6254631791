/** Who is asked for what, when frames are missing in more than one place (state-transfer.ts), by script. */
import { describe, expect, it } from 'vitest';
import { at, type CommitIndex, NONE } from '../engine/commit-index.ts';
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

/** Three replicas of which all hold these commands: the primary, one other (`x`), and the end of the primary's log. */
function holding(texts: readonly string[]): { lab: Lab; primary: number; x: number; end: CommitIndex; view: number } {
  const lab = elected(3);
  const primary = primaryId(lab);
  const x = lab.replicas.find((r) => r.id !== primary)!.id;
  for (const text of texts) lab.submit(primary, text);
  lab.run(10);
  const { end, view } = lab.r(primary).node.state;
  return { lab, primary, x, end, view };
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
    const { lab, x, end } = holding(['a', 'b', 'c', 'd']);
    const [low, high] = [end - 3, end - 1];
    lab.restart(x, { faulty: { from: low, to: low } });
    lab.step(x, { type: 'damaged', index: high });
    withhold(lab, x, low);
    lab.run(60);
    expect(lab.r(x).node.state.faulty).toEqual([expect.objectContaining({ from: low, to: low })]);
  });

  it('a hole that was passed over is asked for again, though the next one is given and waits for it (seed 10000801)', () => {
    const { lab, x, end } = holding(['a', 'b', 'c', 'd']);
    const [low, high] = [end - 2, end - 1];
    lab.restart(x, { faulty: { from: low, to: low } });
    lab.step(x, { type: 'damaged', index: high });
    // As on a disk: where a frame belongs is known only when the one below is there again.
    lab.unplaced = (id, { first }) => id === x && first === high && lab.r(x).node.state.faulty[0]?.from === low;
    const asked: number[] = [];
    withhold(lab, x, low);
    const { drop } = lab;
    lab.drop = (from, to, m) => {
      if (from === x && m.type === 'getState') asked.push(m.from);
      return drop(from, to, m);
    };
    lab.run(60);
    expect(asked).toContain(high);
    lab.drop = () => false;
    lab.run(100);
    expect(lab.r(x).node.state.faulty).toEqual([]);
    expect(lab.r(x).bodies).toEqual(['a', 'b', 'c', 'd']);
  });

  it('of a hole whose first slots nobody gives the others are repaired, from the last one down', () => {
    const { lab, x, end } = holding(['a', 'b', 'c', 'd', 'e', 'f']);
    const [from, to] = [end - 5, end - 1];
    lab.restart(x, { faulty: { from, to } });
    withhold(lab, x, from);
    withhold(lab, x, from + 1);
    lab.run(200);
    expect(lab.r(x).node.state.faulty).toEqual([{ from, to: from + 1 }]);
    lab.drop = () => false;
    lab.run(100);
    expect(lab.r(x).node.state.faulty).toEqual([]);
    expect(lab.r(x).bodies).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });

  it('where its peers hold no frame as low as the beginning of a hole, the part that they hold is asked for', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [x, z] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    for (const text of ['a', 'b', 'c', 'd', 'e', 'f']) lab.submit(primary, text);
    lab.run(10);
    const { end, view } = lab.r(primary).node.state;
    const hole = { from: end - 5, to: end - 1 };
    lab.restart(x, { faulty: hole });
    const first = end - 2;
    for (const from of [primary, z])
      lab.step(x, { type: 'message', from, message: { type: 'snapshotReport', view, first, lacks: NONE, held: [] } });
    const asked: number[] = [];
    lab.drop = (from, _to, m) => {
      if (from === x && m.type === 'getState') asked.push(m.from);
      return false;
    };
    lab.run(60);
    expect([lab.r(x).node.state.faulty, Math.min(...asked)]).toEqual([[{ from: hole.from, to: first - 1 }], first]);
  });

  it('frames of a damaged range are not taken when the hash that its last slot must have is another one', () => {
    const { lab, primary, x, end, view } = holding(['a', 'b', 'c', 'd']);
    lab.restart(x, { faulty: { from: end - 3, to: end - 1 } });
    const right = lab.r(primary).frames.find((batch) => batch.contains(end - 1))!;
    const wrong = new FrameBatch(right.bytes, 1, new Uint8Array(16).fill(9));
    lab.drop = (from, to, m) => {
      if (to !== x || m.type !== 'newState') return false;
      // Whoever gives it says that it is committed.
      const message = { ...m, view, canonical: true, commit: at(end), batch: wrong };
      lab.step(x, { type: 'message', from, message });
      return true;
    };
    lab.run(100);
    expect(lab.r(x).node.state.faulty).toEqual([expect.objectContaining({ from: end - 3, to: end - 1 })]);
  });

  it('a commit that a peer knows of its own log moves nothing here, and no frame above what is known committed is taken from it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [x, z] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    lab.drop = (_from, to, m) => to === x && (m.type === 'prepare' || m.type === 'newState');
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.run(10);
    const n = lab.r(x).node.state;
    const [end, heard] = [n.end, n.commitHeard];
    lab.crash(primary);
    lab.drop = (from) => from !== x;
    const nonce = n.nextNonce();
    n.transfer = { source: z, nonce, from: end + 1, hole: NONE };
    n.commitHeard = at(end + 1);
    const about = { view: n.view, nonce, canonical: false, commit: at(heard + 9), head: at(heard), first: 0 };
    const given = lab.r(z).frames.filter((part) => part.first > end);
    const bytes = new Uint8Array(given.flatMap((part) => [...part.bytes]));
    const batch = new FrameBatch(bytes, given.length, given.at(-1)!.lastHash);
    lab.step(x, { type: 'message', from: z, message: { type: 'newState', ...about, batch } });
    expect(n).toMatchObject({ end: end + 1, commitHeard: end + 1 });
  });

  it('a backup whose primary has damage in the next frame takes it from anybody who has it committed (seed 1130090)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const x = lab.replicas.find((r) => r.id !== primary)!.id;
    lab.drop = (_from, to, m) => to === x && (m.type === 'prepare' || m.type === 'newState');
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.run(10);
    const lost = lab.r(x).node.state.end + 1;
    lab.step(primary, { type: 'damaged', index: lost });
    lab.drop = () => false;
    withhold(lab, primary, lost);
    lab.run(60);
    expect(lab.r(primary).node.state.faulty).toEqual([{ from: lost, to: lost }]);
    expect(lab.r(x).bodies).toEqual(['a', 'b', 'c']);
    expect(lab.r(x).halts).toEqual([]);
  });

  it('where everybody has damage in the next frame, a snapshot above it is wanted, from who has seen it confirmed (seeds 1130090, 2002270)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [x, z] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    lab.drop = (_from, to, m) => to === x && (m.type === 'prepare' || m.type === 'newState');
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.run(10);
    const n = lab.r(x).node.state;
    const lost = n.end + 1;
    for (const id of [primary, z]) lab.step(id, { type: 'damaged', index: lost });
    lab.drop = (_from, to, m) => to !== x && m.type === 'newState';
    lab.run(60);
    expect(n.end).toBe(lost - 1);
    const report = (from: number, confirmed: boolean): void => {
      const snapshot = { index: lost + 1, state: new Uint8Array(16), file: new Uint8Array(32), confirmed };
      const message = { type: 'snapshotReport', view: n.view, first: 0, lacks: NONE, held: [snapshot] } as const;
      lab.step(x, { type: 'message', from, message });
    };
    for (const from of [primary, z]) report(from, false);
    expect(wantedSnapshot(n)).toBeNull();
    report(z, true);
    expect(wantedSnapshot(n)).toMatchObject({ index: lost + 1, sources: [z] });
  });

  it('what a new primary has applied does not keep it from serving, though it is damaged at everybody (seed 1100089)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    for (const text of ['a', 'b', 'c', 'd']) lab.submit(primary, text);
    lab.run(10);
    const { end, view, primaryOf } = lab.r(primary).node.state;
    const next = primaryOf.call(lab.r(primary).node.state, view + 1);
    const lost = end - 1;
    for (const { id } of lab.replicas) lab.step(id, { type: 'damaged', index: lost });
    lab.crash(primary);
    lab.run(200);
    const n = lab.r(next).node.state;
    expect(n).toMatchObject({ serving: true, faulty: [{ from: lost, to: lost }] });
    lab.submit(next, 'e');
    lab.run(10);
    for (const { id, bodies } of lab.replicas) if (id !== primary) expect(bodies).toEqual(['a', 'b', 'c', 'd', 'e']);
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
