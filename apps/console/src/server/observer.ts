/**
 * Turns successive answers of the replicas into what no single answer says: events, commit rate, digest agreement. No I/O.
 *
 * Invariants: an event states only what two answers show; digests are compared only at an equal index; everything is bounded.
 */
import { plural } from '../lib/format.ts';
import type { ClusterEvent, ClusterFrame, DigestMismatch, Reach, ReplicaDetail } from '../lib/frame.ts';

const EVENTS_MAX = 200;
const DIGEST_INDEXES_MAX = 4096;
const HISTORY_SECONDS = 60;
const RATE_WINDOW_MS = 2_000;

export class Observer {
  readonly events: ClusterEvent[] = [];
  mismatch: DigestMismatch | null = null;
  agreed: ClusterFrame['agreed'] = null;
  #seq = 0;
  readonly #last = new Map<number, ReplicaDetail>();
  readonly #digests = new Map<string, Map<number, string>>();
  /** Greatest commit of any replica over time. */
  readonly #commits: { atMs: number; commit: number }[] = [];

  note(replica: number | null, tone: ClusterEvent['tone'], text: string, atMs: number): void {
    this.events.push({ seq: ++this.#seq, atMs, replica, tone, text });
    if (this.events.length > EVENTS_MAX) this.events.shift();
  }

  /** Takes in one replica's answer. */
  answer(detail: ReplicaDetail, atMs: number): void {
    const before = this.#last.get(detail.id);
    this.#last.set(detail.id, detail);
    if (before) this.#compare(before, detail, atMs);
    this.#digest(detail, atMs);
    if (detail.commit !== null) this.#commit(Number(detail.commit), atMs);
  }

  /** Takes in that a replica's reachability changed. */
  reach(id: number, from: Reach | null, to: Reach, why: string | null, atMs: number): void {
    if (from === null || from === to) return;
    if (to === 'live') this.note(id, 'ok', `r${id} answers again`, atMs);
    else if (to === 'silent') this.note(id, 'bad', `r${id} stopped answering${why ? `: ${why}` : ''}`, atMs);
  }

  #compare(a: ReplicaDetail, b: ReplicaDetail, atMs: number): void {
    const say = (tone: ClusterEvent['tone'], text: string) => this.note(b.id, tone, text, atMs);
    if (b.uptimeMs < a.uptimeMs) say('warn', `r${b.id} restarted`);
    if (b.view !== a.view) {
      const known = this.events.some((e) => e.text.startsWith(`view ${b.view}:`));
      if (!known && b.role === 'primary') say('info', `view ${b.view}: r${b.id} is primary`);
      else if (!known && b.status === 'view-change') say('warn', `r${b.id} votes for view ${b.view}`);
    }
    if (b.role === 'primary' && a.role !== 'primary' && b.view === a.view)
      say('info', `view ${b.view}: r${b.id} is primary`);
    if (b.role === 'primary' && b.serving && !a.serving) say('ok', `r${b.id} serves clients in view ${b.view}`);
    if (b.abdicated && !a.abdicated) say('warn', `r${b.id} stepped down`);
    if (a.status !== b.status && b.status === 'normal') say('ok', `r${b.id} is normal in view ${b.view}`);
    if (a.status !== b.status && b.status.startsWith('recovering')) say('warn', `r${b.id} is ${b.status}`);
    if (b.diverged !== null && a.diverged === null) say('bad', `r${b.id} diverged: ${b.diverged}`);
    if (b.readOnly !== a.readOnly)
      say(b.readOnly ? 'bad' : 'ok', `r${b.id} ${b.readOnly ? 'has no space left: read-only' : 'has space again'}`);
    if (b.faulty.length > a.faulty.length) {
      const range = b.faulty[b.faulty.length - 1]!;
      say('bad', `r${b.id} found a damaged range ${range.from} to ${range.to}`);
    }
    if (b.faulty.length === 0 && a.faulty.length > 0) say('ok', `r${b.id} repaired its log`);
    this.#scrub(a, b, atMs);
    if (b.checkpoint !== a.checkpoint && b.checkpoint !== null)
      say('info', `r${b.id} has a checkpoint at ${b.checkpoint}`);
    this.#leases(a, b, atMs);
  }

  /** What the scrubber found and repaired between two answers, often both at once. */
  #scrub(a: ReplicaDetail, b: ReplicaDetail, atMs: number): void {
    // A restart begins to count anew.
    if (b.uptimeMs < a.uptimeMs) return;
    const found = b.scrub.damaged - a.scrub.damaged;
    const repaired = b.scrub.repaired - a.scrub.repaired;
    if (found > 0) this.note(b.id, 'bad', `r${b.id} found ${plural(found, 'damaged place')} on its own disk`, atMs);
    if (repaired > 0) this.note(b.id, 'ok', `r${b.id} repaired ${plural(repaired, 'damaged place')}`, atMs);
  }

  #leases(a: ReplicaDetail, b: ReplicaDetail, atMs: number): void {
    for (const lease of b.leases) {
      if (lease.replica !== b.id || a.leases.some((l) => l.id === lease.id)) continue;
      const what =
        lease.kind === 'cut' ? `link r${lease.replica} to r${lease.to} cut` : `${lease.kind} of r${lease.replica}`;
      this.note(b.id, 'warn', `${what} for ${Math.round(lease.ttlMs / 1000)} s`, atMs);
    }
    for (const lease of a.leases) {
      if (lease.replica !== b.id || b.leases.some((l) => l.id === lease.id)) continue;
      if (lease.kind === 'cut') this.note(b.id, 'ok', `link r${lease.replica} to r${lease.to} healed`, atMs);
    }
  }

  #digest(detail: ReplicaDetail, atMs: number): void {
    if (detail.applied === null || detail.digest === '') return;
    let at = this.#digests.get(detail.applied);
    if (!at) {
      at = new Map();
      this.#digests.set(detail.applied, at);
      if (this.#digests.size > DIGEST_INDEXES_MAX) this.#digests.delete(this.#digests.keys().next().value!);
    }
    at.set(detail.id, detail.digest);
    const values = new Set(at.values());
    if (values.size > 1) {
      if (this.mismatch?.index !== detail.applied) {
        this.note(null, 'bad', `execution digests differ at index ${detail.applied}`, atMs);
      }
      this.mismatch = { index: detail.applied, replicas: [...at].map(([id, digest]) => ({ id, digest })) };
    } else if (at.size > 1 && BigInt(detail.applied) >= BigInt(this.agreed?.index ?? '0')) {
      this.agreed = { index: detail.applied, replicas: [...at.keys()].sort((a, b) => a - b), digest: detail.digest };
    }
  }

  #commit(commit: number, atMs: number): void {
    const newest = this.#commits.at(-1);
    if (newest && newest.commit > commit) return;
    this.#commits.push({ atMs, commit });
    const oldest = atMs - (HISTORY_SECONDS + 5) * 1000;
    while (this.#commits.length > 2 && this.#commits[0]!.atMs < oldest) this.#commits.shift();
  }

  /** Commits a second over the last two seconds; null while there are too few answers. */
  commitsPerSecond(nowMs: number): number | null {
    const recent = this.#commits.filter((sample) => sample.atMs >= nowMs - RATE_WINDOW_MS);
    const [first, last] = [recent[0], recent.at(-1)];
    if (!first || !last || last.atMs - first.atMs < 500) return null;
    return ((last.commit - first.commit) * 1000) / (last.atMs - first.atMs);
  }

  /** Commits in each of the last 60 s, oldest first. */
  history(nowMs: number): (number | null)[] {
    const end = Math.floor(nowMs / 1000);
    const slots = new Map<number, { low: number; high: number }>();
    let before: { atMs: number; commit: number } | null = null;
    for (const sample of this.#commits) {
      const second = Math.floor(sample.atMs / 1000);
      // Commits made while nobody looked belong to no second.
      const gap = before === null || sample.atMs - before.atMs > RATE_WINDOW_MS;
      const slot = slots.get(second) ?? { low: gap ? sample.commit : before!.commit, high: sample.commit };
      slot.high = sample.commit;
      slots.set(second, slot);
      before = sample;
    }
    return Array.from({ length: HISTORY_SECONDS }, (_, i) => {
      const slot = slots.get(end - HISTORY_SECONDS + i);
      return slot ? slot.high - slot.low : null;
    });
  }
}
