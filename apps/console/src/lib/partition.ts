/** What a set of cut links does to a cluster: who still reaches a majority both ways, and what to expect. Pure. */
import { majority } from './verdict.ts';

export type LinkKey = `${number}>${number}`;
export const linkKey = (from: number, to: number): LinkKey => `${from}>${to}`;

export function linkOf(key: LinkKey): { from: number; to: number } {
  const [from, to] = key.split('>');
  return { from: Number(from), to: Number(to) };
}

/** Every directed link between the two sides, both ways. */
export function between(left: readonly number[], right: readonly number[]): LinkKey[] {
  return left.flatMap((a) => right.flatMap((b) => [linkKey(a, b), linkKey(b, a)]));
}

export function isolate(id: number, ids: readonly number[]): LinkKey[] {
  return between(
    [id],
    ids.filter((other) => other !== id),
  );
}

export interface Expectation {
  readonly tone: 'ok' | 'warn' | 'bad';
  /** "r2 | r1, r3" */
  readonly sides: string;
  readonly lines: readonly string[];
}

const names = (ids: readonly number[]) => ids.map((id) => `r${id}`).join(', ');

/** Replicas that this one reaches and hears, itself included. A quorum needs direct links: nobody relays. */
function neighbours(id: number, up: readonly number[], cut: ReadonlySet<LinkKey>): number[] {
  return up.filter((other) => other === id || (!cut.has(linkKey(id, other)) && !cut.has(linkKey(other, id))));
}

function components(up: readonly number[], cut: ReadonlySet<LinkKey>): number[][] {
  const left = new Set(up);
  const out: number[][] = [];
  for (const id of up) {
    if (!left.delete(id)) continue;
    const side = [id];
    for (const member of side) {
      for (const other of neighbours(member, up, cut)) {
        if (left.delete(other)) side.push(other);
      }
    }
    out.push(side.sort((a, b) => a - b));
  }
  return out.sort((a, b) => a.length - b.length || a[0]! - b[0]!);
}

/** `stopped`: replicas that are paused, killed or silent. */
export function expect(
  ids: readonly number[],
  primary: number | null,
  cut: ReadonlySet<LinkKey>,
  stopped: readonly number[] = [],
): Expectation {
  const up = ids.filter((id) => !stopped.includes(id));
  const need = majority(ids.length);
  const sides = components(up, cut).map(names).join(' | ');
  const leads = up.filter((id) => neighbours(id, up, cut).length >= need);
  const lines: string[] = [];
  if (stopped.length > 0) lines.push(`${names(stopped)} ${stopped.length === 1 ? 'is' : 'are'} out.`);
  if (leads.length === 0) {
    lines.push(`No side has a majority of ${need}: commits will stop until a heal. Nothing acknowledged is lost.`);
    return { tone: 'bad', sides, lines };
  }
  if (primary !== null && leads.includes(primary)) {
    const away = up.filter((id) => !neighbours(primary, up, cut).includes(id));
    const half = oneWay(primary, up, cut);
    if (away.length === 0) lines.push(`Primary r${primary} reaches everybody: nothing changes.`);
    else
      lines.push(
        `Primary r${primary} keeps a majority: commits go on. ${names(away)} will fall behind and catch up after the heal.`,
      );
    if (half.length > 0) lines.push(`${names(half)} will no longer hear the primary and may ask for a view change.`);
    return { tone: away.length === 0 ? 'ok' : 'warn', sides, lines };
  }
  const side = neighbours(leads[0]!, up, cut);
  lines.push(
    primary === null
      ? `${names(side)} have a majority and can choose a primary.`
      : `Primary r${primary} loses its majority: expect a view change in about a second; ${names(side)} go on.`,
  );
  return { tone: 'warn', sides, lines };
}

/** Replicas that hear nothing from the primary although it hears them. */
function oneWay(primary: number, up: readonly number[], cut: ReadonlySet<LinkKey>): number[] {
  return up.filter((id) => id !== primary && cut.has(linkKey(primary, id)) && !cut.has(linkKey(id, primary)));
}
