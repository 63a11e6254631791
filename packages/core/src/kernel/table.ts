/**
 * Transactional tables: the state of most applications. A command changes rows in place; what it changed is remembered in an undo log, so that a
 * rejection costs what the command did, not what the table holds.
 *
 * Invariants: rows are frozen when they go in; order is the order of first insertion and survives rollback, snapshot and restore (a row deleted
 * and set again in one command keeps its place); nothing changes outside of begin..commit; the encoding is canonical; equal commands give equal write
 * sets. A snapshot holds a version of every table, so that it is encoded piece by piece while commands go on.
 */
import { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';
import { collect, joined, PIECE_BYTES, type SnapshotStream, streamOfBytes, streamOfMap } from './snapshot-stream.ts';
import type { Transactional } from './types.ts';
import { decodeUnbounded, encodeInto } from './values.ts';
import { VersionedMap } from './versioned-map.ts';

export type TableKey = string | number | bigint;

/** Stands in the map for a row that the command at hand deleted: keeps its place in case of rollback. */
const GONE = Symbol('gone');
const ABSENT = Symbol('absent');
type Slot<Row> = Row | typeof GONE;

interface Change {
  readonly table: Table<TableKey, unknown>;
  readonly key: TableKey;
  /** What stood there before: a row, GONE, or ABSENT. */
  readonly before: unknown;
}

/** The undo log that the tables of one state share. */
class Journal {
  open = false;
  changes: Change[] = [];
}

export class Table<Key extends TableKey, Row> {
  readonly name: string;
  private readonly journal: Journal;
  private rows = new VersionedMap<Key, Slot<Row>>();
  private live = 0;

  /** Made by {@link Tables.table}. */
  constructor(name: string, journal: Journal) {
    this.name = name;
    this.journal = journal;
  }

  get size(): number {
    return this.live;
  }

  get(key: Key): Row | undefined {
    const row = this.rows.get(key);
    return row === GONE ? undefined : row;
  }

  has(key: Key): boolean {
    return this.get(key) !== undefined;
  }

  /** Sets a row, freezing it with everything in it. `undefined` is no row. */
  set(key: Key, row: Row): void {
    if (row === undefined) throw new TypeError(`table ${this.name}: undefined is no row`);
    const before = this.remember(key);
    if (before === ABSENT || before === GONE) this.live++;
    this.rows.set(key, freeze(row));
  }

  /** Returns whether there was a row. */
  delete(key: Key): boolean {
    const row = this.rows.get(key);
    if (row === undefined || row === GONE) return false;
    this.remember(key);
    this.rows.set(key, GONE);
    this.live--;
    return true;
  }

  /** Rows in order of insertion. */
  *entries(): IterableIterator<[Key, Row]> {
    for (const [key, row] of this.rows.entries()) if (row !== GONE) yield [key, row];
  }

  *keys(): IterableIterator<Key> {
    for (const [key] of this.entries()) yield key;
  }

  *values(): IterableIterator<Row> {
    for (const [, row] of this.entries()) yield row;
  }

  private remember(key: Key): unknown {
    if (!this.journal.open) throw new Error(`table ${this.name} can be changed by a command only`);
    const row = this.rows.get(key);
    const before: unknown = row === undefined ? ABSENT : row;
    this.journal.changes.push({ table: this as unknown as Table<TableKey, unknown>, key, before });
    return before;
  }

  /** Takes one change back. For {@link Tables} only. */
  revert(key: Key, before: unknown): void {
    const now = this.rows.get(key);
    const was = before !== ABSENT && before !== GONE;
    const is = now !== undefined && now !== GONE;
    this.live += Number(was) - Number(is);
    if (before === ABSENT) this.rows.delete(key);
    else this.rows.set(key, before as Slot<Row>);
  }

  /** Drops the place of a deleted row for good. For {@link Tables} only. */
  sweep(key: Key): void {
    if (this.rows.get(key) === GONE) this.rows.delete(key);
  }

  /** The rows of now, piece by piece. For {@link Tables} only. */
  stream(pieceBytes: number): SnapshotStream {
    return streamOfMap(this.rows, pieceBytes, (w, key, row) => {
      encodeInto(w, key);
      encodeInto(w, row);
    });
  }

  /** Replaces all rows. Throws CodecError. */
  restoreFrom(r: ByteReader): void {
    const rows = new VersionedMap<Key, Slot<Row>>();
    for (let left = r.count(2); left > 0; left--) {
      const key = decodeUnbounded(r);
      if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint') {
        throw new CodecError(`table ${this.name} has a key of the wrong type`);
      }
      if (rows.has(key as Key)) throw new CodecError(`table ${this.name} has a key twice`);
      rows.set(key as Key, freeze(decodeUnbounded(r) as Row));
    }
    this.live = rows.size;
    this.rows = rows;
  }
}

/** A set of tables as one transactional state. */
export class Tables implements Transactional {
  private readonly journal = new Journal();
  private readonly byName = new Map<string, Table<TableKey, unknown>>();
  private readonly writer = new ByteWriter();

  /** Declares a table (once, when the state is made): its place in the encoding is the order of declaration. */
  table<Key extends TableKey, Row>(name: string): Table<Key, Row> {
    if (this.byName.has(name)) throw new Error(`table ${name} is declared twice`);
    const table = new Table<Key, Row>(name, this.journal);
    this.byName.set(name, table as unknown as Table<TableKey, unknown>);
    return table;
  }

  begin(): void {
    if (this.journal.open) throw new Error('a command is open already');
    this.journal.open = true;
  }

  commit(): void {
    const { changes } = this.journal;
    for (const { table, key } of changes) table.sweep(key);
    this.close();
  }

  rollback(): void {
    const { changes } = this.journal;
    for (let i = changes.length - 1; i >= 0; i--) {
      const { table, key, before } = changes[i]!;
      table.revert(key, before);
    }
    this.close();
  }

  private close(): void {
    this.journal.open = false;
    if (this.journal.changes.length > 0) this.journal.changes = [];
  }

  /** Each change in order: table, key, and the row that stands there now. Valid until the next call. */
  writeSet(): Uint8Array {
    const w = this.writer;
    w.reset();
    for (const { table, key } of this.journal.changes) {
      w.text(table.name);
      encodeInto(w, key);
      const row = table.get(key);
      w.u8(row === undefined ? 0 : 1);
      if (row !== undefined) encodeInto(w, row);
    }
    return w.view();
  }

  /** Canonical bytes in one piece. */
  encode(): Uint8Array {
    return collect(this.stream());
  }

  /** Canonical bytes of the rows of now, piece by piece. Between two commands; one stream at a time. */
  stream(pieceBytes = PIECE_BYTES): SnapshotStream {
    if (this.journal.open) throw new Error('a snapshot is taken between two commands');
    const text = (write: (w: ByteWriter) => void): SnapshotStream => {
      const w = new ByteWriter(64);
      write(w);
      return streamOfBytes(w.view());
    };
    const tables = [...this.byName].flatMap(([name, table]) => [text((w) => w.text(name)), table.stream(pieceBytes)]);
    return joined(
      text((w) => w.varint(this.byName.size)),
      ...tables,
    );
  }

  /** Fills the declared tables; throws CodecError when the bytes are not of these tables. */
  restore(bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    if (r.varint() !== this.byName.size) throw new CodecError('a snapshot has other tables');
    for (const [name, table] of this.byName) {
      if (r.text() !== name) throw new CodecError(`a snapshot lacks table ${name}`);
      table.restoreFrom(r);
    }
    r.end();
  }
}

/** Freezes plain data all the way down; bytes, Dates and Maps cannot be frozen and are left to care. */
function freeze<T>(row: T): T {
  if (typeof row !== 'object' || row === null || Object.isFrozen(row) || ArrayBuffer.isView(row)) return row;
  for (const part of Object.values(row)) freeze(part);
  return Object.freeze(row);
}
