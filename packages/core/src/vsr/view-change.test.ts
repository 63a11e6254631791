/** View changes, scripted: each test is named after a sentence of docs/protocol.md, "View change", or of its list of defects. */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { elected, type Lab, others, primaryId, successes, voteOf } from './testing/lab.ts';

/** A cluster of three in which `x` is acknowledged by the primary and one backup only. */
function onTwo(): { lab: Lab; primary: number; backup: number; third: number; index: number } {
  const lab = elected(3);
  const primary = primaryId(lab);
  const [backup, third] = others(lab, primary) as [number, number];
  lab.drop = (from, to) => from === third || to === third;
  lab.submit(primary, 'x');
  lab.settle();
  expect(successes(lab)).toBe(1);
  lab.drop = () => false;
  return { lab, primary, backup, third, index: lab.r(primary).node.state.end };
}

describe('data loss', () => {
  it('all votes in and still neither: every replica reports E_DATA_LOSS with the index and waits', () => {
    const { lab, primary, backup, third, index } = onTwo();
    lab.crash(third);
    lab.restart(primary, { faulty: { from: index, to: index } });
    lab.restart(backup, { faulty: { from: index, to: index } });
    lab.restart(third);
    lab.run(200);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.node.state.dataLoss?.index).toBe(index);
      expect(replica.node.state.status).not.toBe('normal');
    }
  });

  it('a copy that comes back ends the wait, and the report', () => {
    const { lab, primary, backup, third, index } = onTwo();
    lab.crash(third);
    lab.restart(primary, { faulty: { from: index, to: index } });
    lab.restart(backup, { faulty: { from: index, to: index } });
    lab.restart(third);
    lab.run(100);
    lab.r(backup).faulty = [];
    lab.restart(backup);
    lab.run(300);
    for (const replica of lab.replicas) {
      expect(replica.bodies).toEqual(['x']);
      expect(replica.node.state.dataLoss).toBe(null);
    }
  });

  it('a majority recovering head with no normal primary: every replica reports it and waits', () => {
    const { lab, primary, backup, third, index } = onTwo();
    for (const replica of lab.replicas) lab.crash(replica.id);
    lab.restart(primary, { lostFrom: index });
    lab.restart(backup, { lostFrom: index });
    lab.restart(third);
    lab.run(100);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.node.state.dataLoss).not.toBe(null);
    }
  });

  it('only a lost tail record is recovering head: no vote and no PrepareOk until a StartView settles it', () => {
    const { lab, primary, backup, third, index } = onTwo();
    const said: string[] = [];
    lab.restart(backup, { lostFrom: index });
    lab.drop = (from, to, m) => {
      if (from === backup) said.push(m.type);
      return to === backup && m.type === 'startView';
    };
    lab.run(100);
    expect(lab.r(backup).node.state.status).toBe('recovering-head');
    expect(new Set(said)).toEqual(new Set(['requestStartView']));
    lab.drop = () => false;
    lab.run(100);
    expect(lab.r(backup).node.state.status).toBe('normal');
    expect(lab.r(backup).bodies).toEqual(['x']);
    expect(lab.r(third).bodies).toEqual(['x']);
    expect(primaryId(lab)).toBe(primary);
  });
});

describe('what a replica forgot', () => {
  it('an old copy of a directory never votes: the primary knows of a promise it does not, and it stops', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const { frames, manifest, durable } = lab.r(backup);
    const copy = { frames: [...frames], manifest, durable };
    lab.submit(primary, 'x');
    lab.settle();
    lab.crash(backup);
    Object.assign(lab.r(backup), { frames: copy.frames, manifest: copy.manifest, durable: copy.durable });
    const votes: string[] = [];
    lab.drop = (from, to, m) => {
      if (from === backup && (m.type === 'doViewChange' || m.type === 'prepareOk')) votes.push(m.type);
      return to === backup && (m.type === 'prepare' || m.type === 'newState');
    };
    lab.restart(backup);
    lab.run(200);
    expect(lab.r(backup).halts).toEqual(['E_AMNESIA']);
    expect(votes.filter((type) => type === 'doViewChange')).toEqual([]);
  });

  it('a directory of an older view that has promised in the present one stops as well', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    const copies = lab.replicas.map((r) => ({ frames: [...r.frames], manifest: r.manifest, durable: r.durable }));
    lab.crash(first);
    lab.run(150);
    const primary = primaryId(lab);
    const backup = lab.replicas.find((r) => r.up && r.id !== primary)!.id;
    lab.submit(primary, 'x');
    lab.settle();
    lab.crash(backup);
    Object.assign(lab.r(backup), copies[backup - 1]);
    lab.restart(backup);
    lab.run(60);
    expect(lab.r(backup).halts).toEqual(['E_AMNESIA']);
  });

  it('a replica that was replaced stops: E_DUP_NODE', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const { state } = lab.r(primary).node;
    const incarnations = state.members.map((id) => (id === backup ? 2 : 1));
    const vote = { ...voteOf(lab, primary), incarnations };
    lab.step(backup, { type: 'message', from: primary, message: vote });
    expect(lab.r(backup).halts).toEqual(['E_DUP_NODE']);
  });

  it('a replica of a generation whose loss was accepted without it stops: E_GENERATION', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.step(backup, { type: 'message', from: primary, message: { ...voteOf(lab, primary), generation: 1 } });
    expect(lab.r(backup).halts).toEqual(['E_GENERATION']);
  });

  it('the higher entry of the table wins and is stored', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup, third] = others(lab, primary) as [number, number];
    const incarnations = lab.r(primary).node.state.members.map((id) => (id === third ? 3 : 1));
    lab.crash(third);
    lab.step(backup, { type: 'message', from: primary, message: { ...voteOf(lab, primary), incarnations } });
    lab.settle();
    expect(lab.r(backup).manifest.incarnations).toEqual(incarnations);
  });
});

describe('two frames of one (view, index)', () => {
  it('a backup that gets another frame of the view it holds treats it as fatal, never as a suffix to replace', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const twin = elected(3);
    expect(primaryId(twin)).toBe(primary);
    lab.submit(primary, 'one');
    twin.submit(primary, 'two');
    const prepare = twin.wires.find((w) => w.message.type === 'prepare')!.message;
    lab.settle();
    lab.step(backup, { type: 'message', from: primary, message: prepare });
    expect(lab.r(backup).halts).toEqual(['E_PROTOCOL']);
  });

  it('nor does an install replace it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const twin = elected(3);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    lab.submit(primary, 'one');
    lab.settle();
    twin.submit(primary, 'two');
    twin.settle();
    const n = twin.r(primary).node.state;
    const view = n.view + n.members.length;
    const message = {
      type: 'startView',
      view,
      logView: n.view,
      base: n.end,
      head: n.end,
      headHash: n.endHash.slice(),
      commit: NONE,
      headers: n.ring.all(),
      nonce: 0,
      acked: NONE,
      generation: 0,
      incarnations: [1, 1, 1],
    } as const;
    lab.step(backup, { type: 'message', from: primary, message });
    expect(lab.r(backup).halts).toEqual(['E_PROTOCOL']);
    expect(lab.r(backup).node.state.end).toBe(at(n.end));
  });
});
