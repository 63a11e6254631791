/** The SideEffectManager and its authority, driven by hand: a real Outbox as the log moves it, virtual time, sinks that answer when told. */
import { beforeEach, describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import type { CommitIndex } from '../engine/commit-index.ts';
import { type EntryKind, KIND } from '../engine/frame.ts';
import { type Policy, SOUND } from '../policy.ts';
import { Prng } from '../prng.ts';
import { type AuthorityFacts, VsrAuthority } from './authority.ts';
import { decodeEffectAcks, decodeEffectDeaths, decodeEffectFailures } from './effect-entries.ts';
import type { EffectRun, EffectSink } from './effect-sink.ts';
import { FENCED, LedgerSink, MemoryLedger } from './ledger-sink.ts';
import { Outbox } from './outbox.ts';
import { type EffectConfig, SideEffectManager } from './side-effect-manager.ts';

const WINDOW_MS = 500;
const CONFIG: Partial<EffectConfig> = {
  concurrency: 4,
  timeoutMs: 1000,
  attemptsMax: 3,
  backoffMs: 100,
  backoffMaxMs: 400,
};

type Facts = { -readonly [K in keyof AuthorityFacts]: AuthorityFacts[K] };

/** One replica's effects; `commit` plays the log. */
class Rig {
  readonly outbox = new Outbox({ codec: nobleCodec, clusterId: new Uint8Array(16), pendingMax: 1000 });
  readonly facts: Facts = {
    normalPrimary: true,
    view: 1,
    generation: 0,
    nowMs: 10_000,
    quorumContactAtMs: 10_000,
    viewStartedAtMs: 0,
    confirmedDigestIndex: 1_000_000 as CommitIndex,
    quarantined: false,
  };
  readonly proposals: { kind: EntryKind; body: Uint8Array }[] = [];
  readonly calls: { effect: EffectRun; done: (error: string | null) => void }[] = [];
  accepting = true;
  blockTimeMs = 50_000;
  wakes = 0;
  sink: EffectSink | null = { name: 'test', run: (effect, done) => void this.calls.push({ effect, done }) };
  readonly manager: SideEffectManager;

  constructor(policy: Policy = SOUND) {
    const authority = new VsrAuthority(() => this.facts, WINDOW_MS, policy);
    const ports = {
      outbox: this.outbox,
      authority,
      sink: () => this.sink,
      propose: (kind: EntryKind, body: Uint8Array) => {
        if (this.accepting) this.proposals.push({ kind, body });
        return this.accepting;
      },
      blockTimeMs: () => this.blockTimeMs,
      wake: () => this.wakes++,
    };
    this.manager = new SideEffectManager(ports, new Prng(1), CONFIG, policy);
  }

  emit(...indexes: number[]): void {
    for (const index of indexes)
      this.outbox.add(index, 0, new Uint8Array(16).fill(index), 0, 'c', new Uint8Array([index]));
    this.manager.onApplied();
  }

  /** Time passes, with quorum contact unless the test took it away. */
  pass(ms: number, contact = true): void {
    this.facts.nowMs += ms;
    this.blockTimeMs += ms;
    if (contact) this.facts.quorumContactAtMs = this.facts.nowMs;
    this.manager.tick(this.facts.nowMs);
  }

  /** Applies everything proposed so far. */
  commit(): void {
    for (const { kind, body } of this.proposals.splice(0)) {
      if (kind === KIND.effectAck) for (const ref of decodeEffectAcks(body)) this.outbox.acknowledge(ref);
      else if (kind === KIND.effectFailed) for (const f of decodeEffectFailures(body)) this.outbox.fail(f);
      else for (const d of decodeEffectDeaths(body)) this.outbox.bury(d);
    }
    this.manager.onApplied();
  }

  get running(): number[] {
    return this.calls.map((call) => call.effect.index);
  }

  answer(index: number, error: string | null = null): void {
    const at = this.calls.findIndex((call) => call.effect.index === index);
    this.calls.splice(at, 1)[0]!.done(error);
    this.manager.pump();
  }
}

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
  rig.pass(0);
});

describe('running and reporting', () => {
  it('runs in index order up to its concurrency, with key, fence and attempt', () => {
    rig.emit(1, 2, 3, 4, 5, 6);
    expect(rig.running).toEqual([1, 2, 3, 4]);
    const [first] = rig.outbox.pending();
    expect(rig.calls[0]!.effect).toMatchObject({ key: first!.id, fence: { generation: 0, view: 1 }, attempt: 1 });
    rig.answer(2);
    expect(rig.running).toEqual([1, 3, 4, 5]);
  });

  it('rust-14: an effect that ran is not run again, though its acknowledgement takes long to commit', () => {
    rig.emit(1);
    rig.answer(1);
    expect(rig.proposals.map((p) => p.kind)).toEqual([KIND.effectAck]);
    for (let i = 0; i < 50; i++) rig.pass(100);
    expect(rig.running).toEqual([]);
    expect(rig.manager.started).toBe(1);
    rig.commit();
    expect(rig.outbox.counts).toEqual({ pending: 0, acknowledged: 1, dead: 0 });
    expect(rig.manager.inFlight).toBe(0);
  });

  it('mutation clear-in-flight-on-submit runs it twice', () => {
    rig = new Rig({ ...SOUND, clearInFlightOnSubmit: true });
    rig.pass(0);
    rig.emit(1);
    rig.answer(1);
    rig.pass(10);
    expect(rig.running).toEqual([1]);
  });

  it('gathers acknowledgements while one entry is outstanding', () => {
    rig.emit(1, 2, 3, 4);
    for (const index of [1, 2, 3, 4]) rig.answer(index);
    expect(rig.proposals).toHaveLength(1);
    rig.commit();
    expect(rig.proposals).toHaveLength(1);
    expect(decodeEffectAcks(rig.proposals[0]!.body).map((ref) => ref.index)).toEqual([2, 3, 4]);
  });

  it('proposes again what was not taken, and nothing that was: a log that does not move holds one copy', () => {
    rig.emit(1);
    rig.accepting = false;
    rig.answer(1);
    rig.pass(10);
    rig.accepting = true;
    rig.pass(10);
    expect(rig.proposals).toHaveLength(1);
    for (let passed = 0; passed < 60; passed++) rig.pass(1000);
    expect(rig.proposals).toHaveLength(1);
    rig.commit();
    expect(rig.outbox.counts.acknowledged).toBe(1);
  });

  it('a sink that answers at once, one that throws, and none at all', () => {
    rig.sink = { name: 'now', run: (_effect, done) => done(null) };
    rig.emit(1);
    rig.commit();
    rig.sink = {
      name: 'throws',
      run: () => {
        throw new Error('broken');
      },
    };
    rig.emit(2);
    rig.commit();
    expect([...rig.outbox.pending()][0]).toMatchObject({ index: 2, attempts: 1, lastError: 'broken' });
    rig.sink = null;
    rig.emit(3);
    rig.commit();
    expect(rig.manager.unrun).toBe(1);
    expect(rig.outbox.counts.acknowledged).toBe(2);
  });
});

describe('failures', () => {
  it('are replicated, retried after a pause that grows, and end as a dead letter', () => {
    rig.emit(1);
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      expect(rig.calls[0]!.effect.attempt).toBe(attempt);
      rig.answer(1, 'no route');
      rig.commit();
      const from = rig.facts.nowMs;
      while (rig.running.length === 0 && rig.facts.nowMs - from < 2000) rig.pass(10);
      pauses.push(rig.facts.nowMs - from);
    }
    const [first, second, third] = pauses as [number, number, number];
    expect([first >= 50 && first <= 100, second >= 100 && second <= 200, third]).toEqual([true, true, 2000]);
    expect(rig.outbox.counts).toEqual({ pending: 0, acknowledged: 0, dead: 1 });
    expect(rig.outbox.list(1)[0]).toMatchObject({ state: 'dead', attempts: 3, lastError: 'no route' });
  });

  it('a report that is in the log twice (another primary had it, too) counts once', () => {
    rig.emit(1);
    rig.answer(1, 'no route');
    rig.pass(1000);
    rig.proposals.push(...rig.proposals);
    rig.commit();
    rig.pass(10);
    expect(rig.calls[0]!.effect.attempt).toBe(2);
    rig.answer(1);
    rig.commit();
    expect(rig.outbox.counts).toEqual({ pending: 0, acknowledged: 1, dead: 0 });
  });

  it('a pause that another primary decided is kept by block time', () => {
    rig.outbox.add(1, 0, new Uint8Array(16), 0, 'c', new Uint8Array(0));
    rig.outbox.fail({ index: 1, sub: 0, attempt: 1, notBefore: rig.blockTimeMs + 200, error: 'x' });
    rig.pass(0);
    rig.pass(190);
    expect(rig.running).toEqual([]);
    rig.pass(10);
    expect(rig.running).toEqual([1]);
  });

  it('a timeout is a failure: the run is told, its late answer is ignored', () => {
    rig.emit(1);
    const [call] = rig.calls;
    let aborted = 0;
    call!.effect.signal.onAbort(() => aborted++);
    rig.pass(1000);
    expect(aborted).toBe(1);
    call!.done(null);
    rig.commit();
    expect([...rig.outbox.pending()][0]).toMatchObject({ attempts: 1, lastError: 'timeout' });
  });

  it('being fenced is no failure of the effect', () => {
    rig.emit(1);
    rig.answer(1, FENCED);
    rig.pass(10);
    expect(rig.proposals).toEqual([]);
    expect([...rig.outbox.pending()][0]).toMatchObject({ attempts: 0, lastError: null });
  });
});

describe('authority', () => {
  it.each<[string, (facts: Facts) => void, string]>([
    ['a backup', (f) => (f.normalPrimary = false), 'not-primary'],
    ['a quarantined replica', (f) => (f.quarantined = true), 'quarantined'],
    ['a primary without contact', (f) => (f.quorumContactAtMs = null), 'no-quorum-contact'],
    ['a primary with old contact', (f) => (f.quorumContactAtMs = f.nowMs - WINDOW_MS), 'no-quorum-contact'],
    ['a primary whose no-op is not applied', (f) => (f.viewStartedAtMs = null), 'new-primary'],
    ['a primary that is new', (f) => (f.viewStartedAtMs = f.nowMs - WINDOW_MS + 1), 'new-primary'],
    [
      'a primary whose digest is not confirmed',
      (f) => (f.confirmedDigestIndex = 0 as CommitIndex),
      'digest-unconfirmed',
    ],
  ])('%s runs nothing', (_name, change, why) => {
    change(rig.facts);
    expect(new VsrAuthority(() => rig.facts, WINDOW_MS).mayRun(1)).toEqual({ ok: false, why });
    rig.emit(1);
    expect(rig.running).toEqual([]);
  });

  it('waits for the digest of the effect, not of later ones', () => {
    rig.facts.confirmedDigestIndex = 2 as CommitIndex;
    rig.emit(1, 2, 3);
    expect(rig.running).toEqual([1, 2]);
    rig.facts.confirmedDigestIndex = 3 as CommitIndex;
    rig.pass(10);
    expect(rig.running).toEqual([1, 2, 3]);
  });

  it('two primaries that follow each other are never authorised at one moment', () => {
    // The old one's last confirmed round was sent at 0; the new one cannot have applied its no-op before.
    const old = new Rig().facts;
    const now = new Rig().facts;
    Object.assign(old, { quorumContactAtMs: 0 });
    Object.assign(now, { view: 2, viewStartedAtMs: 1 });
    for (let ms = 1; ms < 2000; ms++) {
      old.nowMs = ms;
      Object.assign(now, { nowMs: ms, quorumContactAtMs: ms });
      const both = [old, now].filter((facts) => new VsrAuthority(() => facts, WINDOW_MS).mayRun(1).ok);
      expect(both.length).toBeLessThan(2);
    }
  });

  it('mutation skip-fence runs without contact', () => {
    rig.facts.quorumContactAtMs = null;
    expect(new VsrAuthority(() => rig.facts, WINDOW_MS, { ...SOUND, skipFence: true }).mayRun(1).ok).toBe(true);
  });

  it('losing the view forgets what was in flight; the next view runs it again under the same key', () => {
    rig.emit(1, 2);
    const [one, two] = rig.calls.splice(0);
    one!.done(null);
    rig.facts.normalPrimary = false;
    rig.pass(10);
    expect([rig.manager.inFlight, two!.effect.signal.aborted]).toEqual([0, true]);
    two!.done(null);
    rig.pass(10);
    expect(rig.proposals).toEqual([]);
    Object.assign(rig.facts, { normalPrimary: true, view: 4 });
    rig.pass(10);
    expect(rig.calls.map((call) => call.effect.key)).toEqual([one!.effect.key, two!.effect.key]);
    expect(rig.calls[0]!.effect.fence).toEqual({ generation: 0, view: 4 });
  });
});

it('rust-14: two replicas take turns as primary over one ledger; each effect is there once', () => {
  const ledger = new MemoryLedger();
  const prng = new Prng(7);
  const rigs = [new Rig(), new Rig()];
  for (const r of rigs) {
    r.facts.normalPrimary = false;
    r.sink = new LedgerSink(ledger.open());
  }
  for (let step = 0, index = 1; step < 400; step++) {
    if (step % 40 === 0) {
      const next = rigs[(step / 40) % 2]!;
      for (const r of rigs) r.facts.normalPrimary = r === next;
      next.facts.view = 1 + step / 40;
      for (const r of rigs) r.proposals.length = 0;
    }
    if (step < 300 && prng.chance(0.3)) {
      for (const r of rigs) r.emit(index);
      index++;
    }
    for (const r of rigs) r.pass(10);
    // One log: what either proposed is applied by both.
    if (!prng.chance(0.4)) continue;
    const entries = rigs.flatMap((r) => r.proposals);
    for (const r of rigs) {
      r.proposals.splice(0, r.proposals.length, ...entries);
      r.commit();
    }
  }
  const recorded = ledger.records().map((record) => record.key);
  expect(new Set(recorded).size).toBe(recorded.length);
  expect(recorded.length).toBeGreaterThan(50);
  expect(rigs.map((r) => r.outbox.counts.pending)).toEqual([0, 0]);
  expect(rigs[0]!.outbox.encode()).toEqual(rigs[1]!.outbox.encode());
});
