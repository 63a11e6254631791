/**
 * What the protocol knows of snapshots (docs/protocol.md, "Recovery, repair, state transfer"): who holds which, which are confirmed, whether this replica needs
 * one, and what installing one does to the log.
 *
 * Invariants: one that is damaged on the medium is neither held nor told of until its bytes are whole again; a snapshot is confirmed when a quorum has reported the same index, execution digest and file digest, each by itself: that a newer one is says nothing of
 * its bytes; only a confirmed one becomes a checkpoint, is given, fetched or installed; installing one at S discards frames <= S only; nothing above S that was promised is forgotten.
 */
import { at, type CommitIndex, max, min, NONE } from '../engine/commit-index.ts';
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import { sameHash, toHex } from '../engine/hash.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../engine/header-suffix.ts';
import type { ManifestState } from '../engine/log-contract.ts';
import { quarantine } from './divergence.ts';
import { certainlyCommitted, damagedThrough, knownHash, moveCommit } from './log.ts';
import { noteReplacedInState } from './members.ts';
import {
  type NewState,
  type ReportedSnapshot,
  SNAPSHOTS_REPORTED_MAX,
  type SnapshotRef,
  type SnapshotReport,
} from './messages.ts';
import type { NodeState } from './state.ts';

const NOBODY: ReadonlyMap<number, number> = new Map();

/** How often a replica repeats what it holds, in heartbeats. */
const REPORT_HEARTBEATS = 8;

/** A snapshot that is durable here. */
export interface HeldSnapshot extends ReportedSnapshot {
  /** Chain hash of its last entry. */
  readonly hash: Uint8Array;
}

/** A snapshot that this replica should fetch, and who has it. */
export interface WantedSnapshot {
  readonly index: number;
  readonly file: Uint8Array;
  readonly sources: readonly number[];
}

/** A snapshot whose state is in the executor now, its file durable. */
export interface InstalledSnapshot {
  readonly checkpoint: ManifestState['checkpoint'];
  readonly state: Uint8Array;
  readonly frameHeader: Uint8Array;
}

/** What a node remembers about snapshots. */
export class SnapshotBook {
  /** Durable here, ascending by index. */
  held: HeldSnapshot[] = [];
  /** Damaged on the medium, ascending: not held any more, to be fetched again or superseded. */
  damaged: HeldSnapshot[] = [];
  /** Newest damaged one that nobody gives; NONE: none. */
  lacks: CommitIndex = NONE;
  /** Newest report of each peer. */
  readonly reports = new Map<number, SnapshotReport>();
  reportTick = -1_000_000;
  /** A snapshot at or above this index is needed: frames through it are not to be had any more. */
  needed: CommitIndex = NONE;
  /** A snapshot that was installed; durable with the save token it waits for. */
  installed: CommitIndex = NONE;

  /** First index that a peer holds, as far as it has said. */
  firstOf(peer: number): number {
    return this.reports.get(peer)?.first ?? 0;
  }
}

/** A snapshot became durable here (or was found at start). */
export function holdSnapshot(n: NodeState, snapshot: HeldSnapshot): void {
  const { snapshots } = n;
  snapshots.damaged = without(snapshots.damaged, snapshot.index);
  snapshots.held = [...without(snapshots.held, snapshot.index), snapshot];
  snapshots.held.sort((a, b) => a.index - b.index);
  confirm(n);
  reportSnapshots(n);
}

function without(snapshots: readonly HeldSnapshot[], index: number): HeldSnapshot[] {
  return snapshots.filter((snapshot) => snapshot.index !== index);
}

/** The file of a snapshot was found damaged: it is offered to nobody, nothing is compacted behind it. */
export function loseSnapshot(n: NodeState, index: number): void {
  const { snapshots } = n;
  const lost = snapshots.held.find((held) => held.index === index);
  if (lost === undefined) return;
  snapshots.held = without(snapshots.held, index);
  snapshots.damaged = [...snapshots.damaged, lost].sort((a, b) => a.index - b.index);
  reportSnapshots(n);
}

/** Nobody gives the damaged snapshot at `index` (NONE: there is none such). */
export function lackSnapshot(n: NodeState, index: CommitIndex): void {
  if (n.snapshots.lacks === index) return;
  n.snapshots.lacks = index;
  reportSnapshots(n);
}

/** The host has removed every snapshot but these. */
export function keepSnapshots(n: NodeState, indexes: readonly number[]): void {
  const { snapshots } = n;
  snapshots.held = snapshots.held.filter((held) => indexes.includes(held.index));
  snapshots.damaged = snapshots.damaged.filter((damaged) => indexes.includes(damaged.index));
}

/** The log begins at `first` now: damaged slots below it are nobody's concern. */
export function noteCompacted(n: NodeState, first: number): void {
  n.first = Math.max(n.first, first);
  n.faulty = n.faulty.filter((r) => r.to >= n.first).map((r) => ({ from: Math.max(r.from, n.first), to: r.to }));
}

export function onSnapshotReport(n: NodeState, from: number, m: SnapshotReport): void {
  n.snapshots.reports.set(from, m);
  confirm(n);
}

/** Repeats what this replica holds, and looks again at what may have become confirmed. */
export function tickSnapshots(n: NodeState): void {
  if (n.tickCount - n.snapshots.reportTick < REPORT_HEARTBEATS * n.config.heartbeatTicks) return;
  confirm(n);
  reportSnapshots(n);
}

function reportSnapshots(n: NodeState): void {
  const { snapshots } = n;
  snapshots.reportTick = n.tickCount;
  const nothing = snapshots.held.length + snapshots.damaged.length === 0 && n.first === 0;
  if (n.members.length === 1 || n.diverged !== null || nothing) return;
  const refs = snapshots.held.map(({ index, state, file, confirmed }) => ({ index, state, file, confirmed }));
  // Every confirmed one, also those that are kept only because somebody is fetching them, however many newer ones wait to be confirmed.
  const held = refs.filter(({ confirmed }) => confirmed).slice(UNCONFIRMED_MAX - SNAPSHOTS_REPORTED_MAX);
  held.push(...refs.filter(({ confirmed }) => !confirmed).slice(-UNCONFIRMED_MAX));
  n.broadcast({ type: 'snapshotReport', view: n.view, first: n.first, lacks: snapshots.lacks, held });
}

/** Snapshots kept, and reported, that are not confirmed yet; older ones go when nobody confirms them. */
const UNCONFIRMED_MAX = 7;

/** Snapshots that have waited in vain to be confirmed. */
export function unconfirmedSurplus(n: NodeState): number[] {
  const { held, damaged } = n.snapshots;
  // Also below the checkpoint: who catches up has the newest one confirmed, and none of those that it passed.
  const waiting = [...held, ...damaged]
    .filter(({ index, confirmed }) => !confirmed || index > n.manifest.checkpoint.index)
    .map(({ index }) => index);
  return waiting.sort((a, b) => a - b).slice(0, -UNCONFIRMED_MAX);
}

function sameSnapshot(a: SnapshotRef, b: SnapshotRef): boolean {
  return a.index === b.index && sameHash(a.state, b.state) && sameHash(a.file, b.file);
}

/** Notes which own snapshots a quorum reports alike, and makes the newest of them the checkpoint. */
function confirm(n: NodeState): void {
  if (n.diverged !== null) return;
  for (const own of n.snapshots.held.toReversed()) {
    if (own.confirmed) continue;
    // Taken again: a quorum has confirmed these very bytes, whoever of it is still there.
    if (own.index === n.manifest.checkpoint.index && sameHash(own.file, n.manifest.checkpoint.digest)) {
      adopt(n, own);
      continue;
    }
    const others = [...n.snapshots.reports.values()].flatMap((report) =>
      report.held.filter((h) => h.index === own.index),
    );
    const alike = others.filter((other) => sameSnapshot(other, own)).length;
    // Behind a checkpoint nothing else proves the log: it must be durable that far.
    if (alike + 1 >= n.quorum && own.index <= min(n.durable, n.end)) {
      adopt(n, own);
      continue;
    }
    const odd = others.find((other) => others.filter((same) => sameSnapshot(other, same)).length >= n.quorum);
    if (odd !== undefined && !sameSnapshot(odd, own)) {
      const what = sameHash(odd.state, own.state) ? 'the bytes of its snapshot are' : 'its execution digest is';
      quarantine(n, own.index, `${what} not that of a quorum at index ${own.index}`);
      return;
    }
  }
}

function adopt(n: NodeState, snapshot: HeldSnapshot): void {
  const { snapshots } = n;
  snapshots.held = snapshots.held.map((held) => (held === snapshot ? { ...held, confirmed: true } : held));
  if (snapshot.index <= n.manifest.checkpoint.index) return;
  const checkpoint = { index: at(snapshot.index), hash: snapshot.hash, digest: snapshot.file };
  n.manifest = { ...n.manifest, checkpoint };
  n.out.push({ type: 'checkpoint', manifest: n.manifest });
  reportSnapshots(n);
}

/**
 * A peer that was asked for `from` gave nothing: below its `first` frames are gone; the primary's own copy of a committed one is damaged, and nobody else's is
 * known to be the one, so a snapshot behind it helps, until the primary has mended its log.
 */
export function noteGone(n: NodeState, from: number, m: NewState): void {
  if (from !== n.end + 1) return;
  const least = from < m.first ? at(m.first - 1) : m.canonical && from <= m.commit ? at(from) : NONE;
  n.snapshots.needed = max(n.snapshots.needed, least);
}

/**
 * The snapshot to fetch, or null when none is needed or known: the newest that somebody has who answers. `silentSince`: when each peer that does not answer was last
 * asked in vain; with no other source, the one of whom that is longest ago.
 */
export function wantedSnapshot(n: NodeState, silentSince: ReadonlyMap<number, number> = NOBODY): WantedSnapshot | null {
  // Asked every tick, and nearly always there is none: whatever makes an object comes behind it.
  const least = leastNeeded(n);
  return least === NONE ? null : bestOffer(n, least, silentSince);
}

function bestOffer(n: NodeState, least: CommitIndex, silentSince: ReadonlyMap<number, number>): WantedSnapshot | null {
  const knownThrough = max(n.end, n.commitHeard);
  const offers = new Map<string, { ref: SnapshotRef; sources: number[] }>();
  for (const [peer, report] of n.snapshots.reports) {
    for (const ref of report.held) {
      // Who has not seen the reports of a quorum does not give it, and says so again and again (seed 2002270): it is no source.
      if (!ref.confirmed || ref.index < least || ref.index <= n.applied || ref.index > knownThrough) continue;
      const key = `${ref.index}/${toHex(ref.state)}/${toHex(ref.file)}`;
      const offer = offers.get(key) ?? { ref, sources: [] };
      offer.sources.push(peer);
      offers.set(key, offer);
    }
  }
  let best: WantedSnapshot | null = null;
  let bestHope = Number.NEGATIVE_INFINITY;
  for (const { ref, sources } of offers.values()) {
    const hope = Math.max(...sources.map((peer) => -(silentSince.get(peer) ?? Number.NEGATIVE_INFINITY)));
    if (best !== null && (hope < bestHope || (hope === bestHope && ref.index < best.index))) continue;
    best = { index: ref.index, file: ref.file, sources };
    bestHope = hope;
  }
  return best;
}

/** The damaged own snapshot that can be fetched again, byte for byte: the newest that somebody offers who answers, else the newest that anybody offers. */
export function damagedSnapshot(n: NodeState, silent: ReadonlyMap<number, number>): WantedSnapshot | null {
  return n.diverged !== null || n.snapshots.damaged.length === 0 ? null : offeredCopy(n, silent);
}

function offeredCopy(n: NodeState, silent: ReadonlyMap<number, number>): WantedSnapshot | null {
  const offered = n.snapshots.damaged.toReversed().flatMap((lost) => {
    const sources = holdersOf(n, lost);
    return sources.length === 0 ? [] : [{ index: lost.index, file: lost.file, sources }];
  });
  return offered.find(({ sources }) => sources.some((peer) => !silent.has(peer))) ?? offered[0] ?? null;
}

/** Peers that offer this very snapshot. */
function holdersOf(n: NodeState, lost: SnapshotRef): number[] {
  const holds = ({ held }: SnapshotReport): boolean => held.some((ref) => ref.confirmed && sameSnapshot(ref, lost));
  return [...n.snapshots.reports].filter(([, report]) => holds(report)).map(([peer]) => peer);
}

/** Lowest index of a snapshot that would help; NONE when the log is enough. */
function leastNeeded(n: NodeState): CommitIndex {
  if (n.diverged !== null || n.status === 'recovering' || n.status === 'recovering-head') return NONE;
  const { snapshots } = n;
  if (snapshots.needed <= n.end) snapshots.needed = NONE;
  // The state of everything below the own log is missing here: the own snapshots are lost.
  const state = n.applied + 1 < n.first ? at(n.first - 1) : NONE;
  const known = max(snapshots.needed, state);
  return n.faulty.length === 0 ? known : max(known, lostForGood(n));
}

/** End of a damaged range that is not applied and of which no peer that answers gives anything. */
function lostForGood(n: NodeState): CommitIndex {
  const hole = n.faulty.find((range) => range.to > n.applied);
  if (hole === undefined) return NONE;
  const able = (peer: number): boolean => !n.silent.has(peer) && n.snapshots.firstOf(peer) <= hole.to;
  if (!n.turns.lost.has(hole.to) && n.others().some(able)) return NONE;
  return at(hole.to);
}

/**
 * True when a snapshot at `index` may be installed now: where it is known to be of the log of this view, by its hash, or because that is committed through here as well.
 * One of a later view may hold another entry there, and then what this replica takes for committed would be said, and applied, of a log that is given up.
 */
export function mayInstall(n: NodeState, index: number, hash: Uint8Array): boolean {
  if (index <= n.applied || n.diverged !== null || !n.stored || n.logView !== n.view) return false;
  // A new primary that completes its suffix.
  const completes = n.status === 'view-change' && n.primaryOf(n.view) === n.id;
  if (index <= n.end) {
    const own = knownHash(n, index);
    const same = own === null ? index <= certainlyCommitted(n) : sameHash(own, hash);
    return (n.status === 'normal' || completes) && same;
  }
  if (index > n.commitHeard) return false;
  if (n.status === 'normal') return n.primary === null;
  return completes && index <= n.head;
}

/**
 * The executor stands at a snapshot (its file is durable). Frames above it stay; when the log ends below it, it begins anew behind it.
 */
export function installSnapshot(n: NodeState, snapshot: InstalledSnapshot): void {
  const { checkpoint, state, frameHeader } = snapshot;
  const { index, hash, digest } = checkpoint;
  if (!noteReplacedInState(n)) return;
  n.applied = index;
  const installed = { index, state, file: digest, hash, confirmed: true };
  n.snapshots.held = [...n.snapshots.held.filter((held) => held.index < index), installed];
  n.snapshots.damaged = without(n.snapshots.damaged, index);
  const dropped = n.policy.snapshotDropsNewerFrames && n.end > index && n.primary === null;
  if (n.end < index || dropped) beginBehind(n, index, hash, frameHeader, checkpoint);
  else {
    // Below the checkpoint when the own snapshots were lost: what a quorum has confirmed stays so.
    if (index > n.manifest.checkpoint.index) n.manifest = { ...n.manifest, checkpoint };
    n.out.push({ type: 'checkpoint', manifest: n.manifest });
  }
  n.event({ kind: 'install', index });
  moveCommit(n, max(n.commitHeard, index));
  reportSnapshots(n);
}

/** The log is the snapshot and what follows. */
function beginBehind(
  n: NodeState,
  index: CommitIndex,
  hash: Uint8Array,
  frameHeader: Uint8Array,
  checkpoint: ManifestState['checkpoint'],
): void {
  const bytes = new Uint8Array(HEADER_RECORD_BYTES);
  bytes.set(frameHeader);
  bytes.set(hash, FRAME_HEADER_BYTES);
  const record = new HeaderSuffix(index, bytes);
  // Mutation snapshot-drops-newer-frames: the log above the snapshot is cut, and forgotten.
  const cut = n.end > index;
  if (cut) {
    n.promised = index;
    n.head = index;
    n.durable = min(n.durable, index);
  }
  n.ring.load(record);
  n.cache.clear();
  if (!cut) n.first = index + 1;
  n.end = index;
  n.endHash = hash;
  n.faulty = cut ? damagedThrough(n, index) : [];
  if (n.head <= index) {
    n.head = index;
    n.headHash = hash;
    n.canonical = record;
  }
  n.transfer = null;
  n.epochs.begin(index);
  n.startCommit = max(n.startCommit, index);
  n.snapshots.installed = index;
  n.stored = false;
  n.manifest = { ...n.manifest, checkpoint, headers: n.canonical };
  const { manifest, promised } = n;
  const token = ++n.saveToken;
  if (cut) n.out.push({ type: 'install', manifest, keepThrough: index, keepHash: hash, promised, token });
  else n.out.push({ type: 'installSnapshot', manifest, promised, token });
}

/** The manifest (and whatever was installed with it) is durable. */
export function snapshotStored(n: NodeState): void {
  const { installed } = n.snapshots;
  if (installed === NONE) return;
  n.snapshots.installed = NONE;
  n.durable = max(n.durable, installed);
  n.epochs.settle(n.durable);
  n.promised = max(n.promised, installed);
}
