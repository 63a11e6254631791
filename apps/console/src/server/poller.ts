/**
 * Asks every replica for its status each 250 ms while somebody watches, and makes one merged frame of the answers. One poller a process.
 *
 * Invariants: each replica is asked on its own, so that a silent one delays no other; an old answer is never shown as a new one (`ageMs`); nothing runs
 * while nobody watches.
 */
import { randomBytes } from 'node:crypto';
import type { ClusterFrame, Lease, ProcessView, Reach, ReplicaDetail, ReplicaView } from '../lib/frame.ts';
import { config } from './config.ts';
import { mergeLeases, type StatedLease } from './leases.ts';
import { Observer } from './observer.ts';
import { replicaApi, REPLICA_TIMEOUT_MS, type SupervisorApi, supervisorApis, whyFailed } from './replica-client.ts';

const POLL_MS = 250;
/** Longer than two requests without an answer: one lost answer raises no alarm. */
const LIVE_MS = 2_000;
const LINGER_MS = 3_000;
const SUPERVISOR_POLL_MS = 500;

interface Target {
  readonly id: number;
  readonly url: string;
  detail: ReplicaDetail | null;
  observedAt: number | null;
  answeredInMs: number | null;
  error: string | null;
  reach: Reach | null;
  /** A request is under way. */
  asked: boolean;
}

interface SupervisorWord {
  readonly processes: readonly ProcessView[];
  readonly leases: readonly Lease[];
  readonly observedAt: number;
}

export class Poller {
  readonly epoch = randomBytes(6).toString('hex');
  readonly #observer = new Observer();
  readonly #targets: Target[];
  /** What each supervisor stated last: processes, and the leases of those that cannot speak for themselves. */
  readonly #supervisors = new Map<SupervisorApi, SupervisorWord>();
  #watchers = 0;
  #running = false;
  #stopTimer: NodeJS.Timeout | null = null;
  #seq = 0;
  readonly #wake = new Set<() => void>();

  constructor() {
    this.#targets = config().replicas.map(({ id, apiUrl }) => ({
      id,
      url: apiUrl,
      detail: null,
      observedAt: null,
      answeredInMs: null,
      error: null,
      reach: null,
      asked: false,
    }));
  }

  /** Keeps the poller running until the returned function is called. */
  watch(): () => void {
    this.#watchers++;
    if (this.#stopTimer) clearTimeout(this.#stopTimer);
    this.#stopTimer = null;
    if (!this.#running) {
      this.#running = true;
      void this.#rounds();
      for (const api of supervisorApis(REPLICA_TIMEOUT_MS)) void this.#pollSupervisor(api);
    }
    let watching = true;
    return () => {
      if (!watching) return;
      watching = false;
      if (--this.#watchers > 0) return;
      this.#stopTimer = setTimeout(() => (this.#running = false), LINGER_MS);
      this.#stopTimer.unref();
    };
  }

  /** Resolves at the next answer or failure of any replica, or after `ms`. */
  changed(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#wake.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake.add(done);
      signal?.addEventListener('abort', done);
    });
  }

  /** One merged frame, with events after `sinceEvent`. */
  frame(sinceEvent: number): ClusterFrame {
    const now = performance.now();
    const atMs = Date.now();
    const { events, mismatch, agreed } = this.#observer;
    const oldest = events[0]?.seq ?? 1;
    return {
      epoch: this.epoch,
      seq: ++this.#seq,
      atMs,
      replicas: this.#targets.map((target) => this.#view(target, now)),
      faults: mergeLeases([
        ...this.#targets.flatMap((target) => age(target.detail?.leases ?? [], target.observedAt, now, `r${target.id}`)),
        ...[...this.#supervisors.values()].flatMap((word) => age(word.leases, word.observedAt, now, 'supervisor')),
      ]),
      commitsPerSecond: this.#observer.commitsPerSecond(atMs),
      history: this.#observer.history(atMs),
      agreed,
      mismatch,
      events: events.filter((event) => event.seq > sinceEvent),
      skippedEvents: sinceEvent > 0 ? Math.max(0, oldest - sinceEvent - 1) : 0,
    };
  }

  /** A frame in which each replica has answered or has had its time to: for the first paint. */
  async firstFrame(): Promise<ClusterFrame> {
    const release = this.watch();
    const deadline = performance.now() + REPLICA_TIMEOUT_MS + 100;
    while (performance.now() < deadline && this.#targets.some((t) => !this.#settled(t))) await this.changed(100);
    release();
    return this.frame(0);
  }

  #settled(target: Target): boolean {
    return target.reach === 'live' ? performance.now() - (target.observedAt ?? 0) < LIVE_MS : target.error !== null;
  }

  #view(target: Target, now: number): ReplicaView {
    const ageMs = target.observedAt === null ? null : Math.max(0, now - target.observedAt);
    const reach: Reach = ageMs === null ? 'never' : ageMs < LIVE_MS ? 'live' : 'silent';
    const { id, url, error, answeredInMs, detail } = target;
    const process =
      [...this.#supervisors.values()].flatMap((word) => word.processes).find((one) => one.id === id) ?? null;
    return { id, url, reach, ageMs, error, answeredInMs, detail, process };
  }

  async #pollSupervisor(api: SupervisorApi): Promise<void> {
    while (this.#running) {
      try {
        const { processes } = await api.supervisor.status.query();
        const leases = processes.flatMap(({ lease }) => (lease ? [lease] : []));
        this.#supervisors.set(api, { processes, leases, observedAt: performance.now() });
      } catch {
        // Its leases run on here until they end; what it says of processes is no longer known.
        const known = this.#supervisors.get(api);
        if (known) this.#supervisors.set(api, { ...known, processes: [] });
      }
      await new Promise((resolve) => setTimeout(resolve, SUPERVISOR_POLL_MS));
    }
  }

  /** Asks all at one moment, so that their positions can be compared; one that has not answered yet is not asked again. */
  async #rounds(): Promise<void> {
    while (this.#running) {
      for (const target of this.#targets) if (!target.asked) void this.#ask(target);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #ask(target: Target): Promise<void> {
    const started = performance.now();
    target.asked = true;
    try {
      const detail = await replicaApi(target.id, REPLICA_TIMEOUT_MS).replica.status.query();
      target.observedAt = performance.now();
      target.answeredInMs = target.observedAt - started;
      target.detail = detail;
      target.error = null;
      this.#observer.answer(detail, Date.now());
    } catch (error) {
      target.error = whyFailed(error);
    }
    target.asked = false;
    const { reach } = this.#view(target, performance.now());
    this.#observer.reach(target.id, target.reach, reach, target.error, Date.now());
    target.reach = reach;
    for (const resume of this.#wake) resume();
  }
}

/** Leases with the time left now. */
function age(leases: readonly Lease[], observedAt: number | null, now: number, by: string): StatedLease[] {
  const passed = observedAt === null ? 0 : now - observedAt;
  return leases.map((lease) => ({ lease: { ...lease, remainingMs: lease.remainingMs - passed }, by }));
}

/** The process's one poller, however often the bundler copies this module. */
export function poller(): Poller {
  const shared = globalThis as { chrononPoller?: Poller };
  return (shared.chrononPoller ??= new Poller());
}
