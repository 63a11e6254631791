/** Replacing a wiped replica, scripted: docs/protocol.md, "A wiped disk". */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { envelope, frame, KIND } from '../engine/frame.ts';
import { decodeReplacement, type Replacement } from '../engine/replace-entry.ts';
import { elected, type Lab, primaryId, successes, voteOf } from './testing/lab.ts';
import { type Boot, BOOT } from './messages.ts';
import { wantedSnapshot } from './snapshots.ts';

const NEW_BOOT = new Uint8Array(16).fill(99);

/** A cluster of three with one command; r`wiped` has lost its disk. */
function wiped(): { lab: Lab; primary: number; third: number; gone: number } {
  const lab = elected(3);
  const primary = primaryId(lab);
  const [gone, third] = lab.replicas.filter((r) => r.id !== primary).map((r) => r.id) as [number, number];
  lab.submit(primary, 'before');
  lab.run(5);
  lab.crash(gone);
  return { lab, primary, third, gone };
}

/** The process on the new directory asks to take the place of `gone`. */
function join(lab: Lab, gone: number, bootId: Uint8Array): Boot {
  const members = lab.r(gone).manifest.members;
  return {
    type: 'boot',
    view: 0,
    kind: BOOT.join,
    environment: 'dev',
    bootId,
    clusterId: new Uint8Array(16),
    founders: members.map(() => new Uint8Array(16)),
    generation: 0,
    incarnations: members.map(() => 0),
    through: NONE,
  };
}

/** The replacements in the log of a replica. */
function replacementsIn(lab: Lab, id: number): Replacement[] {
  return lab.r(id).frames.flatMap((batch) =>
    Array.from(batch.offsets.subarray(0, batch.count), (offset) => frame.payload(batch.bytes, offset))
      .filter((payload) => envelope.kind(payload, 0) === KIND.replaceReplica)
      .map((payload) => decodeReplacement(envelope.body(payload, 0, payload.length))!),
  );
}

/** What the wiped replica's process asks, and what it is admitted with (null: not yet). */
function ask(lab: Lab, gone: number, bootId = NEW_BOOT): Boot | null {
  let admitted: Boot | null = null;
  const { drop } = lab;
  lab.drop = (from, to, m) => {
    if (to === gone && m.type === 'boot' && m.kind === BOOT.admitted) admitted = m;
    return drop(from, to, m);
  };
  const { members } = lab.r(gone).manifest;
  const message = join(lab, gone, bootId);
  for (const id of members.filter((m) => m !== gone)) lab.step(id, { type: 'message', from: gone, message });
  lab.run(10);
  for (const id of members.filter((m) => m !== gone)) lab.step(id, { type: 'message', from: gone, message });
  lab.settle();
  lab.drop = drop;
  return admitted;
}

describe('recover', () => {
  it('snapshots and frames that the old incarnation said it has are looked for with it no more', () => {
    const { lab, primary, gone, third } = wiped();
    const hash = new Uint8Array(16).fill(1);
    const held = [{ index: 90, state: hash, file: hash, confirmed: true }];
    for (const id of [primary, third]) {
      const n = lab.r(id).node.state;
      lab.step(id, {
        type: 'message',
        from: gone,
        message: { type: 'snapshotReport', view: n.view, first: 50, held, lacks: NONE },
      });
      n.snapshots.needed = at(80);
      n.commitHeard = at(90);
      expect(wantedSnapshot(n)).toMatchObject({ index: 90, sources: [gone] });
    }
    ask(lab, gone);
    for (const id of [primary, third]) {
      const n = lab.r(id).node.state;
      expect([wantedSnapshot(n), n.snapshots.firstOf(gone)]).toEqual([null, 0]);
    }
  });

  it('the new incarnation is a standby until it durably holds the log through R, then it votes', () => {
    const { lab, primary, gone, third } = wiped();
    const admitted = ask(lab, gone);
    expect(admitted?.incarnations[gone - 1]).toBe(2);
    lab.join(gone, NEW_BOOT, admitted!);
    const said: string[] = [];
    lab.drop = (from, to, m) => {
      if (from === gone) said.push(m.type);
      return to === gone && m.type === 'newState';
    };
    lab.run(100);
    expect(lab.r(gone).node.state.standby).toBe(true);
    expect(said.filter((type) => ['prepareOk', 'doViewChange', 'startViewChange', 'commitOk'].includes(type))).toEqual(
      [],
    );
    lab.drop = () => false;
    lab.run(60);
    expect(lab.r(gone).node.state.standby).toBe(false);
    expect(lab.r(gone).bodies).toEqual(['before']);
    lab.crash(third);
    lab.submit(primary, 'with the new one');
    lab.run(10);
    expect(successes(lab)).toBe(2);
  });

  it('R is committed by a quorum that does not include the wiped replica: with one more down it waits', () => {
    const { lab, gone, third, primary } = wiped();
    lab.crash(third);
    expect(ask(lab, gone)).toBe(null);
    lab.restart(third);
    lab.run(200);
    expect(lab.r(primary).up).toBe(true);
    expect(ask(lab, gone)).not.toBe(null);
  });

  it('a wiped replica with an old DoViewChange in flight: the vote of the old incarnation is discarded', () => {
    const { lab, primary, gone, third } = wiped();
    // The old incarnation had voted for the next view before its disk was wiped.
    const vote = voteOf(lab, third);
    const old = { ...vote, view: vote.view + 1 };
    lab.join(gone, NEW_BOOT, ask(lab, gone)!);
    lab.run(60);
    expect(lab.r(gone).node.state.standby).toBe(false);
    lab.drop = (from, to) => from === third || to === third;
    lab.submit(primary, 'kept');
    lab.settle();
    expect(successes(lab)).toBe(2);
    lab.crash(primary);
    lab.crash(gone);
    lab.drop = () => false;
    lab.step(third, { type: 'message', from: gone, message: old });
    lab.run(60);
    expect(lab.r(third).node.state.isPrimary).toBe(false);
    lab.restart(gone);
    lab.run(200);
    lab.submit(primaryId(lab), 'after');
    lab.run(10);
    for (const id of [gone, third]) expect(lab.r(id).bodies).toEqual(['before', 'kept', 'after']);
  });

  it('the incarnations are in the manifest before the frame that raises them is acknowledged', () => {
    const { lab, gone, third } = wiped();
    let early = false;
    lab.drop = (from, _to, m) => {
      if (from === third && m.type === 'prepareOk' && lab.r(third).node.state.manifest.incarnations[gone - 1] === 2)
        early ||= lab.r(third).manifest.incarnations[gone - 1] !== 2;
      return false;
    };
    expect(ask(lab, gone)).not.toBe(null);
    expect(early).toBe(false);
    expect(lab.r(third).manifest.incarnations[gone - 1]).toBe(2);
  });

  it('a replica that is replaced while it lives stops before it acknowledges its replacement', () => {
    const { lab, gone } = wiped();
    lab.restart(gone);
    lab.run(30);
    ask(lab, gone);
    expect(lab.r(gone).halts).toEqual(['E_DUP_NODE']);
  });

  it('an empty directory never rejoins as itself by accident: it is told that the cluster is formatted', () => {
    const { lab, gone, primary } = wiped();
    let answered: Boot | null = null;
    lab.drop = (_from, to, m) => {
      if (to === gone && m.type === 'boot') answered = m;
      return false;
    };
    const members = lab.r(gone).manifest.members;
    const blank = { type: 'boot', view: 0, kind: BOOT.blank, environment: 'dev', bootId: NEW_BOOT } as const;
    const rest = { clusterId: new Uint8Array(16), generation: 0, through: NONE };
    const founders = members.map(() => new Uint8Array(16));
    const message: Boot = { ...blank, ...rest, founders, incarnations: members.map(() => 0) };
    lab.step(primary, { type: 'message', from: gone, message });
    lab.settle();
    expect(answered).toMatchObject({ kind: BOOT.formatted });
    expect(lab.r(primary).node.state.manifest.incarnations[gone - 1]).toBe(1);
  });

  it('two wipes in a row, asked for before the first replacement is in the log: one entry an incarnation, and the second directory is admitted', () => {
    const { lab, primary, gone } = wiped();
    const second = new Uint8Array(16).fill(98);
    // Both before a batch is made.
    for (const bootId of [NEW_BOOT, second])
      lab.step(primary, { type: 'message', from: gone, message: join(lab, gone, bootId) });
    lab.run(10);
    const entries = replacementsIn(lab, primary);
    expect(new Set(entries.map(({ incarnation }) => incarnation)).size).toBe(entries.length);
    const admitted = ask(lab, gone, second);
    expect(admitted?.kind).toBe(BOOT.admitted);
    lab.join(gone, second, admitted!);
    lab.run(100);
    expect(lab.r(gone).halts).toEqual([]);
    expect(lab.r(gone).node.state.standby).toBe(false);
  });
});
