/**
 * Crash-state exploration: runs a scenario on a MemoryDisk one completion at a time; after each, every state that a power cut may leave (crash-choices.ts) must
 * recover: nothing acknowledged lost, nothing unacknowledged invented, nothing stored gone back, and what was read is what was written.
 */
import { Prng } from '../../prng.ts';
import { type Policy, SOUND } from '../../policy.ts';
import { at, type CommitIndex, NONE } from '../commit-index.ts';
import type { FrameCodec } from '../frame-codec.ts';
import { toHex } from '../hash.ts';
import type { LogOptions, ManifestState, RecoveredLog } from '../log-contract.ts';
import { CRASH_STATES, crashChoices } from './crash-choices.ts';
import { Bench, Chain, formatted, manifest, openLog, suffix } from './log-harness.ts';
import { MemoryDisk } from './memory-disk.ts';

export const SEGMENT_BYTES = 8 * 1024;
const SEED = 20_260_101;
/** Of the states, one in so many is opened a second time and read back. */
const READ_EVERY = 4;
const VIOLATIONS_MAX = 5;

/** What the outside world knows at one moment. */
export interface Known {
  /** Hashes of the log by log view: all that was ever handed over, in the order of the log of that view. */
  readonly logs: ReadonlyMap<number, readonly string[]>;
  /** Last promised index and its log view. */
  readonly promised: number;
  readonly promisedLogView: number;
  /** Kept by the install that begins a log view. */
  readonly kept: ReadonlyMap<number, number>;
  readonly view: number;
  readonly logView: number;
  readonly checkpoint: number;
  /** Must not be nacked. */
  readonly bound: number;
}

export class Explorer {
  /** Crash states looked at per moment. */
  static limit = CRASH_STATES;
  readonly disk: MemoryDisk;
  readonly chain = new Chain();
  readonly over: Partial<LogOptions>;
  readonly violations: string[] = [];
  readonly bench: Bench;
  states = 0;
  view = 1;
  logView = 1;
  checkpoint: CommitIndex = NONE;
  bound: CommitIndex = NONE;
  private readonly logs = new Map<number, string[]>([[1, []]]);
  private readonly kept = new Map<number, number>();
  private readonly prng = new Prng(SEED);
  private turn = 0;

  constructor(codec: FrameCodec, policy: Partial<Policy> = {}, state: ManifestState = manifest()) {
    this.disk = formatted(new MemoryDisk(), state);
    this.over = { policy: { ...SOUND, ...policy }, segmentBytes: SEGMENT_BYTES, codec };
    this.bench = new Bench(this.disk, this.over);
    this.disk.pump();
  }

  /** A manifest of what is known now. */
  manifest(over: Partial<ManifestState> = {}): ManifestState {
    return manifest({ ...this.bench.store.manifest, ...over });
  }

  append(chain: Chain, bodies: readonly number[], view = 1): void {
    const part = chain.next(bodies, view, view);
    this.learn(view, part.first, part.last, (index) => part.hashOf(index));
    this.bench.append(part, view);
  }

  private learn(view: number, first: number, last: number, hashOf: (index: number) => Uint8Array): void {
    const log = this.logs.get(view)!;
    for (let index = first; index <= last; index++) log[index] = toHex(hashOf(index));
  }

  /** Log view 2 begins with what is kept, and these frames, stated by its headers from `headersFrom` on, follow. Returns the chain to go on with. */
  install(
    keep: CommitIndex,
    chain: Chain,
    bodies: readonly (readonly number[])[],
    promised: CommitIndex = keep,
    headersFrom = 0,
  ): Chain {
    const fresh = new Chain();
    fresh.first = keep + 1;
    if (keep !== NONE) fresh.hash = chain.hashOf(keep);
    this.logs.set(2, this.logs.get(1)!.slice(0, keep + 1));
    this.kept.set(2, keep);
    const planned = new Chain();
    planned.first = fresh.first;
    planned.hash = fresh.hash;
    const kept = chain.batches.filter((part) => part.last <= keep);
    const whole = suffix(...kept, ...bodies.map((sizes) => planned.next(sizes, 2, 2)));
    const headers = whole.slice(headersFrom, whole.last);
    const junction = { index: keep, hash: fresh.hash.slice() };
    this.bench.store.install(this.manifest({ view: 2, logView: 2, headers, junction }), keep, promised, () => {
      this.view = 2;
      this.logView = 2;
      this.bound = promised;
    });
    for (const sizes of bodies) this.append(fresh, sizes, 2);
    return fresh;
  }

  /** Stores a checkpoint at an index of the log. */
  saveCheckpoint(index: number): void {
    const state = this.manifest({ checkpoint: checkpointOf(this.chain, index) });
    this.bench.store.saveManifest(state, () => (this.checkpoint = at(index)));
  }

  /** Installs the snapshot at the end of `chain`, in log view `view`. */
  installSnapshot(chain: Chain, view: number, promised: CommitIndex = NONE): void {
    const index = chain.first - 1;
    if (!this.logs.has(view)) {
      this.logs.set(view, []);
      this.kept.set(view, index);
    }
    this.learn(view, 0, index, (each) => chain.hashOf(each));
    const state = this.manifest({ view, logView: view, checkpoint: checkpointOf(chain, index) });
    this.bench.store.installSnapshot(state, promised, () => {
      this.view = view;
      this.logView = view;
      this.checkpoint = at(index);
      this.bound = promised;
    });
  }

  known(): Known {
    const last = this.bench.durable[this.bench.durable.length - 1];
    return {
      logs: this.logs,
      kept: this.kept,
      promised: last?.index ?? NONE,
      promisedLogView: last?.view ?? 1,
      view: this.view,
      logView: this.logView,
      checkpoint: this.checkpoint,
      bound: this.bound,
    };
  }

  /** Looks at what a power cut may leave now. */
  look(): void {
    const known = this.known();
    for (const choice of crashChoices(this.disk, Explorer.limit, this.prng)) {
      this.states++;
      this.note(this.violation(known, this.disk.crash(choice)));
    }
  }

  note(found: string | null): void {
    if (found !== null && this.violations.length < VIOLATIONS_MAX) this.violations.push(found);
  }

  /** Completes everything, oldest (or newest) first, looking after each completion. */
  explore(newestFirst = false): void {
    this.look();
    while (this.disk.pending > 0) {
      this.disk.complete(newestFirst ? this.disk.pending - 1 : 0);
      this.look();
    }
  }

  /** What is wrong with the log that recovers from `disk`, or null. */
  violation(known: Known, disk: MemoryDisk): string | null {
    const over = { ...this.over, policy: SOUND };
    const opened = openLog(disk, over);
    if ('refusal' in opened) return `refused: ${opened.refusal.code} ${opened.refusal.message}`;
    const { recovered, store } = opened;
    store.close();
    const found = check(known, recovered);
    if (found !== null || this.turn++ % READ_EVERY !== 0) return found;
    const bench = new Bench(disk.restart(), over);
    const { first, end } = bench.recovered;
    if (end !== recovered.end) return `a second open ends at ${end}, the first at ${recovered.end}`;
    const again = check(known, bench.recovered);
    if (again !== null) return `a second open: ${again}`;
    const log = known.logs.get(recovered.manifest.logView)!;
    const read = bench.readAll();
    if (read.length !== end + 1 - first) return `${read.length} frames can be read of ${first}..${end}`;
    const wrong = read.find(({ index, hash }) => log[index] !== toHex(hash));
    return wrong === undefined ? null : `frame ${wrong.index} is not of the log of view ${recovered.manifest.logView}`;
  }
}

export function checkpointOf(chain: Chain, index: number): ManifestState['checkpoint'] {
  return { index: at(index), hash: chain.hashOf(index), digest: new Uint8Array(16).fill(3) };
}

function check(known: Known, recovered: RecoveredLog): string | null {
  const { manifest: state, first, end, endHash, outcome, recoveringHead, connected, promised } = recovered;
  if (outcome === 'faulty' || recoveringHead || !connected)
    return `a crash is no damage: ${recovered.notes.join('; ')}`;
  if (state.view < known.view || state.logView < known.logView) return `view ${state.view}.${state.logView} went back`;
  if (state.checkpoint.index < known.checkpoint)
    return `checkpoint ${state.checkpoint.index} is older than ${known.checkpoint}`;
  if (first > state.checkpoint.index + 1 || end < first - 1)
    return `the log ${first}..${end} does not continue checkpoint ${state.checkpoint.index}`;
  const log = known.logs.get(state.logView);
  if (log === undefined) return `log view ${state.logView} was never stored`;
  if (end !== NONE && log[end] !== toHex(endHash)) return `the end ${end} is not of the log of view ${state.logView}`;
  // A promise of an older log view reaches as far as the install of the newer one kept.
  const reach =
    state.logView === known.promisedLogView ? known.promised : Math.min(known.promised, known.kept.get(state.logView)!);
  if (end < reach) return `promised through ${reach}, recovered through ${end}`;
  return promised < known.bound ? `${known.bound} must not be nacked, ${promised} is known` : null;
}
