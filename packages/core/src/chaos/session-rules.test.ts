/**
 * The sentences of docs/protocol.md, "Clients and sessions" and "Reads", that say never, only or before: each scripted on real VsrNodes with the real
 * session table, and named after its sentence.
 */
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { ENVELOPE_BYTES } from '../engine/constants.ts';
import { envelope, KIND, writeEnvelope } from '../engine/frame.ts';
import { SessionTable } from '../kernel/sessions.ts';
import { type Policy, SOUND } from '../policy.ts';
import { EMPTY_BODY, REPLY, type Reply, SESSION_WINDOW } from '../reply.ts';
import { type ClientMessage, decodeRetryAfter, REFUSAL, TO_CLIENT } from '../vsr/client-protocol.ts';
import type { Message } from '../vsr/messages.ts';
import { lagMs, staleRefusal } from '../vsr/reads.ts';
import { Requests } from '../vsr/requests.ts';
import { Lab, LAB_CONFIG, type LabSessions } from '../vsr/testing/lab.ts';

/** Numbers that were executed, by replica: `session/number`. */
type Executed = Map<number, string[]>;

function sessionsOf(executed: Executed, policy: Policy, sessionsMax: number) {
  return (id: number): LabSessions => {
    const table = new SessionTable({ codec: nobleCodec, policy, sessionsMax });
    const done: string[] = [];
    executed.set(id, done);
    const settle = (payload: Uint8Array, index: number): Reply => {
      const [session, request] = [envelope.client(payload, 0), envelope.request(payload, 0)];
      const answer = table.check(session, request, payload, 0, payload.length);
      if (answer.kind === 'reply' || answer.kind === 'refused') return answer.reply;
      if (answer.kind === 'ahead') return { status: REPLY.sequence, session, request, index, body: EMPTY_BODY };
      const command = envelope.kind(payload, 0) === KIND.command;
      if (command) done.push(`${session}/${request}`);
      const hash = new Uint8Array(16);
      nobleCodec.hash(payload, 0, payload.length, hash, 0);
      const status = command ? REPLY.ok : REPLY.cancelled;
      const ackBelow = envelope.ackBelow(payload, 0);
      return table.record(table.get(session)!, request, index, status, EMPTY_BODY, ackBelow, command ? hash : null, 0);
    };
    return {
      lookup: (session, request, payload) => table.check(session, request, payload, 0, payload.length),
      nextRequest: (session) => table.nextRequest(session),
      apply: (payload, index) => {
        switch (envelope.kind(payload, 0)) {
          case KIND.register:
            table.register(index);
            return { status: REPLY.ok, session: index, request: envelope.request(payload, 0), index, body: EMPTY_BODY };
          case KIND.command:
          case KIND.cancel:
            return settle(payload, index);
          default:
            return null;
        }
      },
    };
  };
}

function request(kind: 'command' | 'cancel' | 'register', session: number, number: number, body = '', ackBelow = 1) {
  const text = new TextEncoder().encode(body);
  const payload = new Uint8Array(ENVELOPE_BYTES + text.length);
  writeEnvelope(payload, 0, KIND[kind], 1, session, number, ackBelow);
  payload.set(text, ENVELOPE_BYTES);
  return payload;
}

/** A cluster of three with a primary, and one session. */
class Scene {
  readonly executed: Executed = new Map();
  readonly lab: Lab;
  primary: number;
  session = 0;
  private nonce = 0;

  constructor(policy: Policy = SOUND, sessionsMax = 10) {
    this.lab = new Lab(3, policy, sessionsOf(this.executed, policy, sessionsMax));
    this.lab.run(60);
    this.primary = this.serving();
    this.session = this.register();
  }

  serving(): number {
    const found = this.lab.replicas.filter((r) => r.up && r.node.state.serving);
    expect(found.length).toBe(1);
    return found[0]!.id;
  }

  get node() {
    return this.lab.r(this.primary).node;
  }

  register(): number {
    this.ask(9, request('register', 0, ++this.nonce));
    this.lab.run(2);
    return this.take()[0]!.message.session;
  }

  /** A request to the primary by connection `origin`. */
  ask(origin: number, payload: Uint8Array, full = false): void {
    this.lab.step(this.primary, { type: 'request', origin, payload, full });
    this.lab.step(this.primary, { type: 'flush' });
  }

  read(nonce: number): void {
    this.lab.step(this.primary, { type: 'query', origin: 1, nonce, query: 1, body: EMPTY_BODY });
  }

  /** Replies and refusals since the last call. */
  take(): { readonly origin: number; readonly message: ClientMessage }[] {
    return this.lab.replies.splice(0);
  }

  /** Nothing of the primary reaches the others, and back. */
  cutPrimary(): void {
    const old = this.primary;
    this.lab.drop = (from, to) => from === old || to === old;
  }

  /** The primary goes away for good; another one serves. */
  failover(): void {
    const old = this.primary;
    this.lab.drop = () => false;
    this.lab.crash(old);
    this.lab.run(150);
    this.primary = this.serving();
    expect(this.primary).not.toBe(old);
  }

  expectExecuted(...numbers: number[]): void {
    const wanted = numbers.map((number) => `${this.session}/${number}`);
    for (const { id } of this.lab.replicas.filter((r) => r.up)) expect(this.executed.get(id)).toEqual(wanted);
  }
}

const summary = (scene: Scene): [origin: number, type: number, status: number, request: number][] =>
  scene.take().map(({ origin, message }) => [origin, message.type, message.status, message.request]);
const { reply, refusal, queryRefusal } = TO_CLIENT;

describe('Clients and sessions', () => {
  it('rust-11: a retry while the first copy is pending is not prepared twice, and is answered where it was asked last', () => {
    const scene = new Scene();
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    scene.ask(1, request('command', scene.session, 1, 'a'));
    const end = scene.node.state.end;
    scene.ask(2, request('command', scene.session, 1, 'a'));
    scene.lab.settle();
    expect(scene.node.state.end).toBe(end);
    scene.lab.drop = () => false;
    scene.lab.run(20);
    expect(summary(scene)).toEqual([[2, reply, REPLY.ok, 1]]);
    scene.expectExecuted(1);
  });

  it('the mutation no-session-dedupe executes it twice', () => {
    const scene = new Scene({ ...SOUND, noSessionDedupe: true });
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    for (let i = 0; i < 2; i++) scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.drop = () => false;
    scene.lab.run(20);
    scene.expectExecuted(1, 1);
  });

  it('the session table and the cached replies change only at commit', () => {
    const scene = new Scene();
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    const tables = scene.lab.replicas.map((r) => r.sessions!.nextRequest(scene.session));
    expect([tables, summary(scene)]).toEqual([[1, 1, 1], []]);
    scene.expectExecuted();
    scene.lab.drop = () => false;
    scene.lab.run(20);
    expect(scene.lab.replicas.map((r) => r.sessions!.nextRequest(scene.session))).toEqual([2, 2, 2]);
    scene.expectExecuted(1);
  });

  it('a number ahead of the next one is parked, never reported; it runs behind the gap', () => {
    const scene = new Scene();
    for (const number of [3, 2]) scene.ask(1, request('command', scene.session, number));
    scene.lab.run(5);
    expect(scene.take()).toEqual([]);
    scene.expectExecuted();
    scene.ask(1, request('command', scene.session, 1));
    scene.lab.run(5);
    expect(summary(scene).map(([, , , number]) => number)).toEqual([1, 2, 3]);
    scene.expectExecuted(1, 2, 3);
  });

  it('a repeated request gets its stored reply; the number is bound to its payload for ever', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    const [first] = scene.take();
    scene.ask(2, request('command', scene.session, 1, 'a'));
    scene.ask(2, request('command', scene.session, 1, 'b'));
    const [again, other] = scene.take();
    expect(again).toEqual({ ...first, origin: 2 });
    expect(other!.message.status).toBe(REPLY.mismatch);
    scene.expectExecuted(1);
  });

  it('another command under a number in the pipeline, the queue or parked is not answered with the reply of the first', () => {
    const scene = new Scene();
    const { mismatch, ok } = REPLY;
    scene.ask(1, request('command', scene.session, 1, 'first'));
    scene.ask(2, request('command', scene.session, 1, 'other'));
    scene.ask(3, request('command', scene.session, 1, 'first', 0));
    scene.ask(1, request('command', scene.session, 3, 'third'));
    scene.ask(2, request('command', scene.session, 3, 'fourth'));
    expect(summary(scene)).toEqual([
      [2, reply, mismatch, 1],
      [2, reply, mismatch, 3],
    ]);
    scene.lab.run(5);
    expect(summary(scene)).toEqual([[3, reply, ok, 1]]);
    scene.ask(1, request('command', scene.session, 2, 'second'));
    scene.lab.run(5);
    expect(summary(scene)).toEqual([
      [1, reply, ok, 2],
      [1, reply, ok, 3],
    ]);
    scene.expectExecuted(1, 2, 3);
  });

  it('cancel before apply: the number is void for ever, every later copy answers cancelled', () => {
    const scene = new Scene();
    scene.ask(1, request('cancel', scene.session, 1));
    scene.lab.run(5);
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.failover();
    scene.ask(1, request('command', scene.session, 1, 'a'));
    expect(summary(scene)).toEqual(Array.from({ length: 3 }, () => [1, reply, REPLY.cancelled, 1]));
    scene.expectExecuted();
  });

  it('cancel after apply returns the stored reply', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    const [first] = scene.take();
    scene.ask(1, request('cancel', scene.session, 1));
    expect(scene.take()).toEqual([first]);
  });

  it('at the primary a cancel replaces a parked copy, and a late copy does not replace it', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 2, 'b'));
    scene.ask(1, request('cancel', scene.session, 2));
    scene.ask(1, request('command', scene.session, 2, 'b'));
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    expect(summary(scene)).toEqual([
      [1, reply, REPLY.ok, 1],
      [1, reply, REPLY.cancelled, 2],
    ]);
    scene.expectExecuted(1);
  });

  it('at the primary a cancel queues behind a copy in the pipeline, once: the first of the two wins', () => {
    const scene = new Scene();
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.ask(1, request('cancel', scene.session, 1));
    const end = scene.node.state.end;
    for (let i = 0; i < 3; i++) scene.ask(1, request('cancel', scene.session, 1));
    expect(scene.node.state.end).toBe(end);
    scene.lab.drop = () => false;
    scene.lab.run(20);
    expect(new Set(summary(scene).map(String))).toEqual(new Set([String([1, reply, REPLY.ok, 1])]));
    scene.expectExecuted(1);
  });

  it('parked copies after a failover: they live in memory only, and every unanswered number is sent again in order', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 2));
    scene.failover();
    scene.ask(2, request('command', scene.session, 1));
    scene.lab.run(5);
    scene.expectExecuted(1);
    scene.ask(2, request('command', scene.session, 2));
    scene.lab.run(5);
    scene.expectExecuted(1, 2);
  });

  it('parked copies of a connection that is gone are forgotten', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 2));
    scene.node.disconnect(1);
    scene.ask(2, request('command', scene.session, 1));
    scene.lab.run(5);
    scene.expectExecuted(1);
  });

  it('held requests of a connection that is gone are not parked for ever once the primary serves', () => {
    const scene = new Scene();
    const old = scene.primary;
    scene.lab.crash(old);
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    for (let i = 0; i < 300 && !scene.lab.replicas.some((r) => r.up && r.node.state.isPrimary); i++) scene.lab.run(1);
    scene.primary = scene.lab.replicas.find((r) => r.up && r.node.state.isPrimary)!.id;
    scene.ask(1, request('command', scene.session, 2));
    scene.ask(2, request('command', scene.session, 3));
    scene.node.disconnect(1);
    scene.lab.drop = () => false;
    scene.lab.run(20);
    scene.ask(2, request('command', scene.session, 1));
    scene.lab.run(5);
    scene.expectExecuted(1);
    scene.ask(2, request('command', scene.session, 2));
    scene.lab.run(5);
    scene.expectExecuted(1, 2, 3);
    expect(scene.node.state.primary!.heldBytes).toBe(0);
  });

  it('a number >= acknowledged-below + W is refused, also at apply', () => {
    const scene = new Scene();
    const far = request('command', scene.session, 1 + SESSION_WINDOW);
    scene.ask(1, far);
    expect(summary(scene)).toEqual([[1, reply, REPLY.sequence, 1 + SESSION_WINDOW]]);
    expect(scene.lab.r(scene.primary).sessions!.apply(far, 99)!.status).toBe(REPLY.sequence);
    scene.expectExecuted();
  });

  it("only a primary that has applied its own view's no-op answers from the session table", () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    scene.take();
    const old = scene.primary;
    scene.lab.crash(old);
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    for (let i = 0; i < 200 && !scene.lab.replicas.some((r) => r.up && r.node.state.isPrimary); i++) scene.lab.run(1);
    const next = scene.lab.replicas.find((r) => r.up && r.node.state.isPrimary)!;
    scene.primary = next.id;
    expect(next.node.state.serving).toBe(false);
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.read(5);
    expect(scene.take()).toEqual([]);
    scene.lab.drop = () => false;
    scene.lab.run(20);
    expect(summary(scene)).toEqual([[1, reply, REPLY.ok, 1]]);
    expect(next.answers).toEqual([5]);
  });

  it('a deposed primary answers pending clients with unknown or a redirect, never success', () => {
    const scene = new Scene();
    scene.cutPrimary();
    scene.ask(1, request('command', scene.session, 1, 'proposed'));
    scene.ask(2, request('command', scene.session, 3, 'parked'));
    scene.read(7);
    scene.lab.run(150);
    const got = scene.take();
    expect(got.map(({ origin, message }) => [origin, message.type, message.status])).toEqual([
      [1, refusal, REFUSAL.deposed],
      [2, refusal, REFUSAL.notPrimary],
      [1, queryRefusal, REFUSAL.notPrimary],
    ]);
  });

  it('unknown after eviction: the least recently committed session goes, and its numbers answer evicted', () => {
    const scene = new Scene(SOUND, 2);
    const first = scene.session;
    const second = scene.register();
    scene.ask(1, request('command', first, 1, 'a'));
    scene.lab.run(5);
    scene.take();
    const third = scene.register();
    scene.ask(1, request('command', second, 1, 'b'));
    scene.ask(1, request('command', first, 2, 'c'));
    scene.ask(1, request('command', third, 1, 'd'));
    scene.lab.run(5);
    const got = scene.take().map(({ message }) => [message.session, message.status]);
    expect(got).toEqual([
      [second, REPLY.evicted],
      [first, REPLY.ok],
      [third, REPLY.ok],
    ]);
  });
});

describe('Back pressure', () => {
  it('session and pipeline lookup come before admission', () => {
    const scene = new Scene();
    scene.ask(1, request('command', scene.session, 1, 'a'));
    scene.lab.run(5);
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    scene.ask(1, request('command', scene.session, 2, 'b'));
    scene.take();
    scene.ask(2, request('command', scene.session, 1, 'a'), true);
    scene.ask(2, request('command', scene.session, 2, 'b'), true);
    expect(summary(scene)).toEqual([[2, reply, REPLY.ok, 1]]);
    scene.ask(2, request('command', scene.session, 3, 'c'), true);
    expect(summary(scene)).toEqual([[2, refusal, REFUSAL.noSpace, 3]]);
  });

  it('the queue is bounded; a refusal says when to come again and concerns one transmission', () => {
    const scene = new Scene();
    scene.lab.drop = (_from, _to, m) => m.type === 'prepareOk';
    const last = 2 * LAB_CONFIG.queueMax;
    for (let number = 1; number <= last; number++) scene.ask(1, request('command', scene.session, number));
    expect(scene.node.state.requests.waiting).toBeLessThanOrEqual(LAB_CONFIG.queueMax);
    const busy = scene.take();
    expect(busy.length).toBeGreaterThan(0);
    for (const { message } of busy) {
      expect(message.status).toBe(REFUSAL.busy);
      expect(decodeRetryAfter(message.body)).toBeGreaterThan(0);
    }
    scene.lab.drop = () => false;
    scene.lab.run(40);
    for (let number = 1; number <= last; number++) {
      scene.ask(1, request('command', scene.session, number));
      scene.lab.run(1);
    }
    scene.lab.run(20);
    scene.expectExecuted(...Array.from({ length: last }, (_, i) => i + 1));
  });

  it('fair between clients: sessions take turns, whoever came first', () => {
    const requests = new Requests({ countMax: 1000, bytesMax: 1 << 20 });
    for (let number = 1; number <= 100; number++) requests.accept(1, request('command', 10, number), 1, false, false);
    for (const session of [11, 12]) requests.accept(1, request('command', session, 1), 1, false, false);
    const order = Array.from({ length: 6 }, () => envelope.client(requests.shift(), 0));
    expect(order).toEqual([10, 11, 12, 10, 10, 10]);
  });

  it('bounded in bytes as well as count, and never all of it by one session', () => {
    const requests = new Requests({ countMax: 1000, bytesMax: 10_000 });
    const body = 'x'.repeat(1000 - ENVELOPE_BYTES);
    const offer = (session: number, number: number) =>
      requests.accept(1, request('command', session, number, body), 1, false, false);
    for (let number = 1; number <= 5; number++) expect(offer(10, number)).toBe('taken');
    expect(offer(10, 6)).toBe('busy');
    for (let session = 20; session < 26; session++) {
      expect(offer(session, 1)).toBe(session < 25 ? 'taken' : 'busy');
    }
    expect(requests.clientBytes).toBe(10_000);
  });

  it('the bound of bytes holds for the first request of a session too, and an empty queue takes any', () => {
    const requests = new Requests({ countMax: 1000, bytesMax: 1500 });
    const offer = (session: number, bytes: number) =>
      requests.accept(1, request('command', session, 1, 'x'.repeat(bytes - ENVELOPE_BYTES)), 1, false, false);
    expect(offer(10, 1000)).toBe('taken');
    expect(offer(11, 501)).toBe('busy');
    expect(offer(12, 500)).toBe('taken');
    expect(requests.clientBytes).toBe(1500);
    for (let left = 2; left > 0; left--) requests.shift();
    expect(offer(11, 2000)).toBe('taken');
  });
});

describe('Reads', () => {
  it('a read that arrives after its round waits for the next one', () => {
    const scene = new Scene();
    const { lab } = scene;
    lab.drop = (_from, _to, m) => m.type === 'commitOk';
    scene.read(1);
    const round = scene.node.state.round;
    scene.read(2);
    expect(scene.node.state.round).toBe(round);
    lab.wires.length = 0;
    const [backup] = lab.replicas.filter(({ id }) => id !== scene.primary);
    const confirm = (of: number): void =>
      lab.step(scene.primary, {
        type: 'message',
        from: backup!.id,
        message: {
          type: 'commitOk',
          run: 1,
          view: scene.node.state.view,
          round: of,
          durable: backup!.durable,
          applied: scene.node.state.applied,
          digestIndex: -1 as never,
          digest: new Uint8Array(16),
          oldest: 1,
          newest: 1,
          wallUs: 1,
        },
      });
    confirm(round);
    const { answers } = lab.r(scene.primary);
    expect(answers).toEqual([1]);
    expect(scene.node.state.round).toBe(round + 1);
    confirm(round + 1);
    expect(answers).toEqual([1, 2]);
  });

  it('the mutations read-joins-old-round and stale-read-from-paused-primary answer without asking anybody', () => {
    for (const flag of ['readJoinsOldRound', 'staleReadFromPausedPrimary'] as const) {
      const scene = new Scene({ ...SOUND, [flag]: true });
      scene.lab.run(5);
      scene.cutPrimary();
      scene.read(1);
      expect(scene.lab.r(scene.primary).answers).toEqual([1]);
    }
    const sound = new Scene();
    sound.lab.run(5);
    sound.cutPrimary();
    sound.read(1);
    sound.lab.run(10);
    expect(sound.lab.r(sound.primary).answers).toEqual([]);
  });

  it('a replica whose execution differs serves no reads', () => {
    const scene = new Scene();
    scene.node.state.diverged = 'another digest';
    scene.read(3);
    expect(summary(scene)).toEqual([[1, queryRefusal, REFUSAL.unavailable, 3]]);
    expect(staleRefusal(scene.node.state, 4, Number.POSITIVE_INFINITY)!.status).toBe(REFUSAL.unavailable);
  });

  it('an answer of the process before proves nothing to a restarted backup: a heartbeat delivered twice, the next ones late', () => {
    const scene = new Scene();
    const { lab, primary } = scene;
    lab.run(20);
    const backup = lab.replicas.find(({ id }) => id !== primary)!.id;
    const heard: Message[] = [];
    lab.drop = (_from, to, m) => {
      if (to !== backup) return false;
      if (m.type === 'commit') heard.push(m);
      return heard.length > 1;
    };
    while (heard.length < 3) lab.run(1);
    lab.crash(backup);
    lab.drop = (from, to) => from === backup || to === backup;
    scene.ask(1, request('command', scene.session, 1));
    lab.run(50);
    scene.expectExecuted(1);
    lab.restart(backup);
    for (const message of heard) {
      lab.step(backup, { type: 'message', from: primary, message });
      lab.settle();
    }
    const { state } = lab.r(backup).node;
    expect(state.applied).toBeLessThan(lab.r(primary).node.state.applied);
    expect(lagMs(state)).toBeGreaterThan(200);
  });

  it('maxLag bounds a stale read or fails: at a replica cut off, and at the backup of a deposed primary', () => {
    const scene = new Scene();
    const { lab } = scene;
    lab.run(20);
    for (const { node } of lab.replicas) expect(lagMs(node.state)).toBeLessThan(150);
    const old = scene.primary;
    const [near, far] = lab.replicas.filter(({ id }) => id !== old);
    // `far` hears nobody; `near` hears the old primary, whose rounds no quorum answers any more.
    lab.drop = (_from, to, m) => to === old || to === far!.id || m.type === 'startViewChange';
    lab.run(30);
    for (const { node } of [near!, far!]) {
      expect(lagMs(node.state)).toBeGreaterThan(200);
      expect(staleRefusal(node.state, 1, 200)!.status).toBe(REFUSAL.lag);
      expect(staleRefusal(node.state, 1, 10_000)).toBeNull();
    }
    lab.drop = () => false;
    lab.run(150);
    for (const { node } of lab.replicas) expect(lagMs(node.state)).toBeLessThan(150);
  });

  it('maxLag counts the time for which the machine was suspended and its monotonic clock stood still', () => {
    const { lab } = new Scene();
    lab.run(20);
    for (const { id, node } of lab.replicas) {
      expect(staleRefusal(node.state, 1, 1000)).toBeNull();
      // The process goes on where it stopped; only the wall clock knows.
      node.state.wallMs += 60_000;
      expect(staleRefusal(node.state, 1, 1000)?.status).toBe(REFUSAL.lag);
      lab.skewMs.set(id, 60_000);
    }
    lab.run(20);
    for (const { node } of lab.replicas) {
      expect(staleRefusal(node.state, 1, 1000)).toBeNull();
      // A wall clock of whole milliseconds that is asked often does not make time run faster.
      const lag = lagMs(node.state);
      for (let i = 0; i < 1000; i++) {
        node.state.monotonicMs += 0.1;
        node.state.wallMs += i % 10 === 0 ? 1 : 0;
        lagMs(node.state);
      }
      expect(lagMs(node.state) - lag).toBeCloseTo(100, 0);
    }
  });
});
