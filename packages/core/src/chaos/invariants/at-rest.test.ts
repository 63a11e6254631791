/** The checks of votes, snapshots, replays and bounds are shown the thing they are for. */
import { expect, test } from 'vitest';
import { bank } from '../../apps/bank.ts';
import { createWasmCodec } from '../../engine/codec/wasm.ts';
import { at, NONE } from '../../engine/commit-index.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../../engine/header-suffix.ts';
import { Executor } from '../../kernel/executor.ts';
import type { ApplicationModule } from '../../kernel/types.ts';
import { Prng } from '../../prng.ts';
import type { DoViewChange } from '../../vsr/messages.ts';
import { OWN_ENTRIES_MAX } from '../../vsr/requests.ts';
import { CanonicalLog } from '../canonical.ts';
import { DurableLog } from '../durable-log.ts';
import { SimStorage } from '../sim-storage.ts';
import { ReplicaBench } from '../testing/replica-bench.ts';
import { PromiseInvariants } from './promise.ts';
import { checkReplay } from './replay.ts';
import { ResourceInvariants } from './resource.ts';
import { StateInvariants } from './state.ts';
import { ViewInvariants } from './view.ts';

const codec = await createWasmCodec();
const CLUSTER = new Uint8Array(16).fill(9);
const LIMITS = { sessionsMax: 10, keyRetentionMs: 1000, keysMax: 10 };
const replica = (id: number, run = 1) => ({ id, run, observe: () => expect.fail('not looked at') });

function views(): ViewInvariants {
  const logs = [1, 2, 3].map((id) => new DurableLog(new SimStorage(id, new Prng(id)), codec, () => {}));
  // What a checkpoint covers is not asked of the medium.
  const stored = { stored: () => ({ view: 99, logView: 99, checkpoint: 99 }) };
  const tail = { promised: () => at(99) };
  return new ViewInvariants(logs, [stored, stored, stored], [tail, tail, tail]);
}

/** Chain hash of index i: filled with i + 1; `odd`: of that one another. */
function vote(over: Partial<DoViewChange>, odd = -1): DoViewChange {
  const bytes = new Uint8Array(5 * HEADER_RECORD_BYTES);
  for (let i = 0; i < 5; i++)
    bytes.fill(i === odd ? 77 : i + 1, i * HEADER_RECORD_BYTES, (i + 1) * HEADER_RECORD_BYTES);
  return {
    type: 'doViewChange',
    view: 4,
    logView: 3,
    head: at(4),
    headHash: new Uint8Array(16).fill(5),
    commit: NONE,
    present: at(3),
    promised: at(3),
    faulty: [],
    headers: new HeaderSuffix(0, bytes),
    generation: 0,
    incarnations: [0, 0, 0],
    ...over,
  };
}

test('a vote that takes back what the one before it said is caught, one that only lost sight of it is not', () => {
  const second = (next: DoViewChange): void => {
    const checks = views();
    checks.sends(replica(1), vote({ faulty: [{ from: 1, to: 1 }] }));
    checks.sends(replica(1, 2), next);
  };
  second(vote({ faulty: [{ from: 0, to: 2 }], present: at(2), headers: HeaderSuffix.EMPTY, commit: at(0) }));
  expect(() => second(vote({ head: at(3) }))).toThrow('voted twice for view 4');
  expect(() => second(vote({}, 2))).toThrow('index 2 was');
  expect(() => second(vote({ present: at(2), promised: at(2) }))).toThrow('index 3 was present, is nack');
  expect(() => second(vote({ present: at(0), promised: at(0) }))).toThrow('index 1 was faulty, is nack');
  expect(() => second(vote({ promised: at(4), faulty: [{ from: 4, to: 4 }] }))).toThrow('index 4 was nack, is faulty');
});

test('a nack of what its sender has acknowledged is caught, until a StartView of a higher log view', () => {
  const checks = views();
  const ok = { type: 'prepareOk' as const, view: 3, first: 2, last: 4, hash: new Uint8Array(16).fill(5) };
  checks.sends(replica(1), ok);
  checks.sends(replica(1), vote({ promised: at(4) }));
  expect(() => checks.sends(replica(1), vote({ view: 5 }))).toThrow('in view 3 it acknowledged 4');
  const other = { promised: at(4), view: 6, headHash: new Uint8Array(16).fill(9) };
  expect(() => checks.sends(replica(1), vote(other))).toThrow('its log view still');
  checks.sends(replica(1), vote({ view: 7, logView: 6 }));
  checks.wiped(1);
  checks.sends(replica(1), vote({ view: 8 }));
});

test('a commit of what was promised only above it, or in another view, is caught', () => {
  const promises = new PromiseInvariants(3);
  const ok = { type: 'prepareOk' as const, view: 3, first: 2, last: 4, hash: new Uint8Array(16) };
  const seen = { view: 3 } as Parameters<PromiseInvariants['commits']>[1];
  promises.arrives(1, 2, ok);
  promises.commits(replica(1), seen, 2);
  expect(() => promises.commits(replica(1), seen, 1)).toThrow('commits 1 in view 3; of others 0');
  expect(() => promises.commits(replica(1), { ...seen, view: 6 }, 3)).toThrow('commits 3 in view 6');
  promises.arrives(1, 3, { ...ok, first: 1, last: 1 });
  promises.commits(replica(1), seen, 1);
});

test('what a vote states as committed counts if a primary before it had the promises', () => {
  const promises = new PromiseInvariants(3);
  const seen = { view: 4 } as Parameters<PromiseInvariants['commits']>[1];
  const states = (view: number, commit: number) => promises.votes(1, { view, commit: at(commit) } as DoViewChange, 1);
  promises.arrives(1, 2, { type: 'prepareOk', view: 3, first: 2, last: 4, hash: new Uint8Array(16) });
  expect(() => states(3, 4)).toThrow('votes in view 3 that 4 is committed');
  expect(() => states(4, 5)).toThrow('votes in view 4 that 5 is committed');
  states(4, 4);
  promises.commits(replica(2), seen, 4);
  expect(() => promises.commits(replica(2), { ...seen, view: 5 }, 4)).toThrow('commits 4 in view 5');
  promises.arrives(1, 2, { type: 'prepareOk', view: 5, first: 6, last: 6, hash: new Uint8Array(16) });
  states(6, 4);
  expect(() => states(6, 5)).toThrow('votes in view 6 that 5 is committed');
});

test('snapshots of one index that differ in a byte are caught', () => {
  const state = new StateInvariants(new CanonicalLog(codec, CLUSTER, LIMITS));
  state.snapshot(replica(1), 20, new Uint8Array(16));
  state.snapshot(replica(2), 20, new Uint8Array(16));
  expect(() => state.snapshot(replica(3), 20, new Uint8Array(16).fill(1))).toThrow('snapshot 20 of r3 differs');
});

test('replicas at rest with equal digests and another state are caught', () => {
  const executor = (): Executor => {
    const [empty, made] = [1, 2].map(
      () => new Executor({ module: bank as unknown as ApplicationModule, codec, clusterId: CLUSTER }),
    );
    const sections = empty!.snapshot().sections.collect();
    made!.restore({ index: 3, chainHash: new Uint8Array(16), digest: new Uint8Array(16) }, sections);
    return made!;
  };
  const canonical = new CanonicalLog(codec, CLUSTER, LIMITS);
  const logs = [1, 2].map((id) => new DurableLog(new SimStorage(id, new Prng(id)), codec, () => {}));
  const settings = { codec, clusterId: CLUSTER, limits: LIMITS };
  const same = [1, 2].map((id) => ({ id, executor: executor() }));
  checkReplay(canonical, logs, same, settings);
  const odd = {
    applied: at(3),
    versions: executor().versions,
    snapshot: () => {
      const { sections, digest } = executor().snapshot();
      const whole = sections.collect();
      whole[1] = Uint8Array.of(1, 2, 3);
      return { sections: { collect: () => whole } as unknown as typeof sections, digest };
    },
  };
  expect(() => checkReplay(canonical, logs, [same[0]!, { id: 2, executor: odd }], settings)).toThrow(
    'at 3 section 1 of r2 differs from that of r1',
  );
});

test('a bound that does not hold is caught', () => {
  const bench = new ReplicaBench(3);
  bench.until(() => bench.primary !== null);
  const primary = bench.primary!;
  const resources = new ResourceInvariants(LIMITS);
  resources.look(1, primary);
  const { state } = primary.node;
  // A queue that asks no bound (each entry is let in by `internal`, which does).
  Object.defineProperty(state.requests, 'own', { value: OWN_ENTRIES_MAX + 1, configurable: true });
  expect(() => resources.look(1, primary)).toThrow(`entries of its own that wait, its bound is ${OWN_ENTRIES_MAX}`);
  Reflect.deleteProperty(state.requests, 'own');
  const read = { origin: 1, nonce: 1, query: 1, body: new Uint8Array(0), commit: NONE, round: 9 };
  for (let i = 0; i <= state.config.queueMax; i++) state.primary!.heldReads.push(read);
  expect(() => resources.look(1, primary)).toThrow(`reads, its bound is ${state.config.queueMax}`);
  const part = { type: 'snapshotPart' as const, view: 1, index: 1, offset: 0, nonce: 1 };
  expect(() => resources.sends(1, { ...part, bytes: new Uint8Array(1024 * 1024 + 1) })).toThrow('bytes of a part');
});
