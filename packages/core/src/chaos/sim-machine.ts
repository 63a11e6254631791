/**
 * SimMachine: one member's machine: storage, device, clocks, and the process run of the replica on it, which starts, pauses, dies and starts again.
 *
 * Invariants: everything that reaches the replica goes through `enter`, and after each such step the invariants are checked; nothing reaches a
 * process that died; what reaches a paused one waits.
 */
import type { Prng } from '../prng.ts';
import { openBoot, type ReplicaBoot, writeBootFile } from '../replica-boot.ts';
import { DEFAULT_CONFIG, type ReplicaEvent, type ReplicaPorts, type ReplicaStatusName } from '../replica-contract.ts';
import { openReplica, type Replica } from '../replica.ts';
import { isOfCluster } from '../vsr/identity.ts';
import type { Message } from '../vsr/messages.ts';
import { max } from '../engine/commit-index.ts';
import type { VersionRange } from '../engine/version-entry.ts';
import { DiskFailure } from '../engine/virtual-disk.ts';
import { DAMAGE_CODES } from './beyond.ts';
import { describe } from './describe.ts';
import { checkDamage } from './invariants/damage.ts';
import type { Resting } from './invariants/replay.ts';
import { STOP } from './event-queue.ts';
import type { Observation, Observed } from './observation.ts';
import { noteRareState } from './rare-states.ts';
import { copyOf, openParcel, type Parcel, parcelOf } from './parcel.ts';
import { replicaConfig } from './replica-settings.ts';
import type { SimClock } from './sim-clock.ts';
import { type DeviceFault, expectNothing, SimCrash, SimDisk, type SimDevice } from './sim-disk.ts';
import type { SimStorage } from './sim-storage.ts';
import type { Statistic } from './sometimes.ts';
import { Violation } from './violation.ts';
import { versionedBank } from './versioned-bank.ts';
import type { World } from './world.ts';

const COUNTER = {
  write: 'diskErrors',
  barrier: 'barrierErrors',
  read: 'readErrors',
  'misdirected-write': 'writesMisdirected',
  'misdirected-read': 'readsMisdirected',
  'short-write': 'shortWrites',
} as const satisfies Record<DeviceFault | 'short-write', Statistic>;

/** What waits for a paused process at most; beyond it messages are lost, as a full socket buffer would. */
const BACKLOG_MAX = 20_000;

/** Of the messages without frames, one in so many travels as bytes. */
const ENCODE_EVERY = 16;

export class SimMachine implements Observed {
  readonly id: number;
  readonly storage: SimStorage;
  readonly device: SimDevice;
  readonly clock: SimClock;
  /** Process run, from 1; 0 before the first. */
  run = 0;
  replica: Replica | null = null;
  /** Of a process run whose directory has no log yet. */
  boot: ReplicaBoot | null = null;
  disk: SimDisk | null = null;
  alive = false;
  paused = false;
  /** Powered off: it does not even refuse connections. */
  silent = false;
  /** Chance that the next start dies inside its blocking open. */
  crashInOpen = 0;
  /** Set by the nemesis: the process is to die while its armed write is in flight. */
  onArmedWrite: (() => void) | null = null;
  /** Set by the nemesis: hears of each PrepareOk and DoViewChange that leaves. */
  onPromise: (() => void) | null = null;
  /** The versions of the application that its program runs. */
  program: VersionRange = { oldest: 1, newest: 1 };
  /** Set by the nemesis: true when it keeps a message back; it may call `deliver` later. */
  withhold: ((to: number, message: Message, deliver: () => void) => boolean) | null = null;
  /** Down for ever: it is not started again. */
  lost = false;
  /** The code with which it went down for ever. */
  stoppedBy: string | null = null;
  private readonly world: World;
  private readonly prng: Prng;
  private readonly seen = {
    status: 'normal' as ReplicaStatusName,
    view: 0,
    logView: 0,
    acting: false,
    serving: false,
    commit: -1,
    applied: -1,
    durable: -1,
    last: -1,
    digest: (): Uint8Array => this.replica!.executor.digest,
  };
  private backlog: (() => void)[] = [];
  private inside = false;
  private sent = 0;
  private lastPrepare: Parcel | null = null;
  /** Process run in which the device last failed a call. */
  private struck = 0;

  constructor(world: World, storage: SimStorage, device: SimDevice, clock: SimClock, prng: Prng) {
    this.world = world;
    this.id = storage.id;
    this.storage = storage;
    this.device = device;
    this.clock = clock;
    this.prng = prng;
  }

  /** Starts a new process run. False when it died while opening (and must be started again) or when a replica halted. */
  start(): boolean {
    const { world } = this;
    this.run++;
    this.alive = true;
    this.silent = false;
    this.backlog = [];
    const run = this.run;
    const disk = this.newDisk(run);
    this.disk = disk;
    if (this.run > 1) world.statistics.restarts++;
    if (this.storage.dirty) world.sometimes.reached('restart-with-unsynced-log');
    if (this.prng.chance(this.crashInOpen)) disk.armOpenCrash(this.prng.range(1, 12));
    world.trace.event('start', { replica: this.id, run });
    const died = this.guard(() => {
      this.boot = this.openBoot(disk, run);
      if (this.boot === null) this.openReplica(run);
      disk.armOpenCrash(0);
    });
    if (died) world.statistics.crashesInOpen++;
    if (!this.alive) return false;
    this.tickLater(run);
    if (this.replica !== null) world.checks.step(this);
    return true;
  }

  /** The disk is lost; the next start joins in its place (chronon recover). */
  wipe(): void {
    this.storage.wipe();
    // What was to strike the lost disk does not strike the one in its place: `recover` would fail, and be run again.
    expectNothing(this.device);
    const disk = this.newDisk(0);
    writeBootFile(disk, { bootId: this.prng.bytes(16), join: true });
    disk.close();
    this.world.trace.event('wiped', { replica: this.id });
  }

  private openReplica(run: number): void {
    const { world } = this;
    const opened = openReplica(
      replicaConfig(world.profile, this.id, world.clusterId, this.prng.u32()),
      this.ports(run),
    );
    if ('refusal' in opened) {
      const { code, message } = opened.refusal;
      if (!this.explains(code, run))
        world.fail('replica', 'a-good-directory-is-opened', `r${this.id} refuses to start: ${code}: ${message}`);
      world.trace.event('refused', { replica: this.id, run, code });
      throw new SimCrash(message);
    }
    this.replica = opened.replica;
  }

  /** A directory without a log finds out what it is, first; null when there is one. */
  private openBoot(disk: SimDisk, run: number): ReplicaBoot | null {
    const { world } = this;
    const members = world.machines.map(({ id }) => id);
    const config = {
      replicaId: this.id,
      members,
      environment: 'dev',
      everyTicks: DEFAULT_CONFIG.heartbeatTicks,
    } as const;
    const ports = {
      disk,
      codec: world.codec,
      send: (to: number, message: Message) => this.send(run, to, message),
      random16: () => world.founders[this.id - 1]!,
    };
    try {
      return openBoot(config, ports);
    } catch (error) {
      if (error instanceof DiskFailure && this.explains('E_IO_WRITE', run)) throw new SimCrash(error.message);
      throw error;
    }
  }

  /** One step of the boot; behind the last one the replica is opened. */
  private stepBoot(boot: ReplicaBoot, step: () => void): void {
    step();
    if (boot.problem !== null) {
      const { code, message } = boot.problem;
      if (this.explains(code, this.run)) throw new SimCrash(message);
      this.world.fail('replica', 'a-blank-directory-is-formatted', `r${this.id} stops: ${code}: ${message}`);
    }
    if (!boot.ready) return;
    this.boot = null;
    this.openReplica(this.run);
  }

  /** Damage outside of the core may be more than a replica can bear; it says so, and is down until it is replaced. */
  private refuses(): boolean {
    const { world } = this;
    if (world.atlas.inCore(this.id) || !this.storage.damaged) return false;
    world.sometimes.reached('refused-a-damaged-directory');
    this.lost = true;
    return true;
  }

  /** Beyond the atlas: it is down for good, and has said why. */
  stopsForDamage(code: string): boolean {
    const { sectorsRotted } = this.world.statistics;
    if (sectorsRotted === 0) return false;
    this.lost = true;
    this.stoppedBy = code;
    this.world.sometimes.reached('refused-a-damaged-directory');
    return true;
  }

  /** The faults of this process run account for a refusal to open. */
  private explains(code: string, run: number): boolean {
    if (code === 'E_IO_READ') return this.struck === run;
    if (code === 'E_APP_VERSION') return this.world.mendProgram(this);
    if (this.world.profile.beyond && DAMAGE_CODES.has(code)) return this.stopsForDamage(code);
    if (code === 'E_LOG_CORRUPT' || code === 'E_SNAPSHOT') return this.refuses();
    if (code !== 'E_IO_WRITE' && code !== 'E_NO_SPACE') return false;
    return this.struck === run || this.storage.capacityBytes !== Number.POSITIVE_INFINITY;
  }

  /** Runs `task` in the living process, now or once it is resumed, and checks the invariants behind it. */
  enter(task: () => void): void {
    if (!this.alive) return;
    if (this.paused) {
      if (this.backlog.length < BACKLOG_MAX && !this.lost) this.backlog.push(task);
      return;
    }
    if (this.guard(task)) this.world.halted(this, 'E_IO_READ', 'it died while it opened its directory');
    if (!this.alive || this.replica === null) return;
    this.world.checks.step(this);
    const { commit, durable } = this.replica.node.state;
    if (commit > durable) this.world.sometimes.reached('commit-without-own-disk');
  }

  /** SIGKILL. Unsynced bytes stay readable; what was being written is torn. Returns how many writes were cut off. */
  kill(): number {
    if (!this.alive) return 0;
    const { world } = this;
    if (this.replica?.node.state.isPrimary === true && this.replica.node.state.primary!.inFlight.length > 0) {
      world.sometimes.reached('primary-crashed-with-entries-in-flight');
    }
    const torn = this.disk!.crash();
    this.alive = false;
    this.paused = false;
    this.backlog = [];
    this.replica = null;
    this.boot = null;
    world.statistics.crashes++;
    if (torn > 0) {
      world.statistics.crashesInMidWrite++;
      world.sometimes.reached('restart-after-torn-write');
    }
    world.trace.event('died', { replica: this.id, run: this.run, torn });
    if (world.machines.every((machine) => !machine.alive)) world.sometimes.reached('all-replicas-down-at-once');
    return torn;
  }

  /** The machine loses power: the process dies, and what no barrier covered is lost, each sector with chance 1 - survival. */
  powerCut(survival: number): void {
    const { statistics, trace } = this.world;
    this.kill();
    const report = this.storage.powerCut(survival);
    this.silent = true;
    statistics.powerCuts++;
    statistics.sectorsLost += report.sectorsLost;
    statistics.directoryEntriesLost += report.entriesLost;
    trace.event('power-cut', { replica: this.id, sectors: report.sectorsLost, entries: report.entriesLost });
  }

  /** SIGSTOP. */
  pause(): void {
    this.paused = this.alive;
  }

  /** SIGSTOP, and nobody will ever continue it. */
  pauseForEver(): void {
    this.pause();
    this.backlog = [];
    this.lost = true;
  }

  /** SIGCONT: everything that waited comes at once. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const { backlog, run } = this;
    this.backlog = [];
    for (const task of backlog) if (this.run === run) this.enter(task);
  }

  /** One object a machine, refreshed by each call: an observation is made after every step. */
  observe(): Observation {
    const { seen } = this;
    const { node, executor } = this.replica!;
    const n = node.state;
    seen.status = n.status;
    seen.view = n.view;
    seen.logView = n.logView;
    seen.acting = n.isPrimary;
    seen.serving = n.serving;
    seen.commit = n.commit;
    seen.applied = executor.applied;
    seen.durable = n.durable;
    seen.last = max(n.end, n.head);
    return seen;
  }

  /** As it is looked at when all is over. */
  get resting(): Resting {
    return { id: this.id, executor: this.replica!.executor };
  }

  /** A message from another replica; `clusterId`: what its handshake said. */
  receive(from: number, parcel: Parcel, clusterId = this.world.clusterId): void {
    if (!isOfCluster(clusterId, this.world.clusterId, this.world.policy)) return;
    this.enter(() => {
      const opened = openParcel(parcel, this.world.codec);
      if ('error' in opened)
        this.world.fail(
          'replica',
          'messages-decode',
          `r${this.id} cannot decode a message of r${from}: ${opened.error}`,
        );
      const { message } = opened;
      if (message.type === 'prepareOk') this.world.checks.promise.arrives(this.id, from, message);
      const { boot } = this;
      if (boot !== null) this.stepBoot(boot, () => boot.receive(from, message));
      else this.replica?.receive(from, message);
    });
  }

  private newDisk(run: number): SimDisk {
    return new SimDisk({
      queue: this.world.queue,
      storage: this.storage,
      device: this.device,
      prng: this.prng.fork(`disk ${run}`),
      enter: (task) => {
        if (this.run === run) this.enter(task);
      },
      onArmedWrite: () => {
        const armed = this.onArmedWrite;
        this.onArmedWrite = null;
        armed?.();
      },
      onFault: (fault) => {
        this.world.statistics[COUNTER[fault]]++;
        if (fault !== 'short-write') this.struck = run;
        this.world.trace.event('disk-fault', { replica: this.id, fault });
      },
      mayHarm: (path, offset, length) =>
        this.world.atlas.mayHarm(this.id, { path, from: offset, to: offset + length }, false),
    });
  }

  private ports(run: number): ReplicaPorts {
    const { world, clock } = this;
    const inRun = (task: () => void): void => {
      if (this.run === run) this.enter(task);
    };
    const sink = world.sink.for(
      inRun,
      (effect) => world.checks.startsEffect(this, effect),
      (effect) => world.checks.effect.ran(this, effect),
    );
    return {
      disk: this.disk!,
      codec: world.codec,
      app: versionedBank(this.program, (index, session, version) =>
        world.checks.state.executes(this, index, session, version),
      ),
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      send: (to, message) => this.send(run, to, message),
      reply: (origin, message) => {
        if (this.run === run && this.alive) world.clients.reply(this, origin, message);
      },
      defer: (task) => world.queue.defer(() => inRun(task)),
      sink: () => sink,
      halt: (code, message) => {
        world.trace.event('halt', { replica: this.id, run, code });
        world.trace.note('halt-message', { replica: this.id, message });
        this.world.halted(this, code, message);
      },
      onEvent: (event) => this.onEvent(event),
      policy: world.policy,
    };
  }

  private send(run: number, to: number, message: Message): void {
    if (this.run !== run || !this.alive) return;
    const { world } = this;
    if (world.trace.verbose) world.trace.note('send', describe(this.id, to, message));
    world.checks.sends(this, message);
    if (message.type === 'prepareOk' || message.type === 'doViewChange') this.onPromise?.();
    const machine = world.machine(to);
    const parcel = this.parcelOf(message, ++this.sent % ENCODE_EVERY === 0);
    if (this.withhold?.(to, message, () => machine.receive(this.id, parcel)) === true) return;
    world.network.send(this.id, to, parcel, (arrived) => machine.receive(this.id, arrived));
  }

  /** A Prepare that goes to several replicas is encoded once. */
  private parcelOf(message: Message, sampled: boolean): Parcel {
    if (message.type !== 'prepare') return parcelOf(message, sampled);
    const before = this.lastPrepare;
    const parcel = before !== null && before.message === message ? copyOf(before) : parcelOf(message, sampled);
    this.lastPrepare = parcel;
    return parcel;
  }

  private onEvent(event: ReplicaEvent): void {
    const { world } = this;
    const { statistics } = world;
    world.watcher.onEvent?.(this.id, event);
    if (world.trace.verbose) world.trace.note('event', { replica: this.id, event: JSON.stringify(event) });
    noteRareState(world, this, event);
    switch (event.kind) {
      case 'truncate':
        statistics.truncations++;
        world.checks.log.truncated(this, event.from);
        break;
      case 'view':
        this.noteView(event.view);
        world.queue.defer(() => this.enter(() => world.clients.announce(this)));
        break;
      case 'repair':
        statistics.repairs++;
        break;
      case 'abdicate':
        statistics.abdications++;
        break;
      case 'snapshot':
        statistics.snapshotsTaken++;
        world.checks.snapshot(this, event.index);
        break;
      case 'install':
        statistics.snapshotTransfers++;
        world.checks.snapshot(this, event.index);
        break;
      case 'mended':
        if (event.how === 'fetched') world.checks.snapshot(this, event.index);
        break;
      case 'version':
        world.sometimes.reached('version-activated');
        break;
      case 'compact':
        statistics.compactions++;
        break;
      case 'restart':
        if (event.snapshot >= 0) statistics.snapshotRestarts++;
        break;
      case 'diverged':
        world.fail(
          'state',
          'no-replica-diverges',
          `r${this.id} finds its digest at ${event.index} different from r${event.peer}'s`,
        );
        break;
      default:
    }
  }

  private noteView(view: number): void {
    const { sometimes, machines, checks } = this.world;
    if (view > checks.view.highestView + 1) sometimes.reached('view-change-skipped-a-dead-primary');
    const others = machines.filter((machine) => machine !== this && machine.replica?.node.state.isPrimary === true);
    if (others.length > 0 && this.replica?.node.state.isPrimary === true)
      sometimes.reached('two-replicas-believed-primary');
  }

  /** Runs `task`; true when the process died in it. Violations pass; anything else the replica throws is one. */
  private guard(task: () => void): boolean {
    if (this.inside) {
      task();
      return false;
    }
    this.inside = true;
    try {
      task();
    } catch (error) {
      if (error instanceof Violation) throw error;
      if (error instanceof SimCrash) {
        this.kill();
        return true;
      }
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw new Violation('replica', 'nothing-is-thrown', `r${this.id} threw ${what}`);
    } finally {
      this.inside = false;
    }
    return false;
  }

  private tickBoot(boot: ReplicaBoot): void {
    this.enter(() => this.stepBoot(boot, () => boot.tick()));
  }

  private tickLater(run: number): void {
    const { world } = this;
    const { queue, profile } = world;
    const enter = (): void => {
      if (this.replica === null) return;
      this.replica.tick();
      // It may have halted in this very tick.
      if (!this.alive) return;
      world.checks.resource.look(this.id, this.replica);
      checkDamage(this.id, this.replica);
    };
    const tickUs = this.clock.toVirtualUs(profile.tickMs);
    queue.repeat(tickUs, () => {
      if (this.run !== run || !this.alive) return STOP;
      if (this.paused) return tickUs;
      if (this.boot === null) this.enter(enter);
      else this.tickBoot(this.boot);
      return tickUs;
    });
  }
}
