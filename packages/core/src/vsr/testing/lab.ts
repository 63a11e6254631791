/**
 * Lab: n real VsrNodes on a bench, for scripted tests: messages wait in queues until the script delivers or drops them, writes are durable when the
 * script says so. Only log and session table are stand-ins; the protocol is the production class.
 */
import { assert } from '../../assert.ts';
import { blankManifest } from '../../engine/blank-manifest.ts';
import { at, type CommitIndex, NONE } from '../../engine/commit-index.ts';
import { nobleCodec } from '../../engine/codec/noble.ts';
import type { FrameBatch } from '../../engine/frame-batch.ts';
import { envelope, frame, KIND, writeEnvelope } from '../../engine/frame.ts';
import { FRAME_HEADER_BYTES } from '../../engine/constants.ts';
import { ZERO_HASH } from '../../engine/hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../../engine/header-suffix.ts';
import type { IndexRange, ManifestState, RecoveredLog } from '../../engine/log-contract.ts';
import { decodeReplacement, type Replacement } from '../../engine/replace-entry.ts';
import { type Policy, SOUND } from '../../policy.ts';
import { EMPTY_BODY, REPLY, type Reply } from '../../reply.ts';
import { type ClientMessage, TO_CLIENT } from '../client-protocol.ts';
import { HeaderRing } from '../header-ring.ts';
import type { Boot, DoViewChange, Message } from '../messages.ts';
import { type Input, VsrNode } from '../node.ts';
import { withoutSlots } from '../state-transfer.ts';
import type { SessionPort, VsrConfig } from '../state.ts';

export const LAB_CONFIG: VsrConfig = {
  heartbeatTicks: 2,
  viewChangeTicks: 20,
  prepareRetryTicks: 4,
  abdicateTicks: 40,
  stallTicks: 100,
  pipelineMax: 16,
  batchesInFlightMax: 3,
  batchBytesMax: 64 * 1024,
  batchCountMax: 8,
  queueMax: 64,
  queueBytesMax: 1 << 20,
  cacheBytes: 1 << 20,
  clockToleranceMs: 500,
  seed: 1,
};

/** A session table in the place of the stand-in, which lets every number through. */
export interface LabSessions extends Pick<SessionPort, 'lookup' | 'nextRequest'> {
  /** What the entry at `index` came to for its client; null for an entry of the replica itself. */
  apply(payload: Uint8Array, index: number): Reply | null;
}

/** One bench place: the node, and what stands in for its disk. */
export class LabReplica {
  readonly id: number;
  node!: VsrNode;
  /** Frames as the stand-in log holds them. */
  frames: FrameBatch[] = [];
  manifest: ManifestState;
  durable: CommitIndex = NONE;
  /** Unfinished writes, in order. */
  pending: (() => void)[] = [];
  applied: { readonly index: number; readonly body: string }[] = [];
  readonly halts: string[] = [];
  /** Who was replaced, by the entries applied. */
  readonly replaced = new Map<number, Replacement & { readonly index: CommitIndex }>();
  /** Slots that the medium does not give any more. */
  faulty: IndexRange[] = [];
  lostTail = false;
  unconnected = false;
  up = true;
  /** Process runs so far: each has its own seed. */
  runs = 0;
  sessions: LabSessions | null = null;
  /** Reads that were confirmed, by nonce. */
  readonly answers: number[] = [];

  constructor(id: number, manifest: ManifestState) {
    this.id = id;
    this.manifest = manifest;
  }

  get bodies(): string[] {
    return this.applied.filter((a) => a.body !== '').map((a) => a.body);
  }
}

export class Lab {
  readonly replicas: LabReplica[];
  readonly wires: { readonly from: number; readonly to: number; readonly message: Message }[] = [];
  readonly replies: { readonly origin: number; readonly message: ClientMessage }[] = [];
  /** Returns true for a message that is lost. */
  drop: (from: number, to: number, message: Message) => boolean = () => false;
  /** How far the wall clock of a replica is off, ms. */
  readonly skewMs = new Map<number, number>();
  /** Writes of these replicas do not finish. */
  readonly stalled = new Set<number>();
  /** Returns true for frames whose place is not known yet: their repair does not get onto the disk. */
  unplaced: (id: number, batch: FrameBatch) => boolean = () => false;
  private readonly policy: Policy;
  private now = 1_000_000;
  private nonces = 0;

  private readonly newSessions: ((id: number) => LabSessions) | null;

  constructor(n: number, policy: Policy = SOUND, newSessions: ((id: number) => LabSessions) | null = null) {
    this.policy = policy;
    this.newSessions = newSessions;
    const members = Array.from({ length: n }, (_, i) => i + 1);
    const founders = members.map((id) => new Uint8Array(16).fill(id));
    const clusterId = new Uint8Array(16).fill(7);
    this.replicas = members.map((id) => {
      const facts = { clusterId, replicaId: id, bootId: founders[id - 1]!, founders, environment: 'dev' } as const;
      return new LabReplica(id, blankManifest(facts));
    });
    for (const replica of this.replicas) this.boot(replica);
  }

  r(id: number): LabReplica {
    return this.replicas[id - 1]!;
  }

  private boot(replica: LabReplica): void {
    replica.applied = [];
    replica.replaced.clear();
    replica.sessions = this.newSessions?.(replica.id) ?? null;
    const log = recovered(replica);
    replica.node = new VsrNode({
      config: { ...LAB_CONFIG, seed: replica.id + 1000 * replica.runs++ },
      codec: nobleCodec,
      sessions: {
        lookup: (session, request, payload) => replica.sessions?.lookup(session, request, payload) ?? { kind: 'next' },
        nextRequest: (session) => (replica.sessions === null ? 1 : replica.sessions.nextRequest(session)),
        digestAt: () => null,
        versions: { oldest: 1, newest: 1, active: 1 },
        replacement: (id) => replica.replaced.get(id) ?? null,
      },
      policy: this.policy,
      log,
      applied: NONE,
      appliedHash: ZERO_HASH,
      appliedHeader: null,
      payloadMax: 10_000,
    });
    replica.node.state.monotonicMs = this.now;
    replica.node.start(log);
    this.drain(replica);
  }

  /**
   * Power off and on again: unfinished writes are gone. `lostFrom`: the tail record is lost, and the frames from this index on with it; `unconnected`: nothing leads from
   * the headers of the manifest down to the others.
   */
  restart(
    id: number,
    damage: { readonly faulty?: IndexRange; readonly lostFrom?: number; readonly unconnected?: boolean } = {},
  ): void {
    const replica = this.r(id);
    replica.pending = [];
    if (damage.faulty !== undefined) replica.faulty.push(damage.faulty);
    replica.lostTail = damage.lostFrom !== undefined;
    replica.unconnected = damage.unconnected ?? false;
    if (damage.lostFrom !== undefined) cut(replica, (damage.lostFrom - 1) as CommitIndex);
    const durable = replica.durable;
    replica.frames = replica.frames.filter((b) => b.last <= durable);
    replica.up = true;
    this.boot(replica);
  }

  /** A new incarnation in the place of `id`, on an empty disk. */
  join(id: number, bootId: Uint8Array, admitted: Boot): void {
    const { clusterId, founders, environment, generation, incarnations, through } = admitted;
    const joins = { generation, incarnations, standbyThrough: through };
    const manifest = blankManifest({ clusterId, replicaId: id, bootId, founders, environment, joins });
    Object.assign(this.r(id), { manifest, frames: [], durable: NONE, faulty: [], lostTail: false });
    this.restart(id);
  }

  crash(id: number): void {
    this.r(id).up = false;
    this.r(id).pending = [];
  }

  /** Makes the next replica primary: this one goes away for a while. */
  crashAndReturn(id: number): void {
    this.crash(id);
    this.run(150);
    this.restart(id);
    this.run(100);
  }

  /** Block times of the frames in the log of `id`. */
  times(id: number): bigint[] {
    return this.r(id).frames.flatMap((b) =>
      Array.from({ length: b.count }, (_, i) => {
        const offset = b.offsets[i]!;
        return (BigInt(frame.timeHigh(b.bytes, offset)) << 32n) | BigInt(frame.timeLow(b.bytes, offset));
      }),
    );
  }

  step(id: number, input: Input): void {
    const replica = this.r(id);
    if (!replica.up) return;
    replica.node.step(input, this.now, this.now + (this.skewMs.get(id) ?? 0));
    this.drain(replica);
  }

  /** A command with this text, as a fresh register would be: no session order. */
  submit(id: number, text: string): void {
    this.offer(id, text);
    this.step(id, { type: 'flush' });
  }

  /** The same, left in the queue: the next flush puts it into a batch with the others. */
  offer(id: number, text: string): void {
    const body = new TextEncoder().encode(text);
    const payload = new Uint8Array(32 + body.length);
    writeEnvelope(payload, 0, KIND.register, 1, 0, ++this.nonces, 0);
    payload.set(body, 32);
    this.step(id, { type: 'request', origin: 1, payload, full: false });
  }

  /** Time passes and everything that is not dropped or stalled is delivered, until nothing is left to do. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i++) {
      this.now += 10;
      for (const replica of this.replicas) this.step(replica.id, { type: 'tick', stalledTicks: 0 });
      this.settle();
    }
  }

  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      const wire = this.wires.shift();
      if (wire !== undefined) {
        if (!this.drop(wire.from, wire.to, wire.message)) {
          this.step(wire.to, { type: 'message', from: wire.from, message: wire.message });
        }
        continue;
      }
      const busy = this.replicas.find((r) => r.up && r.pending.length > 0 && !this.stalled.has(r.id));
      if (busy === undefined) return;
      busy.pending.shift()!();
    }
    throw new Error('the lab does not come to rest');
  }

  private drain(replica: LabReplica): void {
    while (replica.node.hasOutputs) for (const output of replica.node.takeOutputs()) this.carryOut(replica, output);
  }

  private carryOut(replica: LabReplica, output: ReturnType<VsrNode['takeOutputs']>[number]): void {
    const { id } = replica;
    switch (output.type) {
      case 'send':
        this.wires.push({ from: id, to: output.to, message: output.message });
        break;
      case 'append':
        replica.frames.push(output.batch);
        replica.pending.push(() => {
          replica.durable = at(output.batch.last);
          this.step(id, {
            type: 'durable',
            index: output.batch.last,
            hash: output.batch.lastHash,
            epoch: output.epoch,
          });
        });
        break;
      case 'save':
        replica.pending.push(() => {
          replica.manifest = output.manifest;
          this.step(id, { type: 'stored', token: output.token });
        });
        break;
      case 'checkpoint':
        replica.pending.push(() => {
          replica.manifest = output.manifest;
        });
        break;
      case 'installSnapshot':
      case 'install':
        replica.pending.push(() => {
          replica.manifest = output.manifest;
          cut(replica, output.type === 'install' ? output.keepThrough : NONE);
          this.step(id, { type: 'stored', token: output.token });
        });
        break;
      case 'readState': {
        const batch = replica.frames.find((b) => b.contains(output.from)) ?? null;
        const part = batch === null ? null : batch.slice(output.from, Math.min(batch.last, output.through));
        this.step(id, { type: 'stateRead', to: output.to, nonce: output.nonce, through: output.through, batch: part });
        break;
      }
      case 'commit':
        this.apply(replica, output.commit);
        break;
      case 'reply':
        this.replies.push({ origin: output.origin, message: output.message });
        break;
      case 'halt':
        replica.halts.push(output.code);
        replica.up = false;
        break;
      case 'repair':
        replica.pending.push(() => {
          const { batch, epoch } = output;
          if (this.unplaced(id, batch)) return;
          replica.faulty = withoutSlots(replica.faulty, batch.first, batch.last);
          this.step(id, { type: 'repaired', batch, epoch });
        });
        break;
      case 'answer':
        replica.answers.push(output.read.nonce);
        break;
      case 'event':
        break;
    }
  }

  private apply(replica: LabReplica, commit: CommitIndex): void {
    for (let index = replica.applied.length; index <= commit; index++) {
      // A snapshot brings what it holds without the frames.
      if (index <= replica.node.state.applied) {
        replica.applied.push({ index, body: '' });
        continue;
      }
      const batch = replica.frames.find((b) => b.contains(index));
      assert(batch !== undefined, `index ${index} can be applied`);
      const payload = frame.payload(batch.bytes, batch.offsetOf(index));
      const kind = envelope.kind(payload, 0);
      const text = kind === KIND.register ? new TextDecoder().decode(envelope.body(payload, 0, payload.length)) : '';
      replica.applied.push({ index, body: text });
      if (kind === KIND.replaceReplica) {
        const entry = decodeReplacement(envelope.body(payload, 0, payload.length))!;
        replica.replaced.set(entry.replica, { ...entry, index: at(index) });
      }
      if (replica.sessions !== null) {
        const reply = replica.sessions.apply(payload, index);
        if (reply !== null) replica.node.reply(reply);
        continue;
      }
      if (kind !== KIND.register) continue;
      const request = envelope.request(payload, 0);
      replica.node.reply({ status: REPLY.ok, session: index, request, index, body: EMPTY_BODY });
    }
    this.step(replica.id, { type: 'applied', index: commit, full: false });
  }
}

function cut(replica: LabReplica, keep: CommitIndex): void {
  replica.frames = replica.frames
    .filter((b) => b.first <= keep || b.first > replica.durable)
    .map((b) => (b.first <= keep && b.last > keep ? b.slice(b.first, keep) : b));
  if (replica.durable > keep) replica.durable = keep;
}

/** What recovery would say of the stand-in log. */
function recovered(replica: LabReplica): RecoveredLog {
  const ring = new HeaderRing(LAB_CONFIG.pipelineMax);
  for (const batch of replica.frames) ring.append(batch);
  ring.load(damaged(ring.all(), replica.faulty));
  const last = replica.frames[replica.frames.length - 1];
  const end = last === undefined ? NONE : at(last.last);
  const stored = replica.manifest.headers;
  const above = stored.count > 0 && stored.last > end;
  return {
    outcome: end === NONE ? 'empty' : 'clean',
    manifest: replica.manifest,
    first: 0,
    end,
    endHash: last?.lastHash ?? ZERO_HASH,
    faulty: replica.faulty.map((range) => ({ ...range, hash: null, before: hashBefore(replica, range.from) })),
    head: above ? at(stored.last) : end,
    headHash: above ? stored.hash(stored.last)! : (last?.lastHash ?? ZERO_HASH),
    promised: end,
    connected: !replica.unconnected,
    recoveringHead: replica.lostTail,
    headers: above ? stored : ring.all(),
    ownHeaders: ring.all(),
    timeLow: 0,
    timeHigh: 0,
    notes: [],
  };
}

function hashBefore(replica: LabReplica, index: number): Uint8Array | null {
  return replica.frames.find((batch) => batch.contains(index - 1))?.hashOf(index - 1) ?? null;
}

/** Of a damaged slot only the hash of the last one of its range is known: the frame above, or the tail record, states it. */
function damaged(headers: HeaderSuffix, faulty: readonly IndexRange[]): HeaderSuffix {
  const bytes = headers.bytes.slice();
  for (const { from, to } of faulty) {
    for (let index = Math.max(from, headers.first); index <= Math.min(to, headers.last); index++) {
      const offset = (index - headers.first) * HEADER_RECORD_BYTES;
      bytes.fill(0, offset, offset + (index === to ? FRAME_HEADER_BYTES : HEADER_RECORD_BYTES));
    }
  }
  return new HeaderSuffix(headers.first, bytes);
}

/** A lab whose cluster has a serving primary. */
export function elected(n: number): Lab {
  const lab = new Lab(n);
  lab.run(60);
  return lab;
}

/** Id of the one serving primary. */
export function primaryId(lab: Lab): number {
  const primaries = lab.replicas.filter((r) => r.up && r.node.state.serving);
  assert(primaries.length === 1, `${primaries.length} primaries serve`);
  return primaries[0]!.id;
}

/** Commands answered with success. */
export function successes(lab: Lab): number {
  return lab.replies.filter((r) => r.message.type === TO_CLIENT.reply).length;
}

/** The replicas of the lab that are not `id`. */
export function others(lab: Lab, id: number): number[] {
  return lab.replicas.filter((r) => r.id !== id).map((r) => r.id);
}

/** Everything `from` sends while `during` runs. */
export function saidBy(lab: Lab, from: number, during: () => void): Message[] {
  const said: Message[] = [];
  const { drop } = lab;
  lab.drop = (sender, to, m) => {
    if (sender === from) said.push(m);
    return drop(sender, to, m);
  };
  during();
  lab.drop = drop;
  return said;
}

/** A command as a client of session 5 sends it: what an application sees as time. */
export function command(lab: Lab, id: number, number: number): void {
  const payload = new Uint8Array(32);
  writeEnvelope(payload, 0, KIND.command, 1, 5, number, 0);
  lab.step(id, { type: 'request', origin: 1, payload, full: false });
  lab.step(id, { type: 'flush' });
}

/** What replica `id` would say now in a DoViewChange of its view. */
export function voteOf(lab: Lab, id: number): DoViewChange {
  const n = lab.r(id).node.state;
  return {
    type: 'doViewChange',
    view: n.view,
    logView: n.logView,
    head: n.head,
    headHash: n.headHash.slice(),
    commit: n.commit,
    present: n.durable,
    promised: n.promised,
    faulty: [],
    headers: n.ring.all(),
    generation: n.manifest.generation,
    incarnations: [...n.manifest.incarnations],
  };
}
