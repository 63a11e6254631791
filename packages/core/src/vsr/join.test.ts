/** What a replica that was away for longer than the headers reach keeps of its log when it installs another one (join.ts), by script. */
import { beforeEach, describe, expect, it } from 'vitest';
import { NONE } from '../engine/commit-index.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import type { Message } from './messages.ts';
import type { NodeState } from './state.ts';
import { elected, type Lab, LAB_CONFIG, primaryId } from './testing/lab.ts';

const MANY = 2 * LAB_CONFIG.pipelineMax;

let lab: Lab;
/** Primary of the first view, of the next, and who misses what happens; it is primary of the view after the next. */
let [old, next, far] = [0, 0, 0];
let view = 0;
/** Last index that `far` has while everything is well. */
let shared = 0;

const state = (id: number): NodeState => lab.r(id).node.state;

beforeEach(() => {
  lab = elected(3);
  old = primaryId(lab);
  view = state(old).view;
  [next, far] = [1, 2].map((ahead) => state(old).primaryOf(view + ahead)) as [number, number];
  for (const text of ['a', 'b', 'c']) lab.submit(old, text);
  lab.run(10);
  shared = state(far).end;
});

/** Alone, what `far` has heard of the commit is forgotten by a restart: it cannot know what of its log is committed. */
function away(id = far): void {
  lab.drop = (from, to) => from === id || to === id;
}

function back(lost: (from: number, to: number, m: Message) => boolean = () => false): void {
  lab.restart(far);
  lab.drop = lost;
}

function write(id: number, count: number): void {
  for (let i = 0; i < count; i++) {
    lab.submit(id, `${id}/${i}`);
    lab.settle();
  }
  lab.run(5);
}

function until(what: () => boolean): void {
  for (let i = 0; i < 600 && !what(); i++) lab.run(1);
  expect(what()).toBe(true);
}

/** The primary steps down; `successor` serves. */
function handOver(from: number, successor: number): void {
  lab.step(from, { type: 'tick', stalledTicks: LAB_CONFIG.stallTicks + 1 });
  until(() => state(successor).serving);
}

/** The primary goes away with three frames that the others never hear of (it is `far` from now on); two views later its log is many frames behind theirs. */
function givesUpThree(): void {
  away(old);
  [old, far] = [far, old];
  for (const text of ['given up', 'given up', 'given up']) lab.submit(far, text);
  lab.settle();
  until(() => state(next).serving);
  write(next, MANY);
  handOver(next, old);
  write(old, MANY);
}

function expectWhole(): void {
  lab.drop = () => false;
  lab.run(600);
  const [one, ...rest] = lab.replicas.map(({ bodies }) => bodies);
  expect(one!.slice(0, 3)).toEqual(['a', 'b', 'c']);
  for (const bodies of rest) expect(bodies).toEqual(one);
  expect(lab.replicas.map(({ halts }) => halts)).toEqual([[], [], []]);
}

const frames = (_from: number, to: number, m: Message): boolean =>
  to === far && (m.type === 'newState' || m.type === 'prepare');

describe('a log that ends below the headers of a StartView', () => {
  it.each([
    ['its last frame is of the view of a header', MANY, 0],
    ['the new view began with the log of its log view', 2, MANY],
  ])('stays whole before anybody gives a frame, where %s', (_how, before, after) => {
    away();
    write(old, before);
    handOver(old, next);
    write(next, after);
    back(frames);
    until(() => state(far).logView === view + 1);
    expect(state(far).canonical.first).toBeGreaterThan(shared + 1);
    expect(state(far)).toMatchObject({ status: 'normal', end: shared });
    expectWhole();
  });

  it('keeps the only copy of a committed entry that is damaged everywhere else (seed 1100069)', () => {
    away();
    write(old, MANY);
    handOver(old, next);
    back(frames);
    until(() => state(far).logView === view + 1);
    const hole = { from: shared - 1, to: shared - 1 };
    for (const id of [old, next]) lab.restart(id, { faulty: hole });
    expectWhole();
    expect(lab.replicas.map(({ node }) => node.state.faulty)).toEqual([[], [], []]);
  });

  it('is cut where the new view began, when it goes on with what the view before had not finished', () => {
    away(old);
    [old, far] = [far, old];
    lab.submit(far, 'given up');
    lab.submit(far, 'given up');
    lab.settle();
    expect(state(far).end).toBe(shared + 2);
    until(() => state(next).serving);
    write(next, MANY);
    back(frames);
    until(() => state(far).logView === view + 1);
    expect(state(far)).toMatchObject({ status: 'normal', end: shared });
    expectWhole();
  });
});

describe('a log of which neither headers nor views tell where it leaves the one to be installed', () => {
  /** Everything happens in two more views while `far` is away. */
  function twoViews(): void {
    away();
    write(old, 2);
    handOver(old, next);
    write(next, MANY);
    handOver(next, old);
    write(old, MANY);
  }

  /** Nobody gives `far` a frame of first..last. */
  function withhold(first: number, last: number): void {
    lab.drop = (from, to, m) => {
      // Once it has installed the log nothing comes: what it has then is what it kept.
      if (state(far).joining === null) return frames(from, to, m);
      if (to !== far || m.type !== 'newState' || m.batch === null) return false;
      const { batch } = m;
      if (batch.first > last || batch.last < first) return false;
      const rest = batch.first < first ? batch.slice(batch.first, first - 1) : null;
      lab.step(far, { type: 'message', from, message: { ...m, batch: rest } });
      return true;
    };
  }

  it('is not cut before a frame tells: meanwhile the replica votes for what it holds, in the log view it has', () => {
    twoViews();
    const votes: Message[] = [];
    back((from, to, m) => {
      if (from === far && m.type === 'doViewChange') votes.push(m);
      return frames(from, to, m);
    });
    until(() => votes.length > 0);
    lab.run(60);
    expect(state(far)).toMatchObject({ status: 'view-change', logView: view, end: shared });
    for (const vote of votes) expect(vote).toMatchObject({ logView: view, head: shared, present: shared });
    expectWhole();
    expect(state(far).logView).toBe(state(old).view);
  });

  it('is not cut when the frame above is damaged there: the next one below tells as well', () => {
    twoViews();
    back();
    withhold(shared + 1, shared + 1);
    until(() => state(far).logView === state(old).view);
    expect(state(far).end).toBe(shared);
    expectWhole();
  });

  it('is cut above what is certainly committed when nobody has the frames, and a confirmed snapshot holds what they did', () => {
    twoViews();
    back();
    withhold(0, shared + 1);
    lab.run(200);
    expect(state(far)).toMatchObject({ status: 'view-change', logView: view, end: shared });
    const ref = { index: shared, state: new Uint8Array(16), file: new Uint8Array(16), confirmed: false };
    const report = (confirmed: boolean): void => {
      const message = { type: 'snapshotReport', view, first: 0, lacks: NONE, held: [{ ...ref, confirmed }] } as const;
      lab.step(far, { type: 'message', from: old, message });
      lab.run(20);
    };
    report(false);
    expect(state(far)).toMatchObject({ logView: view, end: shared });
    report(true);
    expect(state(far)).toMatchObject({ status: 'normal', logView: state(old).view, end: NONE });
  });

  it('loses only what was given up, frame by frame', () => {
    givesUpThree();
    back((from, to, m) => frames(from, to, m) && state(far).joining === null);
    until(() => state(far).logView === state(old).view);
    expect(state(far).end).toBe(shared);
    expectWhole();
  });

  it('takes no word of a voter whose log is not known to be the chosen one there', () => {
    away();
    write(old, 2);
    handOver(old, next);
    write(next, MANY);
    lab.crash(next);
    back(frames);
    until(() => state(far).joining !== null);
    const n = state(far);
    const { low, high } = n.joining!;
    // The vote that had made it one does not count any more.
    n.votes.delete(old);
    const own = lab
      .r(old)
      .frames.find((batch) => batch.contains(high + 1))!
      .slice(high + 1, high + 1);
    const wrong = new FrameBatch(
      own.bytes.map((byte, i) => (i >= 32 && i < 48 ? 1 : byte)),
      1,
      own.lastHash,
    );
    const { nonce } = n.joining!.asked!;
    const about = { view: n.view, nonce, canonical: false, commit: NONE, head: n.end, first: 0 };
    lab.step(far, { type: 'message', from: old, message: { type: 'newState', ...about, batch: wrong } });
    expect(n.joining).toMatchObject({ low, high });
    lab.restart(next);
    expectWhole();
  });

  it('holds up its primary, too: it chooses, asks a voter, and installs only then', () => {
    away();
    write(old, 2);
    handOver(old, next);
    write(next, MANY);
    lab.crash(next);
    back(frames);
    until(() => state(far).chosen !== null);
    lab.run(5);
    expect(state(far)).toMatchObject({ view: view + 2, logView: view, end: shared });
    lab.drop = () => false;
    until(() => state(far).serving);
    lab.restart(next);
    expectWhole();
  });
});

describe('a log that nothing connects to the headers of the manifest, with the tail record lost', () => {
  /** The manifest is that of a view far above, as an install stores it; what `far` has was not cut to it. */
  function interrupted(): void {
    const { manifest } = lab.r(far);
    const above = state(old);
    lab.r(far).manifest = { ...manifest, view: above.view, logView: above.view, headers: above.ring.all() };
    lab.restart(far, { lostFrom: lab.r(far).durable + 1, unconnected: true });
  }

  it('is kept until a frame of the primary tells where it leaves the log, though that is the one of its own log view', () => {
    away();
    write(old, 2);
    handOver(old, next);
    write(next, MANY);
    handOver(next, old);
    write(old, MANY);
    lab.drop = frames;
    interrupted();
    lab.run(100);
    expect(state(far)).toMatchObject({ status: 'recovering-head', end: shared });
    lab.drop = (from, to, m) => frames(from, to, m) && state(far).joining === null;
    until(() => state(far).status === 'normal');
    expect(state(far).end).toBe(shared);
    expectWhole();
  });

  it('loses what was given up, and nothing else', () => {
    givesUpThree();
    lab.drop = (from, to, m) => frames(from, to, m) && state(far).joining === null;
    interrupted();
    expect(state(far).end).toBe(shared + 3);
    until(() => state(far).status === 'normal');
    expect(state(far).end).toBe(shared);
    expectWhole();
  });
});
