/** Schedules a hostile review of the protocol found: each failed before its fix. */
import { describe, expect, it } from 'vitest';
import { TO_CLIENT } from './client-protocol.ts';
import { Lab, LAB_CONFIG } from './testing/lab.ts';

const oks = (lab: Lab): number => lab.replies.filter((r) => r.message.type === TO_CLIENT.reply).length;

function elected(n: number): Lab {
  const lab = new Lab(n);
  lab.run(60);
  return lab;
}

function primaryId(lab: Lab): number {
  const primaries = lab.replicas.filter((r) => r.up && r.node.state.serving);
  expect(primaries.length).toBe(1);
  return primaries[0]!.id;
}

/** Fills the pipeline of `id`: nothing of it commits while the drop rule holds. */
function fill(lab: Lab, id: number): void {
  for (let i = 0; i < LAB_CONFIG.pipelineMax; i++) lab.offer(id, `lost${i}`);
  lab.step(id, { type: 'flush' });
  lab.settle();
  const { end, commit } = lab.r(id).node.state;
  expect(end - commit).toBe(LAB_CONFIG.pipelineMax);
}

describe('hostile review', () => {
  it('the primary assigns no index above commit + P, not even for its no-op', () => {
    const lab = elected(3);
    const first = primaryId(lab);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    fill(lab, first);
    lab.crash(first);
    lab.run(150);
    const next = lab.replicas.find((r) => r.up && r.node.state.isPrimary)!.node.state;
    expect(next.end - next.commit).toBeLessThanOrEqual(LAB_CONFIG.pipelineMax);
    lab.drop = () => false;
    lab.run(20);
    const { state } = lab.r(primaryId(lab)).node;
    expect(state.commit).toBe(state.end);
  });

  it('head - P is committed: a restarted replica applies nothing that a later view has replaced', () => {
    const lab = elected(3);
    const x = primaryId(lab);
    const { view } = lab.r(x).node.state;
    lab.drop = (from, to, m) =>
      (from === x && (m.type === 'prepare' || m.type === 'commit' || m.type === 'newState' || m.type === 'startView')) ||
      (to !== x && m.type === 'doViewChange');
    fill(lab, x);
    for (let i = 0; i < 600 && !(lab.r(x).node.state.isPrimary && lab.r(x).node.state.view > view); i++) lab.run(1);
    expect(lab.r(x).node.state.view).toBeGreaterThan(view);
    lab.settle();
    lab.crash(x);
    lab.drop = () => false;
    lab.run(150);
    lab.submit(primaryId(lab), 'won');
    lab.run(10);
    lab.restart(x);
    lab.run(100);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies).toEqual(['won']);
    }
  });

  it('a PrepareOk is sent only if every frame is durable: a repair that is still being written promises nothing', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [r, z] = lab.replicas.filter((replica) => replica.id !== primary).map((replica) => replica.id);
    lab.drop = (from, to, m) => m.type === 'prepareOk' || from === z || to === z;
    lab.submit(primary, 'x');
    lab.settle();
    const at = lab.r(primary).node.state.end;
    lab.restart(r!, { faulty: { from: at, to: at } });
    lab.drop = (from, to) => from === z || to === z;
    lab.stalled.add(r!);
    lab.run(30);
    expect(oks(lab)).toBe(0);
    lab.stalled.clear();
    lab.run(10);
    expect(oks(lab)).toBe(1);
  });

  it('a replica that lost its tail record never nacks what it may have promised', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [r, z] = lab.replicas.filter((replica) => replica.id !== primary).map((replica) => replica.id);
    lab.drop = (from, to) => from === z || to === z;
    lab.submit(primary, 'kept');
    lab.settle();
    expect(oks(lab)).toBe(1);
    const at = lab.r(primary).node.state.end;
    lab.restart(r!, { lostFrom: at });
    lab.drop = (from, to, m) => from === z || to === z || m.type === 'newState' || m.type === 'prepare';
    lab.run(8);
    expect(lab.r(r!).node.state.status).toBe('normal');
    lab.crash(primary);
    lab.drop = () => false;
    lab.run(300);
    lab.restart(primary);
    lab.run(200);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies).toEqual(['kept']);
    }
  });
});
