/**
 * ReplicaBench: a cluster of real Replicas on memory disks, for scripted tests: messages wait until the script lets time pass, and are dropped, changed or counted as
 * it says; a replica crashes at any step of its disk.
 */
import { kv, KV_QUERY } from '../../apps/kv.ts';
import { encodePut } from '../../apps/kv-calls.ts';
import { nobleCodec } from '../../engine/codec/noble.ts';
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../engine/constants.ts';
import { frameBytes, KIND, readU32, readU64, writeEnvelope } from '../../engine/frame.ts';
import { segmentBase, segmentPath } from '../../engine/segment.ts';
import { type CrashChoice, MemoryDisk } from '../../engine/testing/memory-disk.ts';
import type { ApplicationModule } from '../../kernel/types.ts';
import { type Policy, SOUND } from '../../policy.ts';
import { DEFAULT_CONFIG, type ReplicaConfig, type ReplicaEvent } from '../../replica-contract.ts';
import { openReplica, type Replica } from '../../replica.ts';
import { type ClientMessage, CONSISTENCY, TO_CLIENT } from '../../vsr/client-protocol.ts';
import type { Message } from '../../vsr/messages.ts';
import { formatMachine } from '../format.ts';

const CLUSTER = new Uint8Array(16).fill(5);
/** Values so large that a snapshot has several chunks. */
const VALUE_BYTES = 900;
/** A power cut that takes everything no barrier covered. */
export const NOTHING: CrashChoice = { sector: () => false, names: 0 };

export class ReplicaBench {
  readonly disks: MemoryDisk[];
  readonly replicas: (Replica | null)[];
  readonly events: { readonly replica: number; readonly event: ReplicaEvent }[] = [];
  readonly halts: { readonly replica: number; readonly code: string }[] = [];
  /** What becomes of a message: null is lost. */
  onWire: (from: number, to: number, message: Message) => Message | null = (_from, _to, message) => message;
  /** The disks of these replicas do not move unless the script moves them. */
  readonly stalled = new Set<number>();
  private readonly config: Partial<ReplicaConfig>;
  private readonly app: (replica: number) => ApplicationModule;
  private readonly policy: Policy;
  private wires: { readonly from: number; readonly to: number; readonly message: Message }[] = [];
  private deferred: (() => void)[] = [];
  private answers: ClientMessage[] = [];
  private now = 1000;
  private session = 0;
  private request = 0;
  private nonce = 0;

  constructor(
    n: number,
    config: Partial<ReplicaConfig> = {},
    app: (replica: number) => ApplicationModule = () => kv as unknown as ApplicationModule,
    policy: Policy = SOUND,
  ) {
    this.config = config;
    this.app = app;
    this.policy = policy;
    this.disks = Array.from({ length: n }, () => new MemoryDisk());
    this.replicas = this.disks.map(() => null);
    this.disks.forEach((disk, i) => {
      const bootId = new Uint8Array(16).fill(i + 1);
      const problem = formatMachine(disk, nobleCodec, { clusterId: CLUSTER, replicaId: i + 1, replicas: n, bootId });
      if (problem !== null) throw new Error(problem);
      this.start(i + 1);
    });
  }

  r(id: number): Replica {
    const replica = this.replicas[id - 1];
    if (replica === null || replica === undefined) throw new Error(`r${id} is down`);
    return replica;
  }

  disk(id: number): MemoryDisk {
    return this.disks[id - 1]!;
  }

  /** Kinds of the events of a replica, in order. */
  eventsOf(id: number, kind: ReplicaEvent['kind']): ReplicaEvent[] {
    return this.events.filter((e) => e.replica === id && e.event.kind === kind).map((e) => e.event);
  }

  start(id: number): void {
    const disk = this.disk(id);
    const mine = (): boolean => this.disk(id) === disk;
    const opened = openReplica(
      {
        ...DEFAULT_CONFIG,
        replicaId: id,
        clusterId: CLUSTER,
        seed: 77 * id,
        segmentBytes: 16 * 1024,
        pipelineMax: 16,
        batchBytesMax: 4 * 1024,
        snapshotEvery: 10,
        snapshotChunkBytes: 4096,
        snapshotPieceBytes: 512,
        cacheBytes: 4096,
        ...this.config,
      },
      {
        disk,
        codec: nobleCodec,
        app: this.app(id),
        monotonicMs: () => this.now,
        wallMs: () => this.now,
        send: (to, message) => {
          if (mine()) this.wires.push({ from: id, to, message });
        },
        reply: (_origin, message) => this.answers.push(message),
        defer: (task) =>
          this.deferred.push(() => {
            if (mine()) task();
          }),
        sink: () => null,
        halt: (code) => {
          this.halts.push({ replica: id, code });
          this.replicas[id - 1] = null;
        },
        onEvent: (event) => this.events.push({ replica: id, event }),
        policy: this.policy,
      },
    );
    if ('refusal' in opened) throw new Error(`r${id}: ${opened.refusal.code}: ${opened.refusal.message}`);
    this.replicas[id - 1] = opened.replica;
  }

  /** The process dies; what it wrote stays readable. `landed`: also these sectors of writes in flight. */
  crash(id: number, landed: (sector: number) => boolean = () => false): void {
    this.replicas[id - 1] = null;
    this.disks[id - 1] = this.disk(id).restart(landed);
  }

  /** The machine loses power: of what no barrier covered only what `choice` says is left. */
  cutPower(id: number, choice: CrashChoice = NOTHING): void {
    this.replicas[id - 1] = null;
    this.disks[id - 1] = this.disk(id).crash(choice);
  }

  restart(id: number): void {
    this.crash(id);
    this.start(id);
  }

  /** Time passes; everything that is not lost or stalled is delivered. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i++) {
      this.now += 10;
      for (const replica of this.replicas) replica?.tick();
      this.settle();
    }
  }

  /** Until `done`, at most `ticks`. */
  until(done: () => boolean, ticks = 1000): void {
    for (let i = 0; i < ticks && !done(); i++) this.run(1);
    if (!done()) throw new Error('it did not come to pass');
  }

  /** Stalls the disk of `id` and lets it do one operation after another (time passes only while it has none) until `done`; returns how many. */
  stepsUntil(id: number, done: (count: number) => boolean): number {
    this.stalled.add(id);
    for (let count = 0; count < 10_000; count++) {
      if (done(count)) return count;
      if (this.disk(id).pending > 0) this.disk(id).complete(0);
      else this.run(1);
    }
    throw new Error('it did not come to pass');
  }

  private settle(): void {
    for (let round = 0; round < 50; round++) {
      const tasks = this.deferred;
      this.deferred = [];
      for (const task of tasks) task();
      this.disks.forEach((disk, i) => {
        if (!this.stalled.has(i + 1)) disk.pump();
      });
      const wires = this.wires;
      this.wires = [];
      for (const { from, to, message } of wires) {
        const carried = this.onWire(from, to, message);
        if (carried !== null) this.replicas[to - 1]?.receive(from, carried);
      }
      if (tasks.length === 0 && wires.length === 0) return;
    }
  }

  /** The serving primary. */
  get primary(): Replica | null {
    return this.replicas.find((replica) => replica?.status().serving === true) ?? null;
  }

  /** Puts under fresh keys (or, with `keys`, round and round), one behind the other; each is acknowledged before the next. */
  put(count: number, keys = Number.MAX_SAFE_INTEGER): void {
    if (this.session === 0) this.session = this.call(KIND.register, ++this.nonce, new Uint8Array(0)).session;
    for (let i = 0; i < count; i++) {
      const number = ++this.request;
      const key = new TextEncoder().encode(`key-${number % keys}`);
      const body = encodePut({ key, value: new Uint8Array(VALUE_BYTES).fill(number % 251) });
      this.call(KIND.command, number, body);
    }
  }

  /** Registers a session at `replica`, which nobody waits for: one more entry. */
  offer(replica: Replica): void {
    const payload = new Uint8Array(ENVELOPE_BYTES);
    writeEnvelope(payload, 0, KIND.register, 1, 0, ++this.nonce, 0);
    replica.request(1, payload);
  }

  /** Asks a replica for something, linearizably; the result says by which types of messages it was answered so far. */
  query(replica: Replica): () => number[] {
    this.answers = [];
    const nonce = ++this.nonce;
    replica.query(1, nonce, KV_QUERY.size, new Uint8Array(0), CONSISTENCY.linearizable, 0);
    return () => this.answers.filter((answer) => answer.request === nonce).map(({ type }) => type);
  }

  private call(kind: 1 | 2, request: number, body: Uint8Array): ClientMessage {
    const payload = new Uint8Array(ENVELOPE_BYTES + body.length);
    writeEnvelope(payload, 0, kind, 1, this.session, request, kind === KIND.command ? request : 0);
    payload.set(body, ENVELOPE_BYTES);
    for (let attempt = 0; attempt < 200; attempt++) {
      this.answers = [];
      this.primary?.request(1, payload);
      this.run(3);
      const reply = this.answers.find((answer) => answer.type === TO_CLIENT.reply && answer.request === request);
      if (reply !== undefined) return reply;
      this.run(10);
    }
    throw new Error(`request ${request} was not answered`);
  }
}

/** Flips a byte of the body of the entry at `index`. */
export function damage(disk: MemoryDisk, index: number): void {
  const bases = disk.list('log').map(segmentBase);
  const base = Math.max(...bases.filter((b) => b !== null && b <= index).map((b) => b ?? 0));
  const path = segmentPath(base);
  const bytes = disk.content(path);
  let at = SEGMENT_HEADER_BYTES;
  while (readU64(bytes, at + 8) !== index) at += frameBytes(readU32(bytes, at + 4));
  disk.flip(path, at + FRAME_HEADER_BYTES + 1);
}
