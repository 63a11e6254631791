/**
 * A small cluster of real replicas on MemoryDisks, stepped by hand: no loss, no delay, one virtual clock. For tests that start many clusters from
 * prepared disks and ask what becomes of them; the simulator is for everything that needs time, chance or faults in flight.
 */
import { assert } from '../../assert.ts';
import { encodePut } from '../../apps/kv-calls.ts';
import { builtInApplication } from '../../apps/index.ts';
import { KV_COMMAND, KV_QUERY } from '../../apps/kv.ts';
import { BLOCK_BYTES, ENVELOPE_BYTES } from '../../engine/constants.ts';
import type { FrameCodec } from '../../engine/frame-codec.ts';
import { type EntryKind, KIND, writeEnvelope } from '../../engine/frame.ts';
import { MemoryDisk } from '../../engine/testing/memory-disk.ts';
import { SOUND } from '../../policy.ts';
import { DEFAULT_CONFIG, type ReplicaConfig, type ReplicaPorts } from '../../replica-contract.ts';
import { openReplica, type Replica } from '../../replica.ts';
import { utf8Decode, utf8Encode } from '../../kernel/utf8.ts';
import { type ClientMessage, CONSISTENCY, TO_CLIENT } from '../../vsr/client-protocol.ts';
import type { Message } from '../../vsr/messages.ts';
import { formatMachine } from '../format.ts';

const CLUSTER = new Uint8Array(16).fill(7);
const ORIGIN = 1;
/** In front of the value in an answer of kv. */
const FOUND_BYTES = 1;
/** Nothing that a command or a view change waits for takes so many ticks. */
const PATIENCE_TICKS = 2000;
/** Steps of one tick at most: messages, completions and deferred tasks that follow from each other. */
const STEPS_MAX = 1_000_000;

/** One replica of the cluster; `replica` is null when its directory was refused or it halted. */
export interface Member {
  readonly id: number;
  readonly disk: MemoryDisk;
  replica: Replica | null;
  /** Why it refused to start or halted: `CODE: message`. */
  stopped: string | null;
  /** Its disk completes nothing. */
  stalled: boolean;
  /** Nothing was damaged or lost when it was opened. */
  openedWhole: boolean;
}

export class MiniCluster {
  readonly members: Member[];
  private readonly codec: FrameCodec;
  private readonly over: Partial<ReplicaConfig>;
  private readonly messages: { readonly to: number; readonly from: number; readonly message: Message }[] = [];
  private readonly tasks: { readonly member: Member; readonly run: () => void }[] = [];
  private answer: ClientMessage | null = null;
  private session = 0;
  private request = 0;
  private nonce = 0;
  private nowMs = 1000;

  /** Freshly formatted disks for a cluster of so many. */
  static format(codec: FrameCodec, replicas: number): MemoryDisk[] {
    return Array.from({ length: replicas }, (_, i) => {
      const disk = new MemoryDisk();
      const bootId = new Uint8Array(16).fill(20 + i);
      const problem = formatMachine(disk, codec, { clusterId: CLUSTER, replicaId: i + 1, replicas, bootId });
      assert(problem === null, `formatting: ${problem}`);
      return disk;
    });
  }

  /** Starts a replica on each disk. */
  constructor(codec: FrameCodec, disks: readonly MemoryDisk[], over: Partial<ReplicaConfig> = {}) {
    this.codec = codec;
    this.over = over;
    const blank = { replica: null, stopped: null, stalled: false, openedWhole: false };
    this.members = disks.map((disk, i) => ({ id: i + 1, disk, ...blank }));
    for (const member of this.members) this.start(member);
    this.settle();
  }

  get living(): Member[] {
    return this.members.filter((member) => member.replica !== null);
  }

  get primary(): Member | null {
    return this.living.find((member) => member.replica!.node.state.serving) ?? null;
  }

  /** The highest commit that any replica knows. */
  get commit(): number {
    return Math.max(...this.living.map(({ replica }) => replica!.node.state.commit));
  }

  /** Lets time pass, one tick at a time, until `done` or patience ends; returns whether it was done. */
  until(done: () => boolean, ticks = PATIENCE_TICKS): boolean {
    for (let i = 0; i < ticks; i++) {
      if (done()) return true;
      this.nowMs += DEFAULT_CONFIG.tickMs;
      for (const { replica } of this.living) replica!.tick();
      this.settle();
    }
    return done();
  }

  /** Puts a key, waits for the acknowledgement. Returns the index, or null when none came. */
  put(key: string, value: string, ticks = PATIENCE_TICKS): number | null {
    if (this.session === 0) {
      const registered = this.call(KIND.register, 0, new Uint8Array(0), ticks);
      if (registered === null) return null;
      this.session = registered.session;
      this.request = 0;
    }
    const body = encodePut({ key: utf8Encode(key), value: utf8Encode(value) });
    return this.call(KIND.command, KV_COMMAND.put, body, ticks)?.index ?? null;
  }

  /** What a linearizable read of a key says; null when there was no answer. */
  get(key: string): string | null {
    this.answer = null;
    let asked: Member | null = null;
    const nonce = ++this.nonce;
    const answered = this.until(() => {
      if (this.answer?.type === TO_CLIENT.answer) return true;
      const { primary } = this;
      if (primary === null || primary === asked) return false;
      asked = primary;
      primary.replica!.query(ORIGIN, nonce, KV_QUERY.get, utf8Encode(key), CONSISTENCY.linearizable, Infinity);
      this.settle();
      return false;
    });
    return answered ? valueOf(this.answer!.body) : null;
  }

  /** The process of a member dies. */
  kill(member: Member): void {
    member.replica?.close();
    member.replica = null;
  }

  close(): void {
    for (const { replica } of this.living) replica!.close();
  }

  private call(kind: EntryKind, command: number, body: Uint8Array, ticks: number): ClientMessage | null {
    const payload = new Uint8Array(ENVELOPE_BYTES + body.length);
    const number = kind === KIND.register ? 7_000_000 + ++this.request : ++this.request;
    writeEnvelope(payload, 0, kind, command, this.session, number, 0);
    payload.set(body, ENVELOPE_BYTES);
    this.answer = null;
    let asked: Member | null = null;
    const answered = this.until(() => {
      if (this.answer?.type === TO_CLIENT.reply) return true;
      const { primary } = this;
      const refused = this.answer !== null;
      if (primary === null || (primary === asked && !refused)) return false;
      asked = primary;
      this.answer = null;
      primary.replica!.request(ORIGIN, payload);
      this.settle();
      return false;
    }, ticks);
    if (answered) return this.answer;
    // It was refused all the time: the number is free again.
    this.request--;
    return null;
  }

  private start(member: Member): void {
    const config: ReplicaConfig = {
      ...DEFAULT_CONFIG,
      replicaId: member.id,
      clusterId: CLUSTER,
      seed: member.id,
      pipelineMax: 32,
      batchCountMax: 8,
      segmentBytes: 4 * BLOCK_BYTES,
      snapshotEvery: 20,
      snapshotChunkBytes: BLOCK_BYTES,
      scrubBytesPerSecond: 0,
      ...this.over,
    };
    const opened = openReplica(config, this.ports(member));
    if ('refusal' in opened) member.stopped = `${opened.refusal.code}: ${opened.refusal.message}`;
    else {
      const { status, faulty } = opened.replica.status();
      member.openedWhole = faulty.length === 0 && status !== 'recovering-head';
      member.replica = opened.replica;
    }
  }

  private ports(member: Member): ReplicaPorts {
    return {
      disk: member.disk,
      codec: this.codec,
      app: builtInApplication('kv')!,
      monotonicMs: () => this.nowMs,
      wallMs: () => 1_700_000_000_000 + this.nowMs,
      send: (to, message) => this.messages.push({ to, from: member.id, message }),
      reply: (_origin, message) => (this.answer = message),
      defer: (run) => this.tasks.push({ member, run }),
      sink: () => null,
      halt: (code, message) => {
        member.replica = null;
        member.stopped = `${code}: ${message}`;
      },
      onEvent: () => {},
      policy: SOUND,
    };
  }

  /** Everything that follows from what is at hand, without time passing. */
  private settle(): void {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      const message = this.messages.shift();
      const task = message === undefined ? this.tasks.shift() : undefined;
      if (message !== undefined) this.members[message.to - 1]?.replica?.receive(message.from, message.message);
      else if (task !== undefined && task.member.replica !== null) task.run();
      else if (task === undefined && !this.completeOne()) return;
    }
    assert(false, 'the cluster comes to rest between two ticks');
  }

  private completeOne(): boolean {
    for (const { disk, replica, stalled } of this.members) {
      if (replica === null || stalled || disk.pending === 0) continue;
      disk.complete(0);
      return true;
    }
    return false;
  }
}

/** What kv answers to a read: found u8, value. */
function valueOf(body: Uint8Array): string | null {
  return body[0] === 1 ? utf8Decode(body, FOUND_BYTES, body.length) : null;
}
