/** Schedules a second hostile review found, about who counts: each failed before its fix. */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { type Boot, BOOT } from './messages.ts';
import { Lab, elected, primaryId, successes } from './testing/lab.ts';

const NEW_BOOT = new Uint8Array(16).fill(99);

/** `chronon recover` of `gone`, whose old process may still live: what its successor is admitted with. */
function replace(lab: Lab, gone: number): Boot {
  let admitted: Boot | null = null;
  const { drop } = lab;
  lab.drop = (from, to, m) => {
    if (m.type === 'boot' && m.kind === BOOT.admitted) admitted = m;
    return m.type === 'boot' || drop(from, to, m);
  };
  const { members } = lab.r(gone).manifest;
  const blank = members.map(() => new Uint8Array(16));
  const message: Boot = {
    type: 'boot',
    view: 0,
    kind: BOOT.join,
    environment: 'dev',
    bootId: NEW_BOOT,
    clusterId: new Uint8Array(16),
    founders: blank,
    generation: 0,
    incarnations: members.map(() => 0),
    through: NONE,
  };
  for (let round = 0; round < 2; round++) {
    for (const id of members.filter((m) => m !== gone)) lab.step(id, { type: 'message', from: gone, message });
    lab.run(10);
  }
  lab.drop = drop;
  expect(admitted).not.toBe(null);
  return admitted!;
}

function roles(lab: Lab): { primary: number; gone: number; third: number } {
  const primary = primaryId(lab);
  const [gone, third] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
  return { primary, gone, third };
}

/** `id` gets the state of `source` as a snapshot, as the host would install it: it never sees the frames below. */
function installSnapshot(lab: Lab, id: number, source: number): void {
  const { state } = lab.r(source).node;
  const index = state.commit;
  const checkpoint = { index, hash: state.ring.hash(index)!.slice(), digest: new Uint8Array(16).fill(5) };
  for (const [who, entry] of lab.r(source).replaced) lab.r(id).replaced.set(who, entry);
  const frameHeader = state.ring.header(index)!.slice();
  const snapshot = { checkpoint, state: new Uint8Array(16), frameHeader };
  lab.r(id).applied = lab.r(source).applied.slice(0, index + 1);
  lab.step(id, { type: 'installed', snapshot });
  lab.settle();
}

describe('hostile review: identity', () => {
  it('a replica that was replaced stops also when the entry comes to it inside a snapshot', () => {
    const lab = elected(3);
    const { primary, gone } = roles(lab);
    lab.drop = (_from, to, m) => to === gone && (m.type === 'prepare' || m.type === 'newState');
    replace(lab, gone);
    expect(lab.r(gone).halts).toEqual([]);
    installSnapshot(lab, gone, primary);
    expect(lab.r(gone).halts).toEqual(['E_DUP_NODE']);
  });

  it('who learns of a replacement by a snapshot has the raised table, so that it discards votes of the old incarnation', () => {
    const lab = elected(5);
    const primary = primaryId(lab);
    const [gone, behind] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
    lab.crash(gone);
    lab.drop = (_from, to, m) => to === behind && (m.type === 'prepare' || m.type === 'newState');
    replace(lab, gone);
    installSnapshot(lab, behind, primary);
    expect(lab.r(behind).manifest.incarnations[gone - 1]).toBe(2);
  });

  it('a late promise of the old incarnation is no promise of the new one, which starts and votes', () => {
    const lab = elected(3);
    const { primary, gone, third } = roles(lab);
    lab.submit(primary, 'before');
    lab.run(5);
    const { view, end, endHash } = lab.r(primary).node.state;
    const late = { type: 'prepareOk', view, first: end, last: end, hash: endHash.slice() } as const;
    lab.crash(gone);
    const admitted = replace(lab, gone);
    lab.step(primary, { type: 'message', from: gone, message: late });
    lab.join(gone, NEW_BOOT, admitted);
    lab.run(100);
    expect(lab.r(gone).halts).toEqual([]);
    lab.crash(third);
    lab.submit(primary, 'with the new one');
    lab.run(10);
    expect(successes(lab)).toBe(2);
  });

  it('a replaced replica that has not heard of it yet confirms no read', () => {
    const lab = elected(3);
    const { primary, gone, third } = roles(lab);
    lab.drop = (_from, to, m) => to === gone && (m.type === 'prepare' || m.type === 'newState');
    replace(lab, gone);
    expect(lab.r(gone).halts).toEqual([]);
    lab.crash(third);
    lab.step(primary, { type: 'query', origin: 1, nonce: 7, query: 1, body: new Uint8Array(0) });
    lab.run(10);
    expect(lab.r(primary).answers).toEqual([]);
  });
});

describe('hostile review: recovering head', () => {
  it('a replica that stored a view nobody else entered, and then lost its tail record, gets back into a healthy cluster', () => {
    const lab = elected(3);
    const { primary, gone } = roles(lab);
    lab.submit(primary, 'before');
    lab.run(5);
    const { view, end } = lab.r(primary).node.state;
    lab.drop = (from, to) => from === gone || to === gone;
    const vote = { type: 'startViewChange', view: view + 1 } as const;
    for (const from of lab.replicas.map((r) => r.id))
      if (from !== gone) lab.step(gone, { type: 'message', from, message: vote });
    lab.settle();
    expect(lab.r(gone).manifest.view).toBe(view + 1);
    lab.restart(gone, { lostFrom: end });
    lab.drop = () => false;
    lab.run(300);
    expect(lab.r(gone).node.state.status).toBe('normal');
    expect(lab.r(gone).bodies).toEqual(['before']);
    expect(lab.replicas.flatMap((r) => r.halts)).toEqual([]);
    expect(at(lab.r(gone).node.state.view)).toBeGreaterThan(view);
  });
});

describe('hostile review: a new primary', () => {
  it('goes on also when its commit rose by the repair of its own log before a backup entered the view', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    for (let i = 0; i < 30; i++) {
      lab.submit(primary, `c${i}`);
      lab.run(1);
    }
    const next = lab.r(primary).node.state.primaryOf(lab.r(primary).node.state.view + 1);
    const last = lab.replicas.find((r) => r.id !== primary && r.id !== next)!.id;
    lab.run(5);
    lab.crash(primary);
    lab.restart(next, { faulty: { from: 5, to: 5 } });
    lab.drop = (_from, to, m) =>
      (to === last && m.type === 'startView') ||
      (to === next && m.type === 'newState' && !lab.r(next).node.state.isPrimary);
    for (let i = 0; i < 200 && !(lab.r(next).node.state.isPrimary && lab.r(next).faulty.length === 0); i++) lab.run(1);
    expect(lab.r(next).node.state.isPrimary).toBe(true);
    lab.drop = () => false;
    lab.run(10);
    const before = successes(lab);
    lab.submit(next, 'after');
    lab.run(10);
    expect(successes(lab)).toBe(before + 1);
  });
});

describe('hostile review: catching up', () => {
  it('a dead peer, the only one that may still have a damaged frame, does not keep a backup from what the others have (simulator seed 731021)', () => {
    const lab = elected(3);
    const { primary, gone, third } = roles(lab);
    for (let i = 0; i < 15; i++) {
      lab.submit(primary, `c${i}`);
      lab.run(1);
    }
    lab.drop = (_from, to, m) => to === third && (m.type === 'prepare' || m.type === 'newState');
    for (let i = 0; i < 15; i++) {
      lab.submit(primary, `d${i}`);
      lab.run(1);
    }
    lab.crash(gone);
    lab.restart(third, { faulty: { from: 2, to: 2 } });
    lab.drop = (_from, to, m) => to === third && m.type === 'prepare';
    const { view, end } = lab.r(primary).node.state;
    const message = { type: 'snapshotReport', view, first: 10, lacks: NONE, held: [] } as const;
    lab.step(third, { type: 'message', from: primary, message });
    lab.run(60);
    expect(lab.r(third).node.state.durable).toBe(end);
  });
});
