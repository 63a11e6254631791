/** What a replica that is left behind in an older view makes of what a later view has committed, by script: a snapshot, a frame, a StartView that was under way. */
import { beforeEach, describe, expect, it } from 'vitest';
import { at, type CommitIndex, NONE } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { batch, suffix } from '../engine/testing/log-harness.ts';
import type { Message, StartView } from './messages.ts';
import { mayInstall, wantedSnapshot } from './snapshots.ts';
import type { NodeState } from './state.ts';
import { elected, type Lab, others, primaryId, voteOf } from './testing/lab.ts';

let lab: Lab;
let primary = 0;
/** A backup that has heard of no later view. */
let left = 0;
let view = 0;
let end = 0;

const state = (id: number): NodeState => lab.r(id).node.state;

beforeEach(() => {
  lab = elected(3);
  primary = primaryId(lab);
  ({ view } = state(primary));
  left = state(primary).primaryOf(view + 2);
  for (const text of ['a', 'b', 'c', 'd', 'e', 'f']) lab.submit(primary, text);
  lab.run(10);
  end = state(left).end;
});

/** Frames of a later view behind index `after` of the log as it is now. */
function later(after: number, count: number, byView = view + 3): FrameBatch {
  const hash = state(primary).ring.hash(after)!.slice();
  return batch(
    after + 1,
    hash,
    Array.from({ length: count }, () => 1),
    byView,
    9,
  );
}

/** `left`, which knows of no commit after a restart, gets a confirmed snapshot that ends with its own entry `index`. */
function installSnapshot(index: number): void {
  lab.restart(left);
  const { ring } = state(left);
  const checkpoint = { index: index as CommitIndex, hash: ring.hash(index)!.slice(), digest: new Uint8Array(16) };
  expect(mayInstall(state(left), index, checkpoint.hash)).toBe(true);
  const frameHeader = ring.header(index)!.slice();
  lab.step(left, { type: 'installed', snapshot: { checkpoint, state: new Uint8Array(16), frameHeader } });
  lab.settle();
  expect(state(left)).toMatchObject({ commit: index, logView: view, end });
}

function startView(of: number, frames: FrameBatch, commit: number): StartView {
  const { generation, incarnations } = state(left).manifest;
  const log = { base: frames.last as CommitIndex, head: frames.last as CommitIndex, headHash: frames.lastHash };
  const about = { nonce: 0, acked: -1 as CommitIndex, commit: commit as CommitIndex, headers: suffix(frames) };
  return { type: 'startView', view: of, logView: view, ...log, ...about, generation, incarnations };
}

function deliver(message: StartView): void {
  lab.step(left, { type: 'message', from: state(left).primaryOf(message.view), message });
  lab.settle();
}

describe('A snapshot of a later view', () => {
  it('is not installed where damage hides whether the own log has another entry in its place, unless that is committed', () => {
    lab.drop = () => true;
    const index = end - 2;
    const hash = state(left).ring.hash(index)!.slice();
    expect(mayInstall(state(left), index + 2, new Uint8Array(16))).toBe(false);
    lab.restart(left, { faulty: { from: index, to: index + 1 } });
    expect(state(left).commitHeard).toBeLessThan(index);
    expect(mayInstall(state(left), index, hash)).toBe(false);
    lab.drop = (_from, to, m) => to === left && m.type === 'newState';
    lab.run(20);
    expect(state(left).commitHeard).toBeGreaterThanOrEqual(index);
    expect(mayInstall(state(left), index, hash)).toBe(true);
  });

  it('is neither fetched nor installed above what this replica knows committed', () => {
    lab.drop = () => true;
    const [peer] = others(lab, left) as [number, number];
    const about = { state: new Uint8Array(16), file: new Uint8Array(16), confirmed: true };
    const held = [end, end + 1].map((index) => ({ index, ...about }));
    const report: Message = { type: 'snapshotReport', view: view + 3, first: end + 1, lacks: NONE, held };
    lab.step(left, { type: 'message', from: peer, message: report });
    state(left).snapshots.needed = (end + 1) as CommitIndex;
    expect(wantedSnapshot(state(left))).toBeNull();
    expect(mayInstall(state(left), end + 1, later(end, 1).lastHash)).toBe(false);
    state(left).commitHeard = (end + 1) as CommitIndex;
    expect(wantedSnapshot(state(left))).toMatchObject({ index: end + 1 });
    expect(mayInstall(state(left), end + 1, later(end, 1).lastHash)).toBe(true);
  });

  it('outlives a StartView that was under way when it was committed, whose log ends below it or has another entry there', () => {
    lab.drop = () => true;
    const { headers } = voteOf(lab, primary);
    installSnapshot(end - 1);
    deliver(startView(view + 1, later(end - 4, 2, view + 1), end - 4));
    deliver(startView(view + 1, later(end - 4, 5, view + 1), end - 4));
    expect(state(left)).toMatchObject({ logView: view, end, commit: end - 1 });
    deliver({ ...startView(view + 4, later(end, 1), end), headHash: headers.hash(end)!, head: at(end), headers });
    expect(state(left)).toMatchObject({ logView: view + 4, end, status: 'normal' });
    expect(lab.r(left).halts).toEqual([]);
  });

  it('keeps its replica from choosing a log that lacks it', () => {
    lab.drop = () => true;
    installSnapshot(end - 1);
    const [one] = others(lab, left) as [number, number];
    const other = later(end - 4, 5, view + 1);
    const about = { head: at(other.last), headHash: other.lastHash, headers: suffix(other) };
    const stands = { present: at(other.last), promised: at(other.last), commit: at(end - 4) };
    const message = { ...voteOf(lab, one), view: view + 2, logView: view + 1, ...about, ...stands };
    lab.step(left, { type: 'message', from: one, message });
    lab.settle();
    expect(state(left)).toMatchObject({ view: view + 2, status: 'view-change', logView: view, chosen: null, end });
  });
});

describe('A commit that was heard of one log', () => {
  it('is not believed of the next one, where the entries themselves are not here', () => {
    lab.drop = () => true;
    const silent = { round: 1, answered: [], runs: [], applied: NONE, confirmed: NONE };
    const hashes = { digest: new Uint8Array(16), confirmedDigest: new Uint8Array(16) };
    const heard: Message = { type: 'commit', view, commit: at(end + 3), head: at(end + 3), ...silent, ...hashes };
    lab.step(left, { type: 'message', from: primary, message: heard });
    expect(state(left).commitHeard).toBe(end + 3);
    const frames = later(end, 3, view + 1);
    deliver(startView(view + 1, frames, end));
    const from = state(left).primaryOf(view + 1);
    lab.step(left, {
      type: 'message',
      from,
      message: { type: 'prepare', view: view + 1, commit: at(end), batch: frames },
    });
    lab.settle();
    expect(state(left)).toMatchObject({ logView: view + 1, end: end + 3, commit: end, commitHeard: end });
  });
});

describe('A frame of a later view', () => {
  it('does not repair the log of an older one, though its sender is primary or knows it committed', () => {
    const [low, hole] = [end - 4, { from: end - 2, to: end - 1 }];
    lab.restart(left, { faulty: hole });
    lab.step(left, { type: 'damaged', index: low });
    // The answer for the lower hole comes; its repair is durable only when the view is over.
    const asked: { readonly to: number; readonly nonce: number; readonly from: number }[] = [];
    let answers = 0;
    lab.stalled.add(left);
    lab.drop = (from, to, m) => {
      if (from === left && m.type === 'getState') asked.push({ to, nonce: m.nonce, from: m.from });
      if (to === left && m.type === 'newState') return ++answers > 1;
      return to === left;
    };
    lab.run(20);
    expect(lab.r(left).pending.length).toBe(1);
    const [one] = others(lab, left) as [number, number];
    lab.step(left, { type: 'message', from: one, message: { ...voteOf(lab, one), view: view + 1 } });
    asked.length = 0;
    lab.stalled.clear();
    lab.drop = (from, to, m) => {
      if (from === left && m.type === 'getState') asked.push({ to, nonce: m.nonce, from: m.from });
      return true;
    };
    lab.settle();
    expect(state(left)).toMatchObject({ status: 'view-change', view: view + 1, logView: view, faulty: [hole] });
    const question = asked.find(({ from }) => from === hole.from)!;
    const wrong = later(hole.from - 1, 1, view + 1);
    const message: Message = {
      type: 'newState',
      view: view + 1,
      nonce: question.nonce,
      canonical: true,
      commit: hole.from as CommitIndex,
      head: end as CommitIndex,
      first: 0,
      batch: wrong,
    };
    lab.step(left, { type: 'message', from: question.to, message });
    lab.settle();
    expect(state(left).faulty).toEqual([hole]);
  });
});
