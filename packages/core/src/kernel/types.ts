/**
 * The contract between an application and Chronon (the seed's ChrApplication), and between the Executor and the replica.
 *
 * Invariants: apply and query are synchronous and deterministic; `apply` sees the world only through its arguments; rejection rolls back.
 */
import type { CommitIndex } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import type { VersionRange } from '../engine/version-entry.ts';
import type { Reply } from '../reply.ts';
import type { SectionStream, SnapshotStream } from './snapshot-stream.ts';

/** One committed command. */
export interface Event {
  readonly index: number;
  /** The application's command number. */
  readonly command: number;
  /** The body as the client sent it: a view that must not be kept or changed. */
  readonly body: Uint8Array;
  readonly session: number;
}

export interface EmitEffect {
  readonly kind: 'emit';
  readonly channel: string;
  readonly payload: Uint8Array;
}
export interface LogEffect {
  readonly kind: 'log';
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
}
/** Closed set. Schedule and Fetch join with their own issue. */
export type SideEffect = EmitEffect | LogEffect;

export interface ApplyContext {
  readonly index: number;
  /** view_id of the frame: the view in which the entry was first proposed. Never the current view. */
  readonly view: number;
  /** The active version of the application: what the command does, it does as that version. */
  readonly version: number;
  /** Block time, milliseconds since the epoch; never goes back. */
  readonly blockTime: number;
  /** Block time, nanoseconds, strictly growing. */
  blockTimeNs(): bigint;
  /** Deterministic, in [0, 1), seeded from the previous chain hash and the index. Public: not for secrets. */
  random(): number;
  /** Deterministic unique id, 32 hex digits. */
  id(): string;
  emit(channel: string, payload: Uint8Array): void;
  log(level: LogEffect['level'], message: string): void;
  /** Ends the command as a replicated business error; nothing of it stays. `data` is any encodable value. */
  reject(code: string, data?: unknown): never;
}

export interface Applied<State> {
  readonly state: State;
  /** What the client gets; empty when absent. */
  readonly result?: Uint8Array;
  /** Effects beside those given to ctx.emit / ctx.log. */
  readonly effects?: readonly SideEffect[];
}

/** A state that can take back what a rejected command changed; plain values need not implement it. */
export interface Transactional {
  begin(): void;
  commit(): void;
  rollback(): void;
  /** Canonical bytes of what changed since begin, for the execution digest. */
  writeSet(): Uint8Array;
}

/** The seed's contract. Query and Answer are bytes on the wire; a module's specs give them types. */
export interface ChrApplication<State> {
  /** The state before the first command, which is run as `version`. */
  genesis(version: number): State;
  apply(state: State, event: Event, ctx: ApplyContext): Applied<State>;
  query(state: State, query: number, body: Uint8Array): Uint8Array;
  /**
   * Canonical bytes: two replicas at one index give equal bytes. A large state gives a stream, which is read while further commands are applied: the
   * bytes must be those of now (an immutable state is; `Tables.stream` holds a version).
   */
  snapshot(state: State): Uint8Array | SnapshotStream;
  /** The state that `snapshot` wrote while `version` was active. */
  restore(bytes: Uint8Array, version: number): State;
  /**
   * The state as version `to` wants it, made at the one index at which `to` is activated; deterministic like `apply`. One that throws is a fault: the old
   * version stays active. Absent: the state stays as it is.
   */
  migrate?(state: State, from: number, to: number): State;
}

/** Structural part of a zod schema that is used here. */
export interface InputSchema {
  safeParse(
    value: unknown,
  ):
    | { success: true; data: unknown }
    | { success: false; error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } };
}

/** One named command or query of a module. */
export interface CallSpec {
  readonly number: number;
  readonly input: InputSchema;
  encode(input: unknown): Uint8Array;
  /** For the log page and error messages. */
  decode(body: Uint8Array): unknown;
  decodeResult(bytes: Uint8Array): unknown;
}

/** What `--app PATH` loads as default export; `bank` and `kv` are built in. */
export interface ApplicationModule<State = unknown> {
  readonly name: string;
  /** The newest version that this program runs, from 1; it is activated once every replica runs it. */
  readonly version: number;
  /** The oldest one: below it no log and no snapshot is read. Default: `version`, which rules out an upgrade from an older one while the cluster runs. */
  readonly oldestVersion?: number;
  readonly application: ChrApplication<State>;
  readonly commands: Readonly<Record<string, CallSpec>>;
  readonly queries: Readonly<Record<string, CallSpec>>;
}

/** What the session table says of a request. Only a primary that has applied its own no-op may act on it. */
export type SessionAnswer =
  | { readonly kind: 'next' }
  | { readonly kind: 'ahead'; readonly next: number }
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'refused'; readonly reply: Reply };

/** One effect of the outbox, as the console and the SideEffectManager see it. */
export interface OutboxEntry {
  /** Effect id, 32 hex digits: H(cluster id, chain hash of the entry, sub index). */
  readonly id: string;
  readonly index: number;
  readonly sub: number;
  readonly channel: string;
  readonly payload: Uint8Array;
  readonly state: 'pending' | 'acknowledged' | 'dead';
  readonly attempts: number;
  /** Block time, ms, before which no further attempt starts; 0 for none. */
  readonly notBefore: number;
  readonly lastError: string | null;
}

export interface OutboxCounts {
  readonly pending: number;
  readonly acknowledged: number;
  readonly dead: number;
}

/** The Executor as the replica drives it. Implemented by `Executor` (executor.ts). */
export interface StateMachine {
  /** Last applied index. */
  readonly applied: CommitIndex;
  /** D[applied]: the execution digest (16 bytes). */
  readonly digest: Uint8Array;
  /** D[index] while it is still remembered (the last DIGEST_RING entries), else null. */
  digestAt(index: number): Uint8Array | null;
  /**
   * Applies frames from..to of the batch, which must start at applied + 1, and stops behind a checkpoint entry (`applied` tells). `onReply` gets each client
   * entry's reply.
   */
  apply(batch: FrameBatch, from: number, to: number, onReply: (reply: Reply) => void): void;
  query(query: number, body: Uint8Array): { readonly ok: boolean; readonly body: Uint8Array };
  /** Payload: envelope ++ body as it is in the frame. Hash: 16 bytes of the payload, made only when needed. */
  lookup(session: number, request: number, payload: Uint8Array): SessionAnswer;
  /** The next number of a session, or null when there is no such session. */
  nextRequest(session: number): number | null;
  /** Canonical sections, in the order of SECTIONS (kernel/snapshot.ts), for a snapshot at `applied`, to be read while applying goes on. One at a time. */
  snapshot(): { readonly sections: SectionStream; readonly digest: Uint8Array };
  /** The version commands run as (0: nothing was executed yet), and those that this program runs. */
  readonly versions: VersionRange & { readonly active: number };
  /** Replaces everything by a snapshot. */
  restore(
    at: { readonly index: number; readonly chainHash: Uint8Array; readonly digest: Uint8Array },
    sections: readonly Uint8Array[],
  ): void;
}
