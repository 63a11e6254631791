/**
 * One verification of all replicas, in lockstep windows: memory stays bounded, and the hashes of all lanes are compared at every index. The network and
 * the clock come in as ports, so that a test can play a lying server.
 */
import { HASH_BYTES } from '@chronon/core/engine/constants';
import { firstDifference, LaneVerifier } from './lane.ts';
import type { LaneReport, LaneState, VerifyReport } from './protocol.ts';

const WINDOW = 4_096;
/** A lane that gets no new frame for so long is given up. */
const STALL_MS = 6_000;
const RETRY_MS = 400;

/** What an answer of `log.range` holds, bytes decoded. Only the bytes are believed; `fault` is believed because it speaks against its sender. */
export interface RangeAnswer {
  readonly replica: number;
  readonly from: string;
  readonly frames: Uint8Array;
  readonly commit: string | null;
  readonly fault: { readonly index: string; readonly kind: string } | null;
}

export interface VerifyPorts {
  /** Raw frames from `from` on, as many as the replica gives in one answer. */
  range(replica: number, from: number): Promise<RangeAnswer>;
  sleep(ms: number): Promise<void>;
  now(): number;
  report(report: VerifyReport): void;
}

class Lane {
  readonly verifier: LaneVerifier;
  readonly hashes = new Uint8Array(WINDOW * HASH_BYTES);
  state: LaneState = 'verifying';
  fault: LaneReport['fault'] = null;
  why: string | null = null;

  constructor(
    readonly replica: number,
    first: number,
  ) {
    this.verifier = new LaneVerifier(first);
  }

  get active(): boolean {
    return this.fault === null && this.why === null;
  }

  giveUp(why: string): void {
    this.state = 'given-up';
    this.why = why;
  }

  report(): LaneReport {
    const { replica, state, verifier, fault, why } = this;
    return { replica, state, verified: verifier.verified, hash: verifier.hash, bytes: verifier.bytes, fault, why };
  }
}

export async function verifyAll(
  replicas: readonly number[],
  target: number,
  ports: VerifyPorts,
): Promise<VerifyReport> {
  const first = Math.max(0, ...(await Promise.all(replicas.map((id) => firstOf(id, ports)))));
  const lanes = replicas.map((id) => new Lane(id, first));
  const started = ports.now();
  let divergence: VerifyReport['divergence'] = null;
  const report = (finished: boolean): VerifyReport => ({
    target,
    first,
    lanes: lanes.map((lane) => lane.report()),
    divergence,
    finished,
    elapsedMs: ports.now() - started,
  });
  for (let base = first; base <= target && divergence === null; base += WINDOW) {
    const until = Math.min(target, base + WINDOW - 1);
    const active = lanes.filter((lane) => lane.active);
    if (active.length === 0) break;
    await Promise.all(active.map((lane) => fill(lane, base, until, ports, () => ports.report(report(false)))));
    divergence = compare(
      lanes.filter((lane) => lane.verifier.verified >= base),
      base,
    );
  }
  for (const lane of lanes)
    if (lane.active && lane.verifier.verified === target && lane.verifier.bytes > 0) lane.state = 'reached';
  const result = report(true);
  ports.report(result);
  return result;
}

/** Where a replica's log begins, as it says: a silent one is found out later. */
async function firstOf(replica: number, ports: VerifyPorts): Promise<number> {
  try {
    const { fault } = await ports.range(replica, 0);
    return fault?.kind === 'compacted' ? Number(fault.index) : 0;
  } catch {
    return 0;
  }
}

/** Brings one lane to `until`, or to its fault, or gives it up. */
async function fill(lane: Lane, base: number, until: number, ports: VerifyPorts, progress: () => void): Promise<void> {
  let newsAt = ports.now();
  let last = 'no answer';
  while (lane.active && lane.verifier.verified < until) {
    const from = lane.verifier.verified + 1;
    let answer: RangeAnswer | null = null;
    try {
      answer = await ports.range(lane.replica, from);
    } catch (error) {
      last = error instanceof Error ? error.message : 'no answer';
    }
    const before = lane.verifier.verified;
    if (answer) last = take(lane, answer, from, base, until);
    if (lane.verifier.verified > before) newsAt = ports.now();
    progress();
    if (!lane.active || lane.verifier.verified > before) continue;
    lane.state = 'waiting';
    if (ports.now() - newsAt > STALL_MS) lane.giveUp(`stopped before index ${from}: ${last}`);
    else await ports.sleep(RETRY_MS);
  }
  if (lane.active) lane.state = 'verifying';
}

/** Takes one answer in; returns why it brought nothing, for the case that it did not. */
function take(lane: Lane, answer: RangeAnswer, from: number, base: number, until: number): string {
  if (answer.replica !== lane.replica || answer.from !== String(from)) {
    lane.giveUp('the answer is not for what was asked');
    return '';
  }
  if (answer.frames.length > 0) {
    const taken = lane.verifier.take(answer.frames, until - from + 1, lane.hashes, base);
    if (taken.kind === 'fault') {
      lane.state = 'fault';
      lane.fault = { index: taken.index, what: taken.what };
      return '';
    }
    if (taken.kind === 'truncated') return 'the answer ends inside a frame';
  }
  if (answer.fault?.kind === 'compacted') {
    lane.giveUp(`it says that its log begins at index ${answer.fault.index} now: verify again`);
    return '';
  }
  if (answer.fault !== null && Number(answer.fault.index) <= lane.verifier.verified + 1) {
    lane.state = 'fault';
    lane.fault = {
      index: Number(answer.fault.index),
      what: `r${lane.replica} itself says that its disk has no intact frame here (${answer.fault.kind})`,
    };
    return '';
  }
  if (answer.frames.length > 0) return '';
  return answer.commit === null || Number(answer.commit) < from
    ? `it answers that it has committed only up to ${answer.commit ?? 'nothing'}`
    : 'the answer held no frames';
}

function compare(lanes: readonly Lane[], base: number): VerifyReport['divergence'] {
  const [first, ...rest] = lanes;
  if (!first) return null;
  let index: number | null = null;
  for (const lane of rest) {
    const entries = Math.min(first.verifier.verified, lane.verifier.verified) - base + 1;
    const at = firstDifference(first.hashes, lane.hashes, entries);
    if (at >= 0 && (index === null || base + at < index)) index = base + at;
  }
  if (index === null) return null;
  const groups = new Map<string, number[]>();
  for (const lane of lanes) {
    if (lane.verifier.verified < index) continue;
    const at = (index - base) * HASH_BYTES;
    const key = String(lane.hashes.subarray(at, at + HASH_BYTES));
    groups.set(key, [...(groups.get(key) ?? []), lane.replica]);
  }
  return { index, groups: [...groups.values()].sort((a, b) => a.length - b.length) };
}
