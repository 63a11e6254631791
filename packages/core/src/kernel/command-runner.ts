/**
 * Runs one command inside its transaction and settles what it came to: ok, rejected, invalid or fault. The Executor decides whether a command
 * runs at all; this file decides what running it means.
 *
 * Invariants: begin is followed by exactly one commit (ok) or rollback (anything else); effects enter the outbox only on ok; a thrown error never
 * leaves this file as an outcome when it depends on the machine (Halt); nothing of an error's text is replicated.
 */
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import { envelope } from '../engine/frame.ts';
import { FIRST_VERSION } from '../engine/version-entry.ts';
import { EMPTY_BODY, REPLY, type ReplyStatus } from '../reply.ts';
import { CommandContext } from './apply-context.ts';
import type { ExecutionDigest } from './digest.ts';
import { Halt, InvalidCommand, isResourceExhaustion, Rejection } from './errors.ts';
import type { ExecutorOptions } from './executor-options.ts';
import { enterApply, leaveApply } from './guard.ts';
import { RESULT_BYTES_MAX } from './limits.ts';
import type { Outbox } from './outbox.ts';
import { disown } from './promises.ts';
import type { Applied, ChrApplication, Event, SideEffect, Transactional } from './types.ts';

const NO_EFFECTS: readonly SideEffect[] = [];
/** Results up to this size are copied without asking who owns them, in bytes. */
const SMALL_RESULT_BYTES = 64;

/** The code of a rejection that the kernel makes itself. */
export const OUTBOX_FULL = 'OutboxFull';

export class CommandRunner<State> {
  private readonly options: ExecutorOptions<State>;
  private readonly application: ChrApplication<State>;
  private readonly outbox: Outbox;
  private readonly digest: ExecutionDigest;
  private readonly context: CommandContext;
  private current: State;
  private transaction: Transactional | null;
  private faultCount = 0;
  private active = 0;
  private writes: Uint8Array = EMPTY_BODY;
  /** What the last command came to. */
  status: ReplyStatus = REPLY.ok;
  body: Uint8Array = EMPTY_BODY;

  constructor(options: ExecutorOptions<State>, outbox: Outbox, digest: ExecutionDigest) {
    this.options = options;
    this.application = options.module.application;
    this.outbox = outbox;
    this.digest = digest;
    this.context = new CommandContext(options.codec, options.clusterId);
    // Queries come before the first command: they see an empty state of some version that this program knows.
    this.current = this.oldestGenesis();
    this.transaction = transactional(this.current);
  }

  private genesis(version: number): State {
    enterApply();
    try {
      return this.application.genesis(version);
    } finally {
      leaveApply();
    }
  }

  /** The empty state of the oldest version that this program knows. */
  private oldestGenesis(): State {
    return this.genesis(Math.max(FIRST_VERSION, oldestVersion(this.options.module)));
  }

  get state(): State {
    return this.current;
  }

  get faults(): number {
    return this.faultCount;
  }

  /** The active version: what commands run as; 0 before anything was executed. */
  get version(): number {
    return this.active;
  }

  /** Continues from a restored state of `version`; null: before anything was executed. */
  reset(state: State | null, version: number, faults: number): void {
    this.active = version;
    this.current = state ?? this.oldestGenesis();
    this.transaction = transactional(this.current);
    this.faultCount = faults;
  }

  /** Before anything was executed: commands run as `version` from here on. */
  begin(version: number): void {
    this.active = version;
    this.current = this.genesis(version);
    this.transaction = transactional(this.current);
  }

  /** Brings the state to `version` at the entry whose chain hash stands at hash[hashAt], and advances D. False: the migration threw, and nothing has changed. */
  migrate(index: number, version: number, hash: Uint8Array, hashAt: number): boolean {
    const { transaction } = this;
    let next = this.current;
    let writes: Uint8Array = EMPTY_BODY;
    transaction?.begin();
    try {
      enterApply();
      try {
        next = this.migrated(version);
      } finally {
        leaveApply();
      }
      if (transaction !== null && next === this.current) writes = transaction.writeSet();
    } catch (error) {
      this.exhausted(index, error);
      this.undo();
      this.fault(index, error);
      this.digest.plain(index, hash, hashAt, REPLY.fault);
      return false;
    }
    this.digest.advance(index, hash, hashAt, REPLY.ok, EMPTY_BODY, NO_EFFECTS, writes);
    try {
      transaction?.commit();
    } catch (error) {
      throw new Halt('E_STATE', `the state that entry ${index} migrated could not be committed`, error);
    }
    this.active = version;
    this.current = next;
    this.transaction = transactional(next);
    return true;
  }

  /** Executes the command of the frame at bytes[at], whose chain hash stands at hash[hashAt], and advances D. */
  run(
    bytes: Uint8Array,
    at: number,
    size: number,
    index: number,
    session: number,
    hash: Uint8Array,
    hashAt: number,
  ): void {
    const { context, transaction, outbox } = this;
    const payloadAt = at + FRAME_HEADER_BYTES;
    const event: Event = {
      index,
      command: envelope.command(bytes, payloadAt),
      body: bytes.subarray(payloadAt + envelope.bodyOffset(bytes, payloadAt), payloadAt + size),
      session,
    };
    context.begin(index, this.active, bytes, at);
    this.body = EMPTY_BODY;
    transaction?.begin();
    const applied = this.attempt(event);
    context.close();
    if (applied === null) {
      this.undo();
      this.digest.advance(index, hash, hashAt, this.status, this.body, NO_EFFECTS, EMPTY_BODY);
      return;
    }
    const { effects } = context;
    this.digest.advance(index, hash, hashAt, REPLY.ok, this.body, effects, this.writes);
    try {
      transaction?.commit();
      this.current = applied.state;
    } catch (error) {
      throw new Halt('E_STATE', `the state of command ${index} could not be committed`, error);
    }
    for (let sub = 0; sub < effects.length; sub++) {
      const effect = effects[sub]!;
      if (effect.kind === 'emit') outbox.add(index, sub, hash, hashAt, effect.channel, effect.payload);
      else this.options.reportLog?.(index, effect);
    }
  }

  private migrated(version: number): State {
    const { application } = this;
    if (application.migrate === undefined) return this.current;
    const next = application.migrate(this.current, this.active, version);
    if (next === undefined) throw new Error('migrate returns the state');
    disown(next);
    refuseThenable(next);
    return next;
  }

  /** Calls the application. Returns null when the command did not end ok; status and body say how. */
  private attempt(event: Event): Applied<State> | null {
    const { context } = this;
    let applied: Applied<State> | null = null;
    let thrown: unknown = null;
    try {
      enterApply();
      try {
        applied = this.application.apply(this.current, event, context);
      } finally {
        leaveApply();
      }
      this.accept(applied);
    } catch (error) {
      applied = null;
      thrown = error;
    }
    if (thrown === null && context.rejection === null) {
      this.status = REPLY.ok;
      return applied;
    }
    this.refuse(event.index, thrown);
    return null;
  }

  /** Checks what the application returned and takes its result, effects and write set; throws when it cannot stand. */
  private accept(applied: Applied<State>): void {
    const loose = applied as unknown;
    disown(loose);
    if (typeof loose !== 'object' || loose === null || !('state' in loose)) {
      throw new Error('apply returns {state, result, effects}; it is synchronous: a promise is refused');
    }
    if ('then' in loose) throw new Error('apply is synchronous: a thenable is refused');
    const { state, effects, result } = applied;
    disown(state);
    disown(effects);
    disown(result);
    refuseThenable(state);
    if (this.transaction !== null && state !== this.current) {
      throw new Error('a transactional state is changed in place and returned itself');
    }
    const { context } = this;
    if (effects !== undefined) for (const effect of effects) context.take(effect);
    if (result !== undefined) this.body = owned(result);
    if (context.effects.length > 0 && context.rejection === null && !this.outbox.hasRoom(context.effects.length)) {
      context.rejectWith(new Rejection(OUTBOX_FULL));
    }
    // Here and not at commit: a row that has no encoding is the application's fault, not the end of every replica.
    this.writes = this.transaction === null ? EMPTY_BODY : this.transaction.writeSet();
  }

  /** Turns what was thrown (or swallowed) into an outcome, or into the end of this replica. */
  private refuse(index: number, thrown: unknown): void {
    const { context } = this;
    this.exhausted(index, thrown);
    if (thrown instanceof Rejection && context.rejection === null) {
      try {
        context.rejectWith(thrown);
      } catch (error) {
        return this.fault(index, error);
      }
    }
    if (context.rejection !== null) {
      this.status = REPLY.rejected;
      this.body = context.rejection;
    } else if (thrown instanceof InvalidCommand) {
      this.status = REPLY.invalid;
      this.body = EMPTY_BODY;
    } else {
      this.fault(index, thrown);
    }
  }

  /** Ends this replica for what depends on the machine. */
  private exhausted(index: number, thrown: unknown): void {
    if (thrown instanceof Halt) throw thrown;
    if (isResourceExhaustion(thrown)) {
      throw new Halt('E_APPLY_RESOURCES', `entry ${index} exhausted the stack or the memory of this process`, thrown);
    }
  }

  private fault(index: number, error: unknown): void {
    this.options.reportFault?.(index, error);
    if (this.options.onFault === 'halt')
      throw new Halt('E_APPLY_FAULT', `the application threw at command ${index}`, error);
    this.faultCount++;
    this.status = REPLY.fault;
    this.body = EMPTY_BODY;
  }

  private undo(): void {
    try {
      this.transaction?.rollback();
    } catch (error) {
      throw new Halt('E_STATE', 'a command could not be rolled back', error);
    }
  }
}

function refuseThenable(state: unknown): void {
  if (typeof state === 'object' && state !== null && 'then' in state && typeof state.then === 'function') {
    throw new Error('the state must not be a thenable');
  }
}

/** The oldest version of the application that a module runs. */
export function oldestVersion(module: { readonly version: number; readonly oldestVersion?: number }): number {
  return module.oldestVersion ?? module.version;
}

function transactional(state: unknown): Transactional | null {
  if (typeof state !== 'object' || state === null) return null;
  const candidate = state as Partial<Transactional>;
  const parts = [candidate.begin, candidate.commit, candidate.rollback, candidate.writeSet];
  return parts.every((part) => typeof part === 'function') ? (candidate as Transactional) : null;
}

/** The result as bytes that nobody else changes: a view of a larger buffer (a frame, a scratch) is copied. */
function owned(result: Uint8Array): Uint8Array {
  if (!(result instanceof Uint8Array)) throw new Error('the result of a command is a Uint8Array');
  if (result.length > RESULT_BYTES_MAX) throw new Error(`the result of a command is at most ${RESULT_BYTES_MAX} bytes`);
  if (result.length === 0) return EMPTY_BODY;
  if (result.length <= SMALL_RESULT_BYTES) return result.slice();
  return result.byteLength === result.buffer.byteLength ? result : result.slice();
}
