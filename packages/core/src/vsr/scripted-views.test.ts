/** View change and recovery: sentences of docs/protocol.md that say never, only or before, one script each on real VsrNodes (scripts/sentences.test.ts is the map). */
import { describe, expect, it } from 'vitest';
import type { StartView } from './messages.ts';
import { elected, Lab, others, primaryId, saidBy, successes } from './testing/lab.ts';

/** Runs until somebody is primary, at most `ticks`; null when nobody is. */
function waitForPrimary(lab: Lab, ticks: number): number | null {
  const found = (): number | null => lab.replicas.find((r) => r.up && r.node.state.isPrimary)?.id ?? null;
  for (let i = 0; i < ticks && found() === null; i++) lab.run(1);
  return found();
}

describe('Choosing', () => {
  it('only those with the highest log view define the suffix: a longer log of an older view does not', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    lab.drop = (from, to) => from === old || to === old;
    for (const text of ['a', 'b', 'c', 'd', 'e', 'f']) lab.submit(old, text);
    lab.settle();
    const long = lab.r(old).node.state.end;
    lab.crash(old);
    lab.run(150);
    const winner = primaryId(lab);
    lab.submit(winner, 'won');
    lab.run(5);
    expect(successes(lab)).toBe(1);
    const other = others(lab, old).find((id) => id !== winner)!;
    lab.crash(other);
    // It knows of the newer view by votes alone: no StartView reaches it before it has voted.
    lab.drop = (_from, to, m) =>
      to === old && (m.type === 'startView' || m.type === 'newState' || m.type === 'prepare');
    lab.restart(old);
    lab.restart(winner);
    const votes = saidBy(lab, old, () => lab.run(60)).filter((m) => m.type === 'doViewChange');
    expect(votes.length).toBeGreaterThan(0);
    expect(votes[0]!.head).toBe(long);
    expect(votes[0]!.head).toBeGreaterThan(lab.r(winner).frames.at(-1)!.last);
    lab.drop = () => false;
    lab.run(200);
    for (const id of [old, winner]) {
      expect(lab.r(id).halts).toEqual([]);
      expect(lab.r(id).bodies).toEqual(['won']);
    }
  });

  it('an index above commit is dropped only when n - replication quorum + 1 different replicas nack it: a damaged copy and two nacks of five wait', () => {
    const lab = elected(5);
    const primary = primaryId(lab);
    const [damaged, copy, ...never] = others(lab, primary) as [number, number, number, number];
    lab.drop = (from, to) => never.includes(from) || never.includes(to);
    lab.submit(primary, 'x');
    lab.settle();
    expect(successes(lab)).toBe(1);
    const { end } = lab.r(primary).node.state;
    lab.crash(primary);
    lab.crash(copy);
    lab.restart(damaged, { faulty: { from: end, to: end } });
    lab.drop = () => false;
    expect(waitForPrimary(lab, 400)).toBe(null);
    lab.restart(copy);
    lab.run(400);
    for (const id of [damaged, copy, ...never]) {
      expect(lab.r(id).halts).toEqual([]);
      expect(lab.r(id).bodies).toEqual(['x']);
    }
  });

  it('an index above commit is dropped when n - replication quorum + 1 nack it, though one replica has only a damaged copy', () => {
    const lab = elected(5);
    const primary = primaryId(lab);
    const [damaged, ...never] = others(lab, primary) as [number, ...number[]];
    lab.drop = (from, to) => from === primary && to !== damaged;
    lab.submit(primary, 'never committed');
    lab.settle();
    const { end } = lab.r(primary).node.state;
    lab.crash(primary);
    lab.restart(damaged, { faulty: { from: end, to: end } });
    lab.drop = () => false;
    lab.run(400);
    lab.submit(primaryId(lab), 'after');
    lab.run(20);
    for (const id of [damaged, ...never]) {
      expect(lab.r(id).halts).toEqual([]);
      expect(lab.r(id).bodies).toEqual(['after']);
    }
  });
});

describe('Serving', () => {
  it('a cluster of one persists view + 1 before it serves', () => {
    const lab = elected(1);
    const { view } = lab.r(1).node.state;
    lab.submit(1, 'x');
    lab.run(2);
    lab.stalled.add(1);
    lab.restart(1);
    lab.run(200);
    lab.submit(1, 'y');
    expect([lab.r(1).node.state.serving, lab.r(1).node.state.isPrimary, successes(lab)]).toEqual([false, false, 1]);
    expect(lab.r(1).manifest.view).toBe(view);
    lab.stalled.clear();
    while (!lab.r(1).node.state.isPrimary) lab.run(1);
    expect(lab.r(1).manifest.view).toBeGreaterThan(view);
    lab.run(5);
    expect(lab.r(1).node.state.serving).toBe(true);
  });
});

describe('Recovery', () => {
  it('durable is not committed: only the protocol says what is committed', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    lab.drop = (from) => from === old;
    lab.submit(old, 'durable here only');
    lab.settle();
    const { end } = lab.r(old).node.state;
    expect(lab.r(old).durable).toBe(end);
    lab.restart(old);
    lab.drop = (from, to) => from === old || to === old;
    lab.run(150);
    // It is alone with a durable entry that it must not apply, whatever time passes.
    expect([lab.r(old).bodies, lab.r(old).node.state.commit < end]).toEqual([[], true]);
    lab.submit(primaryId(lab), 'won');
    lab.run(5);
    lab.drop = () => false;
    lab.run(200);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies).toEqual(['won']);
    }
  });

  it('only a StartView that answers a nonce of this process settles a head in its own view: an older one does not', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.submit(primary, 'x');
    lab.run(5);
    const { end, view } = lab.r(primary).node.state;
    lab.restart(backup, { lostFrom: end });
    // What the process before had asked for comes now: it says nothing of what was promised since.
    let answer: StartView | null = null;
    lab.drop = (_from, to, m) => {
      if (to === backup && m.type === 'startView') answer = m;
      return to === backup;
    };
    lab.run(10);
    expect(answer).toMatchObject({ view, nonce: lab.r(backup).node.state.nonce });
    for (const nonce of [0, answer!['nonce'] + 1]) {
      const said = saidBy(lab, backup, () => {
        lab.step(backup, { type: 'message', from: primary, message: { ...answer!, nonce } });
        lab.settle();
      });
      expect(lab.r(backup).node.state.status).toBe('recovering-head');
      expect(said).toEqual([]);
    }
    lab.step(backup, { type: 'message', from: primary, message: answer! });
    expect(lab.r(backup).node.state.status).toBe('normal');
  });
});
