/**
 * Snapshots: what is in them. (Where they are taken is a log position: replica-snapshots.ts.)
 *
 * Invariants: the sections are canonical: two replicas at one index have equal bytes; a section is restored only if encoding it again would give
 * the same bytes (its codec refuses anything else).
 */
import { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError, type Halt } from './errors.ts';
import { Replacements } from './replacements.ts';
import { type SnapshotStream, streamOfBytes } from './snapshot-stream.ts';

/** The sections of a snapshot, in order. */
export const SECTIONS = ['application', 'sessions', 'outbox', 'meta', 'keys'] as const;
export type SectionName = (typeof SECTIONS)[number];

/** What the executor remembers beside application, sessions and outbox. */
export interface MetaSection {
  readonly application: string;
  /** The active version: replicated state, never the program's own. 0: nothing was executed yet, and the application's section is empty. */
  readonly version: number;
  /** Commands that ended in a fault since the log began. */
  readonly faults: number;
  /** Effect entries whose body nobody could read, since the log began. */
  readonly malformed: number;
  /** Block time of the last entry, milliseconds. */
  readonly blockTimeMs: number;
  readonly replacements: Replacements;
}

export function encodeMeta(meta: MetaSection): Uint8Array {
  const w = new ByteWriter(64);
  w.text(meta.application);
  w.varint(meta.version);
  w.varint(meta.faults);
  w.varint(meta.malformed);
  w.varint(meta.blockTimeMs);
  meta.replacements.encode(w);
  return w.copy();
}

/** Throws CodecError. */
export function decodeMeta(bytes: Uint8Array): MetaSection {
  const r = new ByteReader(bytes);
  const meta = {
    application: r.text(),
    version: r.varint(),
    faults: r.varint(),
    malformed: r.varint(),
    blockTimeMs: r.varint(),
    replacements: Replacements.decode(r),
  };
  r.end();
  return meta;
}

/** The application's bytes, as it gives them; whatever it throws, now or at a later piece, ends this replica by way of `halt`. */
export function applicationStream(
  make: () => Uint8Array | SnapshotStream,
  halt: (error: unknown) => Halt,
): SnapshotStream {
  const guard = <T>(task: () => T): T => {
    try {
      return task();
    } catch (error) {
      throw halt(error);
    }
  };
  const made = guard(() => {
    const given = make();
    if (given instanceof Uint8Array) return streamOfBytes(given);
    const loose = given as Partial<SnapshotStream> | null | undefined;
    if (typeof loose?.next === 'function' && typeof loose.close === 'function') return given;
    throw new CodecError('the application gave neither bytes nor a stream');
  });
  const next = (): Uint8Array | null => {
    const piece = made.next();
    if (piece === null || piece instanceof Uint8Array) return piece;
    throw new CodecError("the application's stream gave no bytes");
  };
  return { next: () => guard(next), close: () => guard(() => made.close()) };
}
