/**
 * The members as this replica knows them: which incarnation of each counts (identity.ts), how a wiped one is replaced, and when its successor votes
 * (docs/protocol.md, "A wiped disk").
 *
 * Invariants: a replica that was replaced, or is of a generation whose loss was accepted without it, stops: nothing it says counts any more; the raised table is
 * stored before the frame that raises it; a standby never promises, votes or confirms a read.
 */
import { NONE, type CommitIndex } from '../engine/commit-index.ts';
import type { FrameBatch } from '../engine/frame-batch.ts';
import { envelope, frame, KIND } from '../engine/frame.ts';
import { sameHash } from '../engine/hash.ts';
import { decodeReplacement, encodeReplacement, type Replacement } from '../engine/replace-entry.ts';
import { type Identity, isSuperseded, mergeIdentity } from './identity.ts';
import { BOOT, type Boot } from './messages.ts';
import { internalPayload } from './payload.ts';
import type { NodeState, PrimaryState } from './state.ts';

/** Takes over what `said` knows more; false when the sender does not count, or this replica does not any more. */
export function learnIdentity(n: NodeState, from: number, said: Identity): boolean {
  if (said.incarnations.length !== n.members.length) return false;
  if (said.generation > n.manifest.generation) {
    const generations = `generation ${n.manifest.generation}, r${from} of generation ${said.generation}`;
    n.halt(
      'E_GENERATION',
      `this replica is of ${generations}: a loss was accepted without it, and its log may hold what is gone`,
    );
    return false;
  }
  const position = n.members.indexOf(n.id);
  if (said.incarnations[position]! > n.manifest.incarnations[position]!) {
    const numbers = `incarnation ${n.manifest.incarnations[position]}, r${from} knows incarnation ${said.incarnations[position]}`;
    n.halt('E_DUP_NODE', `this directory is r${n.id} of ${numbers}: it was replaced`);
    return false;
  }
  raiseIdentity(n, said);
  return !isSuperseded(n.manifest, said, n.members.indexOf(from));
}

/** Stores the higher entries; what is handed to the log afterwards is written after them. */
export function raiseIdentity(n: NodeState, table: Identity): void {
  const merged = mergeIdentity(n.manifest, table);
  if (merged === n.manifest) return;
  for (const [i, id] of n.members.entries()) {
    if (merged.incarnations[i] === n.manifest.incarnations[i]) continue;
    n.primary?.acked.delete(id);
    // What the old one had is lost; the new one says nothing of snapshots before it has one.
    n.snapshots.reports.delete(id);
  }
  n.manifest = merged;
  n.out.push({ type: 'save', manifest: n.manifest, token: 0 });
  n.event({ kind: 'identity', generation: merged.generation, incarnations: merged.incarnations });
}

/** Notes the replacements among frames that go into the own log, before they do. False when this replica itself was replaced, and stops. */
export function noteReplacements(n: NodeState, batch: FrameBatch): boolean {
  for (let index = batch.first; index <= batch.last; index++) {
    const offset = batch.offsetOf(index);
    const payload = frame.payload(batch.bytes, offset);
    if (envelope.kind(payload, 0) !== KIND.replaceReplica) continue;
    const entry = decodeReplacement(envelope.body(payload, 0, payload.length));
    if (entry !== null && !noteReplacement(n, entry, index)) return false;
  }
  return true;
}

/** As `noteReplacements`, of what the state knows: a snapshot brings replacements without their frames. */
export function noteReplacedInState(n: NodeState): boolean {
  return n.members.every((id) => {
    const entry = n.sessions.replacement(id);
    return entry === null || noteReplacement(n, entry, entry.index);
  });
}

function noteReplacement(n: NodeState, { replica, incarnation }: Replacement, index: number): boolean {
  const position = n.members.indexOf(replica);
  const { generation, incarnations } = n.manifest;
  if (position < 0 || incarnation <= incarnations[position]!) return true;
  if (replica === n.id) {
    const numbers = `incarnation ${incarnations[position]}, index ${index} replaces it by ${incarnation}`;
    n.halt('E_DUP_NODE', `this directory is r${n.id} of ${numbers}`);
    return false;
  }
  n.primary?.replacedAt.set(replica, index);
  raiseIdentity(n, { generation, incarnations: incarnations.with(position, incarnation) });
  return true;
}

/**
 * True for what comes from the old incarnation of a replaced member: promises and answers to heartbeats carry no table, but the old one never has the entry that
 * replaces it, and the new one says nothing before it has.
 */
export function isOfOldIncarnation(primary: PrimaryState, from: number, durable: number): boolean {
  const replacedAt = primary.replacedAt.get(from);
  return replacedAt !== undefined && durable < replacedAt;
}

/** A replica without a log asks who it is. */
export function onBoot(n: NodeState, from: number, m: Boot): void {
  if (m.founders.length !== n.members.length) return;
  if (m.kind === BOOT.blank) n.send(from, answer(n, BOOT.formatted, m.bootId, NONE));
  if (m.kind !== BOOT.join) return;
  const replaced = n.sessions.replacement(from);
  if (replaced !== null && sameHash(replaced.bootId, m.bootId)) {
    n.send(from, answer(n, BOOT.admitted, m.bootId, replaced.index));
    return;
  }
  n.send(from, answer(n, BOOT.formatted, m.bootId, NONE));
  const primary = n.primary;
  if (primary === null || !n.serving) return;
  const proposed = primary.replacing.get(from);
  // One after the other: a second entry of the same incarnation would change nothing, and its directory would wait in vain.
  const underWay = proposed !== undefined && (replaced?.incarnation ?? 0) < proposed.incarnation;
  if (underWay || (proposed !== undefined && sameHash(proposed.bootId, m.bootId))) return;
  const incarnation = n.manifest.incarnations[n.members.indexOf(from)]! + 1;
  const replacement = { replica: from, incarnation, bootId: m.bootId };
  if (n.requests.internal(internalPayload(KIND.replaceReplica, encodeReplacement(replacement))))
    primary.replacing.set(from, replacement);
}

function answer(n: NodeState, kind: Boot['kind'], bootId: Uint8Array, through: CommitIndex): Boot {
  const { environment, clusterId, founders, generation, incarnations } = n.manifest;
  return {
    type: 'boot',
    view: 0,
    kind,
    environment,
    bootId,
    clusterId,
    founders,
    generation,
    incarnations,
    through,
  };
}

/** A standby that durably holds the log through its replacement becomes a voter, once that is stored. */
export function promoteStandby(n: NodeState): void {
  const through = n.manifest.standbyThrough;
  const ready = n.status === 'normal' && n.stored && n.commit >= through && n.durable >= through && n.intact >= through;
  if (!n.standby || !ready) return;
  n.manifest = { ...n.manifest, standbyThrough: NONE };
  n.stored = false;
  n.out.push({ type: 'save', manifest: n.manifest, token: ++n.saveToken });
}
