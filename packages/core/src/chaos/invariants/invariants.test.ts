/** Each check is shown the thing it is for: a checker that cannot fail proves nothing. */
import { CancelSignal } from '../../kernel/effect-sink.ts';
import { expect, test } from 'vitest';
import { BANK_COMMAND, BANK_QUERY } from '../../apps/bank.ts';
import { createWasmCodec } from '../../engine/codec/wasm.ts';
import { at, NONE } from '../../engine/commit-index.ts';
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../engine/constants.ts';
import { frameBytes, KIND, type EntryKind, writeEnvelope, writeHeader, writeU64 } from '../../engine/frame.ts';
import { encodeValue } from '../../kernel/values.ts';
import { Prng } from '../../prng.ts';
import { REPLY } from '../../reply.ts';
import { CanonicalLog } from '../canonical.ts';
import { DurableLog } from '../durable-log.ts';
import type { Observation } from '../observation.ts';
import { SimStorage } from '../sim-storage.ts';
import { ClientInvariants } from './client.ts';
import { EffectInvariants } from './effect.ts';
import { LogInvariants } from './log.ts';
import { StateInvariants } from './state.ts';
import { ViewInvariants } from './view.ts';

const codec = await createWasmCodec();
const CLUSTER = new Uint8Array(16).fill(9);

interface Entry {
  readonly kind: EntryKind;
  readonly command?: number;
  readonly session?: number;
  readonly request?: number;
  readonly input?: unknown;
  readonly view?: number;
}

const SESSION = 1;
const deposit = (request: number, cents: number): Entry => ({
  kind: KIND.command,
  command: BANK_COMMAND.deposit,
  session: SESSION,
  request,
  input: { account: 'a', cents },
});
const LOG: readonly Entry[] = [{ kind: KIND.noop }, { kind: KIND.register, request: 77 }, deposit(1, 5), deposit(2, 7)];

/** A segment holding `entries` from `base` on. */
function image(entries: readonly Entry[], base = 0, prevHash: Uint8Array = new Uint8Array(16)): Uint8Array {
  const bodies = entries.map(({ input }) => (input === undefined ? new Uint8Array(0) : encodeValue(input)));
  const sizes = bodies.map((body) => frameBytes(ENVELOPE_BYTES + body.length));
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES + sizes.reduce((a, b) => a + b, 0));
  bytes.set([0x50, 0x4c, 0x4f, 0x47, 2], 0);
  writeU64(bytes, 8, base);
  bytes.set(prevHash, 16);
  let offset = SEGMENT_HEADER_BYTES;
  entries.forEach((entry, i) => {
    const body = bodies[i]!;
    writeHeader(bytes, offset, ENVELOPE_BYTES + body.length, base + i, entry.view ?? 1, 100 + base + i, 0, 0);
    writeEnvelope(
      bytes,
      offset + FRAME_HEADER_BYTES,
      entry.kind,
      entry.command ?? 0,
      entry.session ?? 0,
      entry.request ?? 0,
      0,
    );
    bytes.set(body, offset + FRAME_HEADER_BYTES + ENVELOPE_BYTES);
    offset += sizes[i]!;
  });
  codec.seal(bytes, SEGMENT_HEADER_BYTES, bytes.length, prevHash.slice());
  return bytes;
}

/** Three machines; those in `holders` have `entries` on their media. */
function cluster(entries: readonly Entry[], holders: readonly number[]) {
  const canonical = new CanonicalLog(codec, CLUSTER, { sessionsMax: 10, keyRetentionMs: 1000, keysMax: 10 });
  const storages = [1, 2, 3].map((id) => new SimStorage(id, new Prng(id)));
  const logs = storages.map((storage) => new DurableLog(storage, codec, () => {}));
  for (const id of holders) {
    const storage = storages[id - 1]!;
    storage.create('log/00000000000000000000.seg').write(0, image(entries), true);
    storage.syncDirectory('log', storage.completed);
  }
  return { canonical, logs, storages, log: new LogInvariants(canonical, logs) };
}

const replica = (id: number, run = 1) => ({ id, run, observe: () => seen({}) });

function seen(over: Partial<Observation>): Observation {
  const usual = { status: 'normal' as const, view: 1, logView: 1, acting: false, serving: false };
  return { ...usual, commit: -1, applied: -1, durable: -1, last: 9, digest: () => new Uint8Array(16), ...over };
}

/** A canonical log with LOG committed. */
function committed(): CanonicalLog {
  const { canonical, log } = cluster(LOG, [1, 2]);
  log.step(replica(1), seen({ commit: LOG.length - 1 }));
  expect(canonical.last).toBe(LOG.length - 1);
  return canonical;
}

test('a commit without a durable quorum is caught', () => {
  expect(() => cluster(LOG, [2]).log.step(replica(1), seen({ commit: 0 }))).toThrow('durable copies: 1 of');
});

test('what a primary gave up and left standing behind a new segment is no copy of it: the entry that replaced it is the committed one', () => {
  // r2 and r3 have entry 3 of view 1; in view 2 r3 gives it up, and as its tail block cannot be believed, the one of view 2 goes into a segment of its own.
  const { canonical, logs, storages, log } = cluster(LOG, [2, 3]);
  const place = (id: number, name: string, bytes: Uint8Array): void => {
    storages[id - 1]!.create(`log/${name}.seg`).write(0, bytes, true);
    storages[id - 1]!.syncDirectory('log', storages[id - 1]!.completed);
  };
  const newer: Entry = { ...deposit(2, 8), view: 2 };
  place(1, '00000000000000000000', image([...LOG.slice(0, 3), newer]));
  place(3, '00000000000000000003', image([newer], 3, logs[1]!.hashAt(2)!));
  log.step(replica(3), seen({ view: 2, commit: 3 }));
  expect(canonical.entries[3]).toMatchObject({ view: 2, hash: logs[0]!.hashAt(3) });
});

test('at rest a log without a frame is right behind a snapshot of everything committed, and only there (simulator seed 1110219)', () => {
  const { log, storages } = cluster(LOG, [1, 2]);
  log.step(replica(1), seen({ commit: 3 }));
  log.atRest(replica(1));
  expect(() => log.atRest(replica(3))).toThrow('without committed entry 0');
  for (const index of [2, 3]) {
    storages[2]!.create(`snapshots/${String(index).padStart(20, '0')}.snap`);
    storages[2]!.syncDirectory('snapshots', storages[2]!.completed);
    if (index === 2) expect(() => log.atRest(replica(3))).toThrow('without committed entry 3');
    else log.atRest(replica(3));
  }
});

test('a commit that goes back, applied above commit, and commit above the log are caught', () => {
  const { log } = cluster(LOG, [1, 2, 3]);
  log.step(replica(1), seen({ commit: 2, applied: 1 }));
  expect(() => log.step(replica(1), seen({ commit: 1 }))).toThrow('back to 1');
  log.step(replica(1, 2), seen({ commit: 1 })); // a restart may know less
  expect(() => log.step(replica(2), seen({ commit: 1, applied: 2 }))).toThrow('has applied 2');
  expect(() => log.step(replica(3), seen({ commit: 3, last: 2 }))).toThrow('ends at 2');
  expect(() => log.truncated(replica(1, 2), 1)).toThrow('truncates from 1');
});

test('two frames with one view and index, and views that decrease along the log, are caught', () => {
  const { log } = cluster(LOG, [1, 2]);
  log.frameSeen(4, 2, new Uint8Array(16), 'here');
  log.frameSeen(4, 3, new Uint8Array(16).fill(1), 'here');
  expect(() => log.frameSeen(4, 2, new Uint8Array(16).fill(1), 'there')).toThrow('index 4 and view 2');
  const backwards = cluster(
    [
      { kind: KIND.noop, view: 2 },
      { kind: KIND.noop, view: 1 },
    ],
    [1, 2],
  );
  expect(() => backwards.log.step(replica(1), seen({ commit: 1 }))).toThrow('has view 1, the one before it 2');
});

test('a promise without a durable frame, a second vote that differs, and a second actor in a view are caught', () => {
  const { logs } = cluster(LOG, [2]);
  const stored = { stored: () => ({ view: 99, logView: 99, checkpoint: -1 }) };
  const tail = { promised: () => at(3) };
  const views = new ViewInvariants(logs, [stored, stored, stored], [tail, tail, tail]);
  const hash = logs[1]!.hashAt(3)!;
  const ok = { type: 'prepareOk' as const, view: 1, first: 2, last: 3, hash };
  views.sends(replica(2), ok);
  expect(() => views.sends(replica(3), ok)).toThrow('promises 2..3');
  const heartbeat = {
    type: 'commit' as const,
    view: 1,
    commit: NONE,
    head: NONE,
    round: 1,
    answered: [],
    runs: [],
    applied: NONE,
    digest: hash,
    confirmed: NONE,
    confirmedDigest: hash,
  };
  views.sends(replica(2), heartbeat);
  expect(() => views.sends(replica(2, 2), heartbeat)).toThrow('run 1 of r2 has acted before');
  expect(() => views.sends(replica(1), { ...heartbeat, view: 4 })).toThrow("which is r2's");
  expect(() => views.step(replica(2), seen({ view: 1, logView: 0 }))).toThrow('log view 0 after it promised');
  const low = { stored: () => ({ view: 4, logView: 2, checkpoint: -1 }) };
  const early = new ViewInvariants(logs, [low, low, low], [tail, tail, tail]);
  expect(() => early.sends(replica(2), { ...heartbeat, view: 4 })).toThrow(
    'manifests on the medium say view 4, log view 2',
  );
  const short = { promised: () => at(2) };
  const promised = new ViewInvariants(logs, [stored, stored, stored], [short, short, short]);
  expect(() => promised.sends(replica(2), ok)).toThrow('its tail record on the medium says 2');
});

test('another digest at an applied index, a command applied twice, and one run as another version, are caught', () => {
  const state = new StateInvariants(committed());
  state.step(replica(1), seen({ applied: 2 }));
  expect(() => state.step(replica(2), seen({ applied: 2, digest: () => new Uint8Array(16).fill(1) }))).toThrow('at 2');
  state.executes(replica(1), 2, SESSION, 1);
  state.step(replica(1), seen({ applied: 2 }));
  state.executes(replica(1), 2, SESSION, 2);
  expect(() => state.step(replica(1), seen({ applied: 2 }))).toThrow('ran entry 2 as version 2, active is 1');
  const twice = cluster([...LOG, deposit(2, 7)], [1, 2]);
  twice.log.step(replica(1), seen({ commit: 4 }));
  expect(twice.canonical.duplicates).toBe(1);
  const again = new StateInvariants(twice.canonical);
  again.executes(replica(1), 4, SESSION, 1);
  expect(() => again.step(replica(1), seen({ applied: 4 }))).toThrow('was settled by entry 3');
});

test('a reply is compared with the model, its index with the canonical list', () => {
  const clients = new ClientInvariants(committed());
  const token = { session: SESSION, request: 2 };
  const body = encodeValue({ account: 'a', balance: 12 });
  clients.ended(1, { kind: 'ok', index: 3, body, token });
  expect(() => clients.ended(1, { kind: 'ok', index: 2, body, token })).toThrow('canonical list has it at 3');
  expect(() =>
    clients.ended(1, { kind: 'ok', index: 3, body: encodeValue({ account: 'a', balance: 13 }), token }),
  ).toThrow('the model says');
  expect(() => clients.ended(1, { kind: 'ok', index: 4, body, token: { session: SESSION, request: 3 } })).toThrow(
    'nothing committed settles it',
  );
});

test('a definite failure that commits is caught', () => {
  const clients = new ClientInvariants(committed());
  const failed = {
    kind: 'rejected',
    code: 'timeout',
    status: null,
    index: NONE,
    body: new Uint8Array(0),
    message: '',
  } as const;
  clients.ended(1, { ...failed, token: { session: SESSION, request: 9 } });
  clients.atRest();
  clients.ended(1, { ...failed, token: { session: SESSION, request: 1 } });
  expect(() => clients.atRest()).toThrow('failed for good; it committed at 2');
});

test('a read of the past, of the future, or of another value is caught', () => {
  const clients = new ClientInvariants(committed());
  const read = clients.invoked(1, BANK_QUERY.balance, 'a');
  clients.returned(read, { kind: 'ok', index: at(3), body: encodeValue(12) });
  expect(() => clients.returned(read, { kind: 'ok', index: at(2), body: encodeValue(5) })).toThrow(
    'committed was 3 when it began',
  );
  expect(() => clients.returned(read, { kind: 'ok', index: at(4), body: encodeValue(12) })).toThrow('shows index 4');
  expect(() => clients.returned(read, { kind: 'ok', index: at(3), body: encodeValue(11) })).toThrow('the model 12');
  const absent = { kind: 'rejected', code: 'rejected', body: new Uint8Array(0), message: '' } as const;
  clients.returned(clients.invoked(1, BANK_QUERY.balance, 'b'), absent);
  expect(() => clients.returned(read, absent)).toThrow('the account was there');
  expect(REPLY.ok).toBe(0);
});

test('an effect of nothing committed, one without authority, and an older fence are caught', () => {
  const transfer: Entry = { ...deposit(3, 1), command: BANK_COMMAND.transfer, input: { from: 'a', to: 'b', cents: 1 } };
  const { canonical, log } = cluster([...LOG, transfer], [1, 2]);
  const effects = new EffectInvariants(canonical);
  const [key] = ['0'.repeat(32)];
  const call = {
    key: key!,
    fence: { generation: 0, view: 1 },
    index: 4,
    channel: 'receipts',
    payload: new Uint8Array(0),
    attempt: 1,
    signal: new CancelSignal(),
  };
  effects.starts(replica(2), call);
  expect(() => effects.step(replica(2), seen({ acting: true }))).toThrow('no committed transfer emitted it');
  log.step(replica(1), seen({ commit: 4 }));
  const real = { ...call, key: [...canonical.effects.keys()][0]! };
  effects.starts(replica(2), real);
  effects.step(replica(2), seen({ acting: true }));
  effects.starts(replica(2), real);
  expect(() => effects.step(replica(2), seen({ acting: true, view: 4 }))).toThrow('with fence 1 while');
  expect(() => effects.atRest()).toThrow('neither in the ledger nor dead');
  expect(effects.accepts({ ...real, fence: { generation: 0, view: 4 } })).toBe(true);
  expect(effects.accepts({ ...real, fence: { generation: 0, view: 4 } })).toBe(false);
  effects.atRest();
  expect(() => effects.accepts(real)).toThrow('accepted fence 1 after 4');
});
