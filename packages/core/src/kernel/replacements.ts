/**
 * Replacements: which incarnation of a member an applied entry has put in the place of a wiped one. Replicated state: it changes at commit only and is in the
 * snapshot.
 *
 * Invariant: the incarnation of a member only grows; an entry that would lower it changes nothing.
 */
import type { CommitIndex } from '../engine/commit-index.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { decodeReplacement, type Replacement } from '../engine/replace-entry.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';
import { CodecError } from './errors.ts';

export interface Replaced extends Replacement {
  /** Index of the entry. */
  readonly index: CommitIndex;
}

/** No cluster has more members. */
const MEMBERS_MAX = 64;

export class Replacements {
  private readonly byReplica = new Map<number, Replaced>();

  get(replica: number): Replaced | null {
    return this.byReplica.get(replica) ?? null;
  }

  list(): Replaced[] {
    return [...this.byReplica.values()].sort((a, b) => a.replica - b.replica);
  }

  /** Applies an entry; false for one that nobody can read. */
  apply(body: Uint8Array, index: CommitIndex): boolean {
    const entry = decodeReplacement(body);
    if (entry === null || entry.replica < 1 || entry.replica > MEMBERS_MAX) return false;
    const before = this.byReplica.get(entry.replica);
    if (before === undefined || entry.incarnation > before.incarnation)
      this.byReplica.set(entry.replica, { ...entry, index });
    return true;
  }

  encode(w: ByteWriter): void {
    const list = this.list();
    w.varint(list.length);
    for (const { replica, incarnation, bootId, index } of list) {
      w.varint(replica);
      w.varint(incarnation);
      w.bytes(bootId);
      w.varint(index);
    }
  }

  /** Throws CodecError. */
  static decode(r: ByteReader): Replacements {
    const table = new Replacements();
    const count = r.varint();
    if (count > MEMBERS_MAX) throw new CodecError(`${count} replaced members`);
    let last = 0;
    for (let i = 0; i < count; i++) {
      const replica = r.varint();
      if (replica <= last) throw new CodecError('replaced members are not in order');
      last = replica;
      const incarnation = r.varint();
      const bootId = r.bytes(HASH_BYTES).slice();
      table.byReplica.set(replica, { replica, incarnation, bootId, index: r.varint() as CommitIndex });
    }
    return table;
  }
}
