/**
 * What two DoViewChanges of one replica for one view may differ in (docs/protocol.md, "DoViewChange"): across a crash known headers may become unknown, never
 * different; present may become faulty; present or faulty never becomes a nack, nor a nack one of them. (What was still being written is neither, and may go.)
 */
import { sameHash, toHex } from '../../engine/hash.ts';
import type { DoViewChange } from '../../vsr/messages.ts';

/** In words, what the later vote takes back of the one before; null: nothing. Their heads are equal. */
export function contradiction(before: DoViewChange, after: DoViewChange): string | null {
  if (before === after) return null;
  const { first } = before.headers;
  for (let index = Math.max(first, after.headers.first); index <= before.head; index++) {
    const [was, is] = [before.headers.hashIfAny(index), after.headers.hashIfAny(index)];
    if (was !== null && is !== null && !sameHash(was, is)) return `index ${index} was ${toHex(was)}, is ${toHex(is)}`;
  }
  for (let index = first; index <= before.head; index++) {
    const [was, is] = [standing(before, index), standing(after, index)];
    if ((was === 'nack') === (is === 'nack') || was === 'unknown' || is === 'unknown') continue;
    return `index ${index} was ${was}, is ${is}`;
  }
  return null;
}

/** What a vote says of an index of its own log. */
function standing(vote: DoViewChange, index: number): 'present' | 'faulty' | 'nack' | 'unknown' {
  if (vote.faulty.some(({ from, to }) => index >= from && index <= to)) return 'faulty';
  if (index <= vote.present) return 'present';
  return index > vote.promised ? 'nack' : 'unknown';
}
