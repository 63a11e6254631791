/** The protocol, scripted: each test is named after the sentence of docs/protocol.md, or the defect of the Rust implementation, that it holds. */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { elected, Lab, primaryId, successes as oks } from './testing/lab.ts';

describe('VsrNode', () => {
  it.each([1, 3, 5])('elects a primary of a blank cluster of %i and commits', (n) => {
    const lab = elected(n);
    const primary = primaryId(lab);
    lab.submit(primary, 'a');
    lab.submit(primary, 'b');
    lab.run(10);
    expect(oks(lab)).toBe(2);
    for (const replica of lab.replicas) expect(replica.bodies).toEqual(['a', 'b']);
    expect(lab.r(primary).node.state.view).toBeGreaterThan(0);
  });

  it('rust-01: the new primary installs the chosen log: nothing acknowledged is lost by a failover', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    const [slow] = lab.replicas.filter((r) => r.id !== first);
    lab.drop = (_from, to, m) =>
      to === slow!.id && (m.type === 'prepare' || m.type === 'newState' || m.type === 'commit');
    lab.submit(first, 'kept');
    lab.settle();
    expect(oks(lab)).toBe(1);
    lab.crash(first);
    lab.drop = () => false;
    lab.run(120);
    const next = primaryId(lab);
    expect(next).not.toBe(first);
    for (const replica of lab.replicas.filter((r) => r.up)) expect(replica.bodies).toEqual(['kept']);
  });

  it('rust-04: a heartbeat with no commit says none, not index 0', () => {
    const lab = elected(3);
    const seen: number[] = [];
    const fresh = new Lab(3);
    fresh.drop = (_f, _t, m) => {
      if (m.type === 'commit') seen.push(m.commit);
      return m.type === 'prepareOk';
    };
    fresh.run(60);
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.every((commit) => commit === NONE)).toBe(true);
    for (const replica of fresh.replicas) expect(replica.applied).toEqual([]);
    expect(primaryId(lab)).toBeGreaterThan(0);
  });

  it('rust-06: a deposed primary answers no success for a command that was replaced', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    lab.drop = (from, to) => from === old || to === old;
    lab.submit(old, 'lost');
    lab.run(120);
    const next = lab.replicas.find((r) => r.id !== old && r.node.state.serving)!.id;
    lab.submit(next, 'won');
    lab.run(20);
    lab.drop = () => false;
    lab.run(100);
    expect(oks(lab)).toBe(1);
    for (const replica of lab.replicas) expect(replica.bodies).toEqual(['won']);
  });

  it('rust-07: a dead next primary is skipped, and one deaf replica does not disturb a healthy view', () => {
    const lab = elected(5);
    const first = primaryId(lab);
    const view = lab.r(first).node.state.view;
    lab.crash(first);
    lab.crash(lab.r(1).node.state.primaryOf(view + 1));
    lab.run(300);
    const next = primaryId(lab);
    expect(lab.r(next).node.state.view).toBe(view + 2);
  });

  it('a replica that can send but not hear does not disturb a healthy view', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const { view } = lab.r(primary).node.state;
    const deaf = lab.replicas.find((r) => r.id !== primary)!.id;
    lab.drop = (_from, to) => to === deaf;
    lab.run(300);
    expect(lab.r(primary).node.state.view).toBe(view);
    lab.submit(primary, 'still here');
    lab.run(10);
    expect(lab.r(primary).bodies).toEqual(['still here']);
  });

  it('rust-08: a lost Prepare is sent again to exactly those that lack it', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    let lost = 0;
    lab.drop = (_from, _to, m) => m.type === 'prepare' && lost++ < 2;
    lab.submit(primary, 'again');
    lab.settle();
    expect(oks(lab)).toBe(0);
    lab.run(20);
    expect(oks(lab)).toBe(1);
  });

  it('a promise leaves only when the write is durable', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const others = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id);
    for (const id of others) lab.stalled.add(id);
    lab.submit(primary, 'x');
    lab.settle();
    expect(oks(lab)).toBe(0);
    lab.stalled.delete(others[0]!);
    lab.settle();
    expect(oks(lab)).toBe(1);
  });

  it('the primary may commit on a quorum of others while its own disk is slow', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    lab.stalled.add(primary);
    lab.submit(primary, 'x');
    lab.settle();
    expect(oks(lab)).toBe(1);
  });

  it('a primary that commits on the others’ copies and restarts loses nothing and does not act in its old view', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const view = lab.r(primary).node.state.view;
    lab.stalled.add(primary);
    lab.submit(primary, 'x');
    lab.settle();
    lab.stalled.clear();
    lab.restart(primary);
    const sent: string[] = [];
    lab.drop = (from, _to, m) => {
      if (from === primary && m.view === view) sent.push(m.type);
      return false;
    };
    lab.run(150);
    expect(sent.filter((type) => type === 'prepare' || type === 'commit' || type === 'startView')).toEqual([]);
    for (const replica of lab.replicas) expect(replica.bodies).toEqual(['x']);
    expect(lab.r(primary).node.state.view).toBeGreaterThan(view);
  });

  it('a lagging replica catches up from memory and from disk', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const lagging = lab.replicas.find((r) => r.id !== primary)!.id;
    lab.drop = (_f, to) => to === lagging;
    for (let i = 0; i < 30; i++) {
      lab.submit(primary, `c${i}`);
      lab.settle();
    }
    lab.drop = () => false;
    lab.run(60);
    expect(lab.r(lagging).bodies.length).toBe(30);
    lab.crash(lagging);
    for (let i = 30; i < 40; i++) {
      lab.submit(primaryId(lab), `c${i}`);
      lab.settle();
    }
    lab.restart(lagging);
    lab.run(60);
    expect(lab.r(lagging).bodies.length).toBe(40);
  });

  it('a late duplicate StartView truncates nothing', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const backup = lab.replicas.find((r) => r.id !== primary)!;
    const n = lab.r(primary).node.state;
    lab.submit(primary, 'a');
    lab.run(5);
    const end = backup.node.state.end;
    const message = {
      type: 'startView',
      view: n.view,
      logView: n.view - 1,
      base: at(0),
      head: at(0),
      headHash: n.ring.hash(0)!.slice(),
      commit: NONE,
      headers: n.ring.suffix(0, 0),
      nonce: 0,
      acked: NONE,
      generation: 0,
      incarnations: [1, 1, 1],
    } as const;
    lab.step(backup.id, { type: 'message', from: primary, message });
    lab.run(5);
    expect(backup.node.state.end).toBe(end);
    expect(backup.bodies).toEqual(['a']);
  });

  it('two of five die and the rest go on; they come back and agree', () => {
    const lab = elected(5);
    const first = primaryId(lab);
    lab.submit(first, 'a');
    lab.settle();
    const other = lab.replicas.find((r) => r.id !== first)!.id;
    lab.crash(first);
    lab.crash(other);
    lab.run(150);
    lab.submit(primaryId(lab), 'b');
    lab.run(10);
    lab.restart(first);
    lab.restart(other);
    lab.run(150);
    for (const replica of lab.replicas) expect(replica.bodies).toEqual(['a', 'b']);
  });
});
