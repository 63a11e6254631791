/**
 * Survival: whatever quorum of replicas came back with nothing but what is durable now, the view change among them would keep every committed entry.
 * The durable image of each machine is recovered by the real engine (on a copy), the choice is made here, by the rule of docs/protocol.md: highest log
 * view, then greatest head.
 */
import type { FrameCodec } from '../../engine/frame-codec.ts';
import { sameHash, toHex } from '../../engine/hash.ts';
import type { RecoveredLog } from '../../engine/log-contract.ts';
import { recover } from '../../engine/recovery.ts';
import { Prng } from '../../prng.ts';
import type { CanonicalLog } from '../canonical.ts';
import { EventQueue } from '../event-queue.ts';
import { SimDisk } from '../sim-disk.ts';
import type { SimStorage } from '../sim-storage.ts';
import { mustHold } from '../violation.ts';

export interface SurvivalSettings {
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  readonly pipelineMax: number;
}

/** Checks the present moment. Costs a recovery a replica: call it now and then. */
export function checkSurvival(
  canonical: CanonicalLog,
  storages: readonly SimStorage[],
  settings: SurvivalSettings,
): void {
  if (canonical.last < 0) return;
  // A directory that is not formatted yet has promised nothing, and votes as an empty log once it is.
  const logs = storages.map((storage) => recoverWorst(storage, settings)).filter((log) => log !== null);
  const quorum = Math.floor(storages.length / 2) + 1;
  for (const members of subsets(logs.length, quorum - (storages.length - logs.length))) {
    const best = members.map((i) => logs[i]!).reduce(better);
    const { index, hash } = canonical.entries.at(-1)!;
    const kept = hashAt(best, index);
    mustHold(
      best.head >= index && (kept === null || sameHash(kept, hash)),
      'durability',
      'every-quorum-keeps-what-is-committed',
      () => {
        const names = members.map((i) => `r${logs[i]!.manifest.replicaId}`).join(', ');
        const states = logs.map(
          (log) =>
            `r${log.manifest.replicaId}: log view ${log.manifest.logView}, head ${log.head} ${toHex(log.headHash).slice(0, 8)}`,
        );
        return `if all lost power now, ${names} would choose a log without committed entry ${index} (${toHex(hash).slice(0, 8)}); ${states.join('; ')}`;
      },
    );
  }
}

function better(a: RecoveredLog, b: RecoveredLog): RecoveredLog {
  if (a.manifest.logView !== b.manifest.logView) return a.manifest.logView > b.manifest.logView ? a : b;
  return b.head > a.head ? b : a;
}

/** Chain hash of the log of record at `index`; null when its headers do not say. */
function hashAt(log: RecoveredLog, index: number): Uint8Array | null {
  if (index === log.head) return log.headHash;
  return log.headers.contains(index) ? log.headers.hash(index) : null;
}

function recoverWorst(storage: SimStorage, settings: SurvivalSettings): RecoveredLog | null {
  const { codec, clusterId, pipelineMax } = settings;
  const disk = new SimDisk({
    queue: new EventQueue(),
    storage: storage.worstImage(),
    device: { latencyLowUs: 0, latencyHighUs: 0, slowChance: 0, slowUs: 0, stallUntilUs: 0, failures: 0 },
    prng: new Prng(0),
    enter: () => {},
    onArmedWrite: () => {},
    onDiskError: () => {},
  });
  const expect = { clusterId, replicaId: storage.id };
  const recovery = recover({ disk, codec, expect, pipelineMax, unconnectedFramesCount: false });
  if ('refusal' in recovery) {
    const { code, message } = recovery.refusal;
    if (code === 'E_NOT_FORMATTED') return null;
    mustHold(
      false,
      'durability',
      'a-power-cut-leaves-a-good-directory',
      () => `r${storage.id} would refuse to start: ${code}: ${message}`,
    );
  }
  return (recovery as Exclude<typeof recovery, { refusal: unknown }>).recovered;
}

function subsets(n: number, size: number): number[][] {
  const all: number[][] = [];
  for (let mask = 0; mask < 1 << n; mask++) {
    const members = Array.from({ length: n }, (_, i) => i).filter((i) => (mask >> i) & 1);
    if (members.length === size) all.push(members);
  }
  return all;
}
