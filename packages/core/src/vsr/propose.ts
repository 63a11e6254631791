/**
 * The primary's side of the normal path: requests become frames, frames become batches, batches are written and sent in parallel; the oldest
 * unacknowledged batch is re-sent to exactly those that have not acknowledged it.
 *
 * Invariants: no index above commit + P; a frame keeps the view, time and hash of its first proposal for ever; block time strictly grows.
 */
import { assert } from '../assert.ts';
import { NONE } from '../engine/commit-index.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import { envelope, frame, frameBytes, KIND, writeHeader } from '../engine/frame.ts';
import { appendBatch, moveCommit } from './log.ts';
import { internalPayload } from './payload.ts';
import { answerReads } from './reads.ts';
import type { InFlight, NodeState, PrimaryState } from './state.ts';
import { mayRunCommands } from './versions.ts';

const TWO_32 = 0x1_0000_0000;
const NS_PER_MS = 1_000_000;
const EMPTY = new Uint8Array(0);

/** Turns queued requests into batches while the pipeline has room. Called at the end of each burst of input and when the commit moves. */
export function flush(n: NodeState): void {
  const primary = n.primary;
  if (primary === null || !n.isPrimary) return;
  openView(n, primary);
  while (n.requests.waiting > 0 && primary.inFlight.length < n.config.batchesInFlightMax) {
    const room = n.config.pipelineMax - (n.end - n.commit);
    if (room <= 0) return;
    if (!proposeBatch(n, primary, Math.min(room, n.config.batchCountMax))) return;
  }
}

/**
 * Proposes the no-op that opens a view, alone, at primary.noopIndex. A full pipeline that was adopted must move first: every vote, restart and install
 * takes head - P for committed.
 */
export function openView(n: NodeState, primary: PrimaryState): void {
  if (n.end >= primary.noopIndex || n.end - n.commit >= n.config.pipelineMax) return;
  assert(n.end + 1 === primary.noopIndex, 'the no-op stands right behind the adopted log');
  seal(n, primary, [internalPayload(KIND.noop, EMPTY)], 0);
}

/** False when nothing may be proposed now: what an application sees as time waits for a majority of clocks, commands for a version that the own program runs. */
function proposeBatch(n: NodeState, primary: PrimaryState, countMax: number): boolean {
  const payloads: Uint8Array[] = [];
  const nowMs = n.clock.nowMs(n.wallMs, n.monotonicMs);
  const waits = nowMs === null || !mayRunCommands(n);
  const peek = (): Uint8Array | null => (waits ? n.requests.peekIf(isUntimed) : n.requests.peek());
  let bytes = 0;
  for (let next = peek(); next !== null && payloads.length < countMax; next = peek()) {
    const size = frameBytes(next.length);
    if (payloads.length > 0 && bytes + size > n.config.batchBytesMax) break;
    bytes += size;
    payloads.push(n.requests.shift());
  }
  if (payloads.length === 0) return false;
  if (n.policy.reorderBatch) payloads.reverse();
  seal(n, primary, payloads, (nowMs ?? 0) * NS_PER_MS);
  return true;
}

/** Lays out, seals, appends and sends one batch. `wallNs` 0: stamp previous + 1 only. */
function seal(n: NodeState, primary: PrimaryState, payloads: readonly Uint8Array[], wallNs: number): void {
  let total = 0;
  for (const payload of payloads) total += frameBytes(payload.length);
  const bytes = new Uint8Array(total);
  const previous = n.ring.header(n.end);
  assert(previous !== null || n.end === NONE, 'block time grows from that of the entry before');
  let low = previous === null ? 0 : frame.timeLow(previous, 0);
  let high = previous === null ? 0 : frame.timeHigh(previous, 0);
  const wallHigh = Math.floor(wallNs / TWO_32);
  const wallLow = wallNs - wallHigh * TWO_32;
  let offset = 0;
  let index = n.end + 1;
  for (const payload of payloads) {
    low = (low + 1) >>> 0;
    if (low === 0) high = (high + 1) >>> 0;
    const behind = high < wallHigh || (high === wallHigh && low < wallLow);
    if ((behind && stamped(payload)) || n.policy.blockTimeBackwards) {
      low = wallLow >>> 0;
      high = wallHigh;
    }
    writeHeader(bytes, offset, payload.length, index, n.view, low, high, 0);
    bytes.set(payload, offset + 80);
    offset += frameBytes(payload.length);
    index++;
  }
  const chain = new Uint8Array(HASH_BYTES);
  chain.set(n.endHash);
  const count = n.codec.seal(bytes, 0, total, chain);
  assert(count === payloads.length, 'every payload became a frame');
  const batch = new FrameBatch(bytes, count, chain);
  appendBatch(n, batch);
  primary.inFlight.push({ batch, sentTick: n.tickCount, retryTicks: n.config.prepareRetryTicks });
  n.broadcast({ type: 'prepare', view: n.view, commit: n.commit, batch });
}

/** Entries of these kinds are stamped previous + 1 at once. */
function isUntimed(payload: Uint8Array): boolean {
  return !stamped(payload);
}

/** Only what an application can see as time takes cluster time. */
function stamped(payload: Uint8Array): boolean {
  const kind = envelope.kind(payload, 0);
  return kind === KIND.command || kind === KIND.timerFired;
}

/** Counts an acknowledgement and moves the commit. */
export function acknowledge(n: NodeState, primary: PrimaryState, replica: number, first: number, last: number): void {
  primary.tracker.ack(replica, n.policy.cumulativePrepareOk ? 0 : first, last);
  const commit = primary.tracker.advance();
  if (commit <= n.commit) return;
  moveCommit(n, commit);
  let done = 0;
  while (done < primary.inFlight.length && primary.inFlight[done]!.batch.last <= commit) done++;
  if (done > 0) primary.inFlight = primary.inFlight.slice(done);
  n.cache.trim(n.applied < n.durable ? n.applied : n.durable);
  answerReads(n, primary);
  flush(n);
}

/** Re-sends the oldest unacknowledged batch to those that lack it, with backoff. */
export function retransmit(n: NodeState, primary: PrimaryState): void {
  if (n.policy.noPrepareRetransmit) return;
  const oldest: InFlight | undefined = primary.inFlight[0];
  if (oldest === undefined || n.tickCount - oldest.sentTick < oldest.retryTicks) return;
  oldest.sentTick = n.tickCount;
  oldest.retryTicks = Math.min(oldest.retryTicks * 2, n.config.prepareRetryTicks * 16);
  const { batch } = oldest;
  for (const to of n.others()) {
    if (primary.tracker.has(to, batch.first, batch.last)) continue;
    n.send(to, { type: 'prepare', view: n.view, commit: n.commit, batch });
  }
}
