/** Schedules a hostile review of the protocol found: each failed before its fix. */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { type EntryKind, envelope, KIND, writeEnvelope } from '../engine/frame.ts';
import { HEADER_RECORD_BYTES } from '../engine/header-suffix.ts';
import { TO_CLIENT } from './client-protocol.ts';
import { internalPayload } from './payload.ts';
import { OWN_ENTRIES_MAX, Requests } from './requests.ts';
import { elected, Lab, LAB_CONFIG, primaryId, successes as oks } from './testing/lab.ts';

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
      (from === x &&
        (m.type === 'prepare' || m.type === 'commit' || m.type === 'newState' || m.type === 'startView')) ||
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

  it('block time strictly grows, also when the frame below the no-op had to be repaired', () => {
    const lab = elected(3);
    while (primaryId(lab) !== 1) lab.crashAndReturn(primaryId(lab));
    lab.submit(1, 'a');
    lab.run(10);
    const { end } = lab.r(1).node.state;
    lab.crash(1);
    lab.restart(2, { faulty: { from: end, to: end } });
    lab.drop = (_from, to, m) => to === 2 && m.type === 'newState' && lab.r(2).node.state.status === 'normal';
    for (let i = 0; i < 200 && !lab.r(2).node.state.isPrimary; i++) lab.run(1);
    lab.run(30);
    lab.drop = () => false;
    lab.run(100);
    lab.submit(primaryId(lab), 'b');
    lab.run(10);
    const times = lab.times(3);
    for (let i = 1; i < times.length; i++) expect(times[i]! > times[i - 1]!).toBe(true);
    expect(lab.r(3).bodies).toEqual(['a', 'b']);
  });

  it('the chooser fills gaps from another vote of the same log view: damage in one vote is no data loss', () => {
    const lab = elected(3);
    const p = primaryId(lab);
    const [r, z] = lab.replicas.filter((replica) => replica.id !== p).map((replica) => replica.id);
    lab.drop = (from, to) => from === z || to === z;
    lab.submit(p, 'kept');
    lab.settle();
    expect(oks(lab)).toBe(1);
    lab.stalled.add(p);
    lab.drop = (from, to, m) => from === z || to === z || m.type === 'prepareOk';
    lab.submit(p, 'never promised by two');
    lab.settle();
    const { end } = lab.r(p).node.state;
    lab.restart(p);
    lab.stalled.clear();
    lab.restart(r!, { faulty: { from: end - 1, to: end } });
    lab.drop = () => false;
    lab.run(300);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies[0]).toBe('kept');
    }
  });

  it('a deposed primary answers its pending clients, also those it still held for its no-op', () => {
    const lab = elected(3);
    const old = primaryId(lab);
    lab.crash(old);
    lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    for (let i = 0; i < 200 && !lab.replicas.some((r) => r.up && r.node.state.isPrimary); i++) lab.run(1);
    const held = lab.replicas.find((r) => r.up && r.node.state.isPrimary)!;
    lab.submit(held.id, 'held');
    expect(lab.replies.length).toBe(0);
    lab.drop = (from, to) => from === held.id || to === held.id;
    lab.run(100);
    expect(held.node.state.isPrimary).toBe(false);
    expect(lab.replies.map((r) => r.message.type)).toEqual([TO_CLIENT.refusal]);
  });

  it('nothing at or below the commit is cut because damage at the new primary hides a header', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const backup = lab.replicas.find((r) => r.id !== primary)!;
    for (const text of ['a', 'b', 'c']) {
      lab.submit(primary, text);
      lab.run(5);
    }
    const { end, view, ring } = lab.r(primary).node.state;
    lab.drop = (_from, to) => to === backup.id;
    lab.submit(primary, 'd');
    lab.settle();
    const headers = ring.all();
    headers.bytes.fill(0, (end - 1) * HEADER_RECORD_BYTES, (end + 1) * HEADER_RECORD_BYTES);
    const { endHash: headHash } = lab.r(primary).node.state;
    const message = {
      type: 'startView',
      view: view + 3,
      logView: view + 2,
      base: at(end + 1),
      head: at(end + 1),
      headHash,
      commit: end,
      headers,
      nonce: 0,
      acked: NONE,
      generation: 0,
      incarnations: [1, 1, 1],
    } as const;
    lab.step(backup.id, { type: 'message', from: primary, message });
    expect(backup.node.state.end).toBe(end);
    expect(backup.node.state.view).toBe(view + 3);
  });

  it('a damaged slot that was promised is never nacked, not even when an install cuts it because nothing states its hash', () => {
    const lab = elected(3);
    const p = primaryId(lab);
    const [r, z] = lab.replicas.filter((replica) => replica.id !== p).map((replica) => replica.id);
    lab.drop = (from, to) => from === z || to === z;
    lab.submit(p, 'kept');
    lab.settle();
    expect(oks(lab)).toBe(1);
    lab.stalled.add(p);
    lab.drop = (from, to, m) => from === z || to === z || m.type === 'prepareOk';
    lab.submit(p, 'never promised by two');
    lab.settle();
    const { end, view } = lab.r(p).node.state;
    lab.restart(p);
    lab.stalled.clear();
    lab.restart(r!, { faulty: { from: end - 1, to: end } });
    lab.drop = (_from, _to, m) => m.type === 'newState';
    const installed = (id: number): boolean => lab.r(id).node.state.logView > view && lab.r(id).node.state.stored;
    for (let i = 0; i < 600 && !(lab.r(p).node.state.isPrimary && installed(r!) && installed(z!)); i++) lab.run(1);
    expect(lab.r(p).node.state.isPrimary).toBe(true);
    lab.crash(p);
    lab.drop = () => false;
    lab.run(300);
    lab.restart(p);
    lab.run(300);
    for (const replica of lab.replicas) {
      expect(replica.halts).toEqual([]);
      expect(replica.bodies[0]).toBe('kept');
    }
  });

  it('a replica that holds an entry gives it to the new primary, whatever is damaged below', () => {
    const lab = elected(3);
    while (primaryId(lab) !== 1) lab.crashAndReturn(primaryId(lab));
    for (const text of ['a', 'b', 'c']) {
      lab.submit(1, text);
      lab.run(5);
    }
    lab.drop = (from, to) => from === 2 || to === 2;
    lab.submit(1, 'd');
    lab.settle();
    const { end } = lab.r(1).node.state;
    lab.drop = (_from, _to, m) => m.type === 'newState';
    lab.restart(3, { faulty: { from: end - 2, to: end - 2 } });
    lab.crash(1);
    const { view } = lab.r(2).node.state;
    for (let i = 0; i < 200 && lab.r(2).node.state.view !== view + 1; i++) lab.run(1);
    lab.drop = (from, to, m) => m.type === 'startViewChange';
    lab.run(100);
    expect(lab.r(2).node.state.view).toBe(view + 1);
    expect(lab.r(2).node.state.isPrimary).toBe(true);
    expect(lab.r(2).bodies).toEqual(['a', 'b', 'c', 'd']);
  });

  it('a repaired slot that the new primary left out of its own promise is promised afterwards', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const third = lab.replicas.find((r) => r.id !== primary)!.id;
    lab.drop = (from, to) => from === third || to === third;
    lab.submit(primary, 'before');
    lab.settle();
    lab.step(primary, { type: 'damaged', index: lab.r(primary).node.state.end });
    lab.submit(primary, 'behind');
    lab.run(30);
    expect(oks(lab)).toBe(2);
  });
});

describe('requests of a primary', () => {
  function command(session: number, number: number, kind: EntryKind = KIND.command): Uint8Array {
    const payload = new Uint8Array(32);
    writeEnvelope(payload, 0, kind, 1, session, number, 1);
    return payload;
  }

  it('parked copies are bounded over all sessions', () => {
    const requests = new Requests({ countMax: 8, bytesMax: 1 << 20 });
    const taken = Array.from({ length: 20 }, (_, i) => requests.accept(1, command(10 + i, 2), 1, false, false));
    expect(taken.filter((verdict) => verdict === 'taken').length).toBe(8);
    expect(requests.accept(1, command(10, 1), 1, false, false)).toBe('taken');
    expect(requests.waiting).toBe(2);
    expect(requests.accept(1, command(50, 2), 1, false, false)).toBe('taken');
  });

  it('parked copies whose turn comes keep within the bounds as well, and follow in order as room comes', () => {
    const requests = new Requests({ countMax: 8, bytesMax: 10_000 });
    const offer = (session: number, number: number) => requests.accept(1, command(session, number), 1, false, false);
    for (const session of [20, 21, 22]) expect(offer(session, 1)).toBe('taken');
    for (let number = 7; number >= 1; number--) expect(offer(10, number)).toBe('taken');
    expect(requests.parked).toBeGreaterThan(0);
    // There is room for a newcomer all the same, and a second copy is taken before any bound is asked.
    expect([offer(11, 1), offer(10, 7)]).toEqual(['taken', 'taken']);
    const order: number[] = [];
    while (requests.waiting > 0) {
      expect(requests.clients).toBeLessThanOrEqual(8);
      const payload = requests.shift();
      if (envelope.client(payload, 0) === 10) order.push(envelope.request(payload, 0));
    }
    expect(order).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([requests.parked, requests.parkedByteCount, requests.clientBytes]).toEqual([0, 0, 0]);
  });

  it('a cancel replaces a parked copy that waits for room', () => {
    const requests = new Requests({ countMax: 2, bytesMax: 10_000 });
    const offer = (number: number, kind?: EntryKind) => requests.accept(1, command(10, number, kind), 1, false, false);
    expect(requests.accept(1, command(20, 1), 1, false, false)).toBe('taken');
    expect([offer(2), offer(1)]).toEqual(['taken', 'taken']);
    expect([requests.clients, requests.parked]).toEqual([2, 1]);
    expect([offer(2, KIND.cancel), offer(2)]).toEqual(['taken', 'taken']);
    const kinds = Array.from({ length: 3 }, () => envelope.kind(requests.shift(), 0));
    expect(kinds).toEqual([KIND.command, KIND.command, KIND.cancel]);
    expect([requests.waiting, requests.parked]).toEqual([0, 0]);
  });

  it('entries of the replica itself have their own bound, take no room of the clients, and wait once each', () => {
    const requests = new Requests({ countMax: 2, bytesMax: 10_000 });
    const own = (byte: number) => requests.internal(internalPayload(KIND.effectAck, Uint8Array.of(byte)));
    for (let i = 0; i < OWN_ENTRIES_MAX; i++) expect([own(i), own(i)]).toEqual([true, true]);
    expect([own(99), requests.own]).toEqual([false, OWN_ENTRIES_MAX]);
    for (const session of [10, 11]) expect(requests.accept(1, command(session, 1), 1, false, false)).toBe('taken');
    expect([requests.clients, requests.waiting]).toEqual([2, OWN_ENTRIES_MAX + 2]);
    while (requests.own === OWN_ENTRIES_MAX) requests.shift();
    expect(own(99)).toBe(true);
    requests.clear(() => undefined);
    expect([requests.own, requests.waiting]).toEqual([0, 0]);
  });

  it('a timer that waits for cluster time holds back no report of an effect behind it', () => {
    const requests = new Requests({ countMax: 8, bytesMax: 1 << 20 });
    requests.internal(internalPayload(KIND.timerFired, new Uint8Array(8)));
    requests.internal(internalPayload(KIND.effectAck, new Uint8Array(8)));
    const ready = requests.peekIf((payload) => envelope.kind(payload, 0) !== KIND.timerFired);
    expect(ready === null ? null : envelope.kind(ready, 0)).toBe(KIND.effectAck);
    expect(envelope.kind(requests.shift(), 0)).toBe(KIND.effectAck);
    expect(envelope.kind(requests.shift(), 0)).toBe(KIND.timerFired);
    expect(requests.waiting).toBe(0);
  });

  it('parked copies of a session that is gone are answered and forgotten', () => {
    const requests = new Requests({ countMax: 8, bytesMax: 1 << 20 });
    requests.accept(1, command(10, 2), 1, false, false);
    requests.accept(2, command(11, 2), 1, false, false);
    const abandoned: number[] = [];
    requests.sweep(
      (session) => session === 11,
      (_origin, session) => abandoned.push(session),
    );
    expect(abandoned).toEqual([10]);
    for (let i = 0; i < 7; i++) expect(requests.accept(1, command(20 + i, 2), 1, false, false)).toBe('taken');
  });

  it('an install from far behind keeps what is known where damage took the hash of what is certain (simulator seed 110022)', () => {
    const lab = elected(3);
    const primary = primaryId(lab);
    const [r, z] = lab.replicas.filter((replica) => replica.id !== primary).map((replica) => replica.id);
    const write = (count: number): void => {
      for (let i = 0; i < count; i++) {
        lab.submit(primary, `${i}`);
        lab.run(4);
      }
    };
    write(24);
    const { end } = lab.r(r!).node.state;
    lab.crash(r!);
    write(LAB_CONFIG.pipelineMax * 2);
    const certain = end - LAB_CONFIG.pipelineMax;
    lab.restart(r!, { faulty: { from: certain - 1, to: certain + 1 } });
    lab.drop = (_from, to, m) => to === r && m.type !== 'startView';
    lab.crash(primary);
    lab.restart(primary);
    lab.run(10);
    lab.drop = () => false;
    lab.run(400);
    for (const replica of lab.replicas) expect(replica.halts).toEqual([]);
    expect(lab.r(r!).node.state.view).toBe(lab.r(z!).node.state.view);
    expect(lab.r(r!).bodies).toEqual(lab.r(z!).bodies);
    expect(lab.r(r!).bodies.length).toBe(24 + LAB_CONFIG.pipelineMax * 2);
  });
});
