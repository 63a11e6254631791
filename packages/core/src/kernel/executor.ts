/**
 * Executor: the deterministic driver of an application. It takes committed frames strictly in order, exactly once, and turns each into a reply,
 * effects and a new state.
 *
 * Invariants:
 *  - applied grows by one entry at a time and the entries chain; anything else halts;
 *  - what an entry came to is a function of the log alone: of the entry, the state, the session table, the idempotency keys and the outbox;
 *  - a command that does not end `ok` leaves no trace in the state and no effect; the session table remembers it all the same;
 *  - whatever differs between machines (stack, memory, an unknown kind of entry) halts this replica and is never turned into an outcome;
 *  - D (digest.ts) covers every entry. After a Halt nothing works any more: the state may be half changed.
 */
import { assert } from '../assert.ts';
import type { CommitIndex } from '../engine/commit-index.ts';
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES, HASH_BYTES } from '../engine/constants.ts';
import { blockTimeMs, envelope, ENVELOPE_VERSION, frame, keyProblem, KIND, OFFSET, SCHEMA } from '../engine/frame.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { decodeVersion, FIRST_VERSION, rangeText, runs, type VersionRange } from '../engine/version-entry.ts';
import { type Policy, SOUND } from '../policy.ts';
import { EMPTY_BODY, REPLY, type Reply, type ReplyStatus } from '../reply.ts';
import { encodeRejection } from './apply-context.ts';
import { CommandRunner, oldestVersion } from './command-runner.ts';
import { DIGEST_RING, ExecutionDigest } from './digest.ts';
import { decodeEffectAcks, decodeEffectDeaths, decodeEffectFailures } from './effect-entries.ts';
import { CodecError, Halt, type HaltCode } from './errors.ts';
import type { ExecutorOptions } from './executor-options.ts';
import { IDEMPOTENCY_FULL, isOf, KeyTable } from './idempotency.ts';
import { Outbox, OUTBOX_PENDING_MAX } from './outbox.ts';
import { runQuery } from './query.ts';
import { SessionTable, SESSIONS_MAX } from './sessions.ts';
import { type Replaced, Replacements } from './replacements.ts';
import { applicationStream, decodeMeta, encodeMeta, type MetaSection, SECTIONS } from './snapshot.ts';
import { SectionStream, streamOfBytes } from './snapshot-stream.ts';
import type { SessionAnswer, StateMachine } from './types.ts';

/** The client's copy of an outcome that no session keeps. */
function passing(status: ReplyStatus, session: number, request: number, index: number): Reply {
  return { status, session, request, index, body: EMPTY_BODY };
}

export class Executor<State = unknown> implements StateMachine {
  private readonly options: ExecutorOptions<State>;
  private readonly policy: Policy;
  private readonly executionDigest: ExecutionDigest;
  private readonly runner: CommandRunner<State>;
  private sessionTable: SessionTable;
  private keyTable: KeyTable;
  /** The effects of applied entries. The object stays the same through a restore. */
  readonly outbox: Outbox;
  private halted: Halt | null = null;
  private readonly lastHash = new Uint8Array(HASH_BYTES);
  private malformed = 0;
  private replaced = new Replacements();
  private timeMs = 0;
  /** True behind a checkpoint entry: applying pauses there, for it is a snapshot point. */
  private stopped = false;
  /** Where the chain hash of the entry at hand stands. */
  private hash: Uint8Array = this.lastHash;
  private hashAt = 0;

  constructor(options: ExecutorOptions<State>) {
    this.options = options;
    this.policy = options.policy ?? SOUND;
    this.executionDigest = new ExecutionDigest(options.codec, options.digestRing ?? DIGEST_RING);
    this.sessionTable = this.newSessionTable();
    this.keyTable = this.newKeyTable();
    const pendingMax = options.outboxPendingMax ?? OUTBOX_PENDING_MAX;
    this.outbox = new Outbox({ codec: options.codec, clusterId: options.clusterId, pendingMax });
    this.runner = new CommandRunner(options, this.outbox, this.executionDigest);
  }

  private newSessionTable(): SessionTable {
    const { codec, sessionsMax = SESSIONS_MAX } = this.options;
    return new SessionTable({ codec, policy: this.policy, sessionsMax });
  }

  private newKeyTable(): KeyTable {
    const { codec, keyRetentionMs, keysMax } = this.options;
    return new KeyTable({
      codec,
      ...(keyRetentionMs === undefined ? {} : { retentionMs: keyRetentionMs }),
      ...(keysMax === undefined ? {} : { keysMax }),
    });
  }

  get applied(): CommitIndex {
    return this.executionDigest.index;
  }

  /** Chain hash of the last applied entry; zero before the first. A copy. */
  get appliedHash(): Uint8Array {
    return this.lastHash.slice();
  }

  get digest(): Uint8Array {
    return this.executionDigest.value();
  }

  digestAt(index: number): Uint8Array | null {
    return this.executionDigest.at(index);
  }

  /** True when the last applied entry asks for a snapshot of the state behind it. */
  get atCheckpoint(): boolean {
    return this.stopped;
  }

  /** The application's state: read only. */
  get state(): State {
    return this.runner.state;
  }

  get sessionCount(): number {
    return this.sessionTable.size;
  }

  get versions(): VersionRange & { readonly active: number } {
    const { module } = this.options;
    return { oldest: oldestVersion(module), newest: module.version, active: this.runner.version };
  }

  /** Idempotency keys kept. */
  get keyCount(): number {
    return this.keyTable.size;
  }

  /** Commands that ended in a fault, since the log began. */
  get faults(): number {
    return this.runner.faults;
  }

  /** Block time of the last applied entry, milliseconds; 0 before the first. */
  get blockTimeMs(): number {
    return this.timeMs;
  }

  apply(batch: FrameBatch, from: number, to: number, onReply: (reply: Reply) => void): void {
    this.refuseWhenHalted();
    if (from !== this.applied + 1 || to < from || to > batch.last || from < batch.first) {
      const what = `frames ${from}..${to} of batch ${batch.first}..${batch.last} do not follow ${this.applied}`;
      throw this.halt(new Halt('E_APPLY_ORDER', what));
    }
    const { bytes, offsets, first, last } = batch;
    if (!frame.chainsTo(bytes, offsets[from - first]!, this.lastHash)) {
      throw this.halt(new Halt('E_APPLY_ORDER', `frame ${from} does not chain to the entry applied before it`));
    }
    let index = from;
    this.stopped = false;
    try {
      for (; index <= to && !this.stopped; index++) {
        const at = offsets[index - first]!;
        const isLast = index === last;
        this.hash = isLast ? batch.lastHash : bytes;
        this.hashAt = isLast ? 0 : offsets[index - first + 1]! + OFFSET.prevHash;
        this.applyEntry(bytes, at, index, onReply);
      }
    } catch (error) {
      throw this.halt(error);
    }
    for (let i = 0; i < HASH_BYTES; i++) this.lastHash[i] = this.hash[this.hashAt + i]!;
    this.hash = this.lastHash;
    this.hashAt = 0;
    this.timeMs = blockTimeMs(bytes, offsets[index - 1 - first]!);
  }

  query(query: number, body: Uint8Array): { readonly ok: boolean; readonly body: Uint8Array } {
    this.refuseWhenHalted();
    return runQuery(this.options.module.application, this.runner.state, query, body);
  }

  lookup(session: number, request: number, payload: Uint8Array): SessionAnswer {
    return this.sessionTable.check(session, request, payload, 0, payload.length);
  }

  /** The applied entry that replaced this member last, or null. */
  replacement(replica: number): Replaced | null {
    return this.replaced.get(replica);
  }

  nextRequest(session: number): number | null {
    return this.sessionTable.nextRequest(session);
  }

  snapshot(): { readonly sections: SectionStream; readonly digest: Uint8Array } {
    this.refuseWhenHalted();
    const { module } = this.options;
    const meta: MetaSection = {
      application: module.name,
      version: this.runner.version,
      faults: this.runner.faults,
      malformed: this.malformed,
      replacements: this.replaced,
      blockTimeMs: this.timeMs,
    };
    const halt = (error: unknown): Halt => this.halt(error, 'E_STATE');
    const { snapshotPieceBytes } = this.options;
    const streams = [
      applicationStream(() => (meta.version === 0 ? EMPTY_BODY : module.application.snapshot(this.runner.state)), halt),
      this.sessionTable.stream(snapshotPieceBytes),
      this.outbox.stream(snapshotPieceBytes),
      streamOfBytes(encodeMeta(meta)),
      this.keyTable.stream(snapshotPieceBytes),
    ];
    assert(streams.length === SECTIONS.length, 'a snapshot has all sections');
    return { sections: new SectionStream(streams), digest: this.digest };
  }

  /**
   * Replaces everything. Throws Halt E_SNAPSHOT for sections that are not a snapshot of this application, E_APP_VERSION for those of a version of it that this
   * program does not run; then nothing has changed.
   */
  restore(
    at: { readonly index: number; readonly chainHash: Uint8Array; readonly digest: Uint8Array },
    sections: readonly Uint8Array[],
  ): void {
    this.refuseWhenHalted();
    const { module } = this.options;
    const [application, sessions, outbox, metaBytes, keys] = sections;
    if (sections.length !== SECTIONS.length || !application || !sessions || !outbox || !metaBytes || !keys) {
      throw new Halt('E_SNAPSHOT', `a snapshot has ${SECTIONS.length} sections, not ${sections.length}`);
    }
    let meta: MetaSection;
    let state: State | null;
    const table = this.newSessionTable();
    const keyTable = this.newKeyTable();
    try {
      meta = decodeMeta(metaBytes);
      if (meta.application !== module.name) throw new CodecError(`it is of ${meta.application}, not of ${module.name}`);
      this.requireVersion(meta.version, `the snapshot at ${at.index}`);
      table.restore(sessions);
      keyTable.restore(keys);
      if (meta.version === 0 && application.length > 0) throw new CodecError('it holds a state of no version');
      state = meta.version === 0 ? null : module.application.restore(application, meta.version);
      this.outbox.restore(outbox);
    } catch (error) {
      if (error instanceof Halt) throw error;
      throw new Halt('E_SNAPSHOT', `the snapshot at ${at.index} cannot be restored: ${messageOf(error)}`, error);
    }
    if (this.policy.dropOutboxOnRestore) this.outbox.dropPending();
    this.sessionTable = table;
    this.keyTable = keyTable;
    this.runner.reset(state, meta.version, meta.faults);
    this.malformed = meta.malformed;
    this.replaced = meta.replacements;
    this.timeMs = meta.blockTimeMs;
    this.lastHash.set(at.chainHash);
    this.executionDigest.restore(at.index, at.digest);
  }

  private applyEntry(bytes: Uint8Array, at: number, index: number, onReply: (reply: Reply) => void): void {
    const size = frame.payloadSize(bytes, at);
    const payloadAt = at + FRAME_HEADER_BYTES;
    if (frame.schema(bytes, at) !== SCHEMA.envelope || size < ENVELOPE_BYTES) {
      throw new Halt('E_UNKNOWN_ENTRY', `entry ${index} has schema ${frame.schema(bytes, at)} and ${size} bytes`);
    }
    if (envelope.version(bytes, payloadAt) !== ENVELOPE_VERSION) {
      throw new Halt('E_UNKNOWN_ENTRY', `entry ${index} has envelope version ${envelope.version(bytes, payloadAt)}`);
    }
    const kind = envelope.kind(bytes, payloadAt);
    switch (kind) {
      case KIND.command:
        return onReply(this.command(bytes, at, size, index));
      case KIND.register:
        return onReply(this.register(index, envelope.request(bytes, payloadAt)));
      case KIND.cancel:
        return onReply(this.cancel(bytes, payloadAt, size, index));
      case KIND.effectAck:
      case KIND.effectDead:
      case KIND.effectFailed:
        this.effects(kind, envelope.body(bytes, payloadAt, size));
        return this.plain(index, REPLY.ok);
      case KIND.replaceReplica:
        if (!this.replaced.apply(envelope.body(bytes, payloadAt, size), index as CommitIndex)) this.malformed++;
        return this.plain(index, REPLY.ok);
      case KIND.activateVersion:
        return this.activate(envelope.body(bytes, payloadAt, size), index);
      case KIND.checkpoint:
        this.stopped = true;
        return this.plain(index, REPLY.ok);
      case KIND.noop:
        return this.plain(index, REPLY.ok);
      default:
        throw new Halt('E_UNKNOWN_ENTRY', `entry ${index} is of kind ${kind}, which this program does not know`);
    }
  }

  /** Advances D by an entry without a result. */
  private plain(index: number, status: ReplyStatus): void {
    this.executionDigest.plain(index, this.hash, this.hashAt, status);
  }

  private command(bytes: Uint8Array, at: number, size: number, index: number): Reply {
    const payloadAt = at + FRAME_HEADER_BYTES;
    const session = envelope.client(bytes, payloadAt);
    const request = envelope.request(bytes, payloadAt);
    const ackBelow = envelope.ackBelow(bytes, payloadAt);
    const settled = this.settled(bytes, payloadAt, size, index);
    if (settled !== null) return settled;
    const entry = this.sessionTable.get(session);
    assert(entry !== undefined, 'a session that was checked is there');
    const { runner, sessionTable } = this;
    const hashAt = at + OFFSET.payloadHash;
    const key = envelope.key(bytes, payloadAt);
    if (key !== null) {
      const { status, body, index: replyIndex } = this.keyed(key, bytes, at, size, index, session);
      return sessionTable.record(entry, request, index, status, body, ackBelow, bytes, hashAt, replyIndex);
    }
    this.run(bytes, at, size, index, session);
    return sessionTable.record(entry, request, index, runner.status, runner.body, ackBelow, bytes, hashAt);
  }

  /** A command with an idempotency key: executed unless the key was, answered with what the key came to. */
  private keyed(
    key: Uint8Array,
    bytes: Uint8Array,
    at: number,
    size: number,
    index: number,
    session: number,
  ): Pick<Reply, 'status' | 'index' | 'body'> {
    const { keyTable, runner } = this;
    const payloadAt = at + FRAME_HEADER_BYTES;
    if (keyProblem(bytes, payloadAt, size) !== null) return this.unrun(REPLY.invalid, index, EMPTY_BODY);
    const timeMs = blockTimeMs(bytes, at);
    keyTable.expire(timeMs);
    const command = keyTable.identify(bytes, payloadAt, size);
    const known = keyTable.find(key);
    if (known !== undefined) {
      if (!isOf(known, command)) return this.unrun(REPLY.conflict, index, EMPTY_BODY);
      this.unrun(known.status, index, known.body);
      return known;
    }
    if (keyTable.full) return this.unrun(REPLY.rejected, index, encodeRejection(IDEMPOTENCY_FULL, undefined));
    this.run(bytes, at, size, index, session);
    const outcome = { status: runner.status, index, body: runner.body };
    if (runner.status !== REPLY.invalid) keyTable.keep(key, { ...outcome, timeMs, command });
    return outcome;
  }

  /** Executes a command as the active version. */
  private run(bytes: Uint8Array, at: number, size: number, index: number, session: number): void {
    const { runner } = this;
    if (runner.version === 0) {
      this.requireVersion(FIRST_VERSION, `entry ${index}`);
      runner.begin(FIRST_VERSION);
    }
    runner.run(bytes, at, size, index, session, this.hash, this.hashAt);
  }

  /** From here on commands run as another version. An entry that would lower it changes nothing: two primaries may have proposed the same. */
  private activate(body: Uint8Array, index: number): void {
    const { runner } = this;
    const version = decodeVersion(body);
    if (version === null) this.malformed++;
    if (version === null || version <= runner.version) return this.plain(index, REPLY.ok);
    this.requireVersion(version, `entry ${index}`);
    let ran = true;
    if (runner.version === 0) {
      runner.begin(version);
      this.plain(index, REPLY.ok);
    } else {
      ran = runner.migrate(index, version, this.hash, this.hashAt);
    }
    this.options.reportVersion?.(index, version, ran);
  }

  /** Halts at what this program cannot run; nothing of it has been applied then. */
  private requireVersion(version: number, what: string): void {
    const { versions, options } = this;
    if (runs(versions, version)) return;
    const remedy = `an activated version stays: start a program that runs version ${version}`;
    throw new Halt(
      'E_APP_VERSION',
      `${what} is of version ${version} of ${options.module.name}, this program runs ${rangeText(versions)}; ${remedy}`,
    );
  }

  /** Advances D by a command that is answered without being run. */
  private unrun(status: ReplyStatus, index: number, body: Uint8Array): Pick<Reply, 'status' | 'index' | 'body'> {
    this.executionDigest.advance(index, this.hash, this.hashAt, status, body, [], EMPTY_BODY);
    return { status, index, body };
  }

  /** The session check at apply: the reply of an entry that must not be executed, or null when it is the session's next one. */
  private settled(bytes: Uint8Array, payloadAt: number, size: number, index: number): Reply | null {
    const session = envelope.client(bytes, payloadAt);
    const request = envelope.request(bytes, payloadAt);
    const wellFormed = session >= 0 && request >= 0 && envelope.ackBelow(bytes, payloadAt) >= 0;
    let reply: Reply;
    if (!wellFormed) {
      // A field above 2^53 reads as NaN. The gateway refuses it; a log that holds it all the same is answered, not obeyed.
      reply = passing(REPLY.invalid, 0, 0, index);
    } else {
      const answer = this.sessionTable.check(session, request, bytes, payloadAt, size);
      if (answer.kind === 'next') return null;
      if (answer.kind === 'reply') reply = answer.reply;
      else if (answer.kind === 'refused') reply = passing(answer.reply.status, session, request, index);
      else reply = passing(REPLY.sequence, session, request, index);
    }
    this.plain(index, reply.status);
    return reply;
  }

  private register(index: number, nonce: number): Reply {
    // Session 0 means none: the first entry of a log is a no-op, and a log that says otherwise opens no session.
    const status = index > 0 ? REPLY.ok : REPLY.invalid;
    if (status === REPLY.ok) this.sessionTable.register(index);
    this.plain(index, status);
    return passing(status, status === REPLY.ok ? index : 0, Number.isNaN(nonce) ? 0 : nonce, index);
  }

  private cancel(bytes: Uint8Array, payloadAt: number, size: number, index: number): Reply {
    const settled = this.settled(bytes, payloadAt, size, index);
    if (settled !== null) return settled;
    const entry = this.sessionTable.get(envelope.client(bytes, payloadAt));
    assert(entry !== undefined, 'a session that was checked is there');
    this.plain(index, REPLY.cancelled);
    const ackBelow = envelope.ackBelow(bytes, payloadAt);
    const request = envelope.request(bytes, payloadAt);
    return this.sessionTable.record(entry, request, index, REPLY.cancelled, EMPTY_BODY, ackBelow, null, 0);
  }

  /** Reports on effects. A body that nobody can read changes nothing and is counted: the reporter will report again. */
  private effects(kind: number, body: Uint8Array): void {
    try {
      if (kind === KIND.effectAck) for (const ref of decodeEffectAcks(body)) this.outbox.acknowledge(ref);
      else if (kind === KIND.effectFailed) for (const failure of decodeEffectFailures(body)) this.outbox.fail(failure);
      else for (const death of decodeEffectDeaths(body)) this.outbox.bury(death);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.malformed++;
    }
  }

  private refuseWhenHalted(): void {
    if (this.halted !== null) throw this.halted;
  }

  /** Remembers that this replica is over. */
  private halt(error: unknown, code: HaltCode = 'E_STATE'): Halt {
    this.halted = error instanceof Halt ? error : new Halt(code, `the executor failed: ${messageOf(error)}`, error);
    return this.halted;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
