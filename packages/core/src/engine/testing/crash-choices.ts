/**
 * The crash states of a MemoryDisk: every prefix of the unsynced names x every subset of the un-barriered writes x every tear of each (its sectors old or
 * new in any combination while they are few; else every cut from the front and the back, and every single sector alone or missing).
 *
 * Up to a bound all of them are given. Beyond it: the corners (nothing, everything, each write alone, each write missing, at no, half and all names), then
 * a sample drawn from a fixed seed. CHRONON_CRASH_STATES=N raises the bound; `all` is one million a moment.
 */
import { Prng } from '../../prng.ts';
import { SPARE_NEW_PATH } from '../spare-segment.ts';
import type { CrashChoice, MemoryDisk, UnsyncedWrite } from './memory-disk.ts';

/** States looked at per moment, unless the environment says otherwise. */
export const CRASH_STATES = 40;
const ALL = 1_000_000;
/** With so few sectors every combination of them is a state. */
const FREE_SECTORS = 4;

/** Which sectors of one write made it: of the ways there are, way 0 is none and way 1 all. */
interface Ways {
  readonly count: number;
  sector(way: number, sector: number): boolean;
}

/** What CHRONON_CRASH_STATES says. */
export function boundOf(environment: string | undefined): number {
  if (environment === undefined || environment === '') return CRASH_STATES;
  const bound = environment === 'all' ? ALL : Number(environment);
  if (!Number.isSafeInteger(bound) || bound < 1)
    throw new Error(`CHRONON_CRASH_STATES=${environment}: give a number of states, or all`);
  return bound;
}

/** What a power cut may leave now. */
export function* crashChoices(disk: MemoryDisk, bound: number, prng: Prng): Generator<CrashChoice> {
  const ways = disk.unsynced().map(waysOf);
  const names = disk.unsyncedNames;
  const total = ways.reduce((product, { count }) => product * count, names + 1);
  if (total <= bound) {
    for (let state = 0; state < total; state++) yield choice(ways, digits(ways, names, state));
    return;
  }
  let given = 0;
  for (const kept of new Set([0, Math.ceil(names / 2), names])) {
    for (const corner of corners(ways.length)) {
      yield choice(ways, { names: kept, ways: corner });
      given++;
    }
  }
  for (; given < bound; given++) {
    yield choice(ways, { names: prng.below(names + 1), ways: ways.map(({ count }) => prng.below(count)) });
  }
}

interface State {
  readonly names: number;
  readonly ways: readonly number[];
}

function choice(ways: readonly Ways[], state: State): CrashChoice {
  return { names: state.names, sector: (write, sector) => ways[write]!.sector(state.ways[write]!, sector) };
}

function digits(ways: readonly Ways[], names: number, state: number): State {
  let rest = Math.floor(state / (names + 1));
  return {
    names: state % (names + 1),
    ways: ways.map(({ count }) => {
      const way = rest % count;
      rest = Math.floor(rest / count);
      return way;
    }),
  };
}

/** None, all, each alone, each missing. */
function* corners(writes: number): Generator<number[]> {
  const every = (value: number): number[] => Array.from<number>({ length: writes }).fill(value);
  yield every(0);
  if (writes > 0) yield every(1);
  for (let i = 0; writes > 1 && i < writes; i++) {
    yield every(0).with(i, 1);
    yield every(1).with(i, 0);
  }
}

function waysOf(write: UnsyncedWrite): Ways {
  const sectors = write.live.length;
  // Zeros that are written ahead: whether all are there or none makes every difference there is.
  if (write.path === SPARE_NEW_PATH) return { count: 2, sector: (way) => way === 1 };
  if (sectors <= FREE_SECTORS) {
    const all = 2 ** sectors;
    // Way 1 is all of them: the last mask changes places with the first.
    const mask = (way: number): number => (way === 1 ? all - 1 : way === all - 1 ? 1 : way);
    return { count: all, sector: (way, sector) => (mask(way) & (1 << sector)) !== 0 };
  }
  const cuts = sectors - 1;
  return {
    count: 2 + 2 * cuts + 2 * sectors,
    sector: (way, sector) => {
      if (way < 2) return way === 1;
      let rest = way - 2;
      if (rest < cuts) return sector <= rest;
      rest -= cuts;
      if (rest < cuts) return sector > rest;
      rest -= cuts;
      return rest < sectors ? sector === rest : sector !== rest - sectors;
    },
  };
}
