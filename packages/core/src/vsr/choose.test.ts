/** Choosing a suffix from votes, as truth tables: who has what, and what comes of it. */
import { describe, expect, it } from 'vitest';
import { at, NONE } from '../engine/commit-index.ts';
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../engine/header-suffix.ts';
import { SOUND } from '../policy.ts';
import { chooseSuffix, countedVotes } from './choose.ts';
import type { DoViewChange } from './messages.ts';

interface Draft {
  readonly logView?: number;
  /** Frame at each index: a letter is a frame, `?` one that nothing states. */
  readonly log: string;
  readonly commit?: number;
  readonly present?: number;
  readonly promised?: number;
  readonly faulty?: number;
  readonly generation?: number;
  readonly incarnations?: readonly number[];
}

const hashOf = (letter: string): Uint8Array => new Uint8Array(16).fill(letter.charCodeAt(0));

function vote(draft: Draft): DoViewChange {
  const { log, faulty } = draft;
  const bytes = new Uint8Array(log.length * HEADER_RECORD_BYTES);
  for (const [i, letter] of log.split('').entries()) {
    if (letter === '?') continue;
    bytes.fill(letter.charCodeAt(0), i * HEADER_RECORD_BYTES, i * HEADER_RECORD_BYTES + FRAME_HEADER_BYTES);
    bytes.set(hashOf(letter), i * HEADER_RECORD_BYTES + FRAME_HEADER_BYTES);
  }
  const head = log.length - 1;
  return {
    type: 'doViewChange',
    view: 9,
    logView: draft.logView ?? 5,
    head: head < 0 ? NONE : at(head),
    headHash: head < 0 ? new Uint8Array(16) : hashOf(log[head]!),
    commit: draft.commit === undefined ? NONE : at(draft.commit),
    present: at(draft.present ?? head),
    promised: at(draft.promised ?? draft.present ?? head),
    faulty: faulty === undefined ? [] : [{ from: faulty, to: faulty }],
    headers: new HeaderSuffix(0, bytes),
    generation: draft.generation ?? 0,
    incarnations: draft.incarnations ?? [1, 1, 1],
  };
}

/** What replicas 1, 2, 3 of a cluster of three choose: the log that is kept, `wait`, or `loss INDEX`. */
function chosen(...drafts: (Draft | null)[]): string {
  const votes = new Map<number, DoViewChange>();
  for (const [i, draft] of drafts.entries()) if (draft !== null) votes.set(i + 1, vote(draft));
  const members = [1, 2, 3];
  const [own] = votes.values();
  const counted = countedVotes(votes, members, own!).map(([, vote]) => vote);
  const choice = chooseSuffix(counted, own!, 3, 2, SOUND);
  if (choice.kind === 'wait') return 'wait';
  if (choice.kind === 'data-loss') return `loss ${choice.index}`;
  let log = '';
  for (let i = 0; i <= choice.head; i++) log += String.fromCharCode(choice.headers.hash(i)?.[0] ?? 63);
  return log;
}

describe('choosing', () => {
  it('only votes of the highest log view define the suffix, then the greatest head', () => {
    expect(chosen({ log: 'ab', logView: 5 }, { log: 'axyz', logView: 4 }, null)).toBe('ab');
    expect(chosen({ log: 'ab', logView: 5 }, { log: 'abc', logView: 5 }, null)).toBe('abc');
  });

  it('an index above commit is dropped only when n - quorum + 1 different replicas nack it', () => {
    expect(chosen({ log: 'ab', present: 0 }, { log: 'a' }, null)).toBe('a');
    expect(chosen({ log: 'ab', present: 0, promised: 1, faulty: 1 }, { log: 'a' }, null)).toBe('wait');
    expect(chosen({ log: 'ab', present: 0, promised: 1, faulty: 1 }, { log: 'a' }, { log: 'a' })).toBe('a');
  });

  it('a faulty slot is not a nack: all votes in and still neither is a loss that is named', () => {
    const hole = { log: 'ab', present: 0, promised: 1, faulty: 1 };
    expect(chosen(hole, hole, null)).toBe('wait');
    expect(chosen(hole, hole, { log: 'a' })).toBe('loss 1');
    expect(chosen(hole, hole, { log: 'ab' })).toBe('ab');
  });

  it('another chain hash is a nack', () => {
    expect(chosen({ log: 'ab', logView: 5, present: 0 }, { log: 'ax', logView: 4 }, null)).toBe('a');
  });

  it('the others may supply copies: a vote of a lower log view with the same chain hash is one', () => {
    expect(chosen({ log: 'ab', logView: 5, present: 0 }, { log: 'ab', logView: 4 }, null)).toBe('ab');
  });

  it('the chooser fills gaps from any vote whose headers chain to the same hash', () => {
    const best = { log: 'a?c', logView: 5, commit: 1 };
    expect(chosen(best, { log: 'abc', logView: 4 }, null)).toBe('abc');
    expect(chosen(best, { log: 'axy', logView: 4 }, null)).toBe('a?c');
  });

  it('a commit that no log reaches is never dropped', () => {
    expect(chosen({ log: 'ab' }, { log: 'ab', commit: 3 }, null)).toBe('wait');
    expect(chosen({ log: 'ab' }, { log: 'ab', commit: 3 }, { log: 'ab' })).toBe('loss 2');
  });

  it('a commit counts only of the log it was heard of: where the newest log has another entry there nothing is chosen', () => {
    const newest = { log: 'axyz', logView: 5, commit: 0 };
    expect(chosen(newest, { log: 'abc', logView: 4, commit: 2 }, null)).toBe('wait');
    expect(chosen(newest, { log: 'axy', logView: 4, commit: 2 }, null)).toBe('axyz');
    // Where nothing tells which entry that is, it says nothing.
    const commits = ['axyz', 'ab?d'].map((log) => {
      const votes = [vote(newest), vote({ log, logView: 4, commit: 2 })];
      const choice = chooseSuffix(votes, votes[0]!, 3, 2, SOUND);
      return choice.kind === 'chosen' ? choice.commit : choice.kind;
    });
    expect(commits).toEqual([2, 0]);
  });

  it('votes of a lower incarnation are discarded before the quorum is counted', () => {
    const old = { log: 'a', incarnations: [1, 1, 1] };
    expect(chosen({ log: 'ab', incarnations: [1, 1, 2], present: 0 }, null, old)).toBe('wait');
    expect(chosen({ log: 'ab', incarnations: [1, 1, 2], present: 0 }, null, { ...old, incarnations: [1, 1, 2] })).toBe(
      'a',
    );
  });

  it('votes of a lower generation are discarded before the quorum is counted', () => {
    expect(chosen({ log: 'a', generation: 2 }, { log: 'abc', generation: 1 }, null)).toBe('wait');
    expect(chosen({ log: 'a', generation: 2 }, { log: 'abc', generation: 1 }, { log: 'a', generation: 2 })).toBe('a');
  });
});
