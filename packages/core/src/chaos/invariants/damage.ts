/**
 * Damage invariant: what the engine holds damaged, the node asks for. Otherwise a batch that the node does give waits without a place for one that nobody fetches
 * (seed 9100215).
 *
 * Looked at once a tick, while nothing is written, read or to be carried out: between two steps the one may know a little before the other. (The other way round no
 * harm is done: a slot that is whole is called repaired as soon as somebody gives its frame.)
 */
import type { IndexRange } from '../../engine/log-contract.ts';
import type { Replica } from '../../replica.ts';
import { mustHold } from '../violation.ts';

export function checkDamage(id: number, replica: Replica): void {
  const { store, node } = replica;
  const held = store.faulty;
  if (held.length === 0 || !store.idle || node.hasOutputs) return;
  const { faulty, first, end } = node.state;
  const index = held.map((range) => firstUnknown(range, faulty, first, end)).find((found) => found !== null);
  mustHold(
    index === undefined,
    'replica',
    'damage-is-asked-for',
    () => `r${id} knows that the frame of ${index} is damaged (${shown(held)}), and asks for ${shown(faulty)} only`,
  );
}

/** The first slot of a range within first..last that no known one holds; null: there is none. */
function firstUnknown(
  { from, to }: IndexRange,
  known: readonly IndexRange[],
  first: number,
  last: number,
): number | null {
  for (let index = Math.max(from, first); index <= Math.min(to, last); index++)
    if (!known.some((range) => index >= range.from && index <= range.to)) return index;
  return null;
}

function shown(ranges: readonly IndexRange[]): string {
  return ranges.map(({ from, to }) => `${from}..${to}`).join(' ') || 'nothing';
}
