/**
 * Simulator: a whole cluster in one thread and in virtual time. Real replicas, logs, executors, sinks' managers and clients; only disk, network, clock
 * and the ledger outside are simulated. One seed drives everything.
 *
 * A run has two phases. Safety: the schedule's faults strike, whatever they do no invariant may break. Liveness: all replicas, or a quorum of them (the
 * core; the others stay broken for ever), are healed; every call must end and they must come to rest, equal, within LIVENESS_US (liveness.ts).
 */
import { clusterIdOf } from '../engine/blank-manifest.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { type Policy, SOUND } from '../policy.ts';
import { Prng } from '../prng.ts';
import { DAMAGE_CODES, reasons } from './beyond.ts';
import { Checks } from './checks.ts';
import { EventQueue, US_PER_MS } from './event-queue.ts';
import { FaultAtlas } from './fault-atlas.ts';
import { Liveness, LOOK_US } from './liveness.ts';
import { Nemesis } from './nemesis.ts';
import { StorageNemesis } from './nemesis-storage.ts';
import { drawProfile, type FaultKind, type Profile } from './profile.ts';
import { checkSurvival } from './invariants/survival.ts';
import { replicaConfig } from './replica-settings.ts';
import type { Scenario } from './scenario.ts';
import { drawSchedule, type FaultEvent } from './schedule.ts';
import { SimClients } from './sim-client.ts';
import { SimClock } from './sim-clock.ts';
import { soundDevice } from './sim-disk.ts';
import { SimMachine } from './sim-machine.ts';
import { SimNetwork } from './sim-network.ts';
import { SimSink } from './sim-sink.ts';
import { SimStorage } from './sim-storage.ts';
import { emptyStatistics, Sometimes, type Statistics } from './sometimes.ts';
import { Trace } from './trace.ts';
import { type InvariantFamily, Violation } from './violation.ts';
import type { Watcher, World } from './world.ts';

/** Gap between two looks at what a power cut would leave, microseconds. */
const SURVIVAL_LOW_US = 200_000;
const SURVIVAL_HIGH_US = 3_000_000;
/** More events than this mean that the simulation runs in circles. */
const EVENTS_MAX = 20_000_000;

export interface SimulationOptions extends Watcher {
  readonly seed: number;
  /** Null: drawn from the seed. */
  readonly replicas: number | null;
  readonly codec: FrameCodec;
  readonly policy?: Policy;
  /** Instead of what the seed draws: a stored world and schedule. */
  readonly scenario?: Scenario | null;
  /** Ids of fault events left out (shrinking). */
  readonly without?: ReadonlySet<number>;
  /** Changes what the seed drew: benchmarks want a world of their own. */
  readonly adjust?: (profile: Profile) => Profile;
  readonly traceSink?: ((line: string) => void) | null;
  /** A replica that stops by an assertion is started again instead of failing the run: for mutations, which must be caught from outside. */
  readonly forgiveHalts?: boolean;
}

export interface SimulationResult {
  readonly seed: number;
  readonly replicas: number;
  readonly violation: {
    readonly family: InvariantFamily;
    readonly invariant: string;
    readonly sentence: string;
  } | null;
  readonly statistics: Statistics;
  readonly sometimes: Readonly<Record<string, number>>;
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly schedule: readonly FaultEvent[];
}

/** Halts that a fault of the schedule explains. */
const DISK_HALTS: ReadonlySet<string> = new Set(['E_FSYNC', 'E_DISK_STALL', 'E_IO_READ', 'E_IO_WRITE']);

export class Simulator implements World {
  readonly queue = new EventQueue();
  readonly profile: Profile;
  readonly codec: FrameCodec;
  readonly policy: Policy;
  readonly clusterId: Uint8Array;
  readonly founders: readonly Uint8Array[];
  readonly network: SimNetwork;
  readonly sink: SimSink;
  readonly clients: SimClients;
  readonly checks: Checks;
  readonly statistics = emptyStatistics();
  readonly sometimes = new Sometimes();
  readonly trace: Trace;
  readonly atlas: FaultAtlas;
  readonly machines: readonly SimMachine[];
  readonly schedule: readonly FaultEvent[];
  readonly watcher: Watcher;
  /** The safety phase is over. */
  safetyOver = false;
  /** Virtual time between two yields of `course`. */
  readonly sliceMs = LOOK_US / US_PER_MS;
  private readonly options: SimulationOptions;
  private injected = 0;
  private readonly nemesis: Nemesis;
  private readonly clientPrng: Prng;
  private readonly haltPrng: Prng;
  private readonly survivalPrng: Prng;
  private readonly brokenPrng: Prng;

  constructor(options: SimulationOptions) {
    this.options = options;
    this.watcher = options;
    const root = new Prng(options.seed);
    const [profilePrng, schedulePrng] = [root.fork('profile'), root.fork('schedule')];
    const drawn = options.scenario?.profile ?? drawProfile(profilePrng, options.replicas);
    this.profile = options.adjust?.(drawn) ?? drawn;
    this.schedule = options.scenario?.schedule ?? drawSchedule(schedulePrng, this.profile);
    this.codec = options.codec;
    this.policy = options.policy ?? SOUND;
    this.trace = new Trace(this.queue, options.traceSink ?? null);
    const { network, replicas } = this.profile;
    const boots = root.fork('boot ids');
    this.founders = Array.from({ length: replicas }, () => boots.bytes(16));
    this.clusterId = clusterIdOf(this.founders, this.codec);
    this.network = new SimNetwork(this.queue, root.fork('network'), network, this.statistics, this.trace);
    const storages = Array.from({ length: replicas }, (_, i) => new SimStorage(i + 1, root.fork(`storage ${i}`)));
    this.checks = new Checks(this.codec, this.clusterId, storages, this.profile.limits);
    this.sink = new SimSink(
      this.queue,
      root.fork('sink'),
      this.profile.sinkFailure,
      this.checks.effect,
      this.statistics,
      this.sometimes,
    );
    this.machines = storages.map((storage) => this.newMachine(storage, root.fork(`machine ${storage.id}`)));
    this.clients = new SimClients(this, root.fork('clients'), this.policy);
    this.clientPrng = root.fork('client links');
    this.haltPrng = root.fork('halts');
    this.survivalPrng = root.fork('survival');
    this.brokenPrng = root.fork('broken');
    const { logs } = this.checks;
    this.atlas = new FaultAtlas(this.profile.core, storages, logs, this.codec, this.profile.beyond);
    const damage = new StorageNemesis(this, this.atlas, logs);
    this.nemesis = new Nemesis(this, this.atlas, damage, (machine, delayUs) => this.startLater(machine, delayUs));
  }

  /** Those that the liveness phase heals. */
  get mended(): SimMachine[] {
    const { heals } = this.profile;
    return this.machines.filter((machine) => (heals === 'all' && !machine.lost) || this.atlas.inCore(machine.id));
  }

  machine(id: number): SimMachine {
    return this.machines[id - 1]!;
  }

  clientDelayUs(): number {
    return this.clientPrng.range(this.network.rates.delayLowUs, this.network.rates.delayHighUs);
  }

  clientCut(client: number, replica: number): boolean {
    return this.nemesis.clientCut(client, replica);
  }

  mendProgram(machine: SimMachine): boolean {
    return this.nemesis.upgrades.mend(machine);
  }

  halted(machine: SimMachine, code: string, message: string): void {
    const explained = DISK_HALTS.has(code) || (code === 'E_APP_VERSION' && this.mendProgram(machine));
    const damaged = this.profile.beyond && DAMAGE_CODES.has(code) && machine.stopsForDamage(code);
    const expected = explained || damaged || this.options.forgiveHalts === true;
    if (!expected) this.fail('replica', 'no-replica-halts', `r${machine.id} stopped: ${code}: ${message}`);
    this.restartLater(machine, this.haltPrng.range(50, 1000) * US_PER_MS);
  }

  fail(family: InvariantFamily, invariant: string, sentence: string): never {
    throw new Violation(family, invariant, sentence);
  }

  get seed(): number {
    return this.options.seed;
  }

  /** The whole run at once. */
  run(): SimulationResult {
    const course = this.course();
    for (;;) {
      const step = course.next();
      if (step.done === true) return step.value;
    }
  }

  /** A fault beside those of the schedule, at this moment. Its ids go on behind the schedule's. After the healing nothing strikes any more. */
  inject(kind: FaultKind, replica: number | null, durationUs: number): void {
    const id = this.schedule.length + this.injected++;
    const event = { id, atUs: this.queue.now, kind, atPrimary: false, durationUs, seed: this.options.seed + id };
    this.nemesis.plan([replica === null ? event : { ...event, replica }]);
  }

  /** The run, slice by slice of virtual time. */
  *course(): Generator<void, SimulationResult> {
    let violation: SimulationResult['violation'] = null;
    try {
      this.boot();
      while (this.queue.now < this.profile.safetyUs) {
        this.runUntil(Math.min(this.profile.safetyUs, this.queue.now + LOOK_US));
        yield;
      }
      this.heal();
      yield* this.live();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = { family: error.family, invariant: error.invariant, sentence: error.message };
      this.trace.event('violation', { invariant: error.invariant });
      this.trace.note('violation-sentence', { sentence: error.message });
    }
    this.statistics.committed = this.checks.canonical.last + 1;
    this.statistics.viewChanges = this.viewChanges();
    this.statistics.events = this.queue.executed;
    if (this.checks.view.cutByNacks > 0) this.sometimes.reached('nacks-cut-a-suffix');
    if (this.checks.canonical.duplicates > 0) this.sometimes.reached('duplicate-in-the-log');
    return {
      seed: this.options.seed,
      replicas: this.profile.replicas,
      violation,
      statistics: this.statistics,
      sometimes: Object.fromEntries(this.sometimes.counts),
      traceHash: this.trace.hash(),
      virtualMs: this.queue.now / US_PER_MS,
      schedule: this.schedule,
    };
  }

  /** The liveness phase. Beyond the atlas a cluster may stop, if it says why. */
  private *live(): Generator<void> {
    try {
      yield* new Liveness(this).run();
      this.checks.atRest(this.mended);
    } catch (error) {
      const stopped = error instanceof Violation && error.family === 'liveness' && this.profile.beyond;
      const why = stopped ? reasons(this.mended) : null;
      if (why === null) throw error;
      this.sometimes.reached('stopped-and-said-why');
      this.trace.event('stopped', { why });
    }
  }

  /** Every now and then: what if the power went out now? */
  private checkSurvivalLater(): void {
    this.queue.after(this.survivalPrng.range(SURVIVAL_LOW_US, SURVIVAL_HIGH_US), () => {
      // Beyond the atlas nothing is promised to survive.
      if (this.profile.beyond) return;
      const { pipelineMax } = replicaConfig(this.profile, 1, this.clusterId, 0);
      const { codec, clusterId } = this;
      const storages = this.machines.map(({ storage }) => storage);
      checkSurvival(this.checks.canonical, storages, this.atlas.core, { codec, clusterId, pipelineMax });
      this.checkSurvivalLater();
    });
  }

  private boot(): void {
    for (const machine of this.machines) {
      this.startLater(machine, this.clientPrng.below(20_000));
    }
    this.clients.start();
    this.checkSurvivalLater();
    const { without } = this.options;
    this.nemesis.plan(without === undefined ? this.schedule : this.schedule.filter(({ id }) => !without.has(id)));
  }

  private heal(): void {
    const healed = new Set(this.mended.map(({ id }) => id));
    this.safetyOver = true;
    this.nemesis.stop(healed, this.brokenPrng);
    this.trace.event('healed', { replicas: [...healed].join(' ') });
    if (healed.size < this.machines.length) this.sometimes.reached('healed-the-core-only');
  }

  runUntil(timeUs: number): void {
    const { queue } = this;
    let reached = false;
    queue.at(timeUs, () => {
      reached = true;
    });
    while (!reached) {
      queue.step();
      if (queue.executed > EVENTS_MAX) this.fail('liveness', 'no-endless-loop', `more than ${EVENTS_MAX} events`);
    }
  }

  /** Kills a process and starts it again later. */
  restartLater(machine: SimMachine, delayUs: number): void {
    machine.kill();
    this.clients.processDied(machine, false);
    this.startLater(machine, delayUs);
  }

  private startLater(machine: SimMachine, delayUs: number): void {
    this.queue.after(delayUs, () => {
      if (!machine.alive && !machine.lost && !machine.start())
        this.startLater(machine, this.haltPrng.range(1, 500) * US_PER_MS);
    });
  }

  private newMachine(storage: SimStorage, prng: Prng): SimMachine {
    const { disk, clockDrift, clockSkewMs } = this.profile;
    const device = soundDevice(disk.lowUs, disk.highUs);
    device.slowChance = disk.slowChance;
    device.slowUs = disk.slowUs;
    device.shortWrites = disk.shortWrites;
    const clock = new SimClock(
      this.queue,
      1 + (2 * prng.float() - 1) * clockDrift,
      Math.floor((2 * prng.float() - 1) * clockSkewMs),
    );
    return new SimMachine(this, storage, device, clock, prng);
  }

  private viewChanges(): number {
    return this.checks.view.viewsActed - 1;
  }
}

/** Runs one seed. */
export function simulate(options: SimulationOptions): SimulationResult {
  return new Simulator(options).run();
}
