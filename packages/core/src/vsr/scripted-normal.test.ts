/** Normal path, reads and time: sentences of docs/protocol.md that say never, only or before, one script each on real VsrNodes (scripts/sentences.test.ts is the map). */
import { describe, expect, it } from 'vitest';
import { Prng } from '../prng.ts';
import type { Commit, Message } from './messages.ts';
import { command, elected, type Lab, LAB_CONFIG, others, primaryId, saidBy, successes } from './testing/lab.ts';

const prepares = (lab: Lab, to: number): number =>
  lab.wires.filter((w) => w.to === to && w.message.type === 'prepare').length;

/** Votes that make `id` leave its view for `view`, as two peers would send them. */
function voteFor(lab: Lab, id: number, view: number): void {
  for (const from of others(lab, id))
    lab.step(id, { type: 'message', from, message: { type: 'startViewChange', view } });
}

describe('Normal path', () => {
  it('a replication quorum and everything before committed: what a quorum holds waits for the entry below it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const n = lab.r(primary).node.state;
    const below = n.end + 1;
    lab.drop = (_from, _to, m) => m.type === 'prepareOk' && m.first <= below;
    lab.submit(primary, 'a');
    lab.settle();
    lab.submit(primary, 'b');
    lab.settle();
    expect([n.end, n.commit, successes(lab)]).toEqual([below + 1, below - 1, 0]);
    lab.drop = () => false;
    lab.run(10);
    expect([n.commit, successes(lab)]).toEqual([below + 1, 2]);
  });

  it('the primary’s own vote counts only when its write is durable', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [, third] = others(lab, primary) as [number, number];
    lab.drop = (from, to) => from === third || to === third;
    lab.stalled.add(primary);
    lab.submit(primary, 'x');
    lab.run(5);
    expect(successes(lab)).toBe(0);
    lab.stalled.clear();
    lab.settle();
    expect(successes(lab)).toBe(1);
  });

  it('a PrepareOk is sent only from status normal: what becomes durable in a view change promises nothing', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    lab.stalled.add(backup);
    lab.submit(primary, 'x');
    lab.settle();
    const { state } = lab.r(backup).node;
    voteFor(lab, backup, state.view + 1);
    expect(state.status).toBe('view-change');
    const before = state.durable;
    lab.drop = () => true;
    lab.stalled.clear();
    const said = saidBy(lab, backup, () => lab.settle());
    expect(state.durable).toBe(before + 1);
    expect(said.map((m) => m.type)).not.toContain('prepareOk');
  });

  it('a PrepareOk counts only at a primary in status normal: one that stepped down commits nothing', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const late: Message[] = [];
    lab.drop = (from, _to, m) => {
      if (m.type === 'prepareOk' && from === backup) late.push(m);
      return m.type === 'prepareOk' || m.type === 'startViewChange';
    };
    lab.submit(primary, 'x');
    lab.settle();
    lab.r(primary).node.abdicate('the script says so');
    const { commit } = lab.r(primary).node.state;
    expect(late.length).toBe(1);
    for (const message of late) lab.step(primary, { type: 'message', from: backup, message });
    expect([lab.r(primary).node.state.commit, successes(lab)]).toEqual([commit, 0]);
  });

  it('the primary infers nothing about an index below first: a hole under a PrepareOk stops the commit below it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup, third] = others(lab, primary) as [number, number];
    const cut = (from: number, to: number): boolean => from === third || to === third;
    lab.drop = (from, to, m) => cut(from, to) || m.type === 'prepareOk';
    for (const text of ['a', 'b', 'c']) lab.submit(primary, text);
    lab.settle();
    const { state } = lab.r(primary).node;
    const hole = state.end - 1;
    lab.restart(backup, { faulty: { from: hole, to: hole } });
    lab.drop = (from, to, m) => cut(from, to) || m.type === 'newState';
    lab.run(30);
    expect(state.commit).toBe(hole - 1);
    lab.drop = cut;
    lab.run(30);
    expect(state.commit).toBe(state.end);
  });

  it('a batch never waits a fixed delay: a lone command leaves in the step that takes it, a full pipeline merges what comes meanwhile', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    for (let i = 1; i <= LAB_CONFIG.batchesInFlightMax; i++) {
      lab.submit(primary, `lone${i}`);
      expect(prepares(lab, backup)).toBe(i);
    }
    for (let i = 0; i < LAB_CONFIG.batchCountMax; i++) lab.submit(primary, `merged${i}`);
    expect(prepares(lab, backup)).toBe(LAB_CONFIG.batchesInFlightMax);
    const batches = saidBy(lab, primary, () => lab.settle()).filter((m) => m.type === 'prepare');
    // No tick has passed. What waited went out together, to two backups, when the pipeline had room.
    expect(successes(lab)).toBe(LAB_CONFIG.batchesInFlightMax + LAB_CONFIG.batchCountMax);
    expect(batches.length).toBe(2 * (LAB_CONFIG.batchesInFlightMax + 1));
  });
});

describe('Reads', () => {
  it('a replica confirms (view, round) only in status normal in that view', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [backup] = others(lab, primary) as [number];
    const { state } = lab.r(backup).node;
    const heard: Commit[] = [];
    lab.drop = (_from, to, m) => {
      if (to === backup && m.type === 'commit') heard.push(m);
      return to === backup;
    };
    while (heard.length === 0) lab.run(1);
    const round = heard[0]!;
    const confirms = (from: number, message: Commit): boolean => {
      const said = saidBy(lab, backup, () => {
        lab.step(backup, { type: 'message', from, message });
        lab.settle();
      });
      return said.some((m) => m.type === 'commitOk');
    };
    expect(confirms(primary, round)).toBe(true);
    const later = state.view + 3;
    expect(confirms(state.primaryOf(later), { ...round, view: later })).toBe(false);
    voteFor(lab, backup, state.view + 1);
    expect(state.status).toBe('view-change');
    expect(confirms(primary, round)).toBe(false);
    expect(confirms(state.primaryOf(state.view), { ...round, view: state.view })).toBe(false);
    lab.restart(backup, { lostFrom: state.end });
    expect(lab.r(backup).node.state.status).toBe('recovering-head');
    expect(confirms(primary, round)).toBe(false);
  });
});

describe('Time', () => {
  it('only the primary stamps: clocks of backups are in no block time', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [a, b] = others(lab, primary) as [number, number];
    lab.skewMs.set(a, 300).set(b, -300);
    lab.run(20);
    command(lab, primary, 1);
    const { wallMs } = lab.r(primary).node.state;
    lab.run(5);
    for (const { id } of lab.replicas) expect(lab.times(id).at(-1)).toBe(BigInt(wallMs) * 1_000_000n);
  });

  it('previous is the last entry of the adopted log, committed or not: the next primary stamps above it', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    for (const { id } of lab.replicas) lab.skewMs.set(id, 3_600_000);
    lab.run(1200);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    command(lab, old, 1);
    lab.settle();
    const ahead = lab.times(old).at(-1)!;
    const { end, commit } = lab.r(old).node.state;
    expect(commit).toBeLessThan(end);
    lab.crash(old);
    lab.drop = () => false;
    for (const { id } of lab.replicas) lab.skewMs.set(id, 0);
    lab.run(150);
    const next = primaryId(lab);
    lab.submit(next, 'x');
    lab.run(5);
    // The adopted entry, the no-op of the view, the command.
    expect(lab.times(next).slice(end)).toEqual([ahead, ahead + 1n, ahead + 2n]);
  });

  it('safety never depends on clocks: whatever they say, nothing acknowledged is lost and block times grow', () => {
    const draw = new Prng(3);
    const lab = elected(3);
    const acknowledged: string[] = [];
    for (let round = 0; round < 12; round++) {
      // They step forth and back together, so that a majority agrees, or each as it likes.
      const skew = (): number => (draw.below(2001) - 1000) * 10 ** draw.below(6);
      const together = skew();
      for (const { id } of lab.replicas) lab.skewMs.set(id, round % 4 === 3 ? skew() : together);
      lab.run(1200);
      const primary = primaryId(lab);
      const before = successes(lab);
      lab.submit(primary, `c${round}`);
      command(lab, primary, round + 1);
      lab.run(4);
      if (successes(lab) > before) acknowledged.push(`c${round}`);
      if (round % 3 === 2) lab.crashAndReturn(primary);
    }
    lab.run(50);
    expect(acknowledged.length).toBe(12);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies).toEqual(acknowledged);
      const times = lab.times(replica.id);
      for (let i = 1; i < times.length; i++) expect(times[i]! > times[i - 1]!).toBe(true);
    }
  });
});
