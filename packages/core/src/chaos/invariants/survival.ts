/**
 * Survival: whatever quorum of replicas came back with nothing but what is durable now, the view change among them would keep every committed entry,
 * or wait for more votes; and the core alone would not have to wait. The durable image of each machine is recovered by the real engine (on a copy), the
 * choice is made here, by the rule of docs/protocol.md: highest log view, then greatest head; an index goes only when n - quorum + 1 nack it.
 */
import { BOOT_PATH, decodeBootFile as readBoot } from '../../replica-boot.ts';
import type { FrameCodec } from '../../engine/frame-codec.ts';
import { sameHash, toHex } from '../../engine/hash.ts';
import type { RecoveredLog } from '../../engine/log-contract.ts';
import { recover } from '../../engine/recovery.ts';
import { SOUND } from '../../policy.ts';
import type { CanonicalLog } from '../canonical.ts';
import { offlineDisk } from '../offline.ts';
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
  core: ReadonlySet<number>,
  settings: SurvivalSettings,
): void {
  if (canonical.last < 0) return;
  // A directory that is not formatted yet has promised nothing, and votes as an empty log once it is.
  const found = storages.map((storage) => recoverWorst(storage, !core.has(storage.id), settings));
  // One that replaces a wiped one does not vote yet.
  const logs = found.filter(
    (log) => log !== 'blank' && log !== 'refused' && log.manifest.standbyThrough < 0,
  ) as RecoveredLog[];
  const quorum = Math.floor(storages.length / 2) + 1;
  const { index, hash } = canonical.entries.at(-1)!;
  const blank = found.filter((log, i) => log === 'blank' && !joins(storages[i]!)).length;
  for (const members of subsets(logs.length, quorum - blank)) {
    const all = members.map((i) => logs[i]!);
    const voters = all.filter((log) => !log.recoveringHead);
    const enough = voters.length > 0 && voters.length + blank >= quorum;
    const choice = enough ? choose(voters, blank, storages.length, settings.pipelineMax) : null;
    if (choice === null) {
      mustHold(!isCore(all, core), 'durability', 'the-core-can-always-choose', () => {
        return `if all lost power now, the core (${names(all)}) alone could not say what its log is; ${states(logs)}`;
      });
      continue;
    }
    const kept = hashAt(choice.best, index);
    mustHold(
      choice.head >= index && (kept === null || sameHash(kept, hash)),
      'durability',
      'every-quorum-keeps-what-is-committed',
      () =>
        `if all lost power now, ${names(all)} would choose a log without committed entry ${index} (${toHex(hash).slice(0, 8)}); ${states(logs)}`,
    );
  }
}

/** What the votes (and those of `blank` empty directories) settle: whose log, and through where; null: more votes are needed. */
function choose(voters: readonly RecoveredLog[], blank: number, replicas: number, pipelineMax: number): Choice | null {
  const best = voters.reduce(better);
  // What a snapshot covers is committed, and the vote says so; the frames of it may be gone, and their hashes with them.
  const commit = Math.max(...voters.map((log) => Math.max(log.head - pipelineMax, log.manifest.checkpoint.index)));
  const nacksNeeded = replicas - (Math.floor(replicas / 2) + 1) + 1;
  for (let index = Math.max(0, commit + 1); index <= best.head; index++) {
    const hash = statedHash(best, voters, index);
    const stands = voters.map((log) => standing(log, best, index, hash));
    if (stands.includes('present')) continue;
    const nacks = blank + stands.filter((stand) => stand === 'nack').length;
    return nacks >= nacksNeeded ? { best, head: index - 1 } : null;
  }
  return { best, head: best.head };
}

interface Choice {
  readonly best: RecoveredLog;
  readonly head: number;
}

/** Chain hash of `index` in the log of `best`; what damage hid there is in a log that is known to be the same from some index above on down. */
function statedHash(best: RecoveredLog, voters: readonly RecoveredLog[], index: number): Uint8Array | null {
  const own = hashAt(best, index);
  if (own !== null) return own;
  for (const log of voters) {
    for (let above = Math.min(log.head, best.head); above > index; above--) {
      const [theirs, asked] = [hashAt(log, above), hashAt(best, above)];
      if (theirs === null || asked === null) continue;
      // It may hide there as well: the next one may say.
      const stated = sameHash(theirs, asked) ? hashAt(log, index) : null;
      if (stated !== null) return stated;
      break;
    }
  }
  return null;
}

/** What a replica would say of the entry at `index`, whose chain hash is `asked` (null: nobody knows), of the log of `best`. */
function standing(
  log: RecoveredLog,
  best: RecoveredLog,
  index: number,
  asked: Uint8Array | null,
): 'present' | 'nack' | 'unknown' {
  const stranger = log.manifest.logView !== best.manifest.logView;
  if (stranger) {
    if (index > log.head) return index > log.promised ? 'nack' : 'unknown';
    const theirs = hashAt(log, index);
    if (theirs === null || asked === null) return 'unknown';
    if (!sameHash(theirs, asked)) return 'nack';
  }
  if (log.faulty.some(({ from, to }) => index >= from && index <= to)) return 'unknown';
  // Frames that do not chain to the stored headers do not count; how many of them are below the applied index is not known from outside.
  if (log.connected && index <= log.end) return 'present';
  return index > log.promised ? 'nack' : 'unknown';
}

function isCore(logs: readonly RecoveredLog[], core: ReadonlySet<number>): boolean {
  return logs.length === core.size && logs.every((log) => core.has(log.manifest.replicaId));
}

function names(logs: readonly RecoveredLog[]): string {
  return logs.map((log) => `r${log.manifest.replicaId}`).join(', ');
}

function states(logs: readonly RecoveredLog[]): string {
  const of = (log: RecoveredLog): string => {
    const faulty = log.faulty.map(({ from, to }) => `${from}..${to}`).join(' ');
    const more = `${faulty === '' ? '' : `, faulty ${faulty}`}${log.recoveringHead ? ', its tail record is lost' : ''}`;
    const { logView, replicaId } = log.manifest;
    return `r${replicaId}: log view ${logView}, head ${log.head} ${toHex(log.headHash).slice(0, 8)}, end ${log.end}, promised ${log.promised}${more}`;
  };
  return logs.map(of).join('; ');
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

/** `mayRefuse`: damage on this machine may be more than its replica can bear, as long as it says so. */
function recoverWorst(
  storage: SimStorage,
  mayRefuse: boolean,
  settings: SurvivalSettings,
): RecoveredLog | 'blank' | 'refused' {
  const { codec, clusterId, pipelineMax } = settings;
  const disk = offlineDisk(storage);
  const expect = { clusterId, replicaId: storage.id };
  const recovery = recover({ disk, codec, expect, pipelineMax, policy: SOUND });
  if ('refusal' in recovery) {
    const { code, message } = recovery.refusal;
    if (code === 'E_NOT_FORMATTED') return 'blank';
    if (mayRefuse && code === 'E_LOG_CORRUPT' && storage.damaged) return 'refused';
    mustHold(
      false,
      'durability',
      'a-power-cut-leaves-a-good-directory',
      () => `r${storage.id} would refuse to start: ${code}: ${message}`,
    );
  }
  return (recovery as Exclude<typeof recovery, { refusal: unknown }>).recovered;
}

/** Positions of every quorum and every larger set. */
function subsets(n: number, quorum: number): number[][] {
  const all: number[][] = [];
  for (let mask = 0; mask < 1 << n; mask++) {
    const members = Array.from({ length: n }, (_, i) => i).filter((i) => (mask >> i) & 1);
    if (members.length >= quorum) all.push(members);
  }
  return all;
}

/** A blank directory that `chronon recover` has prepared. */
function joins(storage: SimStorage): boolean {
  const file = storage.durableFile(BOOT_PATH);
  return file !== undefined && readBoot(file.medium)?.join === true;
}
